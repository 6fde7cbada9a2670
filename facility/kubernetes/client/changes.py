"""From the bytes of a watch to changes of objects: pure.

A change is one line, as long as its object, and users make objects. What is held of a line has a
bound, and nothing that stands in one ends the watch: of a longer line its beginning is read, which
names the object, and the rest is left out as it comes.
"""

import json
import logging
from collections.abc import Iterator

from facility.kubernetes.client.answers import decoded, outer_fields
from facility.kubernetes.client.calls import Object
from facility.kubernetes.client.kinds import Kind
from facility.kubernetes.client.shapes import METADATA, MISSING, shaped
from facility.wording import counted

LONGEST_LINE = 4 * 2**20
"""Bytes that are held of one change. An API server takes objects of up to 1.5 MiB, which it may
write six times as long: ``<`` as ``\\u003c``."""
TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")
UNREADABLE = "ERROR", {"message": "this is no change of an object"}
"""What is made of a line that says nothing: whoever follows lists the objects again."""

Change = tuple[str, Object]
"""One of `TYPES` and the object, or ``"ERROR"`` and what is told."""
logger = logging.getLogger("facility")


class ChangeReader:
    """Reads changes from parts of a watch, as they come.

    Of a change that is too long, the end of the object is still told, and otherwise nothing but
    the version. It is logged, once for each namespace.

    Parameters
    ----------
    kind
        What is watched.
    told
        Namespaces of which it has been logged, for the next reader.
    """

    def __init__(self, kind: Kind, told: set[str]) -> None:
        self.kind = kind
        self.told = told
        self._line = bytearray()
        self._length = 0

    def feed(self, part: bytes) -> Iterator[Change]:
        """Take the next part, and yield the changes that end in it."""
        at = 0
        while (end := part.find(b"\n", at)) >= 0:
            self._hold(part[at:end])
            at = end + 1
            if self._length:
                yield self._change()
            self._line.clear()
            self._length = 0
        self._hold(part[at:])

    def _hold(self, part: bytes) -> None:
        self._length += len(part)
        self._line += part[: max(0, LONGEST_LINE - len(self._line))]

    def _change(self) -> Change:
        line = self._line.decode(errors="replace")
        if self._length > LONGEST_LINE:
            return self._too_long(line)
        try:
            found = decoded(line)
        except ValueError:
            return UNREADABLE
        if not isinstance(found, dict):
            return UNREADABLE
        change, body = found.get("type"), found.get("object")
        if change == "ERROR":
            return change, body if isinstance(body, dict) else {}
        fitting = shaped(self.kind, body)
        return UNREADABLE if change not in TYPES or fitting is MISSING else (change, fitting)

    def _too_long(self, line: str) -> Change:
        """Read what the beginning of a line says."""
        found = outer_fields(line, ("object", "metadata"))
        change = found.get("type")
        metadata = METADATA(found.get("object", {}).get("metadata", {}))
        namespace = metadata["namespace"]
        if namespace not in self.told:
            self.told.add(namespace)
            logger.warning(
                "A change of the %s %s is longer than %s and is left out; so are, without a word, "
                "others of its namespace",
                self.kind.name,
                json.dumps(f"{namespace}/{metadata['name']}"),
                counted(LONGEST_LINE, "byte"),
            )
        if change not in TYPES or not metadata["resourceVersion"]:
            return UNREADABLE
        ended = change == "DELETED"
        return "DELETED" if ended else "BOOKMARK", shaped(self.kind, {"metadata": metadata})
