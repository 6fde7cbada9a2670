"""The arguments of `cluster`, `scale` and `adapt` -> a checked request.

Pure: what the machine or the site allows comes in as `Limit`. All mistakes of
a call are raised together.
"""

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real

from facility.config import Config, Pool
from facility.errors import RequestError
from facility.quantity import format_memory, parse_memory, parse_seconds
from facility.request.bounds import Bounds
from facility.request.call_words import AskedWorkers, understand
from facility.request.dask_words import Call, no_pool
from facility.wording import counted

NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
"""Names of Dask clusters, short enough for what dask-kubernetes appends."""
DEFAULT_TIMEOUT = 300.0
DEFAULT_IDLE_TIMEOUT = 3600.0

Count = int | tuple[int | None, float | None]
"""Workers of a pool: a number, or the ends between which it adapts; an open one is all there is."""

ALL_THERE_IS = (0, None)
"""What a call asks of the default pool that names no number."""


@dataclass(frozen=True)
class Limit:
    """How many workers of a pool there can be here, and what sets that limit."""

    workers: int
    reason: str


@dataclass(frozen=True)
class PoolRequest:
    """What a Dask cluster asks of one pool."""

    pool: Pool
    bounds: Bounds
    memory: int
    """Bytes of each worker."""


@dataclass(frozen=True)
class Ended:
    """A worker that ended without the library's doing."""

    name: str
    how: str
    tail: str
    """Last lines of its log."""
    orderly: bool
    """Whether it closed because its scheduler asked it to."""
    final: bool = False
    """Whether others would end in the same way, so that starting them is of no use."""


@dataclass(frozen=True)
class Request:
    """A checked call of `cluster`."""

    config: Config
    pools: Mapping[str, PoolRequest]
    """All pools of the configuration; those not asked for have bounds of 0."""
    wait: int
    timeout: float
    idle_timeout: float
    untagged: tuple[str, ...] | None
    name: str | None
    notes: tuple[str, ...]
    """Sentences about what was granted otherwise than asked."""


