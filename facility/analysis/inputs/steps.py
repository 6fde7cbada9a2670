"""What filesets of uproot and coffea tell of a file besides its path: tree, steps of events.

`coffea.dataset_tools.preprocess` writes ``{"object_path": ..., "steps": [[0, 100], ...], ...}``.
A run cuts files into chunks of its own, so that steps are only looked at to see whether they leave
out events, which is not to be done silently, nor undone.
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from facility.wording import counted

TREE, STEPS = "object_path", "steps"


def tree_of(told: object) -> str | None:
    """Name of the tree that a fileset tells of a file; None where it tells none.

    Parameters
    ----------
    told
        A tree's name, None, or a mapping as above.

    Raises
    ------
    ValueError
        It is nothing of these; the message is a part of a sentence.
    """
    tree = told.get(TREE) if isinstance(told, Mapping) else told
    if tree is not None and not isinstance(tree, str):
        raise ValueError(
            f"has {told!r} for the name of its tree; that is a text, None for `treename`, or "
            f'{{"{TREE}": name}}'
        )
    return tree or None


def left_out(told: object, events: int) -> str | None:
    """Say which events the steps of a file leave out; None where they leave out none.

    Parameters
    ----------
    told
        As of `tree_of`.
    events
        Of the file.

    Returns
    -------
    str or None
        A part of a sentence.
    """
    steps = told.get(STEPS) if isinstance(told, Mapping) else None
    # A number of steps, or a size of each, is for all events.
    if steps is None or isinstance(steps, int | str) or not isinstance(steps, Iterable):
        return None
    try:
        pairs = _pairs(list(steps))
    except (TypeError, ValueError):
        return f"has {STEPS} that are neither [start, stop] of each nor where each begins"
    at = 0
    for start, stop in sorted(pairs):
        if start != at:
            break
        at = stop
    if at == events and len(pairs) == len(set(pairs)):
        return None
    return (
        f"has {STEPS} that are not all of its {counted(events, 'event')} once; a run reads files "
        f"whole, in chunks of its own (chunksize=): give it without {STEPS}"
    )


def _pairs(steps: list[Any]) -> list[tuple[int, int]]:
    """Bring steps into one form; a list of numbers tells where each begins, and the last ends."""
    if all(isinstance(step, Iterable) for step in steps):
        return [(int(start), int(stop)) for start, stop in steps]
    numbers = [int(step) for step in steps]
    return list(pairwise(numbers))
