"""The parts of the Kubernetes bring-up that only compute: keys, settings, sentences, comparisons.

Golden files lie in tests/data/kube; REFRESH_GOLDEN=1 writes them anew.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.kube.bringup import __main__ as program
from tests.kube.bringup import (
    components,
    control,
    down,
    external,
    host,
    image,
    network,
    node,
    tier,
    traces,
)
from tests.kube.bringup.places import Places, fill, manifest, places
from tests.kube.bringup.process import Ledger, Process, start_time
from tests.kube.bringup.site import NODES
from tools import emulation
from tools.building import BuildError, missing, once

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "kube"
WHERE = Places(Path("/cache"))
GIB = 1 << 30


def compare(name: str, text: str) -> None:
    """Compare with a golden file."""
    file = GOLDEN / name
    if os.environ.get("REFRESH_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text(), f"REFRESH_GOLDEN=1 writes {name} anew"


@pytest.mark.parametrize("each", NODES, ids=lambda each: each.name)
def test_files_of_a_node(each):
    files = node.files(each, WHERE, Path("/plugins"), "registry.test/pause@sha256:0")
    compare(f"{each.name}.yaml", yaml.safe_dump(files, width=200))


@pytest.mark.parametrize("mode", network.CIDR_MODES)
def test_commands(mode):
    commands = {
        "etcd": control.etcd(WHERE),
        "apiserver": control.apiserver(WHERE),
        "controllers": control.controllers(WHERE),
        "scheduler": control.scheduler(WHERE),
        "cilium-operator": network.operator(WHERE, Path("cilium-operator")),
    }
    for each in NODES:
        agent = network.agent(each, WHERE, Path("cilium-agent"), mode)
        agent[agent.index("sh") + 1] = "agent.sh"
        commands |= {
            f"cilium-{each.name}": agent,
            f"kubelet-{each.name}": node.kubelet(each, WHERE),
        }
    compare(f"commands-{mode}.yaml", yaml.safe_dump(commands, width=200))


def test_manifests_are_filled():
    found = manifest("dns", COREDNS="registry.test/coredns@sha256:0", DNS="10.96.0.10")
    found += "---\n" + manifest("storage", STORAGE="{}", BASE="registry.test/base@sha256:0")
    found += "---\n" + manifest("architecture")
    assert "@" not in found.replace("@sha256", "")
    kinds = [each["kind"] for each in yaml.safe_load_all(found)]
    assert kinds.count("ServiceAccount") == 2
    assert "StorageClass" in kinds
    with pytest.raises(ValueError, match="nothing asks for NOBODY"):
        fill("text", {"NOBODY": ""})


def test_a_key_changes_with_all_that_is_built_from(tmp_path, monkeypatch):
    monkeypatch.setattr(components, "SOURCES", tmp_path)
    folder = tmp_path / "thing"
    folder.mkdir()
    (folder / "go.mod").write_text("module x\n\nrequire example.test/thing v1.2.3\n")
    (folder / "go.sum").write_text("a")
    thing = components.Component(
        "thing", "example.test/thing", (components.Program("thing", "."),), 1
    )
    first = components.key(thing)
    assert components.key(thing) == first
    assert thing.version == "v1.2.3"
    (folder / "go.sum").write_text("b")
    second = components.key(thing)
    tagged = components.Component(
        "thing", thing.module, (components.Program("thing", ".", "tag"),), 1
    )
    assert len({first, second, components.key(tagged)}) == 3


def test_versions_are_in_the_linker_flags():
    kubernetes, cilium = components.COMPONENTS[:2]
    flags = components.link_flags(kubernetes.programs[0], kubernetes.version)
    assert kubernetes.version.startswith("v1.35.")
    assert f"gitVersion={kubernetes.version} " in flags
    assert "gitMinor=35 " in flags
    assert f"ciliumVersion={cilium.version[1:]} " in components.link_flags(
        cilium.programs[0], cilium.version
    )


def test_every_module_has_checksums():
    for component in components.COMPONENTS:
        sums = (component.sources / "go.sum").read_text()
        assert f"{component.module} {component.version} h1:" in sums


def test_half_built_things_are_built_again(tmp_path):
    built = tmp_path / "built"
    (built / ".thing-1.99").mkdir(parents=True)

    def fails(into):
        (into / "half").touch()
        raise BuildError("no")

    with pytest.raises(BuildError):
        once(built, "thing-1", fails, "building")
    assert not list(built.iterdir())
    made = once(built, "thing-1", lambda into: (into / "whole").touch(), "building")
    assert once(built, "thing-1", fails, "building") == made
    assert (made / "whole").exists()


FINE = {"uid": 0, "go": "go version go1.26.1 linux/amd64", "free": 20 * GIB, "needed": 15 * GIB}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"go": ""}, []),
        ({"packages": ["runc"], "apt": True}, []),
        ({"uid": 1000}, ["it needs root", "KUBECONFIG"]),
        ({"go": None}, ["Go is missing", "1.25"]),
        ({"go": "go version go1.19.8 linux/amd64"}, ["Go is too old", "1.19.8", "1.25"]),
        ({"free": 2 * GIB}, ["2.0 GiB of disk are free", "15 GiB"]),
        ({"packages": ["runc", "gcc"]}, ["apt-get install --no-install-recommends runc gcc"]),
        ({"uid": 1, "go": None, "free": 0}, ["root", "Go is missing", "0.0 GiB"]),
    ],
)
def test_what_is_missing_is_named(change, words):
    found = host.what_is_missing(**({"packages": [], "apt": False} | FINE | change))
    assert bool(found) == bool(words)
    said = host.sentence(found)
    assert all(word in said for word in words)
    assert said.count(". ") == 0


def test_packages_are_known_by_a_file(tmp_path):
    assert missing(host.PACKAGES, tmp_path) == list(host.PACKAGES)
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/runc").touch()
    assert "runc" not in missing(host.PACKAGES, tmp_path)


def test_the_kernels_line_for_an_emulator():
    debian = (
        "package qemu\ninterpreter /usr/bin/qemu\nmagic \\x7f\noffset 0\nmask \\xff\n"
        "credentials no\nfix_binary yes\npreserve yes\n"
    )
    assert emulation.binfmt_rule(debian) == ":qemu-aarch64:M:0:\\x7f:\\xff:/usr/bin/qemu:PF"


def test_a_folder_with_too_long_a_path_is_refused():
    assert places({"HOME": "/home/user"}).root == Path("/home/user/.cache/facility/kube")
    with pytest.raises(BuildError, match="set XDG_CACHE_HOME to a shorter one"):
        places({"XDG_CACHE_HOME": "/long" * 20})


def test_another_process_of_the_same_number_is_left_alone():
    me = start_time(os.getpid())
    other = Process("other", os.getpid(), me - 1)
    assert not other.alive
    other.send(signal.SIGKILL)
    assert Process("me", os.getpid(), me).alive


def test_bridges_have_an_ethernet_address_of_their_own():
    assert network.hardware_address("10.244.0.1") == "0a:58:0a:f4:00:01"


def test_only_new_rules_of_ours_are_taken_away():
    rules = "*nat\n:KUBE-OURS -\n-A POSTROUTING -j KUBE-OURS\n-A INPUT -j CNI-THEIRS\n-A X\nCOMMIT"
    kept = network.without(rules, traces.MARKS, ["-A INPUT -j CNI-THEIRS"])
    assert kept == "*nat\n-A INPUT -j CNI-THEIRS\n-A X\nCOMMIT\n"


def test_what_is_left_is_named():
    before = {"interface": {"lo": ""}, "kernel setting": {"kernel/panic": "0", "gone": "1"}}
    after = {
        "interface": {"lo": "", "kbr0": ""},
        "kernel setting": {"kernel/panic": "10", "net/new": "1"},
        "mount": {"/somewhere": ""},
    }
    assert traces.left(before, after) == [
        "interface kbr0",
        "kernel setting kernel/panic: 10, was 0",
        "mount /somewhere",
    ]
    assert traces.left(after, after) == []


@pytest.mark.parametrize(
    ("said", "answers", "ready"),
    [
        ("containerd successfully booted", ["Client:"], False),
        ("containerd successfully booted\nStart streaming server", ["Client:"], True),
        ("Start streaming server", [], False),
    ],
)
def test_containerd_is_ready_once_it_serves_kubelets(tmp_path, monkeypatch, said, answers, ready):
    where = Places(tmp_path)
    where.logs.mkdir(parents=True)
    (where.logs / f"containerd-{NODES[0].name}.log").write_text(said)
    monkeypatch.setattr(node, "ctr", lambda *_: answers)
    assert node.is_ready(NODES[0], where, Ledger(where)) == ready


def test_what_the_kernel_takes_away_later_is_not_left(monkeypatch):
    later = iter([{"interface": {"veth1": ""}}] * 2)
    monkeypatch.setattr(traces, "snapshot", lambda _: next(later, {"interface": {}}))
    assert down.what_stays({"interface": {}}, WHERE) == []
    monkeypatch.setattr(traces, "snapshot", lambda _: {"interface": {"veth2": ""}})
    monkeypatch.setattr(down, "STAYS_SECONDS", 0.0)
    assert down.what_stays({"interface": {}}, WHERE) == ["interface veth2"]


def test_down_without_anything_up_says_so(tmp_path, capsys):
    assert down.down(Places(tmp_path)) == []
    assert "No Kubernetes of ours is up" in capsys.readouterr().out


def test_an_image_describes_itself(tmp_path):
    (tmp_path / "tool").write_bytes(b"program")
    tar = image.tar_of(tmp_path / "tool", tmp_path / "tool.tar")
    config = image.config_of("arm64", image.sha256(tar), ["/tool"])
    assert config["architecture"] == "arm64"
    assert config["rootfs"]["diff_ids"] == [image.sha256(tar)]
    assert image.digest_of(b"").startswith("sha256:e3b0c442")


def a_node(arch="amd64", gpus="0"):
    return {
        "metadata": {"name": arch},
        "spec": {},
        "status": {"nodeInfo": {"architecture": arch}, "allocatable": {"nvidia.com/gpu": gpus}},
    }


def test_what_another_kubernetes_lacks_is_named():
    standard = {"metadata": {"name": "x", "annotations": {external.DEFAULT_CLASS: "true"}}}
    enforcer = {"metadata": {"name": "calico-node-x"}}
    nodes = [a_node(gpus="1"), a_node("arm64")]
    assert external.lacks({"minor": "35"}, nodes, [standard], [enforcer]) == []
    k3s = {"minor": "35", "gitVersion": "v1.35.1+k3s1"}
    assert external.lacks(k3s, nodes, [standard], []) == []
    said = external.lacks({"minor": "29+"}, [a_node()], [], [])
    assert [line.split(":")[0] for line in said[:4]] == [
        "Kubernetes 1.30 or newer",
        "a node of architecture arm64",
        "a node with nvidia.com/gpu",
        "a default StorageClass",
    ]
    assert "NetworkPolicy enforcement" in said[4]


def test_our_own_kubeconfig_is_not_another_kubernetes():
    assert external.named({}, WHERE) is None
    assert external.named({"KUBECONFIG": str(WHERE.kubeconfig)}, WHERE) is None
    assert external.named({"KUBECONFIG": "/other"}, WHERE) == "/other"


def test_two_at_once_are_refused(tmp_path):
    where = Places(tmp_path)
    message = "Another run brings a Kubernetes up or down"
    with program.alone(where), pytest.raises(BuildError, match=message), program.alone(where):
        pass


def test_registry_settings_are_json():
    assert json.loads(control.registry_config(WHERE))["http"]["addr"] == "10.243.0.1:5000"


@pytest.mark.parametrize(
    ("codes", "left", "ends"),
    [
        ((0, 0, 0, 0), [], 0),
        ((0, 1, 0, 0), [], 1),
        ((0, 0, 0, 1), [], 1),
        ((5, 5, 0, 5), [], 0),
        ((5, 5, 5, 5), [], 5),
        ((0, 0, 0, 0), ["mount /x"], tier.BROKEN),
        ((0, 1, 0, 0), ["mount /x"], tier.BROKEN),
        ((0, 0, 1, -9), [], 137),
    ],
)
def test_the_tier_fails_if_a_part_does_or_anything_is_left(
    monkeypatch, tmp_path, codes, left, ends
):
    ran, modes, results = [], [], iter(codes)

    def run(command, **_):
        ran.append(command[command.index("-m", 3) + 1 :])
        Path(command[-1].partition("=")[2]).touch()
        return SimpleNamespace(returncode=next(results))

    monkeypatch.setattr(tier, "up", lambda _, mode: modes.append(mode))
    monkeypatch.setattr(tier, "put_images_here", lambda _: None)
    monkeypatch.setattr(tier, "down", lambda _: left)
    monkeypatch.setattr(tier.subprocess, "run", run)
    assert tier.test_here(WHERE, [f"--junitxml={tmp_path}/kube.xml"], tier.PARTS) == ends
    assert modes == ["nodes", "none"]
    assert [command[0] for command in ran] == [
        "kube and not long and not last and not cilium",
        "kube and long",
        "kube and last",
        "kube and cilium",
    ]
    reports = [command[-1].rpartition("/")[2] for command in ran]
    assert [tier.SIDE_BY_SIDE[0] in command for command in ran] == [True, True, False, False]
    assert reports == ["kube.xml", "kube-long.xml", "kube-last.xml", "kube-cilium.xml"]


@pytest.mark.parametrize(
    ("parts", "modes"),
    [(["main"], ["nodes"]), (["last", "cilium"], ["nodes", "none"]), (["cilium"], ["none"])],
)
def test_a_part_brings_up_what_it_needs(monkeypatch, parts, modes):
    ran, up = [], []
    monkeypatch.setattr(tier, "up", lambda _, mode: up.append(mode))
    monkeypatch.setattr(tier, "put_images_here", lambda _: None)
    monkeypatch.setattr(tier, "down", lambda _: [])
    monkeypatch.setattr(tier, "run", lambda *given: ran.append(given[-1]) or 0)
    assert tier.test_here(WHERE, [], parts) == 0
    assert (ran, up) == (parts, modes)


def test_another_kubernetes_needs_a_registry(monkeypatch, tmp_path):
    monkeypatch.setattr(tier.external, "use", lambda *_: [])
    monkeypatch.delenv(tier.REGISTRY, raising=False)
    with pytest.raises(BuildError, match="name it in KUBE_TEST_REGISTRY"):
        tier.test_there(Places(tmp_path), "other.yaml", [], tier.PARTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [tier.REGISTRY, tier.REGISTRY_IN_PODS])
def test_a_registry_that_cannot_be_is_told_before_anything_is_done(monkeypatch, tmp_path, wrong):
    monkeypatch.setattr(tier.external, "use", lambda *_: [])
    monkeypatch.setenv(tier.REGISTRY, "http://registry.example/test")
    monkeypatch.setenv(wrong, "docker://registry.example/test")
    with pytest.raises(BuildError, match=f"{wrong} is 'docker://registry.example/test'"):
        tier.test_there(Places(tmp_path), "other.yaml", [], tier.PARTS)
    assert not list(tmp_path.iterdir())


def test_modules_of_the_tier_keep_to_one_process() -> None:
    """They share what they set up, and those that install the chart Kubernetes' one operator."""
    modules = ("test_hub", "test_hub_volumes", "test_api")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--color=no"]
    # Two processes tell as much as all.
    command += [*tier.SIDE_BY_SIDE, "-n", "2", *(f"tests/kube/{module}.py" for module in modules)]
    alone = {name: value for name, value in os.environ.items() if name not in ("CI", tier.STATE)}
    done = subprocess.run(
        command, cwd=tier.ROOT, env=alone, capture_output=True, text=True, check=False
    )
    found = re.findall(r"^\[(gw\d)\] .* tests/kube/(\w+)\.py::", done.stdout, re.MULTILINE)
    processes = {module: {worker for worker, own in found if own == module} for module in modules}
    assert len(found) > 25, done.stdout
    assert all(len(own) == 1 for own in processes.values()), processes
    assert processes["test_hub"] == processes["test_hub_volumes"] != processes["test_api"]
