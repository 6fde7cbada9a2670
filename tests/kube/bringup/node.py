"""One node: containerd, kubelet and kube-proxy, and the files that they read."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.kube.bringup import control, site
from tests.kube.bringup.places import Places, fill
from tests.kube.bringup.process import Ledger
from tests.kube.bringup.site import Node

CGROUPS = Path("/sys/fs/cgroup")
SERVES = "Start streaming server"
"""What containerd says when it begins to serve kubelets."""
PLUGINS = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
"""Where each kubelet listens for device plugins, wherever its own folder is."""
CONTAINERD = """\
version = 2
root = "@IMAGES@"
state = "@FOLDER@/containerd"
oom_score = 0
[grpc]
  address = "@FOLDER@/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "@FOLDER@/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "@PAUSE@"
  restrict_oom_score_adj = true
  stream_server_address = "@ADDRESS@"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "@FOLDER@/certs.d"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "@PLUGINS@"
    conf_dir = "@FOLDER@/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""
HOSTS = """\
server = "@URL@"
[host."@URL@"]
  capabilities = ["pull", "resolve"]
"""


def network(node: Node, folder: Path) -> dict[str, Any]:
    """CNI: plain bridge pods, with Cilium chained behind to enforce policies."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": node.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(folder / "ipam"),
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True}
    return {
        "cniVersion": "0.4.0",
        "name": "kube",
        "plugins": [
            bridge | {"ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}},
            {"type": "cilium-cni", "chaining-mode": "generic-veth"},
        ],
    }


def taint(text: str) -> dict[str, str]:
    """A taint written `key=value:effect`."""
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect}


def kubelet_config(node: Node, where: Places) -> dict[str, Any]:
    """Settings of a kubelet on a machine that is not its own."""
    folder = where.node(node.name)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{where.keys}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{where.keys}/kubelet-{node.name}.crt",
        "tlsPrivateKeyFile": f"{where.keys}/kubelet-{node.name}.key",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/kube-{node.name}",
        "failSwapOn": False,
        "failCgroupV1": False,
        "maxOpenFiles": 20000,
        "oomScoreAdj": 0,
        "clusterDNS": [site.DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": str(folder / "resolv.conf"),
        "healthzBindAddress": "127.0.0.1",
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "2%",
            "imagefs.available": "2%",
            "nodefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 99,
        "imageGCLowThresholdPercent": 98,
        "volumePluginDir": str(folder / "volumeplugins"),
        "podLogsDir": str(folder / "logs"),
        "nodeStatusUpdateFrequency": "5s",
        # Renewed four times in it; the controllers miss a node after 25 s.
        "nodeLeaseDurationSeconds": 20,
        # How soon a Secret or ConfigMap that changes is seen in pods; a minute by default.
        "syncFrequency": "10s",
        # How soon a pod that writes more than it may is found; a minute by default.
        "volumeStatsAggPeriod": "10s",
        "registerWithTaints": [taint(text) for text in node.taints],
        "serializeImagePulls": False,
    }


def proxy_config(node: Node, where: Places) -> dict[str, Any]:
    """Settings of kube-proxy, which leaves the machine's connection tracking alone."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": "127.0.0.1",
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clientConnection": {"kubeconfig": str(where.run / "proxy.json")},
        "clusterCIDR": site.POD_RANGE,
        "hostnameOverride": node.name,
        "mode": "iptables",
        "oomScoreAdj": 0,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "nodePortAddresses": [f"{node.address}/32"],
    }


def kubelet(node: Node, where: Places) -> list[str]:
    """What a kubelet is told beside its settings."""
    folder = where.node(node.name)
    return control.flags(
        config=f"{folder}/kubelet.yaml",
        kubeconfig=f"{where.run}/kubelet-{node.name}.json",
        root_dir=f"{folder}/kubelet",
        cert_dir=f"{folder}/pki",
        hostname_override=node.name,
        node_ip=node.address,
        node_labels=",".join(f"{key}={value}" for key, value in node.labels.items()),
        container_runtime_endpoint=f"unix://{folder}/containerd.sock",
    )


