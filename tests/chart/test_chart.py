"""The chart without a Kubernetes: Helm's own packages check and render it."""

import copy
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from facility.hub.kubernetes.release import read_values
from facility.hub.kubernetes.values.model import Values
from facility.hub.kubernetes.values.tenant_model import Installation
from facility.kubernetes.tenant import release_set
from tools import chart as generated

CHART = generated.CHART
GOLDEN = Path(__file__).resolve().parents[1] / "data" / "chart"
SCENARIOS = sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))
OURS = ("facility/hub", "facility/tenant")
VERSIONS = ("1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
DIGEST = f"sha256:{'0a' * 32}"
CUSTOM = ("CiliumNetworkPolicy",)
MINIMAL = yaml.safe_load((CHART / "ci" / "minimal.yaml").read_text())


def values_of(scenario: str) -> dict[str, Any]:
    return dict(yaml.safe_load((CHART / "ci" / f"{scenario}.yaml").read_text()))


def rendered(values: dict[str, Any]) -> dict[str, str]:
    with helm.Chart.load(str(CHART)) as found:
        found.validate_schema(values)
        return dict(found.render(values, name="af", namespace="hub-space"))


def manifests(values: dict[str, Any]) -> list[dict[str, Any]]:
    texts = [text for path, text in sorted(rendered(values).items()) if path.endswith(".yaml")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


@functools.cache
def every_manifest() -> list[dict[str, Any]]:
    """Manifests of all scenarios, each once."""
    found = [each for scenario in SCENARIOS for each in manifests(values_of(scenario))]
    each_once = {json.dumps(each, sort_keys=True): each for each in found}
    return [each for each in each_once.values() if each["kind"] not in CUSTOM]


def by_name(found: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def hub_values(found: list[dict[str, Any]]) -> Values:
    secret = by_name(found)["Secret", "hub-values"]
    return read_values(yaml.safe_load(secret["stringData"]["values.yaml"]))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_helm_finds_no_fault(scenario: str) -> None:
    found = helm.lint(str(CHART), values_of(scenario), strict=True, kube_version="v1.34.0")
    assert found["errors"] == []
    severe = [each for each in found["messages"] if "icon is recommended" not in each["error"]]
    assert severe == []


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_it_renders_as_before(scenario: str) -> None:
    """`REFRESH_GOLDEN=1` writes what is compared."""
    # Roles and policies are compared with the package below.
    scoped = release_kinds()
    found = [
        each
        for each in manifests(values_of(scenario))
        if each["kind"] not in scoped or is_of_batch(each)
    ]
    text = yaml.safe_dump_all(found, sort_keys=False)
    golden = GOLDEN / f"{scenario}.yaml"
    if os.environ.get("REFRESH_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def is_of_batch(manifest: dict[str, Any]) -> bool:
    """The chart alone makes the policies of the batch namespace."""
    return str(manifest["metadata"]["name"]).startswith("af-batch-")


def release_kinds() -> set[str]:
    release = Installation(read_values(MINIMAL), "af", "hub-space", "0").release
    return {each["kind"] for each in release_set(release)}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_roles_and_policies_are_those_of_the_package(scenario: str) -> None:
    found = manifests(values_of(scenario))
    site = Installation(hub_values(found), "af", "hub-space", "0.2.0")
    expected = by_name(json.loads(json.dumps(release_set(site.release))))
    have = by_name(found)
    for name, manifest in expected.items():
        assert read(have[name]) == read(manifest), name
    scoped = {kind for kind, _ in expected}
    chosen = {name for name in have if name[0] in scoped and not is_of_batch(have[name])}
    others = chosen - set(expected)
    assert others == {("ClusterRole", "af-prepare"), ("ClusterRoleBinding", "af-prepare")}


def read(manifest: dict[str, Any]) -> dict[str, Any]:
    """Data of policies is JSON, whose spaces and order mean nothing."""
    found = copy.deepcopy(manifest)
    for variable in found.get("spec", {}).get("variables", ()):
        if variable["name"] in generated.DATA:
            variable["expression"] = json.loads(variable["expression"])
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # It reads the schemas of a version again for each manifest.
    read_once = functools.cache(kubernetes_validate.utils.schema_contents)
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", read_once)
    for manifest in every_manifest():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_what_follows_from_the_package_is_up_to_date() -> None:
    for path, text in generated.written().items():
        assert path.read_text() == text, f"{path.name} is behind: `make chart`"


def test_the_defaults_are_those_of_the_model() -> None:
    stated = yaml.safe_load((CHART / "values.yaml").read_text())
    # The quotas of everybody are spelled out for readers.
    stated["tenants"]["quota"] = {"pools": {}}
    for section in ("hub", "proxy", "operator"):
        del stated[section]["resources"]
    assert read_values(merged(stated, MINIMAL)) == read_values(MINIMAL)


def test_the_stated_quota_is_what_the_package_takes_by_default() -> None:
    stated = yaml.safe_load((CHART / "values.yaml").read_text())
    site = Installation(read_values(merged(stated, MINIMAL)), "af", "hub-space", "0")
    bare = Installation(read_values(MINIMAL), "af", "hub-space", "0")
    assert site.quota("ada", ()) == bare.quota("ada", ())


@pytest.mark.parametrize(
    ("image", "reference", "policy"),
    [
        (None, "registry.example/facility/hub:VERSION", "IfNotPresent"),
        ({"pullPolicy": "Always"}, "registry.example/facility/hub:VERSION", "Always"),
        ({"digest": DIGEST}, f"registry.example/facility/hub@{DIGEST}", "IfNotPresent"),
        ({"name": "a.io:5000/b", "tag": "4"}, "a.io:5000/b:4", "IfNotPresent"),
        ("a.io:5000/b", "a.io:5000/b:VERSION", "IfNotPresent"),
        ("a.io:5000/b:4", "a.io:5000/b:4", "IfNotPresent"),
        (f"a.io/b:4@{DIGEST}", f"a.io/b@{DIGEST}", "IfNotPresent"),
    ],
)
def test_an_image_is_the_registrys_or_what_is_given(
    image: Any, reference: str, policy: str
) -> None:
    found = by_name(manifests(merged(MINIMAL, {"hub": {"image": image}})))
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    for name in ("hub", "proxy"):
        (container,) = found["Deployment", name]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == reference.replace("VERSION", version)
        assert container["imagePullPolicy"] == policy


def test_images_go_by_the_charts_version() -> None:
    import facility

    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == facility.__version__


# Wrong values.


def wrong_values() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each default with a value of another kind, and each section with an unknown key."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())

    def walk(found: Any, path: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
        for key, value in found.items():
            here = (*path, key)
            if isinstance(value, dict):
                if value and here[-1] not in ("labels", "requests", "limits"):
                    yield from walk(value, here)
                yield ".".join(here), nested(here, ["wrong"])
            elif isinstance(value, list):
                yield ".".join(here), nested(here, "wrong")
            else:
                yield ".".join(here), nested(here, {"wrong": [1]})
        if path:
            yield ".".join((*path, "unknwon")), nested((*path, "unknwon"), 1)

    yield from walk(defaults, ())
    yield "unknwon", nested(("unknwon",), 1)


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    found = dict(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if both else value
    return found


A = {"mountPath": "/a"}
NFS = {"nfs": {"server": "nfs.example.org", "path": "/a"}}
CSI = {"csi": {"driver": "d.example.org", "volumeHandle": "a-{namespace}"}}
MISTAKES: list[tuple[str, dict[str, Any]]] = [
    ("pools", {"pools": {}}),
    ("Cpu", {"pools": {"Cpu": MINIMAL["pools"]["cpu"]}}),
    ("timeout", {"pools": {"timeout": MINIMAL["pools"]["cpu"]}}),
    ("pools/cpu/cpu", {"pools": {"cpu": {"cpu": "many"}}}),
    ("pools/cpu/memory", {"pools": {"cpu": {"memory": "4 Gi"}}}),
    ("pools/cpu/maxWorkers", {"pools": {"cpu": {"maxWorkers": 0}}}),
    ("pools/cpu", {"pools": {"cpu": {"maxWorker": 5}}}),
    ("pools/cpu/architecture", {"pools": {"cpu": {"architecture": "riscv"}}}),
    ("hub/db/type", {"hub": {"db": {"type": "mysql"}}}),
    ("hub/baseUrl", {"hub": {"baseUrl": "af"}}),
    ("hub/image/name", {"hub": {"image": {"name": "facility/hub:1"}}}),
    ("hub/image/digest", {"hub": {"image": {"digest": "sha256:1"}}}),
    ("hub/image", {"hub": {"image": "a.io/hub@sha256:1"}}),
    ("images/registry", {"images": {"registry": "https://a.io"}}),
    ("hub/domain", {"hub": {"domain": "https://af.example.org"}}),
    ("hub/domain", {"hub": {"domain": "af.example.org/af"}}),
    ("hub/config", {"hub": {"config": {"JupyterHub": "on"}}}),
    ("proxy/service/type", {"proxy": {"service": {"type": "Loadbalancer"}}}),
    ("proxy/service/port", {"proxy": {"service": {"port": 99999}}}),
    ("networkPolicy/flavor", {"networkPolicy": {"flavor": "calico"}}),
    ("networkPolicy/egress/site/0", {"networkPolicy": {"egress": {"site": ["10.0.0.0/8"]}}}),
    ("networkPolicy/hub/ports/0", {"networkPolicy": {"hub": {"ports": [0]}}}),
    ("networkPolicy/hub/site/0", {"networkPolicy": {"hub": {"site": ["10.0.0.0/8"]}}}),
    ("tenants/prefix", {"tenants": {"prefix": "af"}}),
    ("tenants/quota/pods", {"tenants": {"quota": {"pods": -1}}}),
    ("tenants/groups/a", {"tenants": {"groups": {"a": {"core": 3}}}}),
    ("singleuser/profiles/a", {"singleuser": {"profiles": {"a": {}}}}),
    ("singleuser/storage/type", {"singleuser": {"storage": {"type": "static"}}}),
    ("singleuser/uid", {"singleuser": {"uid": 0}}),
    ("singleuser/fsGid", {"singleuser": {"fsGid": "users"}}),
    ("singleuser/identity", {"singleuser": {"identity": {"uid": "a"}}}),
    ("sharedVolumes/a", {"sharedVolumes": {"a": {"path": "/a"}}}),
    ("propertyName 'A'", {"sharedVolumes": {"A": {"mountPath": "/a"}}}),
    ("sharedVolumes/a/mountPath", {"sharedVolumes": {"a": {"mountPath": "a"}}}),
    ("sharedVolumes/a/accessModes", {"sharedVolumes": {"a": {**A, "accessModes": ["RWX"]}}}),
    ("sharedVolumes/a/volume", {"sharedVolumes": {"a": {**A, "volume": {}}}}),
    ("sharedVolumes/a/volume", {"sharedVolumes": {"a": {**A, "volume": {**NFS, **CSI}}}}),
    *(
        ("sharedVolumes/a/volume", {"sharedVolumes": {"a": {**A, "volume": {source: {}}}}})
        for source in ("hostPath", "local", "iscsi", "nfs", "csi")
    ),
    (
        "sharedVolumes/a/volume/csi/volumeHandle",
        {"sharedVolumes": {"a": {**A, "volume": {"csi": {**CSI["csi"], "volumeHandle": "x"}}}}},
    ),
    ("cull/timeout", {"cull": {"timeout": "1h"}}),
]
WRONG = [*wrong_values(), *MISTAKES]


def test_a_right_on_volumes_comes_with_a_template_alone() -> None:
    found = {name: json.dumps(manifests(values_of(name))) for name in SCENARIOS}
    assert [name for name, text in found.items() if "persistentvolumes" in text] == ["storage"]


def test_quotes_in_values_stay_quotes() -> None:
    nfs = {"server": "nfs.example.org", "path": '/it\'s "data"'}
    found = manifests(merged(MINIMAL, {"sharedVolumes": {"a": {**A, "volume": {"nfs": nfs}}}}))
    policy = by_name(found)["ValidatingAdmissionPolicy", "af-hub-persistentvolumes"]
    (data,) = (v["expression"] for v in policy["spec"]["variables"] if v["name"] == "sources")
    assert json.loads(data) == {"a": ["nfs", nfs["server"], nfs["path"], "true"]}


def test_there_are_a_hundred_mistakes() -> None:
    assert len(WRONG) >= 100


@pytest.mark.parametrize(
    ("path", "change"), WRONG, ids=[f"{n}-{p}" for n, (p, _) in enumerate(WRONG)]
)
def test_a_mistake_is_refused_where_it_is(path: str, change: dict[str, Any]) -> None:
    whole = change if change.get("pools") == {} else merged(MINIMAL, change)
    with pytest.raises(helm.HelmValuesError) as caught, helm.Chart.load(str(CHART)) as found:
        found.validate_schema(whole)
    message = str(caught.value)
    # An unknown key is told with the section that it stands in.
    place = path.replace(".", "/").removesuffix("/unknwon")
    assert place in message or ("unknwon" in path and "unknwon" in message), message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pools": {"b": MINIMAL["pools"]["cpu"]}}, "more than one pool is the default (b, cpu)"),
        ({"pools": {"cpu": {"default": False}}}, "no pool is the default"),
        ({"hub": {"db": {"type": "postgres"}}}, "hub.db.url"),
        ({"hub": {"db": {"url": "postgresql://a@b/c"}}}, "hub.db.type"),
        ({"tenants": {"quota": {"pools": {"gpus": 1}}}}, "tenants.quota.pools names the pool gpus"),
        ({"tenants": {"users": {"ada": {"pools": {"x": 1}}}}}, "tenants.users.ada.pools"),
        ({"singleuser": {"image": {"name": "analysis"}}}, "singleuser.image: analysis must"),
        ({"images": {"registry": None}}, "so hub.image and singleuser.image and operator.image"),
        ({"images": {"registry": "team"}}, "hub.image: team/hub must begin with its registry"),
        ({"hub": {"image": "team/hub:1"}}, "hub.image: team/hub must begin with its registry"),
        ({"pools": {"cpu": {"image": "a/b:1"}}}, "pools.cpu.image: a/b:1 must begin"),
        (
            {"singleuser": {"profiles": {"a": {"displayName": "A", "image": "a/b@" + DIGEST}}}},
            "singleuser.profiles.a.image: a/b must begin with its registry",
        ),
        ({"singleuser": {"memoryLimit": "512Mi"}}, "singleuser.memoryGuarantee is 1Gi, more than"),
        ({"singleuser": {"memoryLimit": 1e9}}, "singleuser.memoryGuarantee is 1Gi, more than"),
        ({"scheduler": {"cpuLimit": "200m"}}, "scheduler.cpuGuarantee is 0.25, more than"),
        ({"scheduler": {"memoryGuarantee": "5e9"}}, "scheduler.memoryGuarantee is 5e9, more than"),
        ({"images": {"permitted": ["ghcr.io"]}}, "images.permitted.0"),
        ({"sharedVolumes": {"a": A, "b": A}}, "sharedVolumes.b is mounted at /a, as is"),
        ({"sharedVolumes": {"a": {"mountPath": "/home/jovyan"}}}, "as is the home"),
        ({"sharedVolumes": {"home": A}}, "sharedVolumes.home needs another name"),
        ({"sharedVolumes": {"a": {**A, "volume": NFS, "storageClass": "x"}}}, "keep one of the"),
        (
            {"hub": {"domain": None}},
            "hub.domain is missing, so that the hub and all users' servers",
        ),
        (
            {
                "hub": {"sharedPasswordOnTheNetwork": True},
                "ingress": {"enabled": True, "tls": [{"hosts": ["a.org"], "secretName": "a"}]},
            },
            "name af.example.org among the hosts of the one that is for it and for *.af.example",
        ),
        ({"ingress": {"enabled": True}}, "opens every user's account, and ingress.enabled is true"),
        ({"proxy": {"service": {"type": "NodePort"}}}, "and proxy.service.type is NodePort"),
        (
            {"proxy": {"service": {"type": "LoadBalancer"}}, "hub": {"extraConfig": {"a": "pass"}}},
            "hub.config.JupyterHub.authenticator_class is missing",
        ),
    ],
)
def test_what_no_schema_sees_is_told_in_a_sentence(change: dict[str, Any], told: str) -> None:
    with pytest.raises(helm.HelmError) as caught:
        rendered(merged(MINIMAL, change))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "hub",
    [
        {"sharedPasswordOnTheNetwork": True},
        {"config": {"JupyterHub": {"authenticator_class": "generic-oauth"}}},
    ],
)
def test_what_others_reach_has_a_login_or_the_admin_says_that_it_has_none(hub: Any) -> None:
    assert rendered(merged(MINIMAL, {"hub": hub, "ingress": {"enabled": True}}))
    assert rendered(merged(MINIMAL, {"hub": hub, "proxy": {"service": {"type": "NodePort"}}}))


def test_each_user_has_a_domain_below_the_hubs() -> None:
    values = values_of("ingress-tls")
    values["ingress"]["hosts"] = ["old.example.org"]
    found = by_name(manifests(merged(values, {"hub": {"domain": "af.example.org:8443"}})))
    spec = found["Ingress", "facility"]["spec"]
    hosts = [rule["host"] for rule in spec["rules"]]
    assert hosts == ["af.example.org", "*.af.example.org", "old.example.org"]
    assert spec["tls"] == [
        {"secretName": "af-certificate", "hosts": ["af.example.org", "*.af.example.org"]}
    ]
    assert "--host-routing" in proxy_words(found)


def test_users_who_trust_each_other_share_one_address() -> None:
    hub = {"domain": None, "usersTrustEachOther": True}
    values = merged(values_of("ingress-tls"), {"hub": hub})
    values["ingress"]["hosts"] = ["af.example.org"]
    found = by_name(manifests(values))
    spec = found["Ingress", "facility"]["spec"]
    assert [rule["host"] for rule in spec["rules"]] == ["af.example.org"]
    assert spec["tls"][0]["hosts"] == ["af.example.org"]
    assert "--host-routing" not in proxy_words(found)


def proxy_words(found: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
    (container,) = found["Deployment", "proxy"]["spec"]["template"]["spec"]["containers"]
    return list(container["command"])


def hub_egress(values: dict[str, Any]) -> tuple[list[int], list[str]]:
    """Ports that the hub may reach anywhere, and addresses that it may reach."""
    policy = by_name(manifests(values))["NetworkPolicy", "hub"]["spec"]
    assert "Egress" in policy["policyTypes"]
    anywhere = [each for each in policy["egress"] if "to" not in each]
    blocks = [to.get("ipBlock") for each in policy["egress"] for to in each.get("to", ())]
    ports = [port["port"] for each in anywhere for port in each["ports"]]
    return sorted(ports), [block["cidr"] for block in blocks if block]


@pytest.mark.parametrize(
    ("change", "ports", "addresses"),
    [
        ({}, [443, 443, 6443], []),
        (
            {
                "apiServer": [{"cidr": "192.0.2.1/32", "ports": [6443]}],
                "hub": {"ports": [], "site": [{"cidr": "192.0.2.7/32", "ports": [636]}]},
            },
            [],
            ["192.0.2.1/32", "192.0.2.7/32"],
        ),
        ({"flavor": "cilium", "hub": {"ports": [389]}}, [389], []),
    ],
)
def test_the_hub_reaches_what_it_needs_and_what_is_listed(
    change: dict[str, Any], ports: list[int], addresses: list[str]
) -> None:
    assert hub_egress(merged(MINIMAL, {"networkPolicy": change})) == (ports, addresses)


@pytest.mark.parametrize(("address", "port"), [("db.example.org:5433", 5433), ("db", 5432)])
def test_the_hub_reaches_its_database(address: str, port: int) -> None:
    db = {"type": "postgres", "url": f"postgresql+psycopg2://hub:a1@{address}/hub"}
    values = {"hub": {"db": db}, "networkPolicy": {"flavor": "cilium"}}
    assert hub_egress(merged(MINIMAL, values))[0] == [443, port]


def test_rules_of_the_site_are_the_hubs_too() -> None:
    rule = {"to": [{"podSelector": {"matchLabels": {"app": "keycloak"}}}]}
    found = by_name(manifests(merged(MINIMAL, {"networkPolicy": {"hub": {"rules": [rule]}}})))
    assert rule in found["NetworkPolicy", "hub"]["spec"]["egress"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, True),
        ({"singleuser": {"identity": {"uid": "a", "gid": "b"}}}, False),
        ({"singleuser": {"uid": "none"}}, False),
        ({"sharedVolumes": {"scratch": {"readOnly": True}}}, False),
    ],
)
def test_the_notes_name_volumes_in_which_everybody_is_one(
    change: dict[str, Any], told: bool
) -> None:
    shared = {"sharedVolumes": {"scratch": {"mountPath": "/scratch", "readOnly": False}}}
    notes = rendered(merged(merged(MINIMAL, shared), change))["facility/templates/NOTES.txt"]
    assert ("in the shared volume scratch: the pods" in notes) == told


# Batch.

ENABLED = {"batch": {"enabled": True}}
POD = {"containers": [{"name": "pilot", "image": "a.io/b:1"}]}
SOUND = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def with_template(spec: dict[str, Any], level: str = "baseline") -> dict[str, Any]:
    """Values with a Job of the site's whose pods are so."""
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job"},
        "spec": {"template": {"spec": spec}},
    }
    return merged(MINIMAL, {"batch": {"enabled": True, "podSecurity": level, "template": job}})


def container(**more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "pilot", **more}]}


