"""What runs, what is missing, why, and what to do: one or two sentences a pool."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from distributed.core import Status

from facility.config import Pool
from facility.deploy.pool_state import PoolState
from facility.table import Table, Text
from facility.wording import counted


def explain(
    name: str,
    status: str,
    pool_states: Iterable[PoolState],
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
    for state in pool_states:
        lines += [f"  {sentence}" for sentence in pool_sentences(state)]
        lines += [f"  {state.pool.name}: {reason}." for reason in reasons(state.pool.name)]
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


def pool_sentences(state: PoolState) -> list[str]:
    """Explain one pool; nothing for one that is neither wanted nor used."""
    pool, bounds, demand = state.pool, state.bounds, state.demand
    if not (bounds.maximum or state.groups or demand.waiting):
        return []
    starting = sum(len(group.members) for group in state.groups.values()) - state.joined
    text = f"{pool.name}: {state.joined} of {counted(state.target, 'worker')} running"
    if state.joined > state.target:
        text = f"{pool.name}: {counted(state.joined, 'worker')} running, {state.target} wanted"
    text += f", {starting} starting" if starting else ""
    text += f", {state.retiring} leaving" if state.retiring else ""
    text += f" (adapts from {bounds})" if state.adapting else ""
    runs = counted(demand.processing, "task runs", "tasks run")
    text += f"; {runs} there" if demand.processing else ""
    waits = counted(demand.waiting, "waits", "wait")
    text += f", {waits}" if demand.waiting else ""
    sentences = [text + "."]
    if state.broken:
        sentences.append(
            f"{pool.name}: no more workers are started, since {state.broken}. "
            f"Read c.logs({pool.name!r}); c.scale({pool.name}=...) tries again."
        )
        if state.last_loss and state.last_loss.tail:
            sentences.append(f"{pool.name}: the last log lines are:\n{state.last_loss.tail}")
    elif state.lost and state.last_loss:
        sentences.append(
            f"{pool.name}: {counted(state.lost, 'worker')} lost and replaced; the last one, "
            f"{state.last_loss.name}, {state.last_loss.how}."
        )
    if state.no_room:
        sentences.append(f"{pool.name}: no room for more: {state.no_room}.")
    if state.kept:
        sentences.append(f"{pool.name}: {state.kept}.")
    if demand.waiting and not bounds.maximum:
        sentences.append(no_workers(state))
    return sentences


def stopped(states: Iterable[PoolState]) -> str | None:
    """Say why pools that were to have workers have none, and get none any more.

    Parameters
    ----------
    states
        Pools, one of which is enough to work; one that is to have no workers may get some yet.
    """
    wanted = [state for state in states if state.bounds.maximum]
    if not wanted or not all(state.broken and not state.groups for state in wanted):
        return None
    return " ".join(sentence for state in wanted for sentence in pool_sentences(state)[1:])


def no_workers(state: PoolState) -> str:
    """Say that tasks wait for a pool that may have no workers."""
    name, waiting = state.pool.name, state.demand.waiting
    return (
        f"{counted(waiting, 'task waits', 'tasks wait')} for pool {name}, which has no "
        f"workers in this Dask cluster: c.scale({name}=1) or c.adapt({name}=(0, 2)) starts some."
    )


def table(pool_states: Iterable[PoolState], absent: Callable[[Pool], Iterable[str]]) -> Table:
    """Return the pools of a Dask cluster as a table.

    Parameters
    ----------
    absent
        Folders of the notebook that a pool's workers do not have.
    """
    columns = ("pool", "workers", "wanted", "bounds", "threads", "memory", "running", "waiting")
    pool_states = list(pool_states)
    rows: list[tuple[object, ...]] = [
        (
            state.pool.name + (" (default)" if state.pool.default else ""),
            state.joined,
            state.target,
            str(state.bounds),
            state.pool.threads,
            _memory(state),
            state.demand.processing,
            state.demand.waiting,
            state.lost,
        )
        for state in pool_states
    ]
    missing = [", ".join(absent(state.pool)) for state in pool_states]
    if any(missing):
        both = zip(rows, missing, strict=True)
        return Table((*columns, "lost", "has not"), tuple((*row, each) for row, each in both))
    return Table((*columns, "lost"), tuple(rows))


def _memory(state: PoolState) -> str:
    from facility.quantity import format_memory

    return format_memory(state.request.memory)
