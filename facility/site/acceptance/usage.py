"""How full a Kubernetes cluster was, and how fast: from samples to numbers. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

from facility.quantity import parse_quantity

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """A Kubernetes cluster at one moment.

    Parameters
    ----------
    at
        Seconds since the first job was asked for.
    requested
        Cores that all pods on the nodes ask for.
    used
        Cores that the nodes use; None where they do not say.
    waiting, running, ended
        Jobs that wait for a node, that have one, and that have ended.
    making
        Whether jobs are still being made.
    """

    at: float
    requested: float
    used: float | None
    waiting: int
    running: int
    ended: int
    making: bool = False


@dataclass(frozen=True)
class Usage:
    """How full and how fast.

    Parameters
    ----------
    allocatable
        Cores of the nodes.
    to_fill
        Seconds until so many cores were asked for as should be, or each job had a node at once;
        None where jobs waited and the cores were never asked for so.
    to_drain
        Seconds from when no job waited until all had ended.
    requested, used
        Mean share of the cores while jobs waited, once it was filled; None where none did, or
        where nodes do not say.
    peak
        Largest share of the cores that was asked for.
    per_minute
        Jobs that ended in a minute, from the first to the last.
    seconds
        Of all of it.
    """

    allocatable: float
    to_fill: float | None
    to_drain: float | None
    requested: float | None
    used: float | None
    peak: float
    per_minute: float
    seconds: float


def usage(samples: Sequence[Sample], allocatable: float, least: float) -> Usage:
    """Reckon how full and how fast it was.

    Parameters
    ----------
    samples
        In their order.
    allocatable
        Cores of the nodes.
    least
        Share of the cores with which it counts as filled.
    """
    assert samples, "there is one at the end"
    cores = allocatable or 1.0
    filled = next((each for each in samples if each.requested >= least * cores), None)
    begin = filled.at if filled else 0.0
    emptied = next((each for each in samples if each.at >= begin and not _queues(each)), None)
    if filled:
        full = [each for each in samples if each.at >= begin and _queues(each)]
    else:
        # A job that is made and placed at once is seen waiting once at most.
        pairs = pairwise(samples)
        full = [now for was, now in pairs if _queues(now) and _queues(was) and not was.making]
    if filled is None and not full:
        # There is more than enough for all.
        filled = emptied
    last = samples[-1]
    told = [each.used for each in full if each.used is not None]
    return Usage(
        allocatable=allocatable,
        to_fill=filled.at if filled else None,
        to_drain=last.at - emptied.at if emptied else None,
        requested=_mean([each.requested / cores for each in full]),
        used=_mean([each / cores for each in told]),
        peak=max(each.requested for each in samples) / cores,
        per_minute=60 * last.ended / last.at if last.at else 0.0,
        seconds=last.at,
    )


def _queues(sample: Sample) -> bool:
    return sample.waiting > 0


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def cores_of(pods: Iterable[Object], nodes: Iterable[str]) -> float:
    """Add up the cores that pods on some nodes ask for, those that have ended left out."""
    on = set(nodes)
    total = Decimal(0)
    for pod in pods:
        if pod["spec"].get("nodeName") not in on:
            continue
        if pod["status"]["phase"] in ("Succeeded", "Failed"):
            continue
        for container in pod["spec"]["containers"]:
            asked = container.get("resources", {}).get("requests", {}).get("cpu", 0)
            total += parse_quantity(asked)
    return float(total)


@dataclass(frozen=True)
class ServerCost:
    """What an API server has done so far.

    Parameters
    ----------
    requests
        That it has answered.
    cpu
        Seconds of processor time; None where it does not say.
    """

    requests: float
    cpu: float | None

    def since(self, earlier: "ServerCost", jobs: int) -> "ServerCost":
        """Return what a job has cost."""
        cpu = None if self.cpu is None or earlier.cpu is None else (self.cpu - earlier.cpu) / jobs
        return ServerCost((self.requests - earlier.requests) / jobs, cpu)


_REQUESTS = re.compile(r"^apiserver_request_total\{[^}]*\} (\S+)", re.MULTILINE)
_CPU = re.compile(r"^process_cpu_seconds_total (\S+)", re.MULTILINE)


def server_cost(metrics: str) -> ServerCost:
    """Read the metrics of an API server."""
    cpu = _CPU.search(metrics)
    requests = sum(float(found[1]) for found in _REQUESTS.finditer(metrics))
    return ServerCost(requests, float(cpu[1]) if cpu else None)
