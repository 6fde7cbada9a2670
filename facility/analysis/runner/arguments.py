"""The arguments of a run, checked before anything is done."""

import operator
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from coffea.processor import ProcessorABC
from distributed import Client
from distributed.deploy.cluster import Cluster

from facility.analysis.files.replicas import caches
from facility.errors import RequestError

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


def check_run(
    processor: object,
    place: object,
    pool: str | None,
    schema: object,
    chunksize: object,
    maxchunks: object,
    on_error: object,
    retries: object,
    xcache: Any,
    unknown: Mapping[str, object],
    known: list[str],
) -> None:
    """Refuse arguments of `facility.run` that cannot be used.

    Parameters
    ----------
    unknown
        Those that it does not have.
    known
        Names of those that it has.

    Raises
    ------
    RequestError
        With everything that is wrong with them.
    """
    problems = []
    if isinstance(processor, type):
        problems.append(f"processor is the class {processor.__name__}; make an instance of it")
    elif not isinstance(processor, ProcessorABC) and not callable(processor):
        problems.append(f"processor={processor!r} is neither a coffea processor nor a function")
    problems += _place_problems(place, pool)
    if not callable(schema):
        problems.append(f"schema={schema!r} is not a coffea schema")
    if (whole(chunksize) or 0) < 1:
        problems.append(f"chunksize={chunksize!r} is not a number of events from 1 on")
    if maxchunks is not None and (whole(maxchunks) or 0) < 1:
        problems.append(f"maxchunks={maxchunks!r} is not a number of chunks from 1 on")
    if on_error not in ("raise", "skip"):
        problems.append(f"on_error={on_error!r} is neither 'raise' nor 'skip'")
    problems += _retries_problems(retries)
    try:
        caches(xcache)
    except (TypeError, ValueError) as error:
        problems.append(f"xcache: {error}")
    problems += [_unknown(name, known) for name in unknown]
    if problems:
        raise RequestError("The run cannot begin", problems)


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
