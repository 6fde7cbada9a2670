"""From the bytes of an answer of the API server to objects: pure.

A list of what users have made may hold megabytes in each object. Decoded as a whole it would take
twenty times as much memory; `ListReader` decodes one object at a time, so that what is kept of each
is all that is held of it.
"""

import codecs
import json
import re
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from facility.kubernetes.client.calls import Call, Object
from facility.kubernetes.client.shapes import METADATA, MISSING, each, fields, shaped

Keep = Callable[[Object], Object | None]
"""What is kept of an object of a list; None for nothing."""
DEEPEST = 64
"""Levels to which an object is read where Python does not read all of them; Kubernetes takes
thousands, and nothing that is read is deeper than ten."""
_LIST = fields({"metadata": METADATA, "items": each(fields({}))}, metadata={}, items=[])
_BETWEEN = re.compile(r"[\s,:]*")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
_DECODER = json.JSONDecoder()


def read(call: Call, content_type: str, body: bytes) -> Any:
    """Read an answer: objects as they are shaped, or the text that it is."""
    if content_type != "application/json":
        return body.decode(errors="replace")
    found = decoded(body.decode(errors="replace"))
    if not isinstance(found, dict) or found.get("kind") == "Status" or call.part:
        return found
    if call.name or call.method not in ("GET", "DELETE"):
        return shaped(call.kind, found)
    listed = _LIST(found)
    return {**listed, "items": [shaped(call.kind, one) for one in listed["items"]]}


def decoded(text: str) -> Any:
    """Read JSON; of what is nested deeper than Python can read, the outer levels."""
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(_shallow(text, 0)[0])


def outer_fields(text: str, within: tuple[str, ...]) -> Object:
    """Return the fields of an object whose text is cut off, as far as they are there as a whole.

    Parameters
    ----------
    within
        A field that is looked into though it is cut off, one of that, and so on.
    """
    return _outer_fields(text, 0, within)[0]


def _outer_fields(text: str, at: int, within: tuple[str, ...]) -> tuple[Object, int]:
    found: Object = {}
    at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
    if text[at : at + 1] != "{":
        return found, len(text)
    at += 1
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
        if text[at : at + 1] == "}":
            return found, at + 1
        try:
            key, at = _value(text, at)
            at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
            if within and key == within[0]:
                found[key], at = _outer_fields(text, at, within[1:])
            else:
                found[str(key)], at = _value(text, at)
        except ValueError:
            return found, len(text)


def _value(text: str, at: int) -> tuple[Any, int]:
    """Read the value that begins somewhere in a text, and say where it ends.

    Raises
    ------
    ValueError
        Where the text ends before it does.
    """
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError:
        outer, end = _shallow(text, at)
        return json.loads(outer), end


def _shallow(text: str, at: int) -> tuple[str, int]:
    """Return a value without its deepest levels, and where it ends."""
    kept, depth = [], 0
    for token in _TOKEN.finditer(text, at):
        sign = token[0]
        if sign in "{[":
            if depth == DEEPEST:
                kept += [text[at : token.start()], "null"]
            depth += 1
        elif sign in "}]":
            depth -= 1
            at = token.end() if depth == DEEPEST else at
        if depth == 0:
            return "".join([*kept, text[at : token.end()]]), token.end()
    raise ValueError("it has no end")


class _At(Enum):
    """Where in a list its reader is."""

    BEGIN = auto()
    KEY = auto()
    VALUE = auto()
    ITEM = auto()
    END = auto()


class ListReader:
    """Reads a list from parts of its text, as they come.

    Parameters
    ----------
    call
        What was asked.
    keep
        What is kept of each object.
    """

    def __init__(self, call: Call, keep: Keep) -> None:
        self.call = call
        self.keep = keep
        self.items: list[Object] = []
        self._other: Object = {}
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._text = ""
        self._worth = 0
        """Letters with which the next try is worth it, so that what has not come as a whole is not
        read again with each part."""
        self._at = _At.BEGIN
        self._key = ""

    def feed(self, part: bytes) -> None:
        """Take the next part."""
        self._text += self._decode(part)
        if len(self._text) >= self._worth:
            self._take()

    def end(self) -> Object:
        """Return the list object, with what is kept.

        Raises
        ------
        ValueError
            Where something is missing of it.
        """
        self._take()
        if self._at is not _At.END:
            raise ValueError("a list of the API server ends in the middle")
        return {**_LIST(self._other), "items": self.items}

    def _take(self) -> None:
        """Read what is there as a whole."""
        at = 0
        while self._at is not _At.END:
            at = _BETWEEN.match(self._text, at).end()  # type: ignore[union-attr]
            sign = self._text[at : at + 1]
            following = self._passed(sign)
            if following is not None:
                self._at = following
                at += 1
                continue
            try:
                value, at = _value(self._text, at)
            except ValueError:
                break
            self._got(value)
        self._text = self._text[at:]
        self._worth = 2 * len(self._text)

    def _passed(self, sign: str) -> "_At | None":
        """Return where one is after a sign that is no value's; None where a value begins."""
        passed = {
            (_At.BEGIN, "{"): _At.KEY,
            (_At.KEY, "}"): _At.END,
            (_At.ITEM, "]"): _At.KEY,
        }
        if self._at is _At.VALUE and sign == "[" and self._key == "items":
            return _At.ITEM
        return passed.get((self._at, sign))

    def _got(self, value: Any) -> None:
        if self._at is _At.ITEM:
            found = shaped(self.call.kind, value)
            kept = None if found is MISSING else self.keep(found)
            if kept is not None:
                self.items.append(kept)
        elif self._at is _At.KEY:
            self._key, self._at = str(value), _At.VALUE
        else:
            self._other[self._key], self._at = value, _At.KEY
