"""Sums of weights: what a file's events were before derivation, as CutBookkeepers tell it.

Monte Carlo is normalised by the weights of all events that were made, most of which no PHYSLITE
file holds any more. ATLAS keeps their sums in the tree MetaData of each file.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from facility.analysis.files.open_file import find

TREE, PREFIX = "MetaData", "CutBookkeepersAux."
ALL_EVENTS = "AllExecutedEvents"
"""Name of the bookkeeper that counts every event that a job has read."""
STREAM = "StreamAOD"


class Weights(NamedTuple):
    """DistributedReduction over the events from which a file was derived.

    Attributes
    ----------
    events
        Their number.
    sum, squares
        Of their nominal weights, and of the weights squared.
    """

    events: int
    sum: float
    squares: float


def weights(directory: Any) -> Weights | None:
    """Read the sums of one open file.

    Of the bookkeepers called AllExecutedEvents for the stream of AODs, the one with the highest
    cycle counts: that is the earliest step, before anything was left out.

    Parameters
    ----------
    directory
        What `uproot.open` returns.

    Returns
    -------
    Weights or None
        None where the file has none: data, or not PHYSLITE.
    """
    try:
        key = find(directory, TREE).key
    except KeyError:
        return None
    if key.fClassName != "TTree":
        return None
    tree = key.get()
    names = ("name", "cycle", "inputStream", "nAcceptedEvents", "sumOfEventWeights",
             "sumOfEventWeightsSquared")  # fmt: skip
    wanted = [f"{PREFIX}/{PREFIX}{name}" for name in names]
    if f"{PREFIX}/{PREFIX}name" not in tree.keys():  # noqa: SIM118 - uproot's keys hold folders
        return None
    if not tree.num_entries:
        return None
    columns = [list(tree[name].array(library="np", entry_stop=1)[0]) for name in wanted]
    rows = [
        (cycle, Weights(int(events), float(total), float(squares)))
        for name, cycle, stream, events, total, squares in zip(*columns, strict=True)
        if name == ALL_EVENTS and stream == STREAM
    ]
    return max(rows, key=lambda row: row[0])[1] if rows else None


def total(parts: Iterable[Weights]) -> Weights:
    """Add sums of files, rounded once, so that their order does not matter."""
    found = list(parts)
    return Weights(
        sum(part.events for part in found),
        math.fsum(part.sum for part in found),
        math.fsum(part.squares for part in found),
    )
