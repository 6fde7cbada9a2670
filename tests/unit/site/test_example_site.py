"""The files of examples/site are well-formed, and make a site that has what its values ask for."""

import ipaddress
import re
from pathlib import Path
from typing import Any

import yaml

from facility.config.strict_yaml import read_yaml
from facility.hub.kubernetes.release import read_values
from facility.site.check.examine import judge
from facility.site.check.finding import State
from tests.unit.site.check.conftest import ROOT, snapshot_of

SITE = ROOT / "examples" / "site"
HOST = re.compile(r"([a-z][a-z0-9-]*)((?: +[a-z_]+=\S+)*)")
DOCUMENTATION = ipaddress.ip_network("192.0.2.0/24")
GPUS, ARM = "gpu", "arm"


class Inventory:
    """An inventory of Ansible in its INI form, read strictly.

    Attributes
    ----------
    hosts
        What is said of each machine.
    groups
        Machines of each group, those of groups in it included.
    """

    def __init__(self, text: str):
        self.hosts: dict[str, dict[str, str]] = {}
        own: dict[str, list[str]] = {}
        inner: dict[str, list[str]] = {}
        into: list[str] | None = None
        for line in (line.strip() for line in text.splitlines()):
            if not line or line.startswith("#"):
                continue
            if line.startswith("["):
                name, _, kind = line.strip("[]").partition(":")
                assert kind in ("", "children"), line
                assert line == f"[{name}{f':{kind}' if kind else ''}]", line
                into = (inner if kind else own).setdefault(name, [])
                continue
            found = HOST.fullmatch(line)
            assert found, line
            if into is None:
                assert found[1] not in self.hosts, f"{found[1]} stands twice"
                self.hosts[found[1]] = dict(part.split("=", 1) for part in found[2].split())
            else:
                assert not found[2], f"what is said of {found[1]} stands at the top"
                into.append(found[1])
        self.groups = dict(own)
        for name, groups in inner.items():
            self.groups[name] = [host for group in groups for host in own[group]]


INVENTORY = Inventory((SITE / "inventory.ini").read_text())


def variables(path: Path) -> dict[str, Any]:
    content, problems = read_yaml(path.read_text())
    assert not problems
    assert isinstance(content, dict)
    return content


def test_each_machine_is_in_groups_that_kubespray_knows() -> None:
    addresses = [host["ansible_host"] for host in INVENTORY.hosts.values()]
    assert len(set(addresses)) == len(addresses)
    assert all(ipaddress.ip_address(each) in DOCUMENTATION for each in addresses)
    assert {"kube_control_plane", "etcd", "kube_node"} <= set(INVENTORY.groups)
    named = {host for hosts in INVENTORY.groups.values() for host in hosts}
    assert named == set(INVENTORY.hosts)
    assert len(INVENTORY.groups["etcd"]) % 2 == 1
    workers = INVENTORY.groups["kube_node"]
    assert len(workers) == len(set(workers)), "a machine has the labels of one group"
    assert not set(workers) & set(INVENTORY.groups["kube_control_plane"])


def test_each_file_of_variables_is_of_a_group() -> None:
    files = list(SITE.rglob("*.yml"))
    assert len(files) > 5
    for path in files:
        variables(path)
        group = path.relative_to(SITE / "group_vars").parts[0].removesuffix(".yml")
        assert group == "k8s_cluster" or group in INVENTORY.groups, path


def test_the_site_that_is_made_has_what_its_values_ask_for() -> None:
    everywhere: dict[str, Any] = {}
    for path in (SITE / "group_vars" / "k8s_cluster").glob("*.yml"):
        everywhere |= variables(path)
    assert everywhere["enable_nodelocaldns"] is False
    pods, services = (
        ipaddress.ip_network(everywhere[key])
        for key in ("kube_pods_subnet", "kube_service_addresses")
    )
    assert not pods.overlaps(services)
    nodes = []
    for group in ("user", "cpu", GPUS, ARM):
        own = variables(SITE / "group_vars" / f"{group}.yml")
        for host in INVENTORY.groups[group]:
            offered = {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "100Gi"}
            if group == GPUS:
                # Of the node with its device plugin.
                offered["nvidia.com/gpu"] = "1"
            arch = "arm64" if group == ARM else "amd64"
            nodes.append(
                {
                    "metadata": {
                        "name": host,
                        "labels": {"kubernetes.io/arch": arch, **own["node_labels"]},
                    },
                    "spec": {"taints": own.get("node_taints", [])},
                    "status": {
                        "allocatable": offered,
                        "conditions": [{"type": "Ready", "status": "True"}],
                    },
                }
            )
    storage = {
        "metadata": {
            "name": "local-path",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "rancher.io/local-path",
    }
    encryption = everywhere["cilium_encryption_type"]
    assert everywhere["cilium_encryption_enabled"]
    assert everywhere["local_path_provisioner_enabled"]
    snapshot = snapshot_of(
        {
            "version": "v1.35.4",
            "groups": ["cilium.io"],
            "admission": [
                "validatingadmissionpolicies",
                "validatingadmissionpolicybindings",
            ],
            "lists": {
                "Node": nodes,
                "DaemonSet": [{"metadata": {"name": everywhere["kube_network_plugin"]}}],
                "StorageClass": [storage],
                "RuntimeClass": [{"metadata": {"name": "nvidia"}}],
            },
            "settings": {
                "cilium-config": {
                    f"enable-{encryption}": "true",
                    **everywhere["cilium_config_extra_vars"],
                }
            },
        }
    )
    values = read_values(yaml.safe_load((SITE / "values.yaml").read_text()))
    findings = judge(snapshot, values)
    lacking = [each for each in findings if each.state in (State.MISSING, State.ADVICE)]
    assert not lacking
    # Each group serves what it is for, and nothing else.
    fits = {each.asked: each.told for each in findings if each.name == "Nodes"}
    for asked, group in (
        ("pools.cpu", "cpu"),
        ("pools.gpu", GPUS),
        ("pools.arm", ARM),
        ("singleuser", "user"),
        ("hub", "user"),
    ):
        assert fits[asked].startswith(f"{len(INVENTORY.groups[group])} node"), asked
