"""A processor that tells what is in each column, as few bytes that can be compared."""

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

import awkward as ak
import numpy as np
from coffea.processor import ProcessorABC

Column = tuple[str, ...]
"""A column by the names that lead to it."""
Told = dict[Column, str]
"""What is told of each column."""
FORM: Column = ("(form)",)
"""Stands for a column: what the events are made of."""
ERROR = "error: "


class Columns(ProcessorABC):  # type: ignore[misc]
    """Read every column.

    Parameters
    ----------
    seed
        Of the order in which they are read.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def process(self, events: Any) -> dict[tuple[int, int], Told]:
        """Tell of one chunk, by its first event and the one after its last."""
        told: Told = {FORM: described(events)}
        told |= {name: content(events, name) for name in shuffled(events, self.seed)}
        return {(events.metadata["entrystart"], events.metadata["entrystop"]): told}

    def postprocess(self, accumulator: Any) -> Any:
        """Change nothing."""
        return accumulator


def shuffled(events: Any, seed: int) -> list[Column]:
    """Every column, in an order of its own for each seed."""
    names = list(columns(events))
    return random.Random(seed).sample(names, len(names))


def columns(events: Any) -> Iterator[Column]:
    """Every column, as the names that lead to it."""
    for name in events.fields:
        inside = events.layout[name].fields
        yield from ((name, field) for field in inside) if inside else ((name,),)


def described(events: Any) -> str:
    """Tell of all that events are beside their columns' content."""
    parts = [type(events).__name__, len(events), events.fields, dict(events.metadata)]
    form = json.dumps(events.layout.form.to_dict(), sort_keys=True, default=repr)
    return digest([repr(parts).encode(), form.encode()])


def content(events: Any, column: Column) -> str:
    """Tell what reading a column gives: the form and the bytes of its values, or an error."""
    layout = events.layout
    try:
        for name in column:
            layout = layout[name]
        array = ak.to_packed(ak.materialize(ak.Array(layout)))
    except Exception as error:  # noqa: BLE001 - to be compared
        return f"{ERROR}{type(error).__name__}"
    form, length, buffers = ak.to_buffers(array)
    parts = [form.to_json().encode(), str(length).encode()]
    parts += [np.ascontiguousarray(buffers[name]).tobytes() for name in sorted(buffers)]
    return digest(parts)


def digest(parts: list[bytes]) -> str:
    """Sixteen characters that change with each part."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8) + part)
    return found.hexdigest()[:16]
