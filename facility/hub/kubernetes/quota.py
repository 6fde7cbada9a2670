"""Whether a server fits into its user's quotas: pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from facility.quantity import format_memory, parse_cores, parse_memory

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What a server asks for.

    Parameters
    ----------
    cpu, memory
        Limits in cores and bytes.
    gpus
        Devices of each GPU resource.
    priority_class
        Its PriorityClass.
    """

    cpu: float
    memory: int
    gpus: Mapping[str, int] = field(default_factory=dict)
    priority_class: str = ""


def shortage(quotas: Iterable[Object], wanted: Wanted) -> str | None:
    """Say why a server would be refused, None if it would not.

    Parameters
    ----------
    quotas
        ResourceQuotas of the namespace as Kubernetes has them.
    """
    problems = [problem for quota in quotas for problem in _problems(quota, wanted)]
    if not problems:
        return None
    listed = "; ".join(problems)
    return (
        f"Your quota has no room for this server: {listed}. End a server or a Dask cluster of "
        "yours, choose a smaller server, or ask the administrators for more."
    )


def _problems(quota: Object, wanted: Wanted) -> Iterator[str]:
    if not _concerns(quota, wanted.priority_class):
        return
    status = quota.get("status", {})
    hard, used = status.get("hard", {}), status.get("used", {})
    asked: dict[str, tuple[str, float]] = {
        "limits.cpu": ("cores", wanted.cpu),
        "limits.memory": ("memory", float(wanted.memory)),
        "pods": ("servers" if "scopeSelector" in quota["spec"] else "pods", 1.0),
    } | {f"requests.{name}": (name, float(count)) for name, count in wanted.gpus.items()}
    for key, (what, count) in asked.items():
        if key not in hard:
            continue
        memory = key.endswith("memory")
        read = parse_memory if memory else parse_cores
        limit, taken = (_number(read, found.get(key, "0")) for found in (hard, used))
        if taken + count > limit * (1 + 1e-9):
            write = _memory if memory else _count
            yield f"{write(count)} {what} asked, {write(taken)} of {write(limit)} in use"


def _concerns(quota: Object, priority_class: str) -> bool:
    """Tell whether a quota counts pods of this class."""
    for term in quota["spec"].get("scopeSelector", {}).get("matchExpressions", ()):
        inside = priority_class in term.get("values", ())
        if (term["operator"] == "In") != inside:
            return False
    return True


def _number(read: Any, text: str) -> float:
    return 0.0 if text == "0" else float(read(text))


def _memory(count: float) -> str:
    return format_memory(int(count)) if count else "0"


def _count(count: float) -> str:
    return f"{count:g}"
