"""Which jobs a trial has, with which faults, and how each has to end. Pure."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from facility.errors import RequestError
from facility.quantity import parse_cores
from facility.wording import counted


class Fault(StrEnum):
    """What is done to a job."""

    NONE = "none"
    EXIT = "exit 1"
    MEMORY = "out of memory"
    DELETED = "deleted pod"
    IMAGE = "image that is not there"


class End(StrEnum):
    """How a job ends."""

    DONE = "done"
    FAILED = "failed"


ENDS = {
    Fault.NONE: End.DONE,
    Fault.EXIT: End.FAILED,
    Fault.MEMORY: End.FAILED,
    # Another pod does its work.
    Fault.DELETED: End.DONE,
    Fault.IMAGE: End.FAILED,
}
INJECTED = (Fault.EXIT, Fault.MEMORY, Fault.DELETED, Fault.IMAGE)


@dataclass(frozen=True)
class PlannedJob:
    """One job.

    Parameters
    ----------
    name
        Its name, unlike any other's.
    cores
        That it asks for.
    seconds
        For which it works.
    fault
        What is done to it.
    """

    name: str
    cores: float
    seconds: float
    fault: Fault = Fault.NONE

    @property
    def end(self) -> End:
        """How it has to end."""
        return ENDS[self.fault]


def sizes(texts: Sequence[str]) -> dict[float, int]:
    """Read sizes of jobs, each as ``cores:share``.

    Parameters
    ----------
    texts
        Such as ``1:3`` and ``8:1``, for three jobs of a core for each one of eight.

    Raises
    ------
    RequestError
        With every mistake.
    """
    found: dict[float, int] = {}
    problems = []
    for text in texts:
        cores, colon, share = text.partition(":")
        try:
            size = parse_cores(cores)
        except ValueError as error:
            problems.append(f"{text!r}: the cores {error}")
            continue
        if colon and not (share.isdecimal() and int(share)):
            problems.append(f"{text!r}: the share must be a whole number from 1 on, as in 1:3")
        elif size in found:
            problems.append(f"{text!r}: the size {cores} is given already")
        else:
            found[size] = int(share or 1)
    if problems:
        raise RequestError("The sizes of the jobs cannot be used", problems)
    return found


def plan(
    prefix: str, count: int, mix: Mapping[float, int], seconds: float, faults: int, seed: int
) -> tuple[PlannedJob, ...]:
    """Plan a trial.

    Parameters
    ----------
    prefix
        What names begin with.
    count
        Number of jobs.
    mix
        Share of each number of cores.
    seconds
        For which a job works.
    faults
        Jobs that each kind of fault is done to.
    seed
        Of the random numbers: the same seed, the same plan.

    Raises
    ------
    RequestError
        Where there are more faults than jobs.
    """
    wanted = [fault for fault in INJECTED for _ in range(faults)]
    if len(wanted) > count:
        most = count // len(INJECTED)
        told = f"{faults} of each kind are {len(wanted)} of {counted(count, 'job')}"
        raise RequestError(
            "The faults cannot be spread over the jobs",
            [f"{told}; ask for at most {most} with --faults, or for more jobs with --count"],
        )
    source = random.Random(seed)
    total = sum(mix.values())
    # By shares and not by chance, so that a small trial has each size.
    cores = [size for size, share in mix.items() for _ in range(round(count * share / total))]
    cores = (cores + [min(mix)] * count)[:count]
    given = wanted + [Fault.NONE] * (count - len(wanted))
    source.shuffle(cores)
    source.shuffle(given)
    return tuple(
        PlannedJob(f"{prefix}-{number:05d}", size, seconds, fault)
        for number, (size, fault) in enumerate(zip(cores, given, strict=True))
    )
