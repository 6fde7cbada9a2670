"""Judges the network: who enforces NetworkPolicies, how addresses are matched, encryption. Pure.

No API says whether NetworkPolicies are enforced: an API server takes them also where nobody does.
What tells is which program connects pods, by its DaemonSet or by what it wrote into the nodes'
conditions; and a try, `facility.site.check.probe`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from facility.hub.kubernetes.values.model import Values
from facility.kubernetes.client import kinds
from facility.site.check.finding import Finding, advice, good, missing, unknown
from facility.site.check.snapshot import Object, Snapshot

ENFORCERS = {
    "cilium": "Cilium",
    "anetd": "Cilium (Dataplane V2)",
    "calico-node": "Calico",
    "canal": "Canal",
    "rke2-canal": "Canal",
    "antrea-agent": "Antrea",
    "kube-router": "kube-router",
    "weave-net": "Weave Net",
    "kindnet": "kindnet",
    "ovnkube-node": "OVN-Kubernetes",
    "azure-npm": "Azure's network policy manager",
}
"""DaemonSets of programs that enforce NetworkPolicies, and those programs."""
OTHERS = {"kube-flannel": "Flannel", "kube-flannel-ds": "Flannel", "netd": "Google's plain network"}
"""DaemonSets of programs that connect pods and enforce nothing."""
AMAZON, AMAZON_SWITCH = "aws-node", "--enable-network-policy=true"
"""Amazon's enforces where it is told to."""
REASONS = {"CiliumIsUp": "Cilium", "CalicoIsUp": "Calico", "FlannelIsUp": "Flannel"}
"""Why a node's network is available, which whoever connects its pods writes."""
K3S = "+k3s"
"""In the version where NetworkPolicies are enforced inside k3s' own server."""
ASKED = "the chart, which closes users' namespaces"
PROBE = "`--probe` tries."
ENFORCED = "NetworkPolicies are enforced"
ADDRESSES = "Addresses of the API server in NetworkPolicies"
ENCRYPTION = "Encryption between nodes"
DNS = "Cluster DNS"
CACHES = ("nodelocaldns", "node-local-dns")
"""DaemonSets that answer for cluster DNS at an address of each node."""


@dataclass(frozen=True)
class Enforcer:
    """Who connects pods.

    Parameters
    ----------
    name
        The program; nothing where it is not known.
    enforces
        Whether it enforces NetworkPolicies; None where that is not known.
    seen
        What tells.
    """

    name: str
    enforces: bool | None
    seen: str

    @property
    def is_cilium(self) -> bool:
        """Whether addresses of nodes are matched as Cilium does."""
        return self.name.startswith("Cilium")


def enforcer(snapshot: Snapshot) -> Enforcer:
    """Find out who connects pods."""
    sets = {each["metadata"]["name"]: each for each in snapshot.lists.get("DaemonSet", ())}
    for name, program in ENFORCERS.items():
        if name in sets:
            off = snapshot.settings.get("cilium-config", {}).get("enable-policy") == "never"
            audited = snapshot.settings.get("cilium-config", {}).get("policy-audit-mode") == "true"
            if program.startswith("Cilium") and (off or audited):
                why = "policy-audit-mode" if audited else "enable-policy: never"
                return Enforcer(program, False, f"its ConfigMap cilium-config says {why}")
            return Enforcer(program, True, f"the DaemonSet {name} is there")
    if AMAZON in sets:
        on = AMAZON_SWITCH in _words(sets[AMAZON])
        how = "with" if on else "without"
        return Enforcer("Amazon's", on, f"the DaemonSet {AMAZON} runs {how} {AMAZON_SWITCH}")
    if K3S in snapshot.version:
        return Enforcer("k3s", True, "k3s does so unless it was told --disable-network-policy")
    for name, program in OTHERS.items():
        if name in sets:
            return Enforcer(program, False, f"the DaemonSet {name} is there, and no enforcer's")
    for reason in _reasons(snapshot):
        if reason in REASONS:
            enforces = REASONS[reason] != "Flannel"
            return Enforcer(REASONS[reason], enforces, f"nodes say {reason}")
    if "cilium.io" in snapshot.groups:
        return Enforcer("Cilium", None, "cilium.io is served, and no DaemonSet of it is seen")
    return Enforcer("", None, "no program that connects pods is known by its DaemonSet")


def judge(snapshot: Snapshot, values: Values | None) -> Iterator[Finding]:
    """Look at the network."""
    found = enforcer(snapshot)
    yield _enforced(found)
    flavor = values.network_policy.flavor if values is not None else "standard"
    yield from _addresses(snapshot, found, flavor)
    yield _encryption(snapshot, found)
    yield from _dns(snapshot)


