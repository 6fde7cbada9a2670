"""What runs, what is missing, why, and what to do: one or two sentences a pool."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from distributed.core import Status

from facility.config import Pool
from facility.deploy.pool_state import Crew
from facility.table import Table, Text
from facility.wording import counted


def explain(
    name: str,
    status: str,
    crews: Iterable[Crew],
    remarks: Iterable[str],
    reasons: Callable[[str], Iterable[str]] = lambda pool: (),
) -> Text:
    """Explain a Dask cluster.

    Parameters
    ----------
    status
        A clause such as "runs" or "has failed: ...".
    remarks
        Sentences about all pools together.
    reasons
        Says why started workers of a pool do not run yet.
    """
    lines = [f"Dask cluster {name} {status}."]
    for crew in crews:
        lines += [f"  {sentence}" for sentence in pool_sentences(crew)]
        lines += [f"  {crew.pool.name}: {reason}." for reason in reasons(crew.pool.name)]
    lines += [f"  {remark}" for remark in remarks]
    return Text("\n".join(lines))


def status_words(status: Status, because: str | None) -> str:
    """Say in a clause what state a Dask cluster is in, and why."""
    words = {
        Status.created: "has not been started",
        Status.starting: "is starting",
        Status.failed: f"has failed: {because}",
        Status.closing: "is closing",
        Status.closed: f"is closed{': ' + because if because else ''}",
    }
    return words.get(status, "runs")


def other_software(name: str, workers: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Say how the software of new workers differs from what runs here; None where it does not."""
    found = next(
        (worker["facility"] for worker in workers.values() if worker.get("facility")), None
    )
    if not found:
        return None
    return (
        f"Dask cluster {name}: a worker runs other software than this notebook: "
        f"{'; '.join(found)}. Results may differ."
    )


def pool_sentences(crew: Crew) -> list[str]:
    """Explain one pool; nothing for one that is neither wanted nor used."""
    pool, bounds, demand = crew.pool, crew.bounds, crew.demand
    if not (bounds.maximum or crew.groups or demand.waiting):
        return []
    starting = sum(len(group.members) for group in crew.groups.values()) - crew.joined
    text = f"{pool.name}: {crew.joined} of {counted(crew.target, 'worker')} running"
    if crew.joined > crew.target:
        text = f"{pool.name}: {counted(crew.joined, 'worker')} running, {crew.target} wanted"
    text += f", {starting} starting" if starting else ""
    text += f", {crew.retiring} leaving" if crew.retiring else ""
    text += f" (adapts from {bounds})" if crew.adapting else ""
    runs = counted(demand.processing, "task runs", "tasks run")
    text += f"; {runs} there" if demand.processing else ""
    waits = counted(demand.waiting, "waits", "wait")
    text += f", {waits}" if demand.waiting else ""
    sentences = [text + "."]
    if crew.broken:
        sentences.append(
            f"{pool.name}: no more workers are started, since {crew.broken}. "
            f"Read c.logs({pool.name!r}); c.scale({pool.name}=...) tries again."
        )
        if crew.last_loss and crew.last_loss.tail:
            sentences.append(f"{pool.name}: the last log lines are:\n{crew.last_loss.tail}")
    elif crew.lost and crew.last_loss:
        sentences.append(
            f"{pool.name}: {counted(crew.lost, 'worker')} lost and replaced; the last one, "
            f"{crew.last_loss.name}, {crew.last_loss.how}."
        )
    if crew.no_room:
        sentences.append(f"{pool.name}: no room for more: {crew.no_room}.")
    if crew.kept:
        sentences.append(f"{pool.name}: {crew.kept}.")
    if demand.waiting and not bounds.maximum:
        sentences.append(no_workers(crew))
    return sentences


def no_workers(crew: Crew) -> str:
    """Say that tasks wait for a pool that may have no workers."""
    name = crew.pool.name
    return (
        f"{counted(crew.demand.waiting, 'task waits', 'tasks wait')} for pool {name}, which has no "
        f"workers in this Dask cluster: c.scale({name}=1) or c.adapt({name}=(0, 2)) starts some."
    )


def table(crews: Iterable[Crew], absent: Callable[[Pool], Iterable[str]]) -> Table:
    """Return the pools of a Dask cluster as a table.

    Parameters
    ----------
    absent
        Folders of the notebook that a pool's workers do not have.
    """
    columns = ("pool", "workers", "wanted", "bounds", "threads", "memory", "running", "waiting")
    crews = list(crews)
    rows: list[tuple[object, ...]] = [
        (
            crew.pool.name + (" (default)" if crew.pool.default else ""),
            crew.joined,
            crew.target,
            str(crew.bounds),
            crew.pool.threads,
            _memory(crew),
            crew.demand.processing,
            crew.demand.waiting,
            crew.lost,
        )
        for crew in crews
    ]
    missing = [", ".join(absent(crew.pool)) for crew in crews]
    if any(missing):
        both = zip(rows, missing, strict=True)
        return Table((*columns, "lost", "has not"), tuple((*row, each) for row, each in both))
    return Table((*columns, "lost"), tuple(rows))


def _memory(crew: Crew) -> str:
    from facility.quantity import format_memory

    return format_memory(crew.request.memory)
