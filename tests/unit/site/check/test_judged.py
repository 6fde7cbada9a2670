"""What is found of a site that has all, and of the same one that lacks one thing after another."""

import copy
import json
import random
from typing import Any

import pytest
import yaml

from facility.site.check import images, network
from facility.site.check.cluster import OLDEST
from facility.site.check.examine import judge, replaced
from facility.site.check.finding import Finding, Report, State, good, missing
from facility.site.check.snapshot import Right
from tests.any_object import changed
from tests.unit.site.check.conftest import ROOT, snapshot_of, values


def named(findings: list[Finding], name: str, asked: str = "") -> Finding:
    (found,) = [each for each in findings if each.name == name and asked in each.asked]
    return found


def left(findings: list[Finding], *states: State) -> list[str]:
    return [f"{each.name}, {each.asked}: {each.told}" for each in findings if each.state in states]


def test_a_site_that_has_all_lacks_nothing(site: Any) -> None:
    findings = judge(site(), values("images: {registry: registry.example/facility}"))
    assert not left(findings, State.MISSING, State.ADVICE)
    # Of the other images no node knows anything.
    assert {each.name for each in findings if each.state is State.UNKNOWN} == {"Registry"}
    assert named(findings, "Registry", "image hub").state is State.GOOD
    assert Report(findings).complete


