"""The public call: a processor in two pools, compared event by event."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.deploy.cluster import Cluster

from facility.analysis.files.chunk import TOLD
from facility.analysis.files.replicas import Caches
from facility.analysis.inputs.fileset import Sources
from facility.analysis.inputs.plan import first_events
from facility.analysis.reading.physlite import PhysliteSchema
from facility.analysis.results.comparison import Comparison, compare
from facility.analysis.results.report import Report
from facility.analysis.run import MetadataWarning, Prepared, prepared
from facility.analysis.runner.arguments import CHUNKSIZE, Processor, RunRequest, whole
from facility.analysis.serialization.pickling import pickled
from facility.analysis.validation.columns import RESULTS, EventColumns
from facility.analysis.validation.differing import Tolerance
from facility.analysis.validation.events import EventComparison, machines
from facility.analysis.validation.outcome import Validation
from facility.analysis.validation.page import column_histograms
from facility.deploy import launch
from facility.errors import RequestError
from facility.request.dask_words import no_pool

EVENTS = 10_000
"""Events of each dataset, as in the first proof of ARM."""
EXACTLY = Tolerance()
Tolerances = Mapping[str, float | tuple[float, float]]


def validate(
    processor: Processor,
    fileset: Sources,
    pools: Sequence[str] = ("cpu", "arm"),
    cluster_or_client: Cluster | Client | None = None,
    *,
    events: int | None = EVENTS,
    tolerances: Tolerances | None = None,
    schema: Any = PhysliteSchema,
    treename: str = "CollectionTree",
    chunksize: int = CHUNKSIZE,
    retries: int = 3,
    metadata: Mapping[str, Any] | None = None,
    uproot_options: Mapping[str, Any] | None = None,
    xcache: Caches | None = None,
    progress: bool = True,
) -> Validation:
    """Run a processor in two pools, and compare event by event what it returns.

    Both runs have the same plan: the same chunks of the same files. Columns are arrays that the
    processor returns anywhere in its dictionaries: of NumPy, awkward, CuPy, coffea's
    `column_accumulator`, lists, and those of a `facility.analysis.Skim`. One with a value for each
    event of a chunk is compared by the event's entry in its file. Any other is compared by run and
    event number, where columns of that name stand beside it in the same dictionary
    (``runNumber`` or ``run``, ``eventNumber`` or ``event``), and else by position.
    Everything else that it returns is added up, and compared as `facility.analysis.compare` does.

    Parameters
    ----------
    processor, fileset
        As `facility.run` takes them. `postprocess` of a processor is not called.
    pools
        Names of two pools. The first is what the second is compared with.
    cluster_or_client
        Where to run, with workers of both pools; without one a Dask cluster is started for each
        of the two runs, one after the other.
    events
        Events of each dataset, its first ones; None for all. Columns of all of them are held in
        memory.
    tolerances
        By name of a column, histogram or number, a relative tolerance, or a relative and an
        absolute one: ``{"mass": 1e-6, "jets.*": (1e-6, 0.1)}``. Names may be patterns, of which
        the last one that fits holds. Values are equal if they differ by at most one of the two;
        without any they have to be equal exactly. NaN equals NaN, and -0.0 equals 0.0. Types
        (``float32``, ``float64``) have to be the same where a column has no tolerance.
    schema, treename, chunksize, retries, metadata, uproot_options, xcache, progress
        As of `facility.run`.

    Returns
    -------
    Validation
        Its `ok` says whether everything is equal; `save` writes a page of HTML.

    Raises
    ------
    RequestError
        With everything that is wrong with the call.
    FilesetError
        With everything that is wrong with the files.
    RunError
        Where events could not be processed in one of the pools.

    Examples
    --------
    >>> found = validate(my_processor, "data/*.root.1", ("cpu", "arm"))  # doctest: +SKIP
    >>> found.ok, found.save("arm.html")  # doctest: +SKIP
    """
    given = _Given(events, tolerances or {})
    problems = [*given.problems(), *pool_problems(pools, cluster_or_client)]
    first = second = None
    try:
        options: dict[str, Any] = {
            "schema": schema, "treename": treename, "chunksize": chunksize, "retries": retries,
            "metadata": metadata, "uproot_options": uproot_options, "xcache": xcache,
            "progress": progress,
        }  # fmt: skip
        requests = [
            RunRequest(
                processor, fileset, cluster_or_client, pool if not problems else None, **options
            )
            for pool in list(pools)[:2]
        ]
        if not problems:
            first, second = _both(requests, given)
    except RequestError as error:
        problems += error.problems
    if first is None or second is None or problems:
        raise RequestError("The validation cannot begin", dict.fromkeys(problems))
    results = first.finish(), second.finish()
    return _compared((first, second), results, given)


class _Given:
    """How far and how exactly to compare."""

    def __init__(self, events: int | None, tolerances: Tolerances) -> None:
        self.events, self._given = events, tolerances
        self._used: set[str] = set()

    def problems(self) -> list[str]:
        """Say what is wrong with it."""
        wrong = []
        if self.events is not None and (whole(self.events) or 0) < 1:
            wrong.append(f"events={self.events!r} is not a number of events from 1 on")
        for name, given in self._given.items():
            numbers: tuple[object, ...] = given if isinstance(given, tuple) else (given,)
            good = 1 <= len(numbers) <= 2 and all(
                isinstance(x, int | float) and not isinstance(x, bool) and x >= 0 for x in numbers
            )
            if not good:
                wrong.append(
                    f"the tolerance of {name}, {given!r}, is neither a number from 0 on nor two of "
                    "them (relative, absolute)"
                )
        return wrong

    def tolerance(self, name: str) -> Tolerance:
        """Find the tolerance of a name."""
        fit = [pattern for pattern in self._given if fnmatchcase(name, pattern)]
        self._used |= set(fit)
        if not fit:
            return EXACTLY
        last = self._given[fit[-1]]
        return Tolerance(*map(float, last if isinstance(last, tuple) else (last,)))

    def unused(self, names: list[str]) -> list[str]:
        """Say which tolerances are of nothing that was compared."""
        valid = ", ".join(names) or "nothing"
        return [
            f"a tolerance is given for {name!r}, and the processor returns {valid}"
            for name in self._given
            if name not in self._used
        ]


def pool_problems(pools: Sequence[str], place: Cluster | Client | None) -> list[str]:
    """Say what is wrong with two names of pools."""
    given: object = pools
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != 2:
        return [f"pools={pools!r} is not two names of pools, as ('cpu', 'arm')"]
    if pools[0] == pools[1]:
        return [f"both pools are {pools[0]!r}; two different ones are compared"]
    if place is None:
        loaded, _ = launch.room()
        return [no_pool(name, loaded) for name in pools if name not in loaded.pools]
    return [problem for pool in pools for problem in _route_problems(place, pool)]


def _route_problems(place: Cluster | Client, pool: str) -> tuple[str, ...]:
    route = getattr(getattr(place, "cluster", None) or place, "route", None)
    try:
        if route is not None:
            route(pool)
    except RequestError as error:
        return error.problems
    return ()


def _both(requests: list[RunRequest], given: _Given) -> tuple[Prepared, Prepared]:
    """Prepare both runs of one plan."""
    wrapped = EventColumns(pickled(requests[0].processor))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetadataWarning)  # of what is refused below
        first = prepared(replace(requests[0], processor=wrapped))
    work = first.plan
    shadowed = {
        name
        for dataset, data in work.metadata.items()
        for name in TOLD[:5]
        if name in data and (name, data[name]) != (TOLD[0], dataset)
    }
    if shadowed:
        names = ", ".join(sorted(shadowed))
        problem = f"the metadata have {names}, by which events are told apart; rename it"
        raise RequestError("The validation cannot begin", [problem])
    if given.events is not None:
        work = first_events(work, int(given.events))
    if not work.events:
        raise RequestError("The validation cannot begin", ["the files have no events"])
    first = replace(first, plan=work, report=_account(work, first.report))
    request = replace(requests[1], processor=wrapped)
    return first, replace(first, request=request, report=_account(work, first.report))


def _account(work: Any, like: Report) -> Report:
    report = Report.of(work, like.started)
    report.pickled = like.pickled
    return report


def _compared(
    runs: tuple[Prepared, Prepared], results: tuple[Any, Any], given: _Given
) -> Validation:
    first, second = runs
    pools = str(first.request.pool), str(second.request.pool)
    events = EventComparison(pools, given.tolerance)
    events.compare(first.plan, results)
    sums = _results([(result or {}).get(RESULTS, {}) for result in results], given)
    names = [*events.columns, *(item.name for item in sums.items)]
    columns = list(events.columns.values())
    drawn = [column.name for column in sorted(columns, key=lambda column: column.ok)]
    return Validation(
        pools=pools,
        machines=(machines(results[0]), machines(results[1])),
        events=events.events,
        columns=tuple(columns),
        first=tuple(events.first),
        differing=events.differing,
        results=sums,
        histograms=column_histograms(drawn, events.values),
        problems=(*events.problems, *given.unused(names)),
        plan_hash=first.plan.hash,
        reports=(first.report, second.report),
    )


def _results(sides: list[dict[str, Any]], given: _Given) -> Comparison:
    """Compare what was added up, each thing with its own tolerance."""
    by_tolerance: dict[Tolerance, list[str]] = {}
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        by_tolerance.setdefault(given.tolerance(name), []).append(name)
    parts = []
    for tolerance, names in by_tolerance.items():
        pair = [{name: side[name] for name in names if name in side} for side in sides]
        parts.append(compare(*pair, relative=tolerance.relative, absolute=tolerance.absolute))
    return Comparison.of(parts)


def page_of(script: Path) -> Path:
    """Say where the page of a script is written if nothing else is said."""
    return Path(f"validation-{script.stem}.html")


def told(found: Validation, path: Path) -> str:
    """Write what a terminal shows at the end."""
    shown = f"\nThe first events that differ:\n{found.first_events}" if found.first else ""
    sentences = "".join(f"\n{sentence}" for sentence in found.sentences())
    return f"{found.summary()}\n{found.table}{shown}{sentences}\nThe page is {path}."
