"""What became of one chunk, and what processing it took."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from facility.analysis.files.chunk import Chunk
from facility.analysis.inputs.cut_bookkeepers import Weights

State = Literal["processed", "failed", "not reached", "not asked"]
STATES: tuple[State, ...] = ("processed", "failed", "not reached")
NOT_ASKED: State = "not asked"
"""Of chunks that `maxchunks` leaves out."""

MUCH, MUCH_SECONDS = 0.1, 0.05
"""Part of the time, and seconds a chunk, from which making the processor is told."""


@dataclass(frozen=True)
class Receipt:
    """What processing a chunk took.

    Attributes
    ----------
    began
        Seconds since 1970.
    seconds
        From opening the file to the result.
    bytes
        Read from the file.
    weights
        Of the file, from the chunk with its first event; None where it has none.
    plainly
        Why it was read as coffea's Runner reads, which takes longer; None where it was not.
    unpickling
        Seconds of these in which the processor was made of its pickle.
    nothing
        Why a chunk without events has no result; None where it has one.
    """

    worker: str
    began: float
    seconds: float
    bytes: int
    weights: Weights | None = None
    plainly: str | None = None
    unpickling: float = 0.0
    nothing: str | None = None


@dataclass
class Record:
    """What became of one chunk.

    Attributes
    ----------
    tries
        How often it has begun.
    began
        Seconds since 1970, None where it was not processed.
    error
        One line, None where there was none.
    details
        The end of the traceback.
    restored
        Whether its result comes from a checkpoint.
    weights
        Of the file, with its first chunk.
    plainly
        Why it was read as coffea's Runner reads; None where it was not.
    unpickling
        Seconds in which its processor was made of its pickle.
    nothing
        Why it has no result, for want of events; None where it has one.
    setbacks
        One sentence for each failure after which it was tried again.
    cut
        Why the chunk that this is a part of was cut in two; None for a whole one.
    """

    chunk: Chunk
    state: State = "not reached"
    tries: int = 0
    worker: str | None = None
    began: float | None = None
    seconds: float = 0.0
    bytes: int = 0
    error: str | None = None
    details: str = ""
    restored: bool = False
    weights: Weights | None = None
    plainly: str | None = None
    unpickling: float = 0.0
    nothing: str | None = None
    setbacks: list[str] = field(default_factory=list)
    cut: str | None = None

    def take(self, receipt: Receipt) -> None:
        """Take note of what processing the chunk took."""
        self.worker, self.began = receipt.worker, receipt.began
        self.seconds, self.bytes = receipt.seconds, receipt.bytes
        self.weights, self.plainly = receipt.weights, receipt.plainly
        self.unpickling, self.nothing = receipt.unpickling, receipt.nothing


def slow_unpickling(records: Iterable[Record], size: int) -> Iterator[str]:
    """Say that making the processor took much of the time, and what to do; or nothing.

    Parameters
    ----------
    size
        Bytes of the processor as it was sent.
    """
    fresh = [r for r in records if r.state == "processed" and not r.restored]
    spent, total = sum(r.unpickling for r in fresh), sum(r.seconds for r in fresh)
    if fresh and spent >= MUCH * total and spent / len(fresh) >= MUCH_SECONDS:
        yield (
            f"each chunk has a processor of its own, and to make it of what was sent "
            f"({size / 1e6:,.0f} MB) took {spent / len(fresh):.2f} s a chunk, {spent / total:.0%} "
            "of the time of all chunks: give large data as a file that process() opens, or as "
            "data = client.scatter(data, broadcast=True), which process() has by data.result()"
        )
