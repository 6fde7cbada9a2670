"""A range of events of one file, which is what a worker reads and processes at once."""

from dataclasses import dataclass, field, replace

TOLD = ("dataset", "filename", "treename", "entrystart", "entrystop", "fileuuid")
"""What `events.metadata` has of a chunk, beside the metadata of its dataset."""
SAMPLE, SAMPLES = "sample", "/facility/samples/"
"""Stamp of files whose UUID is made of what they hold, and the folder in which those are."""
SMALLEST_PART = 1_000
"""Events of a part of a chunk, at least."""
PARTS = 3
"""How often a chunk is cut in two at most: memory that holds no eighth of it holds none."""


@dataclass(frozen=True)
class Chunk:
    """Events `start` to `stop` (excluded) of one file.

    Attributes
    ----------
    index
        Place in the plan, from 0.
    uuid, size
        What ROOT wrote into the file, and its bytes.
    entries
        Events of the whole file.
    name
        What the file is called wherever it is.
    stamp
        When it has changed last, or a checksum of it.
    telling
        Whether its UUID tells it from others: many writers leave it zero, or copy it.
    replicas
        Other addresses of the same content.
    turn
        How often reading it has failed before, so that another place is tried.
    at
        Where it is read, if not at its path.
    cuts
        How often it was cut in two.
    """

    index: int
    dataset: str
    path: str
    tree: str
    start: int
    stop: int
    uuid: str
    size: int
    entries: int
    replicas: tuple[str, ...] = field(default=(), kw_only=True)
    turn: int = field(default=0, kw_only=True)
    at: str = field(default="", kw_only=True)
    cuts: int = field(default=0, kw_only=True)
    name: str = field(default="", kw_only=True)
    stamp: str = field(default="", kw_only=True)
    telling: bool = field(default=True, kw_only=True)

    @property
    def identity(self) -> tuple[str, int, str, str]:
        """What the file is, wherever it is read."""
        if self.stamp == SAMPLE:
            # Its folder may lie on a disk of this machine, or pod, alone.
            return self.path.partition(SAMPLES)[2], 0, self.uuid, self.stamp
        return self.name or self.path, self.size, self.uuid, self.stamp

    @property
    def location(self) -> str:
        """Where it is read."""
        return self.at or self.path

    @property
    def events(self) -> int:
        """Number of events."""
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.path}, events {self.start:,} to {self.stop:,}"


def halves(chunk: Chunk) -> tuple[Chunk, Chunk] | None:
    """Cut a chunk in two that memory is too short for; None where it is too small for that.

    Returns
    -------
    tuple of Chunk
        Both with the number of the whole, the same ones for the same chunk.
    """
    if chunk.cuts >= PARTS or chunk.events < 2 * SMALLEST_PART:
        return None
    middle = chunk.start + chunk.events // 2
    cuts = chunk.cuts + 1
    return replace(chunk, stop=middle, cuts=cuts), replace(chunk, start=middle, cuts=cuts)