def secured(**more: Any) -> dict[str, Any]:
    return container(securityContext={**SOUND, **more})


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({**POD, "hostNetwork": True}, "hostNetwork: true"),
        ({**POD, "hostPID": True}, "hostPID: true"),
        ({**POD, "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {}}]},
         "volumes[1].hostPath"),
        ({**POD, "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}},
         "securityContext.sysctls[0].name: kernel.msgmax"),
        ({**POD, "securityContext": {"seccompProfile": {"type": "Unconfined"}}},
         "securityContext.seccompProfile.type: Unconfined"),
        ({**POD, "securityContext": {"seLinuxOptions": {"type": "spc_t"}}},
         "securityContext.seLinuxOptions.type: spc_t"),
        (container(securityContext={"privileged": True}),
         "containers[0].securityContext.privileged: true"),
        (container(securityContext={"capabilities": {"add": ["KILL", "SYS_ADMIN"]}}),
         "containers[0].securityContext.capabilities.add: SYS_ADMIN"),
        (container(securityContext={"procMount": "Unmasked"}),
         "containers[0].securityContext.procMount: Unmasked"),
        (container(ports=[{"containerPort": 1, "hostPort": 80}]),
         "containers[0].ports[0].hostPort: 80"),
        (container(livenessProbe={"httpGet": {"host": "a.org"}}),
         "containers[0].livenessProbe.httpGet.host: a.org"),
        ({**POD, "initContainers": [{"name": "a", "securityContext": {"privileged": True}}]},
         "initContainers[0].securityContext.privileged: true"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_a_template_that_pod_security_refuses_is_told_with_its_place(
    spec: dict[str, Any], place: str, level: str
) -> None:
    with pytest.raises(helm.HelmError) as caught:
        rendered(with_template(spec, level))
    told = f"batch.template.spec.template.spec.{place} is refused by batch.podSecurity: {level}"
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({**secured(), "volumes": [{"name": "a", "nfs": {}}]}, "volumes[0].nfs"),
        (secured(allowPrivilegeEscalation=True), "allowPrivilegeEscalation: must be false"),
        (secured(allowPrivilegeEscalation=None), "allowPrivilegeEscalation: must be false"),
        (secured(runAsNonRoot=None), "runAsNonRoot: must be true"),
        (secured(runAsUser=0), "containers[0].securityContext.runAsUser: 0"),
        (secured(capabilities={"drop": ["KILL"]}), "capabilities.drop: must have ALL"),
        (secured(capabilities={"drop": ["ALL"], "add": ["KILL"]}), "capabilities.add: KILL"),
        (secured(seccompProfile=None), "seccompProfile.type: must be RuntimeDefault"),
    ],
)
def test_what_restricted_alone_refuses_is_no_mistake_under_baseline(
    spec: dict[str, Any], place: str
) -> None:
    assert rendered(with_template(spec))
    with pytest.raises(helm.HelmError) as caught:
        rendered(with_template(spec, "restricted"))
    assert place in str(caught.value)


def test_a_template_may_have_its_security_from_the_pod() -> None:
    pod = {key: SOUND[key] for key in ("runAsNonRoot", "seccompProfile")}
    own = {key: SOUND[key] for key in ("allowPrivilegeEscalation", "capabilities")}
    spec = {**container(securityContext=own), "securityContext": pod}
    assert rendered(with_template(spec, "restricted"))


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_the_charts_own_template_obeys_its_namespace(level: str) -> None:
    cvmfs = {"storageClass": "cvmfs"}
    batch = {"enabled": True, "podSecurity": level, "grace": 10, "cvmfs": cvmfs}
    found = by_name(manifests(merged(MINIMAL, {"batch": batch})))
    space = found["Namespace", "batch-af"]["metadata"]["labels"]
    assert space["pod-security.kubernetes.io/enforce"] == level
    job = yaml.safe_load(found["ConfigMap", "facility-batch"]["data"]["job.yaml"])
    spec = job["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 10
    assert spec["priorityClassName"] == "af-batch"
    # Apptainer needs user namespaces, which that profile forbids.
    assert ("seccompProfile" in spec["securityContext"]) == (level == "restricted")
    # As Harvester completes it.
    (container,) = spec["containers"]
    container |= {"image": "a.io/b:1", "resources": {"requests": {"cpu": "0.9", "memory": "2G"}}}
    job["metadata"]["namespace"] = "batch-af"
    kubernetes_validate.validate(job, "1.34", strict=True)
    assert rendered(with_template(spec, level) | {"batch": {**batch, "template": job_of(spec)}})


def job_of(spec: dict[str, Any]) -> dict[str, Any]:
    return dict(with_template(spec)["batch"]["template"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"namespace": "af-batch"}, "batch.namespace is af-batch and begins with tenants.prefix"),
        ({"namespace": "hub-space"}, "batch.namespace is hub-space, the hub's own"),
        ({"grace": 20, "template": job_of(POD)},
         "terminationGracePeriodSeconds is 30, more than batch.grace, which is 20"),
        ({"template": job_of({**POD, "priorityClassName": "high"})},
         "spec.priorityClassName is high; that of batch is af-batch"),
        ({"template": job_of({**POD, "serviceAccountName": "harvester"})},
         "spec.serviceAccountName is harvester"),
        ({"template": job_of({})}, "batch.template.spec.template.spec.containers is missing"),
        ({"quota": {"cpu": 4}}, "batch.largestJob.cpu is 8, more than batch.quota.cpu"),
        ({"template": job_of(container(resources={"requests": {"cpu": 9}}))},
         "containers[0].resources.requests.cpu is 9, more than batch.largestJob.cpu, which is 8"),
    ],
)  # fmt: skip
def test_a_mistake_in_batch_is_told_in_a_sentence(change: dict[str, Any], told: str) -> None:
    with pytest.raises(helm.HelmError) as caught:
        rendered(merged(MINIMAL, {"batch": {"enabled": True, **change}}))
    assert told in str(caught.value)