def _enforced(found: Enforcer) -> Finding:
    who = f"{found.name}: {found.seen}" if found.name else found.seen
    if found.enforces is None:
        return unknown(ENFORCED, ASKED, who, PROBE)
    if found.enforces:
        return good(ENFORCED, ASKED, who)
    todo = "Use a network that enforces them, such as Cilium or Calico; see docs: Networks."
    return missing(ENFORCED, ASKED, who, todo)


def _addresses(snapshot: Snapshot, found: Enforcer, flavor: str) -> Iterator[Finding]:
    """Look whether an address can be the API server's, which is so everywhere but with Cilium."""
    asked = f"networkPolicy.flavor: {flavor}"
    if flavor == "cilium":
        if "cilium.io" not in snapshot.groups:
            told = "the API group cilium.io is not served, so that no CiliumNetworkPolicy can be"
            yield missing(ADDRESSES, asked, told, "Say networkPolicy.flavor: standard.")
        else:
            yield good(ADDRESSES, asked, "cilium.io is served")
        return
    if not found.is_cilium:
        if found.name:
            yield good(ADDRESSES, asked, f"{found.name} matches all addresses")
        else:
            yield unknown(ADDRESSES, asked, found.seen, PROBE)
        return
    settings = snapshot.settings.get("cilium-config")
    if settings is None:
        told = "Cilium runs, and its ConfigMap cilium-config cannot be read"
        yield unknown(ADDRESSES, asked, told, PROBE)
        return
    mode = settings.get("policy-cidr-match-mode", "")
    if "nodes" in mode.split():
        yield good(ADDRESSES, asked, "Cilium's policy-cidr-match-mode is nodes")
    else:
        told = (
            "Cilium's policy-cidr-match-mode is not nodes, so that no address is the API server's"
        )
        todo = "Say networkPolicy.flavor: cilium, or set policy-cidr-match-mode: nodes in Cilium."
        yield missing(ADDRESSES, asked, told, todo)


def _dns(snapshot: Snapshot) -> Iterator[Finding]:
    """Look whether pods ask the pods of cluster DNS, which is what the policies open."""
    caches = (snapshot.names("DaemonSet") or frozenset()).intersection(CACHES)
    for name in caches:
        told = (
            f"the DaemonSet {name} is there, so that pods may ask an address of their node, which "
            "no policy of the chart opens"
        )
        todo = (
            "Look at `nameserver` in /etc/resolv.conf of a pod. Where it is no Service's address, "
            "turn the cache off; kubespray does with enable_nodelocaldns: false."
        )
        yield unknown(DNS, "networkPolicy.dns", told, todo)


def _encryption(snapshot: Snapshot, found: Enforcer) -> Finding:
    asked = "what is not encrypted by itself: between hub, proxy and users' servers"
    todo = (
        "Dask clusters use TLS anyway. For the rest turn on WireGuard or IPsec in the network, or "
        "use a link between nodes that only they reach."
    )
    how = _encrypted(snapshot.settings, snapshot.lists.get(kinds.FELIX.name, ()))
    if how:
        return good(ENCRYPTION, asked, how)
    if found.is_cilium and "cilium-config" not in snapshot.settings:
        return unknown(ENCRYPTION, asked, "the ConfigMap cilium-config cannot be read", todo)
    told = f"nothing says that {found.name or 'the network'} encrypts"
    return advice(ENCRYPTION, asked, told, todo)


def _encrypted(settings: Mapping[str, Mapping[str, str]], felix: tuple[Object, ...]) -> str:
    """Say how traffic between nodes is encrypted; nothing where it is not."""
    cilium = settings.get("cilium-config", {})
    for key, how in (("enable-wireguard", "WireGuard"), ("enable-ipsec", "IPsec")):
        if cilium.get(key) == "true":
            return f"Cilium does, by {how}"
    if any(each["spec"]["wireguardEnabled"] for each in felix):
        return "Calico does, by WireGuard"
    antrea = settings.get("antrea-config", {}).get("antrea-agent.conf", "")
    lines = [line.strip().lower() for line in antrea.splitlines()]
    for how in ("wireGuard", "ipsec"):
        if f"trafficencryptionmode: {how.lower()}" in lines:
            return f"Antrea does, by {how}"
    return ""


def _reasons(snapshot: Snapshot) -> list[str]:
    return [
        condition.get("reason", "")
        for node in snapshot.lists.get("Node", ())
        for condition in node["status"]["conditions"]
        if condition["type"] == "NetworkUnavailable" and condition["status"] == "False"
    ]


def _words(daemon_set: Object) -> set[str]:
    containers = daemon_set["spec"]["template"]["spec"]["containers"]
    return {word for each in containers for word in each.get("args", ())}
