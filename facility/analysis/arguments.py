"""The arguments of a run, checked before anything is done."""

from typing import Any

from coffea.processor import ProcessorABC
from distributed import Client
from distributed.deploy.cluster import Cluster

from facility.analysis.xcache import caches
from facility.errors import RequestError


def check_run(
    processor: object,
    place: object,
    pool: str | None,
    schema: object,
    chunksize: object,
    on_error: object,
    retries: object,
    xcache: Any,
) -> None:
    """Refuse arguments of `facility.run` that cannot be used.

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
    if not isinstance(chunksize, int) or chunksize < 1:
        problems.append(f"chunksize={chunksize!r} is not a number of events from 1 on")
    if on_error not in ("raise", "skip"):
        problems.append(f"on_error={on_error!r} is neither 'raise' nor 'skip'")
    if not isinstance(retries, int) or retries < 0:
        problems.append(f"retries={retries!r} is not a number from 0 on")
    try:
        caches(xcache)
    except (TypeError, ValueError) as error:
        problems.append(f"xcache: {error}")
    if problems:
        raise RequestError("The run cannot begin", problems)


def check_place(place: object, pool: str | None, retries: object) -> None:
    """Refuse a place to run in that cannot be used.

    Raises
    ------
    RequestError
        With everything that is wrong with it.
    """
    problems = _place_problems(place, pool)
    if not isinstance(retries, int) or retries < 0:
        problems.append(f"retries={retries!r} is not a number from 0 on")
    if problems:
        raise RequestError("The run cannot begin", problems)


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
