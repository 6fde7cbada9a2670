"""Brings a Kubernetes up from what was built."""

import json
import os
import resource
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.kube.bringup import control, host, keys, network, node, site, traces
from tests.kube.bringup.build import build, helm_programs, needed
from tests.kube.bringup.down import down, is_up
from tests.kube.bringup.image import Registry
from tests.kube.bringup.places import Places, manifest
from tests.kube.bringup.process import Ledger
from tools import emulation
from tools.building import BuildError, remove, say

CONTENT = "io.containerd.content.v1.content"
"""Where containerd keeps what it has pulled, packed."""
LARGEST = 6e9
"""Bytes of packed images that a registry or a node may keep: twice those of this version."""


def running(where: Places) -> Mapping[str, Any] | None:
    """What runs, if all of it still does."""
    if not where.state.exists():
        return None
    processes = Ledger(where).processes
    if not processes or not all(process.alive for process in processes):
        return None
    state: Mapping[str, Any] = json.loads(where.state.read_text())
    return state


def push_images(where: Places, parts: Mapping[str, Path]) -> dict[str, str]:
    """Have the site's own images in the registry; how pods call each, by its digest."""
    registry = Registry(site.REGISTRY_URL)
    base, kubernetes = parts["base"], parts["kubernetes"]
    names = [each.name for each in site.NODES]
    found = {}
    for name in (site.PAUSE, site.COREDNS, site.BASE):
        # Pushed once; written down beside what the image is made of.
        stored = (kubernetes if name == site.COREDNS else base) / f"{name}.digest"
        digest = stored.read_text() if stored.exists() else ""
        if not digest or not registry.holds(name, digest):
            say(f"putting the image {name} into the local registry")
            if name == site.PAUSE:
                # The same program for each: it only waits, which needs no emulation.
                layers, command = dict.fromkeys(names, base / "pause.tar"), ["/pause"]
            elif name == site.COREDNS:
                tar = control.coredns_layer(kubernetes)
                layers, command = {site.FIRST.name: tar}, ["/coredns"]
            else:
                layers = {each: base / f"base.{each}.tar" for each in names}
                command = ["/bin/sh"]
            digest = registry.put_image(name, layers, command)
            stored.write_text(digest)
        found[name] = f"{site.REGISTRY}/{name}@{digest}"
    return found


def start_nodes(
    where: Places,
    ledger: Ledger,
    parts: Mapping[str, Path],
    images: Mapping[str, str],
    cidr_mode: str,
) -> None:
    """Start every node's programs, and Cilium's on it."""
    plugins = network.plugins(where, parts["cilium"])
    operator = network.operator(where, parts["cilium"] / "cilium-operator")
    ledger.start("cilium-operator", operator, {"K8S_NODE_NAME": site.FIRST.name})
    for each in site.NODES:
        texts = node.files(each, where, plugins, images[site.PAUSE])
        node.write_files(where.node(each.name), texts)
        own = Path("/usr/bin/containerd")
        program = own if each == site.FIRST else parts["containerd"] / "containerd"
        node.start_containerd(each, where, ledger, program)
        network.start_agent(each, where, ledger, parts["cilium"], cidr_mode)
    for each in site.NODES:
        node.start_kubelet(each, where, ledger, parts["kubernetes"])


def storage_settings(where: Places) -> str:
    """Where volumes lie, on every node."""
    paths = [str(where.run / "volumes")]
    every = {"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": paths}
    return json.dumps({"nodePathMap": [every]})


def start_storage(where: Places, ledger: Ledger, program: Path, settings: str, base: str) -> None:
    """Start what makes volumes, with pods of the image `base`."""
    (where.run / "volumes").mkdir()
    file = where.run / "storage.json"
    file.write_text(settings)
    words = control.flags(
        config=str(file),
        kubeconfig=str(where.kubeconfig),
        namespace="local-path-storage",
        service_account_name="local-path-provisioner",
        helper_image=base,
        configmap_name="local-path-config",
    )
    ledger.start("storage", [str(program), "start", *words])


def is_ready(where: Places, name: str) -> bool:
    """Whether a node says that it is ready."""
    found = control.read(where, f"/api/v1/nodes/{name}") or {}
    conditions = found.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def has_dns(where: Places) -> bool:
    """Whether cluster DNS is available."""
    path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
    found = control.read(where, path) or {}
    return bool(found.get("status", {}).get("availableReplicas"))


