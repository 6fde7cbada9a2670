"""The nodes' network, and Cilium, which enforces NetworkPolicy in it."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.kube.bringup import site
from tests.kube.bringup.control import flags
from tests.kube.bringup.places import SOURCES, Places
from tests.kube.bringup.process import Ledger
from tests.kube.bringup.site import Node
from tools.building import BuildError

MASQUERADE = "KUBE-TEST-MASQUERADE"
CIDR_MODES = ("nodes", "none")
"""Whether an `ipBlock` of a NetworkPolicy also matches nodes and the API server, as it does with
most other enforcers, or never, which is Cilium's default."""


def command(*words: str) -> None:
    """Run a short command.

    Raises
    ------
    BuildError
        It failed; with what it said.
    """
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"`{' '.join(words)}` failed: {done.stderr.strip()}")


def forward(node: Node) -> None:
    """Have a network namespace pass packets on, those of its bridges through the firewall."""
    for name in ("ip_forward", "bridge-nf-call-iptables"):
        folder = "bridge" if name.startswith("bridge") else "ipv4"
        text = f"echo 1 >/proc/sys/net/{folder}/{name}"
        command(*node.enter, "sh", "-c", text)


def keep_addresses() -> None:
    """Have the machine's addresses stay as they are when pods come and go.

    An interface gets an IPv6 address by itself, and the end of each pod's cable is one more. When
    addresses change, browsers on the machine give up all that they wait for (Chromium says
    ERR_NETWORK_CHANGED), and JupyterLab asks whether to restart the server.
    """
    setting = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    if setting.exists():
        setting.write_text("1")


def hardware_address(address: str) -> str:
    """An Ethernet address for the bridge with an IPv4 address.

    Without one of its own a bridge takes the lowest of its ports', which changes as pods come and
    go, and pods that know the old one lose their way out for half a minute.
    """
    return "0a:58:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def add_bridge(node: Node, name: str, address: str, bits: str) -> None:
    """Make a bridge with an address in a node's network namespace."""
    own = ("address", hardware_address(address))
    command(*node.enter, "ip", "link", "add", name, *own, "type", "bridge")
    command(*node.enter, "ip", "addr", "add", f"{address}/{bits}", "dev", name)
    command(*node.enter, "ip", "link", "set", name, "up")


def connect(node: Node) -> None:
    """Give a node its network: the bridge itself, or a namespace with a cable to it."""
    bits = site.NODE_RANGE.partition("/")[2]
    if node.namespace is None:
        keep_addresses()
        add_bridge(node, site.BRIDGE, node.address, bits)
    else:
        inside = ("ip", "-n", node.namespace)
        command("ip", "netns", "add", node.namespace)
        cable = ("type", "veth", "peer", "name", "eth0", "netns", node.namespace)
        command("ip", "link", "add", site.VETH, *cable)
        command("ip", "link", "set", site.VETH, "master", site.BRIDGE, "up")
        command(*inside, "link", "set", "lo", "up")
        command(*inside, "addr", "add", f"{node.address}/{bits}", "dev", "eth0")
        command(*inside, "link", "set", "eth0", "up")
        command(*inside, "route", "add", "default", "via", site.FIRST.address)
        command("ip", "route", "add", node.pods, "via", node.address)
    forward(node)
    # The bridge of the pods, before the first pod, since Cilium watches it.
    add_bridge(node, "cni0", node.gateway, node.pods.partition("/")[2])
    # Not among pods: policies are to see who asks.
    pods = ("-s", site.POD_RANGE, "!", "-d", site.POD_RANGE)
    comment = ("-m", "comment", "--comment", MASQUERADE, "-j", "MASQUERADE")
    command(*node.enter, "iptables", "-w", "-t", "nat", "-A", "POSTROUTING", *pods, *comment)


def agent(node: Node, where: Places, program: Path, cidr_mode: str) -> list[str]:
    """What Cilium's agent of a node is told."""
    state = where.node(node.name) / "cilium"
    words = flags(
        k8s_kubeconfig_path=str(where.kubeconfig),
        enable_ipv4=True,
        enable_ipv6=False,
        ipam="cluster-pool",
        cni_chaining_mode="generic-veth",
        routing_mode="native",
        ipv4_native_routing_cidr=site.POD_RANGE,
        enable_ipv4_masquerade=False,
        kube_proxy_replacement=False,
        enable_l7_proxy=False,
        enable_hubble=False,
        enable_health_checking=False,
        enable_endpoint_health_checking=False,
        lib_dir=f"{state}/lib",
        state_dir=str(state),
        socket_path=f"{state}/cilium.sock",
        devices=",".join(node.devices),
        bpf_root="/sys/fs/bpf",
        cgroup_root=f"{state}/cgroup",
        bpf_map_dynamic_size_ratio=0,
        bpf_ct_global_tcp_max=65536,
        bpf_ct_global_any_max=32768,
        bpf_policy_map_max=4096,
        bpf_nat_global_max=65536,
        preallocate_bpf_maps=False,
        identity_allocation_mode="crd",
        cni_exclusive=False,
        enable_envoy_config=False,
    )
    if cidr_mode != "none":
        words += flags(policy_cidr_match_mode=cidr_mode)
    script = str(SOURCES / "cilium" / "agent.sh")
    return [*node.enter, "unshare", "-m", "sh", script, str(state), str(program), *words]


def operator(where: Places, program: Path) -> list[str]:
    """What Cilium's operator is told."""
    return [
        str(program),
        *flags(
            k8s_kubeconfig_path=str(where.kubeconfig),
            ipam="cluster-pool",
            cluster_pool_ipv4_cidr=site.CILIUM_RANGE,
            cluster_pool_ipv4_mask_size=28,
            enable_ipv4=True,
            enable_ipv6=False,
            identity_allocation_mode="crd",
            remove_cilium_node_taints=False,
            set_cilium_node_taints=False,
            enable_cilium_endpoint_slice=False,
        ),
    ]


def start_agent(node: Node, where: Places, ledger: Ledger, programs: Path, cidr_mode: str) -> None:
    """Start a node's Cilium; it compiles its programs with Debian's clang."""
    state = where.node(node.name) / "cilium"
    (state / "tools").mkdir(parents=True)
    shutil.copytree(programs / "bpf", state / "lib" / "bpf")
    (state / "tools" / "clang").symlink_to("/usr/bin/clang-16")
    path = f"{state}/tools:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, "K8S_NODE_NAME": node.name}
    words = agent(node, where, programs / "cilium-agent", cidr_mode)
    ledger.start(f"cilium-{node.name}", words, environment)


def plugins(where: Places, cilium: Path) -> Path:
    """A folder with the network plugins of Debian and Cilium."""
    folder = where.run / "plugins"
    folder.mkdir(parents=True)
    for plugin in (*Path("/usr/lib/cni").iterdir(), cilium / "cilium-cni"):
        (folder / plugin.name).symlink_to(plugin)
    return folder


def without(rules: str, marks: Iterable[str], keep: Iterable[str]) -> str:
    """Firewall rules, as iptables-save writes them, without marked ones that are not in `keep`."""
    kept = set(keep)
    lines = [
        line
        for line in rules.splitlines()
        if line in kept or not any(mark in line for mark in marks)
    ]
    return "\n".join(lines) + "\n"
