"""Where the branches of a TTree are in the bytes of its metadata, and what describes them.

The layout is that of ROOT 5.30 and later. It is checked: what is not as expected raises
`LayoutError`, or what `struct` raises for bytes that make no sense.
"""

import struct
from typing import NamedTuple

MAP_OFFSET = 2
"""ROOT's kMapOffset: references count from so many bytes before what they refer to."""
COUNTED, NEW_CLASS, CLASS = 0x40000000, 0xFFFFFFFF, 0x80000000
"""Bits of ROOT's numbers of bytes and of its tags."""
REFERENCED = 1 << 4
"""Bit of a TObject with two more bytes."""
BRANCHES, ELEMENTS = (12, 13), (9, 10)
"""Versions of TBranch and TBranchElement: of ROOT 5.30 to 6.12 and later, with any TTree."""
FEATURES_SINCE = 13
"""Version of TBranch from which it has fIOFeatures."""
NUMBER, TAG, HEADER = struct.Struct(">I"), struct.Struct(">II"), struct.Struct(">IH")
OBJECT, SIZES = struct.Struct(">HII"), struct.Struct(">ii")
BEFORE_FEATURES, AFTER_FEATURES, TYPES = 24, 44, {9: 20, 10: 18}
"""Bytes of TBranch before and after its fIOFeatures; of what TBranchElement tells of its type."""


class LayoutError(Exception):
    """The bytes, or uproot's models, are not laid out as this module knows them."""


class BranchSpan(NamedTuple):
    """Where a branch of the tree is in the bytes."""

    name: str
    start: int
    stop: int


class Layout:
    """Finds the branches of a tree in the bytes of its metadata.

    Parameters
    ----------
    data
        The bytes.
    origin
        The place in them from which references count.
    """

    def __init__(self, data: bytes, origin: int) -> None:
        self._data, self._origin = data, origin

    def branches(
        self, at: int, types: list[bytes], limit: int | None = None
    ) -> tuple[int, list[BranchSpan]]:
        """Walk along a TObjArray of branches.

        Parameters
        ----------
        types
            Takes what describes each branch and those inside it.
        limit
            Where it ends at the latest.

        Returns
        -------
        stop : int
            Where the array ends.
        places : list of Place
            Those directly in it.

        Raises
        ------
        LayoutError
        """
        stop, at, _ = self._counted(at, len(self._data) if limit is None else limit)
        at, _ = self._string(self._object(at))
        size, _ = SIZES.unpack_from(self._data, at)
        types.append(NUMBER.pack(size))
        at, spans = at + SIZES.size, []
        for _ in range(size):
            spans.append(self._branch(at, stop, types))
            at = spans[-1].stop
        self._expect(at == stop, "a list of branches ends elsewhere")
        return stop, spans

    def class_at(self, at: int) -> str | None:
        """Return the class that is named at a place; None where none is."""
        if not 0 <= at <= len(self._data) - 5 or self._number(at) != NEW_CLASS:
            return None
        end = self._data.find(b"\0", at + 4)
        return None if end < 0 else self._data[at + 4 : end].decode("latin1")

    def _branch(self, at: int, limit: int, types: list[bytes]) -> BranchSpan:
        # What is inside something ends no later than that: nothing is walked along twice.
        start = at
        count, tag = TAG.unpack_from(self._data, at)
        self._expect(count & COUNTED, "a branch is a reference")
        stop, at = at + 4 + (count & ~COUNTED), at + 4
        self._expect(stop <= limit, "a branch ends behind its list")
        named = at if tag == NEW_CLASS else (tag & ~CLASS) - MAP_OFFSET + self._origin
        kind = self.class_at(named)
        at += 4 if tag != NEW_CLASS else 5 + len(kind or "")
        self._expect(kind in ("TBranch", "TBranchElement"), f"a branch is a {kind}")
        element = None
        if kind == "TBranchElement":
            _, at, element = self._counted(at, stop, ELEMENTS)
        end, at, version = self._counted(at, stop, BRANCHES)
        end_of_names, at, _ = self._counted(at, end)
        at = self._object(at)
        _, name = self._string(at)
        types.append(self._data[at:end_of_names])  # with the title
        at, _, _ = self._counted(end_of_names, end)
        at += BEFORE_FEATURES
        if version >= FEATURES_SINCE:
            at, _, _ = self._counted(at, end)
        self.branches(at + AFTER_FEATURES, types, end)
        if element is not None:
            at = end
            for _ in range(3):  # its class, its parent's, that of clones
                at, _ = self._string(at)
            self._expect(at + TYPES[element] <= stop, "the type of a branch ends behind it")
            types.append(self._data[end : at + TYPES[element]])
        return BranchSpan(name.decode(), start, stop)

    def _counted(
        self, at: int, limit: int, versions: tuple[int, ...] | None = None
    ) -> tuple[int, int, int]:
        """Where an object with a number of bytes ends, where its content begins, its version."""
        count, found = HEADER.unpack_from(self._data, at)
        self._expect(count & COUNTED, "an object has no number of bytes")
        known = versions is None or found in versions
        self._expect(known, f"a branch is of version {found}")
        stop = at + 4 + (count & ~COUNTED)
        self._expect(at + HEADER.size <= stop <= limit, "an object ends behind the end")
        return stop, at + HEADER.size, found

    def _object(self, at: int) -> int:
        """Where a TObject ends."""
        _, _, bits = OBJECT.unpack_from(self._data, at)
        return at + OBJECT.size + (2 if bits & REFERENCED else 0)

    def _string(self, at: int) -> tuple[int, bytes]:
        """Where a string ends, and what it is."""
        size, at = self._data[at], at + 1
        if size == 255:
            size, at = self._number(at), at + 4
        return at + size, self._data[at : at + size]

    def _number(self, at: int) -> int:
        found: int = NUMBER.unpack_from(self._data, at)[0]
        return found

    @staticmethod
    def _expect(truth: object, otherwise: str) -> None:
        if not truth:
            raise LayoutError(otherwise)
