"""What the site looks like that the tests run on: its addresses, nodes, labels and taints.

Two nodes, as a site with two architectures has. `amd64` lives in the machine's own network
namespace and says that it has one GPU; `arm64` lives in a network namespace of its own and runs
arm64 images under emulation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

BRIDGE = "kbr0"
"""The bridge on which the nodes see each other, as on a site's network."""
NODE_RANGE = "10.243.0.0/24"
POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
CILIUM_RANGE = "10.242.0.0/22"
"""Cilium gives each node an address of this range; no pod has one of them."""
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
API_PORT = 6443
ETCD_PORT = 12379
ETCD_PEER_PORT = 12380
REGISTRY_PORT = 5000
REGISTRY = "registry.test"
"""What images of the local registry are called by; containerd is told where that is."""
GPU = "nvidia.com/gpu"
BASE, PAUSE, COREDNS = "base", "pause", "coredns"
"""Images of the site itself: Debian with a shell, Python and curl; and two of one program each."""


@dataclass(frozen=True)
class Node:
    """One node of the site.

    Parameters
    ----------
    name
        Also the architecture of the images that it runs.
    address
        On the nodes' network.
    pods, gateway
        Range of its pods' addresses, and the node's own address in it.
    namespace
        Network namespace; None for the machine's own.
    labels, taints
        What it registers with; a taint is written `key=value:effect`.
    gpus
        How many `nvidia.com/gpu` it says it has.
    """

    name: str
    address: str
    pods: str
    gateway: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    gpus: int = 0

    @property
    def enter(self) -> tuple[str, ...]:
        """What to write before a command that is to run in the node's network namespace.

        `ip netns exec` would also hide the control groups.
        """
        return ("nsenter", f"--net=/run/netns/{self.namespace}") if self.namespace else ()

    @property
    def devices(self) -> tuple[str, str]:
        """Interfaces that Cilium watches: to other nodes, and to the node's own pods.

        Without the second, kubelet's probes of isolated pods are dropped.
        """
        return ("eth0" if self.namespace else BRIDGE, "cni0")


NODES = (
    Node(
        name="amd64",
        address="10.243.0.1",
        pods="10.244.0.0/24",
        gateway="10.244.0.1",
        labels={
            "topology.kubernetes.io/zone": "test-a",
            "node.kubernetes.io/instance-type": "cpu-gpu",
            "nvidia.com/gpu.present": "true",
            "facility.test/pool": "cpu",
        },
        gpus=1,
    ),
    Node(
        name="arm64",
        address="10.243.0.2",
        pods="10.244.1.0/24",
        gateway="10.244.1.1",
        namespace="karm64",
        labels={
            "topology.kubernetes.io/zone": "test-b",
            "node.kubernetes.io/instance-type": "arm",
            "facility.test/pool": "arm",
        },
        # As clouds do, so that images without arm64 do not land there.
        taints=("kubernetes.io/arch=arm64:NoSchedule",),
    ),
)
FIRST = NODES[0]
"""The node that also runs the control plane and the registry."""
REGISTRY_URL = f"http://{FIRST.address}:{REGISTRY_PORT}"
HOLDER = "kubernetes"
"""Who needs the emulator while all this is up."""
VETH = "kv-arm64"
"""The first node's end of the other's cable."""