def test_the_oldest_version_is_the_charts() -> None:
    chart = yaml.safe_load((ROOT / "helm/facility/Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={OLDEST[0]}.{OLDEST[1]}.0-0"


def drop_class(content: dict[str, Any]) -> None:
    for each in content["lists"]["StorageClass"]:
        each["metadata"].pop("annotations", None)


def old(content: dict[str, Any]) -> None:
    content["version"] = "v1.29.14+k3s1"


def no_policies(content: dict[str, Any]) -> None:
    content["admission"].remove("validatingadmissionpolicybindings")


def plugins_off(content: dict[str, Any]) -> None:
    command = content["lists"]["Pod"][0]["spec"]["containers"][0]["command"]
    command[-1] += ",PodSecurity,ValidatingAdmissionPolicy"


def flannel(content: dict[str, Any]) -> None:
    content["lists"]["DaemonSet"][0]["metadata"]["name"] = "kube-flannel-ds"


def audited(content: dict[str, Any]) -> None:
    content["settings"]["cilium-config"]["policy-audit-mode"] = "true"


def by_default(content: dict[str, Any]) -> None:
    del content["settings"]["cilium-config"]["policy-cidr-match-mode"]


def cordoned(content: dict[str, Any]) -> None:
    for node in content["lists"]["Node"]:
        node["spec"]["unschedulable"] = True


def refused(content: dict[str, Any]) -> None:
    content["refused"] = [
        Right("create", "rbac.authorization.k8s.io", "clusterroles", everywhere=True),
        Right("delete", "rbac.authorization.k8s.io", "clusterroles", everywhere=True),
    ]


@pytest.mark.parametrize(
    ("change", "name", "told", "todo"),
    [
        (old, "Kubernetes' version", "it is v1.29.14+k3s1", "Upgrade"),
        (no_policies, "ValidatingAdmissionPolicy", "validatingadmissionpolicybindings", "runtime"),
        (plugins_off, "ValidatingAdmissionPolicy", "--disable-admission-plugins", "Take it out"),
        (plugins_off, "Pod Security admission", "names PodSecurity", "Take PodSecurity out"),
        (flannel, network.ENFORCED, "DaemonSet kube-flannel-ds", "such as Cilium"),
        (audited, network.ENFORCED, "policy-audit-mode", "such as Cilium"),
        (by_default, network.ADDRESSES, "is not nodes", "networkPolicy.flavor: cilium"),
        (drop_class, "Default StorageClass", "there are cephfs, new, rbd", "is-default-class"),
        (cordoned, "Nodes", "0 of 4 nodes take pods", "kubectl get nodes"),
        (refused, "Your rights", "create, delete clusterroles.rbac", "cluster-admin"),
    ],
)
def test_what_is_missing_is_named(site: Any, change: Any, name: str, told: str, todo: str) -> None:
    for chosen in (None, values()):
        those = [each for each in judge(site(change), chosen) if each.name == name]
        lacking = [each for each in those if each.state is State.MISSING]
        assert lacking, f"{name} with {chosen}"
        assert told in lacking[0].told
        assert todo in lacking[0].todo
        report = Report(those)
        assert not report.complete
        assert f"  - {name}, for {lacking[0].asked}: {lacking[0].told}" in str(report)
        assert json.loads(report.json())["complete"] is False


# Who enforces NetworkPolicies.


@pytest.mark.parametrize(
    ("daemon_set", "enforces"),
    [("calico-node", True), ("kindnet", True), ("kube-router", True), ("netd", False)],
)
def test_an_enforcer_is_known_by_its_daemon_set(site: Any, daemon_set: str, enforces: bool) -> None:
    def change(content: dict[str, Any]) -> None:
        content["lists"]["DaemonSet"][0]["metadata"]["name"] = daemon_set

    assert network.enforcer(site(change)).enforces is enforces


@pytest.mark.parametrize("on", [True, False])
def test_amazons_enforces_where_it_is_told_to(site: Any, on: bool) -> None:
    def change(content: dict[str, Any]) -> None:
        (daemon_set,) = content["lists"]["DaemonSet"]
        daemon_set["metadata"]["name"] = "aws-node"
        (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
        container["args"] = [f"--enable-network-policy={str(on).lower()}"]

    assert network.enforcer(site(change)).enforces is on


def test_without_a_daemon_set_the_nodes_conditions_tell(site: Any) -> None:
    def change(content: dict[str, Any]) -> None:
        content["lists"]["DaemonSet"] = []

    found = network.enforcer(site(change))
    assert (found.name, found.enforces, found.seen) == ("Cilium", True, "nodes say CiliumIsUp")


def test_where_nothing_tells_a_try_is_named(site: Any) -> None:
    def change(content: dict[str, Any]) -> None:
        content["lists"]["DaemonSet"] = []
        content["groups"].remove("cilium.io")
        for node in content["lists"]["Node"]:
            del node["status"]["conditions"][0]

    for name in (network.ENFORCED, network.ADDRESSES):
        found = named(judge(site(change), values()), name)
        assert (found.state, found.todo) == (State.UNKNOWN, "`--probe` tries.")


def test_the_flavor_cilium_needs_cilium(site: Any) -> None:
    chosen = values("networkPolicy: {flavor: cilium}")
    assert named(judge(site(by_default), chosen), network.ADDRESSES).state is State.GOOD

    def change(content: dict[str, Any]) -> None:
        content["groups"].remove("cilium.io")

    found = named(judge(site(change), chosen), network.ADDRESSES)
    assert found.state is State.MISSING
    assert "flavor: standard" in found.todo


def test_encryption_is_told_and_not_required(site: Any) -> None:
    assert "WireGuard" in named(judge(site(), None), network.ENCRYPTION).told

    def off(content: dict[str, Any]) -> None:
        content["settings"]["cilium-config"]["enable-wireguard"] = "false"

    assert named(judge(site(off), None), network.ENCRYPTION).state is State.ADVICE

    def calico(content: dict[str, Any]) -> None:
        flannel(content)
        content["settings"] = {}
        content["lists"]["FelixConfiguration"] = [
            {"metadata": {"name": "default"}, "spec": {"wireguardEnabled": True}}
        ]

    assert "Calico" in named(judge(site(calico), None), network.ENCRYPTION).told

    def antrea(content: dict[str, Any]) -> None:
        content["settings"] = {
            "antrea-config": {"antrea-agent.conf": "trafficEncryptionMode: ipsec"}
        }

    assert "Antrea" in named(judge(site(antrea), None), network.ENCRYPTION).told


def test_a_cache_of_names_on_each_node_is_told(site: Any) -> None:
    def change(content: dict[str, Any]) -> None:
        content["lists"]["DaemonSet"].append({"metadata": {"name": "nodelocaldns"}})

    assert "enable_nodelocaldns: false" in named(judge(site(change), None), network.DNS).todo
    assert network.DNS not in {each.name for each in judge(site(), None)}


# Nodes.


def test_each_pool_of_an_example_has_nodes(site: Any) -> None:
    findings = judge(site(), values(name="gpu-arm"))
    assert named(findings, "Nodes", "pools.gpu").told == "1 node can run its pods"
    assert named(findings, "Nodes", "pools.arm").told == "1 node can run its pods"
    assert named(findings, "Nodes", "singleuser.profiles.gpu").state is State.MISSING
    cpu = named(findings, "Nodes", "pools.cpu")
    assert cpu.state is State.MISSING
    # Each node is told of by what keeps it out.
    assert "4 nodes without the label k8s.dask.org/node-purpose=worker (lacks it)" in cpu.told


AFFINITY = """affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution:
    {nodeSelectorTerms: [{matchExpressions: [{key: rack, operator: Gt, values: ['3']}]}]}}}"""
POOL = "pools: {cpu: {default: true, cpu: 1, memory: 4Gi, maxWorkers: 200, %s}}"


@pytest.mark.parametrize(
    ("pool", "told"),
    [
        ("processes: 100", "of cpu, and 100 asked for"),
        ("memoryMax: 4Gi, tolerations: []", "1 node can run its pods"),
        ("architecture: arm64", "with the taint kubernetes.io/arch=arm64:NoSchedule"),
        (
            AFFINITY,
            "4 nodes outside of its node affinity",
        ),
        ("gpus: 4, tolerations: [{operator: Exists}]", "with 2 of nvidia.com/gpu, and 4 asked for"),
    ],
)
def test_why_no_node_fits_is_told(site: Any, pool: str, told: str) -> None:
    assert told in named(judge(site(), values(POOL % pool)), "Nodes", "pools.cpu").told


def test_a_device_that_no_node_offers_names_its_plugin(site: Any) -> None:
    chosen = values(POOL % "gpus: 1, gpuResource: amd.com/gpu")
    found = named(judge(site(), chosen), "Device plugin")
    assert (found.asked, found.told) == ("pools.cpu", "no node offers amd.com/gpu")
    assert "AMD's device plugin" in found.todo


def test_where_nodes_are_made_on_demand_none_has_to_be_there(site: Any) -> None:
    def change(content: dict[str, Any]) -> None:
        content["settings"]["cluster-autoscaler-status"] = {"status": "Healthy"}

    chosen = values(POOL % "gpus: 1, gpuResource: amd.com/gpu")
    found = named(judge(site(change), chosen), "Nodes", "pools.cpu")
    assert found.state is State.ADVICE
    assert "the cluster autoscaler" in found.todo


# Storage, classes, what the values name.

FOR_MANY = "singleuser: {storage: {storageClass: %s, accessModes: [ReadWriteMany]}}"


@pytest.mark.parametrize(
    ("storage_class", "name", "state"),
    [
        ("cephfs", "StorageClass", State.GOOD),
        ("rbd", "Access mode", State.MISSING),
        ("new", "Access mode", State.ADVICE),
        ("absent", "StorageClass", State.MISSING),
    ],
)
def test_access_modes_fit_their_class(
    site: Any, storage_class: str, name: str, state: State
) -> None:
    findings = judge(site(), values(FOR_MANY % storage_class))
    assert named(findings, name, "singleuser.storage").state is state


def test_what_values_name_has_to_be_there(site: Any) -> None:
    findings = judge(site(), values(name="storage"))
    assert named(findings, "CSIDriver", "sharedVolumes.scratch").state is State.GOOD
    lacking = named(findings, "CSIDriver", "sharedVolumes.cvmfs")
    assert lacking.state is State.MISSING
    assert "cvmfs.csi.cern.ch" in lacking.todo
    findings = judge(site(), values(name="gpu-arm"))
    assert named(findings, "PriorityClass").state is State.GOOD
    assert named(findings, "RuntimeClass", "pools.gpu").state is State.GOOD
    # Of servers and schedulers, which no pool names.
    assert named(findings, "RuntimeClass", "singleuser").state is State.MISSING
    assert named(findings, "RuntimeClass", "scheduler").state is State.MISSING
    findings = judge(site(), values(name="existing-secrets"))
    assert named(findings, "dask-kubernetes' kinds").state is State.MISSING

    def another(content: dict[str, Any]) -> None:
        content["groups"].append("kubernetes.dask.org")
        content["lists"]["RuntimeClass"] = []

    findings = judge(site(another), values(name="gpu-arm"))
    assert named(findings, "RuntimeClass", "pools.gpu").state is State.MISSING
    assert named(findings, "dask-kubernetes' kinds").state is State.ADVICE


INGRESS = """
ingress: {enabled: true, %s}
hub: {domain: af.example.org, config: {JupyterHub: {authenticator_class: generic-oauth}}}
"""


def test_an_ingress_needs_its_class_and_who_obeys_its_annotations(site: Any) -> None:
    issuer = "annotations: {cert-manager.io/cluster-issuer: site}, ingressClassName: nginx"
    findings = judge(site(), values(INGRESS % issuer))
    assert named(findings, "IngressClass").state is State.GOOD
    assert named(findings, "cert-manager").state is State.GOOD

    def change(content: dict[str, Any]) -> None:
        content["groups"].remove("cert-manager.io")

    assert named(judge(site(change), values(INGRESS % issuer)), "cert-manager").state is (
        State.MISSING
    )
    other = named(judge(site(), values(INGRESS % "ingressClassName: haproxy")), "IngressClass")
    assert (other.state, other.told) == (State.MISSING, "there are nginx")
    none = named(judge(site(), values(INGRESS % "annotations: {}")), "IngressClass")
    assert "no default" in none.told


def test_what_may_not_be_read_is_unknown_and_says_why(site: Any) -> None:
    def change(content: dict[str, Any]) -> None:
        content["unread"] = dict.fromkeys(content["lists"], "you may not list it")
        content["lists"] = {}

    findings = judge(site(change), values(name="gpu-arm"))
    assert not left(findings, State.MISSING)
    for name in ("StorageClass", "Nodes", "RuntimeClass"):
        those = [each for each in findings if each.name == name]
        assert those
        assert all("you may not list it" in each.told for each in those)


def test_an_image_is_one_whatever_its_tag_or_digest() -> None:
    plain = {
        images._repository(name)
        for name in ("a.b:5000/x/y", "a.b:5000/x/y:1", "a.b:5000/x/y@sha256:00")
    }
    assert plain == {"a.b:5000/x/y"}


def test_what_was_tried_stands_in_the_place_of_what_was_read() -> None:
    read = [good("A", "x", "is"), good("Registry", "i, r/i:1", "is"), good("Registry", "j", "is")]
    tried = [missing("A", "a try", "not", "do"), missing("Registry", "i, r/i:1", "not", "do")]
    assert replaced(read, tried) == [read[2], *tried]


def test_whatever_stands_in_an_object_it_is_judged(recorded: dict[str, Any]) -> None:
    chosen = values(name="gpu-arm")
    for seed in range(300):
        content = copy.deepcopy(recorded)
        content["lists"] = changed(random.Random(seed), content["lists"])
        lists = content["lists"]
        content["lists"] = {
            kind: found
            for kind, found in (lists.items() if isinstance(lists, dict) else ())
            if kind in recorded["lists"] and isinstance(found, list)
        }
        assert str(Report(judge(snapshot_of(content), chosen))), f"seed {seed}"