def files(node: Node, where: Places, plugins: Path, pause: str) -> dict[str, str]:
    """The files that a node's programs read, by their names in its folder."""
    folder = where.node(node.name)
    containerd = {
        "IMAGES": str(where.images(node.name)),
        "FOLDER": str(folder),
        "ADDRESS": node.address,
        "PLUGINS": str(plugins),
        "PAUSE": pause,
    }
    return {
        "containerd.toml": fill(CONTAINERD, containerd),
        f"certs.d/{site.REGISTRY}/hosts.toml": fill(HOSTS, {"URL": site.REGISTRY_URL}),
        "net.d/10-kube.conflist": json.dumps(network(node, folder), indent=1),
        "kubelet.yaml": yaml.safe_dump(kubelet_config(node, where), sort_keys=False),
        "proxy.yaml": yaml.safe_dump(proxy_config(node, where), sort_keys=False),
        # Pods with the node's DNS look up nothing: none of this leaves the machine.
        "resolv.conf": "",
    }


def write_files(folder: Path, contents: Mapping[str, str]) -> None:
    """Write files below a folder."""
    for name, text in contents.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def hierarchies() -> list[Path]:
    """Control group hierarchies of version 1; none where there is only version 2."""
    if (CGROUPS / "cgroup.controllers").exists():
        return []
    return [path for path in CGROUPS.iterdir() if (path / "tasks").exists()]


def make_cgroups(node: Node) -> None:
    """A control group for all pods of a node, in each hierarchy."""
    for hierarchy in hierarchies() or [CGROUPS]:
        (hierarchy / f"kube-{node.name}").mkdir(exist_ok=True)
    cpuset = CGROUPS / "cpuset"
    if (cpuset / "cpuset.cpus").exists():
        for name in ("cpuset.cpus", "cpuset.mems"):
            text = (cpuset / name).read_text()
            (cpuset / f"kube-{node.name}" / name).write_text(text)
    if not hierarchies():
        available = (CGROUPS / "cgroup.controllers").read_text().split()
        words = " ".join(f"+{name}" for name in available)
        for folder in (CGROUPS, CGROUPS / f"kube-{node.name}"):
            (folder / "cgroup.subtree_control").write_text(words)


def ctr(socket: Path, *words: str) -> list[str]:
    """Lines that containerd's own tool says; none if it fails."""
    command = ["ctr", "-a", str(socket), "-n", "k8s.io", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.split() if done.returncode == 0 else []


def is_ready(node: Node, where: Places, ledger: Ledger) -> bool:
    """Whether a node's containerd takes a kubelet's calls.

    It answers its own tool before it has looked at what it kept, and a kubelet that calls it
    meanwhile ends. Of that end it says no more than this line, the last before it takes calls.
    """
    log = (ledger.logs / f"containerd-{node.name}.log").read_text(errors="replace")
    return SERVES in log and bool(ctr(where.node(node.name) / "containerd.sock", "version"))


def start_containerd(node: Node, where: Places, ledger: Ledger, program: Path) -> None:
    """Start a node's containerd, with Cilium's plugin told where its agent is."""
    folder = where.node(node.name)
    where.images(node.name).mkdir(parents=True, exist_ok=True)
    make_cgroups(node)
    command = [*node.enter, str(program), "-c", str(folder / "containerd.toml")]
    environment = {"CILIUM_SOCK": str(folder / "cilium" / "cilium.sock")}
    ledger.start(f"containerd-{node.name}", command, environment)


def born(path: Path) -> int | None:
    """When a file was made, in nanoseconds since 1970; None where there is none."""
    try:
        return path.stat().st_ctime_ns
    except FileNotFoundError:
        return None


def start_kubelet(node: Node, where: Places, ledger: Ledger, programs: Path) -> None:
    """Start a node's kubelet and kube-proxy, once its containerd answers."""
    folder = where.node(node.name)
    socket = folder / "containerd.sock"
    ledger.wait(f"containerd of node {node.name}", lambda: is_ready(node, where, ledger), 30)
    # A run that was killed may have left some; no kubelet knows of them any more.
    left = ctr(socket, "containers", "list", "-q")
    if left:
        ctr(socket, "containers", "rm", *left)
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    command = [*node.enter, str(programs / "kubelet"), *kubelet(node, where)]
    before = born(PLUGINS)
    ledger.start(f"kubelet-{node.name}", command, {"PATH": path})
    # Each removes the socket before it makes its own, and one that finds another's then ends.
    name = f"kubelet of node {node.name}"
    ledger.wait(name, lambda: born(PLUGINS) not in (None, before), 30)
    command = [*node.enter, str(programs / "kube-proxy"), f"--config={folder}/proxy.yaml"]
    ledger.start(f"proxy-{node.name}", command, {"PATH": path})