def start(where: Places, parts: Mapping[str, Path], cidr_mode: str) -> Mapping[str, Any]:
    """Start all of it, and return what runs."""
    traces.write(where)
    ledger = Ledger(where)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    emulation.emulate(site.HOLDER)
    where.run.mkdir(mode=0o711)
    keys.write_all(where)
    for each in site.NODES:
        network.connect(each)
    kubernetes = parts["kubernetes"]
    ledger.start("etcd", [str(kubernetes / "etcd"), *control.etcd(where)])
    ledger.start("apiserver", [str(kubernetes / "kube-apiserver"), *control.apiserver(where)])
    config = where.run / "registry.json"
    config.write_text(control.registry_config(where))
    # Debian's build reads settings of this prefix from the environment too.
    ledger.start("registry", ["docker-registry", "serve", str(config)])
    ledger.wait("the local registry", Registry(site.REGISTRY_URL).answers, 20)
    images = push_images(where, parts)
    ready = "/readyz"
    ledger.wait("the API server", lambda: control.get(where, ready)[0] == 200, 90)
    say("API server ready")

    def apply(text: str) -> None:
        control.kubectl(
            kubernetes / "kubectl", where, "apply", "--validate=false", "-f", "-", text=text
        )

    apply(manifest("architecture"))
    words = [str(kubernetes / "kube-controller-manager"), *control.controllers(where)]
    ledger.start("controllers", words)
    ledger.start("scheduler", [str(kubernetes / "kube-scheduler"), *control.scheduler(where)])
    start_nodes(where, ledger, parts, images, cidr_mode)
    settings = storage_settings(where)
    storage = manifest("storage", STORAGE=settings, BASE=images[site.BASE])
    dns = manifest("dns", COREDNS=images[site.COREDNS], DNS=site.DNS_SERVICE)
    apply(f"{storage}\n---\n{dns}")
    program = parts["storage"] / "local-path-provisioner"
    start_storage(where, ledger, program, settings, images[site.BASE])
    for each in site.NODES:
        ledger.wait(f"node {each.name}", partial(is_ready, where, each.name), 90)
        say(f"node {each.name} ready")
        if each.gpus:
            path = f"/status/capacity/{site.GPU.replace('/', '~1')}"
            patch = json.dumps([{"op": "add", "path": path, "value": str(each.gpus)}])
            words = ["patch", "node", each.name, "--subresource=status", "--type=json", "-p", patch]
            control.kubectl(kubernetes / "kubectl", where, *words)
    ledger.wait("cluster DNS", lambda: has_dns(where), 90)
    state = {
        "kubeconfig": str(where.kubeconfig),
        "kubectl": str(kubernetes / "kubectl"),
        "helm": helm_programs(where),
        "images": images,
        "registry": site.REGISTRY_URL,
        "policy_cidr_match_mode": cidr_mode,
    }
    where.state.write_text(json.dumps(state, indent=1))
    return state


def empty_what_has_grown(where: Places) -> None:
    """Remove what earlier versions of images left; those that are needed are fetched again."""
    folders = {where.registry: where.registry}
    folders |= {where.images(each.name) / CONTENT: where.images(each.name) for each in site.NODES}
    for measured, removed in folders.items():
        size = sum(path.stat().st_size for path in measured.rglob("*") if path.is_file())
        if size > LARGEST:
            say(f"emptying {removed}, in which images of earlier runs take {size / 1e9:.0f} GB")
            remove(removed)


def up(where: Places, cidr_mode: str = network.CIDR_MODES[0]) -> Mapping[str, Any]:
    """Bring a Kubernetes up, unless it is; return what runs.

    Raises
    ------
    BuildError
        Something is missing or went wrong. Nothing that was started is left.
    """
    there = running(where)
    if there and there["policy_cidr_match_mode"] == cidr_mode:
        say("Kubernetes is up already")
        return there
    host.check(where, built=all(folder.is_dir() for folder in needed(where).values()))
    if is_up(where):
        say("another run's Kubernetes is in the way or half there: taking it down first")
        down(where)
    host.check_free()
    parts = build(where)
    empty_what_has_grown(where)
    begin = time.monotonic()
    try:
        state = start(where, parts, cidr_mode)
    except BaseException as error:
        if isinstance(error, BuildError):
            say(f"failed: {error}")
        if not os.environ.get("KUBE_KEEP"):
            down(where)
        raise
    say(f"Kubernetes is up, in {time.monotonic() - begin:.1f} s")
    return state
