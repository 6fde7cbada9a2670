"""The arguments of `cluster`, `scale` and `adapt` -> a checked request.

Pure: what the machine or the site allows comes in as `Limit`. All mistakes of
a call are raised together.
"""

import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from facility.adaptive import Bounds
from facility.config import Config, Pool
from facility.errors import RequestError, nearest
from facility.quantity import format_memory, parse_memory, parse_seconds

NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
"""Names of Dask clusters, short enough for what dask-kubernetes appends."""
DEFAULT_TIMEOUT = 300.0
DEFAULT_IDLE_TIMEOUT = 3600.0

Count = int | tuple[int, int]


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
            valid = ", ".join(self.config.pools)
            self.problems.append(
                f"there is no pool {name!r}{nearest(name, self.config.pools)}; "
                f"there are {valid} ({self.config.source})"
            )
        return pool

    def bounds(self, name: str, asked: object) -> Bounds | None:
        """Check what was asked of one pool."""
        pool = self.known(name)
        if pool is None:
            return None
        ends = asked if isinstance(asked, tuple | list) else (asked, asked)
        if len(ends) != 2:
            self._wrong(name, asked, "give a number of workers or a pair (minimum, maximum)")
            return None
        numbers = [_whole(end) for end in ends]
        if None in numbers:
            self._wrong(name, asked, "workers are counted in whole numbers, 0 or more")
            return None
        minimum, maximum = (int(number or 0) for number in numbers)
        if minimum < 0 or maximum < 0:
            self._wrong(name, asked, "a number of workers cannot be negative")
        elif minimum > maximum:
            self._wrong(
                name,
                asked,
                f"the minimum is above the maximum; did you mean ({maximum}, {minimum})?",
            )
        elif maximum > pool.max_workers:
            self._wrong(name, asked, f"pool {name} allows at most {pool.max_workers} workers")
        else:
            return self._granted(pool, Bounds(minimum, maximum))
        return None

    def _wrong(self, name: str, asked: object, why: str) -> None:
        self.problems.append(f"{name}={asked!r}: {why}")

    def _granted(self, pool: Pool, asked: Bounds) -> Bounds | None:
        """Round up to whole groups, and keep to what there is."""
        limit = self.limits[pool.name]
        if asked.maximum and not limit.workers:
            self.problems.append(f"{pool.name}={asked.maximum}: {limit.reason}")
            return None
        size = pool.processes
        rounded = Bounds(*(math.ceil(end / size) * size for end in (asked.minimum, asked.maximum)))
        if rounded != asked:
            self.notes.append(
                f"pool {pool.name} starts workers in groups of {size}: {rounded} instead of {asked}"
            )
        most = max(size, min(limit.workers, pool.max_workers) // size * size)
        if rounded.maximum > most:
            self.notes.append(
                f"pool {pool.name} gets at most {most} workers instead of {rounded.maximum}: "
                f"{limit.reason}"
            )
        return Bounds(min(rounded.minimum, most), min(rounded.maximum, most))

    def everything(self, pool: Pool) -> Bounds | None:
        """Return the bounds of a call that names no number: from 0 to all there is."""
        limit = self.limits[pool.name]
        if not limit.workers:
            self.problems.append(limit.reason)
            return None
        size = pool.processes
        return Bounds(0, max(size, min(limit.workers, pool.max_workers) // size * size))

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
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


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
        problems.append(
            f"wait={asked!r}: only {minima} workers start by themselves; the others come when "
            "there is work for them"
        )
    return number


def counts(
    config: Config, n: object, pools: Mapping[str, object], problems: list[str]
) -> dict[str, object]:
    """Merge the number without a name, which is the default pool's, with the others."""
    default = config.default.name
    if n is None:
        return dict(pools)
    if default in pools:
        problems.append(
            f"both {n!r} and {default}={pools[default]!r}: a number without a name is that of "
            f"the default pool, {default}; give one of the two"
        )
        return dict(pools)
    return {default: n, **pools}


def request(
    config: Config,
    limits: Mapping[str, Limit],
    n: object = None,
    *,
    pools: Mapping[str, object],
    memory: Mapping[str, str | int] | None = None,
    wait: object = None,
    timeout: object = None,
    idle_timeout: object = None,
    untagged: Iterable[str] | None = None,
    name: str | None = None,
) -> Request:
    """Check a call of `cluster`.

    Raises
    ------
    RequestError
        With everything that is wrong with the call.
    """
    checker = Checker(config, limits)
    problems = checker.problems
    asked = counts(config, n, pools, problems)
    sizes = checker.memory(memory)
    granted: dict[str, PoolRequest] = {}
    for pool in config.pools.values():
        bounds: Bounds | None = Bounds(0, 0)
        if pool.name in asked:
            bounds = checker.bounds(pool.name, asked[pool.name])
        elif not asked and pool.default:
            bounds = checker.everything(pool)
        granted[pool.name] = PoolRequest(pool, bounds or Bounds(0, 0), sizes[pool.name])
    for unknown in asked.keys() - config.pools.keys():
        checker.known(unknown)
    chosen = (
        None if untagged is None else tuple([untagged] if isinstance(untagged, str) else untagged)
    )
    for pool_name in chosen or ():
        checker.known(pool_name)
    if name is not None and not NAME.fullmatch(name):
        problems.append(
            f"name={name!r}: use up to 40 lower-case letters, digits and '-', with a letter first"
        )
    request = Request(
        config=config,
        pools=granted,
        timeout=DEFAULT_TIMEOUT if timeout is None else _seconds("timeout", timeout, problems),
        idle_timeout=(
            DEFAULT_IDLE_TIMEOUT
            if idle_timeout is None
            else _seconds("idle_timeout", idle_timeout, problems)
        ),
        wait=_wait(wait, granted.values(), problems),
        untagged=chosen,
        name=name,
        notes=tuple(checker.notes),
    )
    checker.finish("This Dask cluster cannot be started")
    return request


def rescaled(
    config: Config,
    limits: Mapping[str, Limit],
    n: object,
    pools: Mapping[str, object],
    *,
    call: str,
) -> tuple[dict[str, Bounds], list[str]]:
    """Check a call of `scale` or `adapt`: new bounds of pools, and notes.

    Raises
    ------
    RequestError
        With everything that is wrong with the call.
    """
    checker = Checker(config, limits)
    asked = counts(config, n, pools, checker.problems)
    if not asked:
        checker.problems.append(f"name a number or pools, as in {call}({config.default.name}=2)")
    found = {pool: checker.bounds(pool, count) for pool, count in asked.items()}
    if call == "scale":
        for pool, bounds in found.items():
            if bounds is not None and bounds.adapts:
                checker.problems.append(
                    f"{pool}={asked[pool]!r}: scale fixes a number; use adapt for a range"
                )
    checker.finish(f"{call} cannot be granted")
    return {pool: bounds for pool, bounds in found.items() if bounds}, checker.notes
