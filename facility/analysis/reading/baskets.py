"""Columns of plain numbers, and of lists of them, taken out of their baskets at once.

uproot makes some ten Python objects of each basket, and takes the ten bytes that ROOT writes in
front of each `std::vector` out with a mask over all bytes. Here the bytes of all baskets of a
column are read and put together in a few steps of NumPy. Decompressing stays uproot's affair.

Only what is laid out in the most common way is read here; `Baskets.column` returns None for
everything else, and the caller leaves that to uproot.
"""

import os
import queue
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uproot
from awkward.contents import Content, ListOffsetArray, NumpyArray
from awkward.index import Index64
from uproot.source.chunk import Chunk
from uproot.source.cursor import Cursor

from facility.analysis.files.rootfile import is_address

KEY, BASKET = struct.Struct(">ihiIhh"), struct.Struct(">hiiiix")
"""The first and the last part of a basket's key."""
VECTOR = 10
"""Bytes in front of each `std::vector`."""
ROOM = 64_000_000
"""Bytes taken for a column at most, before its baskets have shown that it is longer."""

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Integers = np.ndarray[Any, np.dtype[np.int32]]
Numbers = np.ndarray[Any, np.dtype[Any]]


class UnusualError(Exception):
    """A basket is not laid out in the most common way."""


class _Kind(NamedTuple):
    """What a column holds: numbers as they are written, and what precedes each list of them."""

    dtype: np.dtype[Any]
    header: int | None


class _Basket(NamedTuple):
    """Which entries of a basket are wanted, and what is in it: where each begins, if it tells."""

    first: int
    last: int
    data: Bytes
    positions: Integers | None


class Baskets:
    """Reads columns of one open file.

    Parameters
    ----------
    path
        Where the file is.
    source
        uproot's, through which a file that is not on a disk is read.

    Attributes
    ----------
    requested
        Bytes that were read, but for those that were read through uproot's source.
    """

    def __init__(self, path: str, source: Any) -> None:
        self._source = source
        self._file = None if is_address(path) else Path(path).open("rb", buffering=0)  # noqa: SIM115
        self.requested = 0

    def close(self) -> None:
        """Close it."""
        if self._file is not None:
            self._file.close()

    def column(self, branch: Any, start: int, stop: int) -> Content | None:
        """Read some entries of a branch.

        Returns
        -------
        Content or None
            What `branch.array(entry_start=start, entry_stop=stop).layout` is; None where that is
            better asked.

        Raises
        ------
        OSError
            The bytes cannot be read.
        """
        kind = _kind(branch.interpretation)
        if kind is None or stop <= start or branch.embedded_baskets:
            return None
        try:
            # Each basket is put in its place while it is in the processor's cache.
            baskets = self._baskets(branch, start, stop)
            _expect(start >= 0 and stop <= branch.entry_offsets[-1])
            room = min(int(branch.member("fTotBytes")), ROOM) // kind.dtype.itemsize
            numbers = np.empty(max(room, 1), kind.dtype.newbyteorder("="))
            if kind.header is None:
                return _numbers(baskets, kind, numbers)
            return _lists(baskets, kind, numbers, stop - start)
        except OSError:
            raise
        except Exception:  # noqa: BLE001 - uproot tells best what is wrong with damaged bytes
            return None

    def _baskets(self, branch: Any, start: int, stop: int) -> Iterator[_Basket]:
        entries = branch.entry_offsets
        numbers = range(bisect_right(entries, start) - 1, bisect_left(entries, stop))
        seeks = branch.member("fBasketSeek")[numbers.start : numbers.stop].tolist()
        ranges = [
            (seek, seek + branch.basket_compressed_bytes(number))
            for number, seek in zip(numbers, seeks, strict=True)
        ]
        for number, data in zip(numbers, self._read(ranges), strict=True):
            begin, end = entries[number], entries[number + 1]
            content, positions = _unpacked(data, end - begin, self._source)
            yield _Basket(max(start - begin, 0), min(stop, end) - begin, content, positions)

    def _read(self, ranges: list[tuple[int, int]]) -> Iterator[Bytes]:
        """Read parts of the file, and give them in their order."""
        if self._file is None:
            chunks = self._source.chunks(ranges, queue.Queue())
            for (begin, end), chunk in zip(ranges, chunks, strict=True):
                yield chunk.get(begin, end, Cursor(begin), {})
            return
        size = os.fstat(self._file.fileno()).st_size
        for begin, end in ranges:
            _expect(0 < begin < end <= size)
            data = os.pread(self._file.fileno(), end - begin, begin)
            self.requested += end - begin
            yield np.frombuffer(data, np.uint8)


