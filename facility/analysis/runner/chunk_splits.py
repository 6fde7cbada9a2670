"""Chunks that were cut in two because memory ran short, and what their parts add up to."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from facility.analysis.files.chunk import Chunk, halves
from facility.analysis.runner.process_chunk import add_packed
from facility.analysis.runner.reduction import add


class ChunkSplits:
    """The chunks of a plan and their parts, each under its number.

    Parameters
    ----------
    chunks
        Of the plan.

    Attributes
    ----------
    whole
        The chunk that each part was cut from, which may be a part itself.
    sums
        Pickled results of chunks of the plan whose parts are known; None where all of them failed.
    """

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self.chunks = {chunk.index: chunk for chunk in chunks}
        self.whole: dict[int, int] = {}
        self.sums: dict[int, bytes | None] = {}
        self._parts: dict[int, tuple[int, int]] = {}
        self._known: dict[int, bytes | None] = {}

    def cut(self, index: int) -> tuple[int, int] | None:
        """Cut a chunk in two; the numbers of its parts, None where it is too small."""
        found = halves(self.chunks[index])
        if found is None:
            return None
        numbers = len(self.chunks), len(self.chunks) + 1
        for number, part in zip(numbers, found, strict=True):
            self.chunks[number] = replace(part, index=number)
            self.whole[number] = index
        self._parts[index] = numbers
        return numbers

    def know(self, index: int, packed: bytes | None) -> int | None:
        """Take the pickled result of a part, None where it failed.

        Returns
        -------
        int or None
            The chunk of the plan whose sum is known now.

        Raises
        ------
        MergeError
            Where results cannot be added.
        """
        self._known[index] = packed
        whole = self.whole.get(index)
        if whole is None:
            self.sums[index] = packed
            return index
        pair = self._parts[whole]
        if not all(part in self._known for part in pair):
            return None
        found = [value for part in pair if (value := self._known.pop(part)) is not None]
        return self.know(whole, add_packed(found) if len(found) == 2 else next(iter(found), None))

    def joined(self, results: Mapping[int, Any]) -> dict[int, Any]:
        """Add up the results of parts; those of the plan's chunks, by number."""

        def value(index: int) -> Any:
            if index not in self._parts:
                return results.get(index)
            return add([value(part) for part in self._parts[index]])

        found = {index: value(index) for index in self.chunks if index not in self.whole}
        return {index: each for index, each in found.items() if each is not None}