def test_mistakes_in_batch_count_where_there_is_batch_alone() -> None:
    assert rendered(merged(MINIMAL, {"batch": {"namespace": "af-batch"}}))


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if "batch" not in each])
def test_without_batch_there_is_nothing_of_it(scenario: str) -> None:
    found = manifests(values_of(scenario))
    classes = [each for each in found if each["kind"] == "PriorityClass"]
    assert {each["preemptionPolicy"] for each in classes} == {"Never"}
    assert not [name for name in by_name(found) if "batch" in name[1] or "preempting" in name[1]]
    secret = by_name(found)["Secret", "hub-values"]
    assert "batch" not in yaml.safe_load(secret["stringData"]["values.yaml"])


def test_users_pods_displace_batch_and_never_each_other() -> None:
    found = manifests(values_of("batch"))
    classes = {
        each["metadata"]["name"]: (each["value"], each["preemptionPolicy"])
        for each in found
        if each["kind"] == "PriorityClass"
    }
    interactive = {k: v for k, v in classes.items() if k.startswith("af-preempting-")}
    assert len(interactive) == 6
    # Above batch; of one value; and not above the hub's own pods, which have no PriorityClass.
    assert set(interactive.values()) == {(0, "PreemptLowerPriority")}
    assert classes["af-batch"] == (-10, "Never")
    earlier = {k: v for k, v in classes.items() if k not in interactive and k != "af-batch"}
    assert {preemption for _, preemption in earlier.values()} == {"Never"}
    # What runs since before batch is displaced by nothing that comes after it.
    assert min(value for value, _ in earlier.values()) > 0


def test_harvester_has_its_rights_in_one_namespace() -> None:
    found = manifests(values_of("batch"))
    account = {"kind": "ServiceAccount", "name": "harvester", "namespace": "batch-af"}
    bindings = [each for each in found if account in each.get("subjects", ())]
    assert [(each["kind"], each["metadata"]["namespace"]) for each in bindings] == [
        ("RoleBinding", "batch-af")
    ]
    rules = by_name(found)["Role", "harvester"]["rules"]
    rights = {
        (kind, verb) for rule in rules for kind in rule["resources"] for verb in rule["verbs"]
    }
    assert rights == {
        *(("jobs", verb) for verb in ("create", "list", "delete")),
        *(("pods", verb) for verb in ("list", "delete")),
        ("pods/log", "get"),
        *(("configmaps", verb) for verb in ("create", "patch", "delete")),
        *(("secrets", verb) for verb in ("create", "patch")),
    }