def _kind(interpretation: Any) -> _Kind | None:
    """Whether a column is one of those that are read here."""
    header = None
    if type(interpretation) is uproot.AsJagged:
        header, interpretation = interpretation.header_bytes, interpretation.content
    if type(interpretation) is not uproot.AsDtype or header not in (None, 0, VECTOR):
        return None
    dtype = interpretation.from_dtype
    if dtype.names or dtype.shape or dtype.itemsize not in (1, 2, 4, 8):
        return None
    return _Kind(dtype, header) if dtype.newbyteorder("=") == interpretation.to_dtype else None


def _unpacked(data: Bytes, entries: int, source: Any) -> tuple[Bytes, Integers | None]:
    """Take a basket apart.

    Returns
    -------
    content : array of bytes
    positions : array of int32
        Where each entry begins, and the last one ends; None where the basket does not tell.
    """
    _expect(data.size >= KEY.size)
    size, _, length, _, key_length, _ = KEY.unpack(data[: KEY.size].tobytes())
    _expect(size == data.size and KEY.size + BASKET.size <= key_length <= size)
    _, _, _, found, last = BASKET.unpack(data[key_length - BASKET.size : key_length].tobytes())
    border = last - key_length
    _expect(found == entries and 0 <= border <= length)
    if size - key_length == length:
        content = data[key_length:]
    else:
        cursor, packed = Cursor(0), Chunk.wrap(source, data[key_length:])
        unpacked = uproot.compression.decompress(packed, cursor, {}, size - key_length, length)
        content = unpacked.get(0, length, Cursor(0), {})
    if border == length:
        return content, None
    _expect(length - border == 4 * (entries + 2))
    positions = content[border:].view(">i4")[1:].astype(np.int32)
    positions -= key_length
    positions[-1] = border
    _expect(positions[0] == 0 and bool((positions[1:] >= positions[:-1]).all()))
    return content[:border], positions


def _numbers(baskets: Iterable[_Basket], kind: _Kind, numbers: Numbers) -> Content:
    """Put together a column of one number for each event.

    Parameters
    ----------
    numbers
        Takes them.
    """
    size, total = kind.dtype.itemsize, 0
    for first, last, data, positions in baskets:
        _expect(positions is None and data.size >= last * size)
        part = data[first * size : last * size].view(kind.dtype)
        numbers = _with(part, numbers, total)
        total += part.size
    return NumpyArray(numbers[:total])


def _lists(baskets: Iterable[_Basket], kind: _Kind, numbers: Numbers, entries: int) -> Content:
    """Put together a column of a list of numbers for each event; parameters as of `_numbers`."""
    size, header = kind.dtype.itemsize, kind.header or 0
    shift = size.bit_length() - 1
    at, total = 1, 0
    offsets = np.zeros(1 + entries, np.int64)
    for first, last, data, positions in baskets:
        if positions is None:
            raise UnusualError
        begins, ends = positions[first:last] + header, positions[first + 1 : last + 1]
        if header:
            counts = (ends - begins) >> shift
            _expect(bool((begins + (counts << shift) == ends).all()) and counts.min() >= 0)
            found = np.cumsum(counts)
            part = _gathered(data, begins, found, counts, size).view(kind.dtype)
        else:
            found = ends - positions[first]
            _expect(not (found & (size - 1)).any())
            found >>= shift
            part = data[positions[first] : positions[last]].view(kind.dtype)
        np.add(found, total, out=offsets[at : at + found.size])
        numbers = _with(part, numbers, total)
        at += found.size
        total += part.size
    return ListOffsetArray(Index64(offsets), NumpyArray(numbers[:total]))


def _with(part: Numbers, numbers: Numbers, used: int) -> Numbers:
    """Put a part behind the numbers that are in use, and make room where it is short."""
    needed = used + part.size
    if needed > numbers.size:
        longer = np.empty(max(needed, 2 * numbers.size), numbers.dtype)
        longer[:used] = numbers[:used]
        numbers = longer
    numbers[used:needed] = part
    return numbers


def _gathered(data: Bytes, begins: Integers, ends: Integers, counts: Integers, size: int) -> Bytes:
    """Put together lists that have something between them.

    Lists begin at even places, so that of larger numbers two bytes are taken at a time.

    Parameters
    ----------
    begins
        Where they begin, in bytes.
    ends, counts
        Where they end in what is put together, and how long they are, in numbers.
    size
        Bytes of a number.
    """
    unit = 2 if size > 1 else 1
    step = size // unit
    words = data[: data.size // unit * unit].view(np.dtype(f"u{unit}"))
    where = np.repeat((begins // unit - (ends - counts) * step).astype(np.intp), counts)
    where += np.arange(0, where.size * step, step)
    found = np.empty((where.size, step), words.dtype)
    for part in range(step):
        found[:, part] = words[part:][where]
    return found.reshape(-1).view(np.uint8)


def _expect(truth: bool) -> None:
    if not truth:
        raise UnusualError