@dataclass
class Checker:
    """Collects what is wrong with a call, and what it gets instead of what it asked."""

    config: Config
    limits: Mapping[str, Limit]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def finish(self, summary: str) -> None:
        """Raise all problems, if there are any."""
        if self.problems:
            raise RequestError(summary, self.problems)

    def known(self, name: str) -> Pool | None:
        """Look up a pool, or note that there is none of that name."""
        pool = self.config.pools.get(name)
        if pool is None:
            self.problems.append(no_pool(name, self.config))
        return pool

    def bounds(self, pool: Pool, asked: AskedWorkers) -> Bounds | None:
        """Check what was asked of one pool."""
        ends = _ends(asked.count)
        problem = ends if isinstance(ends, str) else self._objection(pool, *ends)
        if problem or isinstance(ends, str):
            self.problems.append(f"{asked.words}: {problem}")
            return None
        return self._granted(pool, *ends)

    def _objection(self, pool: Pool, minimum: int, maximum: int | None) -> str | None:
        limit = self.limits[pool.name]
        if max(minimum, maximum or 0) > pool.max_workers:
            return f"pool {pool.name} allows at most {counted(pool.max_workers, 'worker')}"
        return limit.reason if maximum != 0 and not limit.workers else None

    def _granted(self, pool: Pool, minimum: int, maximum: int | None) -> Bounds:
        """Round up to whole groups, and keep to what there is."""
        limit, size = self.limits[pool.name], pool.processes
        most = max(size, min(limit.workers, pool.max_workers) // size * size)
        # Of an open end only the minimum is the user's.
        asked = Bounds(minimum, minimum if maximum is None else maximum)
        rounded = Bounds(*(math.ceil(end / size) * size for end in (asked.minimum, asked.maximum)))
        if rounded != asked:
            self.notes.append(
                f"pool {pool.name} starts workers in groups of {size}: {rounded} instead of {asked}"
            )
        if rounded.maximum > most:
            self.notes.append(
                f"pool {pool.name} gets at most {counted(most, 'worker')} instead of "
                f"{rounded.maximum:,}: {limit.reason}"
            )
        end = most if maximum is None else min(rounded.maximum, most)
        return Bounds(min(rounded.minimum, most), end)

    def memory(self, asked: object) -> dict[str, int]:
        """Check ``memory={"cpu": "8Gi"}``, in bytes for each pool."""
        found = {name: pool.memory for name, pool in self.config.pools.items()}
        if asked is None:
            return found
        if not isinstance(asked, Mapping):
            self.problems.append(
                f"memory={asked!r}: name the pool, as in "
                f"memory={{{self.config.default.name!r}: '8Gi'}}"
            )
            return found
        for name, quantity in asked.items():
            pool = self.known(name)
            if pool is None:
                continue
            try:
                found[name] = parse_memory(quantity)
            except ValueError as error:
                self.problems.append(f"memory of {name}: {error}")
                continue
            if not 0 < found[name] <= pool.memory_max:
                self.problems.append(
                    f"memory of {name}={quantity!r}: pool {name} allows at most "
                    f"{format_memory(pool.memory_max)} a worker"
                )
        return found


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _infinite(value: object) -> bool:
    return isinstance(value, Real) and math.isinf(value)


def _ends(count: object) -> tuple[int, int | None] | str:
    """Read a number or a pair; without a maximum a pool grows to all there is.

    Returns
    -------
    minimum, maximum
        Or what is wrong.
    """
    if _infinite(count):
        return "a number is finite; (0, math.inf) adapts up to all there is"
    pair = isinstance(count, tuple | list)
    ends = tuple(count) if isinstance(count, tuple | list) else (count, count)
    if len(ends) != 2:
        return "give a number of workers or a pair (minimum, maximum)"
    minimum = 0 if pair and ends[0] is None else _whole(ends[0])
    unlimited = pair and (ends[1] is None or _infinite(ends[1]))
    maximum = None if unlimited else _whole(ends[1])
    if minimum is None or (maximum is None and not unlimited):
        return "workers are counted in whole numbers, 0 or more"
    if minimum < 0 or (maximum or 0) < 0:
        return "a number of workers cannot be negative"
    if maximum is not None and minimum > maximum:
        return f"the minimum is above the maximum; did you mean ({maximum}, {minimum})?"
    return minimum, maximum


def _seconds(name: str, value: object, problems: list[str]) -> float:
    try:
        return parse_seconds(value)
    except ValueError as error:
        problems.append(f"{name}={value!r}: {error}")
        return 0.0


def _wait(asked: object, granted: Iterable[PoolRequest], problems: list[str]) -> int:
    """How many workers to wait for."""
    minima = sum(request.bounds.minimum for request in granted)
    if asked is None:
        return min(1, minima)
    if isinstance(asked, float) and 0 < asked <= 1:
        return math.ceil(asked * minima)
    number = _whole(asked)
    if number is None or number < 0:
        problems.append(
            f"wait={asked!r}: give a number of workers, or a fraction of them between 0 and 1"
        )
        return 0
    if number > minima and not problems:
        start = counted(minima, "worker starts by itself", "workers start by themselves")
        problems.append(
            f"wait={asked!r}: only {start}; the others come when there is work for them"
        )
    return number


def request(
    config: Config,
    limits: Mapping[str, Limit],
    asked: Mapping[str, AskedWorkers],
    problems: Iterable[str] = (),
    *,
    memory: Mapping[str, str | int] | None = None,
    wait: object = None,
    timeout: object = None,
    idle_timeout: object = None,
    untagged: Iterable[str] | None = None,
    name: str | None = None,
) -> Request:
    """Check a call of `cluster`.

    Parameters
    ----------
    asked, problems
        What `facility.request.call_words` has understood of it.

    Raises
    ------
    RequestError
        With everything that is wrong with the call.
    """
    checker = Checker(config, limits, list(problems))
    wrong = checker.problems
    sizes = checker.memory(memory)
    granted: dict[str, PoolRequest] = {}
    for pool in config.pools.values():
        bounds: Bounds | None = Bounds(0, 0)
        if pool.name in asked:
            bounds = checker.bounds(pool, asked[pool.name])
        elif pool.default and not asked and not problems:
            bounds = checker.bounds(pool, AskedWorkers(ALL_THERE_IS, "cluster()"))
        granted[pool.name] = PoolRequest(pool, bounds or Bounds(0, 0), sizes[pool.name])
    chosen = (
        None if untagged is None else tuple([untagged] if isinstance(untagged, str) else untagged)
    )
    for pool_name in chosen or ():
        checker.known(pool_name)
    if name is not None and not NAME.fullmatch(name):
        wrong.append(
            f"name={name!r}: use up to 40 lower-case letters, digits and '-', with a letter first"
        )
    request = Request(
        config=config,
        pools=granted,
        timeout=DEFAULT_TIMEOUT if timeout is None else _seconds("timeout", timeout, wrong),
        idle_timeout=(
            DEFAULT_IDLE_TIMEOUT
            if idle_timeout is None
            else _seconds("idle_timeout", idle_timeout, wrong)
        ),
        wait=_wait(wait, granted.values(), wrong),
        untagged=chosen,
        name=name,
        notes=tuple(checker.notes),
    )
    checker.finish("This Dask cluster cannot be started")
    return request


def rescaled(
    config: Config,
    limits: Mapping[str, Limit],
    numbers: Sequence[object],
    words: Mapping[str, object],
    *,
    call: Call,
) -> tuple[dict[str, Bounds], list[str]]:
    """Check a call of `scale` or `adapt`: new bounds of pools, and notes.

    Parameters
    ----------
    numbers, words
        Its arguments without and with a name.

    Raises
    ------
    RequestError
        With everything that is wrong with the call.
    """
    spoken = understand(call, config, numbers, words)
    checker = Checker(config, limits, spoken.problems)
    asked = spoken.asked
    if not asked and not spoken.problems:
        if call == "adapt":
            asked = {config.default.name: AskedWorkers(ALL_THERE_IS, "adapt()")}
        else:
            spoken.problems.append(
                f"give a number or pools, as in c.scale({config.default.name}=2)"
            )
    found = {name: checker.bounds(config.pools[name], each) for name, each in asked.items()}
    if call == "scale":
        for name, bounds in found.items():
            if bounds is not None and bounds.adapts:
                checker.problems.append(
                    f"{asked[name].words}: scale fixes a number; use adapt for a range"
                )
    checker.finish(f"{call} cannot be granted")
    return {pool: bounds for pool, bounds in found.items() if bounds}, checker.notes
