"""Judges the nodes: is there one for each kind of pod that the values make? Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from facility.config.pool import Pool
from facility.config.shapes import Toleration
from facility.hub.kubernetes.values.model import Values
from facility.kubernetes.client import kinds
from facility.kubernetes.manifests import pod_resources
from facility.quantity import format_cores, format_memory, parse_quantity
from facility.site.check.finding import Finding, advice, good, missing, unknown
from facility.site.check.images import ARCHITECTURE
from facility.site.check.snapshot import Object, Snapshot
from facility.wording import counted

KIND = kinds.NODE.name
MOST_REASONS = 5
"""Reasons that are told; large sites have many kinds of nodes."""
KEEPS_AWAY = ("NoSchedule", "NoExecute")
PLUGINS = {
    "nvidia.com": "NVIDIA's GPU operator or device plugin",
    "amd.com": "AMD's device plugin",
    "gpu.intel.com": "Intel's device plugin",
}
"""What makes nodes offer devices, by the domain of their resource."""


@dataclass(frozen=True)
class PodKind:
    """A kind of pod that the values make.

    Parameters
    ----------
    asked
        By which value.
    requests
        What its node must have free.
    selector
        Labels that its node must have.
    tolerations
        Taints that its node may have.
    terms
        Required terms of node affinity, of which one has to fit; none for any node.
    """

    asked: str
    requests: Mapping[str, Decimal]
    selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    terms: tuple[Mapping[str, Any], ...] = ()


def of_pool(name: str, pool: Pool) -> PodKind:
    """Return the pods of a pool."""
    requests = pod_resources(pool, pool.memory, pool.processes)["requests"]
    selector = dict(pool.node_selector)
    if pool.architecture:
        selector[ARCHITECTURE] = pool.architecture
    rules = (pool.affinity.node_affinity if pool.affinity else None) or {}
    required = rules.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return PodKind(
        f"pools.{name}",
        {key: parse_quantity(value) for key, value in requests.items()},
        selector,
        pool.tolerations,
        tuple(required.get("nodeSelectorTerms") or ()),
    )


def kinds_of(values: Values) -> Iterator[PodKind]:
    """Return each kind of pod that the values make."""
    for part, of in (
        ("hub", values.hub),
        ("proxy", values.proxy),
        ("operator", values.operator if values.operator.enabled else None),
    ):
        if of is not None:
            amounts = of.resources.requests
            given = {"cpu": amounts.cpu, "memory": amounts.memory}
            requests = {key: parse_quantity(value) for key, value in given.items() if value}
            yield PodKind(part, requests, of.node_selector, of.tolerations)
    yield _server("scheduler", values.scheduler, values.scheduler)
    servers = values.singleuser
    if not servers.profiles:
        yield _server("singleuser", servers, servers)
    device = next((each.gpu_resource for each in values.config.pools.values() if each.gpus), "")
    for name, profile in servers.profiles.items():
        gpus = {device: Decimal(profile.gpus)} if profile.gpus and device else {}
        yield PodKind(
            f"singleuser.profiles.{name}",
            {**_server("", servers, servers).requests, **gpus},
            {**servers.node_selector, **profile.node_selector},
            (*servers.tolerations, *profile.tolerations),
        )
    for name, pool in values.config.pools.items():
        yield of_pool(name, pool)


def _server(asked: str, size: Any, where: Any) -> PodKind:
    requests = {
        "cpu": Decimal(str(size.cpu_guarantee)),
        "memory": Decimal(size.memory_guarantee),
    }
    return PodKind(asked, requests, where.node_selector, where.tolerations)


def judge(snapshot: Snapshot, values: Values | None) -> Iterator[Finding]:
    """Look at the nodes."""
    nodes = snapshot.lists.get(KIND)
    if nodes is None:
        yield unknown(
            "Nodes", "pods", snapshot.why(KIND), f"Ask for the right to list each {KIND}."
        )
        return
    usable = [each for each in nodes if _is_ready(each)]
    yield _ready(nodes, usable)
    if values is None:
        return
    for kind in kinds_of(values):
        yield from _placed(snapshot, usable, kind)


def _ready(nodes: Sequence[Object], usable: Sequence[Object]) -> Finding:
    told = f"{len(usable):,} of {counted(len(nodes), 'node')} take pods"
    if not usable:
        return missing("Nodes", "pods", told, "Look at `kubectl get nodes`.")
    away = [each["metadata"]["name"] for each in nodes if each not in usable]
    if away:
        todo = f"Not ready or cordoned: {', '.join(away[:10])}."
        return advice("Nodes", "pods", told, todo)
    return good("Nodes", "pods", told)


def _placed(snapshot: Snapshot, nodes: Sequence[Object], kind: PodKind) -> Iterator[Finding]:
    """Say how many nodes may run pods of a kind, or why none does."""
    reasons = [why_not(node, kind) for node in nodes]
    fit = reasons.count("")
    if fit:
        yield good("Nodes", kind.asked, f"{counted(fit, 'node')} can run its pods")
        return
    counts = Counter(reasons).most_common(MOST_REASONS)
    told = "no node can run its pods: " + (
        "; ".join(f"{counted(count, 'node')} {reason}" for reason, count in counts)
        or "there is none"
    )
    devices = [key for key in kind.requests if "/" in key]
    lacking = [device for device in devices if not any(device in _offered(node) for node in nodes)]
    who = snapshot.autoscaled
    if who:
        todo = f"Well where {who} makes such nodes when pods wait for them; else add one."
        yield advice("Nodes", kind.asked, told, todo)
    elif lacking:
        plugin = PLUGINS.get(lacking[0].partition("/")[0], "the device plugin of that resource")
        told = f"no node offers {lacking[0]}"
        todo = f"Install {plugin} where nodes have such devices, or add such a node."
        yield missing("Device plugin", kind.asked, told, todo)
    else:
        yield missing("Nodes", kind.asked, told, "Label, untaint or add nodes, or ask for less.")


def why_not(node: Object, kind: PodKind) -> str:
    """Say why a node cannot run pods of a kind; nothing where it can."""
    labels = node["metadata"]["labels"]
    for key, value in kind.selector.items():
        if labels.get(key) != value:
            has = f"has {key}={labels[key]}" if key in labels else "lacks it"
            return f"without the label {key}={value} ({has})"
    if kind.terms and not any(_fits(term, labels) for term in kind.terms):
        return "outside of its node affinity"
    for taint in node["spec"]["taints"]:
        if taint["effect"] in KEEPS_AWAY and not any(
            tolerates(each, taint) for each in kind.tolerations
        ):
            shown = f"{taint['key']}={taint.get('value', '')}:{taint['effect']}"
            return f"with the taint {shown}, which is not tolerated"
    offered = _offered(node)
    for key, amount in kind.requests.items():
        if offered.get(key, Decimal(0)) < amount:
            has = _shown(key, offered.get(key, Decimal(0)))
            return f"with {has} of {key}, and {_shown(key, amount)} asked for"
    return ""


def tolerates(toleration: Toleration, taint: Mapping[str, Any]) -> bool:
    """Tell whether a pod may run in spite of a taint, as Kubernetes decides it."""
    if toleration.effect and toleration.effect != taint["effect"]:
        return False
    if toleration.key and toleration.key != taint["key"]:
        return False
    if toleration.operator == "Exists":
        return True
    return (toleration.value or "") == (taint.get("value") or "")


def _fits(term: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether a term of node affinity fits; fields, such as a node's name, fit any."""
    return all(_holds(each, labels) for each in term.get("matchExpressions") or ())


def _holds(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(str(rule.get("key")))
    listed = list(rule.get("values") or ())
    bound = listed[0] if listed else None
    match rule.get("operator"):
        case "In":
            return value in listed
        case "NotIn":
            return value not in listed
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return _number(value) > _number(bound)
        case "Lt":
            return _number(value) < _number(bound)
    return False


def _number(value: object) -> float:
    """Read a label's number; what is none is neither more nor less than anything."""
    try:
        return int(str(value))
    except ValueError:
        return float("nan")


def _is_ready(node: Object) -> bool:
    if node["spec"].get("unschedulable"):
        return False
    conditions = node["status"]["conditions"]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _offered(node: Object) -> Mapping[str, Decimal]:
    """Return what pods of a node may ask for all together; a device of which it has none is not."""
    allocatable = node["status"]["allocatable"]
    found = {key: parse_quantity(value) for key, value in allocatable.items()}
    return {key: amount for key, amount in found.items() if amount}


def _shown(key: str, amount: Decimal) -> str:
    if key == "cpu":
        return format_cores(float(amount))
    if "/" in key:
        return str(int(amount))
    # To a mebibyte: a node offers odd bytes.
    rounded = int(amount) // 2**20 * 2**20
    return format_memory(rounded if rounded else int(amount))
