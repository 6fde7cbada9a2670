"""Whether a ResourceQuota counts a pod, and what it has left: pure.

The rule is the API server's own, read in Kubernetes 1.35 (``pkg/quota/v1/evaluator/core/pods.go``
and the admission plugin ``resourcequota``), and compared with its verdict in
tests/kube/test_quota.py:

- A quota counts a pod that fits each of its ``scopes`` and each expression of its
  ``scopeSelector``. A scope in ``scopes`` means what it does there with the operator ``Exists``.
- The operator matters for the scope ``PriorityClass`` alone. ``NotIn`` and ``DoesNotExist`` fit a
  pod without a PriorityClass too. Kubernetes takes no operator but ``Exists`` for other scopes.
- A pod takes 1 of ``pods`` and of ``count/pods``; of ``cpu``, ``memory`` and
  ``ephemeral-storage`` its requests under ``NAME`` and ``requests.NAME``, its limits under
  ``limits.NAME``; of huge pages its requests under both names; of any other resource, such as
  GPUs, its requests under ``requests.NAME``.
- A pod is refused where one resource of one quota has less left than the pod takes. What a pod
  takes none of refuses nothing, even where more than all is in use.

What a LimitRange fills in is to be in the pod already. Two rules of Kubernetes are not here: a
quota of cores or memory refuses a container that does not state them, and resources may be stated
for a pod as a whole; all that the facility makes states them for each container.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from facility.quantity import format_cores, format_memory, parse_quantity

Object = Mapping[str, Any]
Amounts = dict[str, Decimal]
BOTH = ("cpu", "memory", "ephemeral-storage")
"""Resources of which a quota limits requests and limits."""
HUGE_PAGES = "hugepages-"
NONE = Decimal(0)


@dataclass(frozen=True)
class Share:
    """What a quota allows of one resource, and a pod takes of it.

    Parameters
    ----------
    quota
        Name of the ResourceQuota.
    resource
        As the quota calls it.
    hard, used
        What the quota allows, and what is in use.
    takes
        What the pod takes, more than nothing.
    """

    quota: str
    resource: str
    hard: Decimal
    used: Decimal
    takes: Decimal

    @property
    def left(self) -> Decimal:
        """What more may be taken; negative where more than all is in use."""
        return self.hard - self.used

    @property
    def fits(self) -> bool:
        """Whether the pod may be made as far as this goes."""
        return self.takes <= self.left


def shares(quotas: Iterable[Object], pod: Object) -> Iterator[Share]:
    """Yield all that quotas allow of what a pod takes; it may be made where each share fits.

    Parameters
    ----------
    quotas
        ResourceQuotas of the namespace. What Kubernetes has not counted yet is taken for unused.
    pod
        Manifest of a pod that does not run yet.
    """
    taken = takes(pod)
    for quota in quotas:
        if not counts(quota, pod):
            continue
        status = quota.get("status") or {}
        hard = status.get("hard") or quota["spec"].get("hard") or {}
        used = status.get("used") or {}
        for resource, limit in hard.items():
            if taken.get(resource):
                yield Share(
                    quota["metadata"]["name"],
                    resource,
                    parse_quantity(limit),
                    parse_quantity(used.get(resource, 0)),
                    taken[resource],
                )


def counts(quota: Object, pod: Object) -> bool:
    """Tell whether a quota counts a pod."""
    spec = quota["spec"]
    terms = [{"scopeName": each, "operator": "Exists"} for each in spec.get("scopes") or ()]
    terms += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    return all(_fits(term, pod["spec"]) for term in terms)


def _fits(term: Object, spec: Object) -> bool:
    match term["scopeName"]:
        case "BestEffort":
            return _is_best_effort(spec)
        case "NotBestEffort":
            return not _is_best_effort(spec)
        case "Terminating":
            return _terminates(spec)
        case "NotTerminating":
            return not _terminates(spec)
        case "CrossNamespacePodAffinity":
            return _looks_into_namespaces(spec.get("affinity") or {})
        case "PriorityClass":
            return _has_class(term, spec.get("priorityClassName") or "")
    # As Kubernetes does with a scope that it does not know.
    return False


def _has_class(term: Object, priority_class: str) -> bool:
    among = bool(priority_class) and priority_class in (term.get("values") or ())
    fits = {
        "In": among,
        "NotIn": not among,
        "Exists": bool(priority_class),
        "DoesNotExist": not priority_class,
    }
    return fits[term["operator"]]


def _is_best_effort(spec: Object) -> bool:
    """Tell whether no container asks for cores or memory; GPUs and disk do not matter."""
    return not any(
        parse_quantity(amount)
        for container in _containers(spec)
        for side in (container.get("resources") or {}).values()
        if isinstance(side, Mapping)
        for name, amount in side.items()
        if name in ("cpu", "memory")
    )


def _containers(spec: Object) -> list[Object]:
    return [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]


def _terminates(spec: Object) -> bool:
    return spec.get("activeDeadlineSeconds") is not None


def _looks_into_namespaces(affinity: Object) -> bool:
    """Tell whether a pod is placed by pods of other namespaces."""
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = [
            *(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()),
            *(
                each["podAffinityTerm"]
                for each in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
            ),
        ]
        for term in terms:
            # An empty selector is one too: it selects all namespaces.
            if term.get("namespaces") or term.get("namespaceSelector") is not None:
                return True
    return False


def takes(pod: Object) -> Amounts:
    """Return what a pod takes, under the names that quotas use."""
    found = {"pods": Decimal(1), "count/pods": Decimal(1)}
    for name, amount in _sum(pod["spec"], _requests, overhead_alone=True).items():
        found[f"requests.{name}"] = amount
        if name in BOTH or name.startswith(HUGE_PAGES):
            found[name] = amount
    for name, amount in _sum(pod["spec"], _limits, overhead_alone=False).items():
        if name in BOTH:
            found[f"limits.{name}"] = amount
    return found


def _limits(container: Object) -> Amounts:
    limits = (container.get("resources") or {}).get("limits") or {}
    return {name: parse_quantity(amount) for name, amount in limits.items()}


def _requests(container: Object) -> Amounts:
    """Return what a container requests: its limits, where it does not say."""
    requests = (container.get("resources") or {}).get("requests") or {}
    return _limits(container) | {name: parse_quantity(amount) for name, amount in requests.items()}


def _sum(spec: Object, of: Callable[[Object], Amounts], *, overhead_alone: bool) -> Amounts:
    """Add up what containers take: all at once, or as many as one of the first takes alone.

    Containers that run before the others do not run at the same time as those; sidecars do.

    Parameters
    ----------
    overhead_alone
        Whether the pod's overhead counts where no container says anything.
    """
    together: Amounts = {}
    for container in spec.get("containers") or ():
        together = _added(together, of(container))
    before: Amounts = {}
    sidecars: Amounts = {}
    for container in spec.get("initContainers") or ():
        taken = _added(sidecars, of(container))
        if container.get("restartPolicy") == "Always":
            sidecars = taken
            together = _added(together, of(container))
        before = _larger(before, taken)
    found = _larger(together, before)
    for name, amount in (spec.get("overhead") or {}).items():
        if overhead_alone or found.get(name):
            found[name] = found.get(name, NONE) + parse_quantity(amount)
    return found


def _added(one: Amounts, other: Amounts) -> Amounts:
    return {name: one.get(name, NONE) + other.get(name, NONE) for name in {**one, **other}}


def _larger(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, NONE), other.get(name, NONE)) for name in {**one, **other}}


def written(resource: str, amount: Decimal) -> str:
    """Write an amount of a resource as Kubernetes does."""
    if is_bytes(resource):
        return format_memory(int(amount)) if amount else "0"
    return format_cores(float(amount))


def is_bytes(resource: str) -> bool:
    """Tell whether a resource, as quotas call it, is counted in bytes."""
    name = resource.removeprefix("requests.").removeprefix("limits.")
    return name in ("memory", "ephemeral-storage") or name.startswith(HUGE_PAGES)
