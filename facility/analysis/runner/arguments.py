"""The arguments of a run, checked before anything is done."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypedDict, cast

from coffea.processor import ProcessorABC
from distributed import Client
from distributed.deploy.cluster import Cluster

from facility.analysis.files.replicas import Caches, caches
from facility.analysis.inputs.fileset import Sources
from facility.analysis.reading.physlite import PhysliteSchema
from facility.errors import RequestError

CHUNKSIZE = 200_000
"""Events of a chunk: reading one costs as much as some ten thousand events."""
Processor: TypeAlias = ProcessorABC | Callable[[Any], Any]
OF_RUNNER = {
    "skipbadfiles": 'on_error="skip" leaves out what fails, and the report lists it',
    "savemetrics": "leave it out: the report, which is returned beside the results, has all of it",
    "use_result_type": "leave it out: a RunError has `results` and `report`",
    "xrootdtimeout": 'uproot_options={"timeout": seconds}',
    "align_clusters": "leave it out: chunks end where clusters of a file end, if that is near",
    "metadata_cache": "leave it out: what was found of files is kept in your cache folder",
    "format": "leave it out: files are ROOT's, with a TTree or an RNTuple",
    "checkpointer": "checkpoint=folder",
    "cachestrategy": "leave it out: workers keep files open, and what they know of them",
    "processor_compression": "leave it out",
    "processor_instance": "processor, the first argument",
    "iteritems_options": "leave it out: only branches that the processor uses are looked at",
    "executor": "cluster_or_client, where to run; or keep coffea's Runner, with facility.Executor",
    "pre_executor": "leave it out: the files are looked into here",
    "client": "cluster_or_client",
    "cluster": "cluster_or_client",
}
"""What stands for arguments that people bring along from coffea's Runner and from Dask."""


class RunOptions(TypedDict, total=False):
    """What can be said of a run by name: the fields of `RunRequest`, but for what stands first."""

    schema: Any
    treename: str
    chunksize: int
    maxchunks: int | None
    on_error: Literal["raise", "skip"]
    retries: int
    checkpoint: str | Path | None
    metadata: Mapping[str, Any] | None
    uproot_options: Mapping[str, Any] | None
    weights: bool
    output: str | Path | None
    xcache: Caches | None
    progress: bool


@dataclass(frozen=True)
class RunRequest:
    """What one call of `facility.run` asks for, which says what each of it means.

    Attributes
    ----------
    unknown
        Arguments that it does not have.

    Raises
    ------
    RequestError
        With everything that is wrong with them.
    """

    processor: Processor
    fileset: Sources
    cluster_or_client: Cluster | Client | None = None
    pool: str | None = None
    schema: Any = PhysliteSchema
    treename: str = "CollectionTree"
    chunksize: int = CHUNKSIZE
    maxchunks: int | None = None
    on_error: Literal["raise", "skip"] = "raise"
    retries: int = 3
    checkpoint: str | Path | None = None
    metadata: Mapping[str, Any] | None = None
    uproot_options: Mapping[str, Any] | None = None
    weights: bool = False
    output: str | Path | None = None
    xcache: Caches | None = None
    progress: bool = True
    unknown: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of_options(
        cls,
        processor: Processor,
        fileset: Sources,
        cluster_or_client: Cluster | Client | None,
        pool: str | None,
        options: RunOptions,
    ) -> Self:
        """Make one of options, of which callers may have misspelt some."""
        names = RunOptions.__annotations__
        known = {name: value for name, value in options.items() if name in names}
        unknown = {name: value for name, value in options.items() if name not in names}
        return cls(
            processor, fileset, cluster_or_client, pool, **cast(RunOptions, known), unknown=unknown
        )

    def __post_init__(self) -> None:
        if problems := self._problems():
            raise RequestError("The run cannot begin", problems)

    def _problems(self) -> list[str]:
        processor: object = self.processor
        problems = []
        if isinstance(processor, type):
            problems.append(f"processor is the class {processor.__name__}; make an instance of it")
        elif not isinstance(processor, ProcessorABC) and not callable(processor):
            problems.append(f"processor={processor!r} is neither a coffea processor nor a function")
        problems += _place_problems(self.cluster_or_client, self.pool)
        if not callable(self.schema):
            problems.append(f"schema={self.schema!r} is not a coffea schema")
        if (whole(self.chunksize) or 0) < 1:
            problems.append(f"chunksize={self.chunksize!r} is not a number of events from 1 on")
        if self.maxchunks is not None and (whole(self.maxchunks) or 0) < 1:
            problems.append(f"maxchunks={self.maxchunks!r} is not a number of chunks from 1 on")
        if self.on_error not in ("raise", "skip"):
            problems.append(f"on_error={self.on_error!r} is neither 'raise' nor 'skip'")
        problems += _retries_problems(self.retries)
        try:
            caches(self.xcache)
        except (TypeError, ValueError) as error:
            problems.append(f"xcache: {error}")
        known = [each.name for each in fields(self) if each.name != "unknown"]
        return problems + [_unknown(name, known) for name in self.unknown]


def check_place(place: object, pool: str | None, retries: object) -> None:
    """Refuse a place to run in that cannot be used.

    Raises
    ------
    RequestError
        With everything that is wrong with it.
    """
    problems = _place_problems(place, pool) + _retries_problems(retries)
    if problems:
        raise RequestError("The run cannot begin", problems)


def whole(value: object) -> int | None:
    """Give a whole number, of NumPy's or written as ``1e5`` too; None for everything else."""
    if isinstance(value, bool):
        return None
    try:
        if float(value).is_integer():  # type: ignore[arg-type]
            return int(value) if hasattr(value, "is_integer") else operator.index(value)  # type: ignore[arg-type, call-overload]
    except (TypeError, ValueError, OverflowError):
        pass
    return None


def _retries_problems(retries: object) -> list[str]:
    number = whole(retries)
    good = number is not None and number >= 0
    return [] if good else [f"retries={retries!r} is not a number from 0 on"]


def _unknown(name: str, known: list[str]) -> str:
    if name in OF_RUNNER:
        return f"{name}= is not an argument of facility.run: {OF_RUNNER[name]}"
    close = get_close_matches(name, known, 1)
    valid = f"did you mean {close[0]}=?" if close else f"its arguments are {', '.join(known)}"
    return f"{name}= is not an argument of facility.run; {valid}"


def _place_problems(place: object, pool: str | None) -> list[str]:
    if place is not None and not isinstance(place, Cluster | Client):
        return [f"{place!r} is neither a Dask cluster nor a client"]
    if getattr(place, "asynchronous", False):
        return ["it runs in the caller's thread and cannot use an asynchronous client"]
    if place is None or pool is None:
        return []
    known = getattr(getattr(place, "cluster", None) or place, "route", None)
    if known is not None:
        known(pool)
    return []
