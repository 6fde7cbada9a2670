"""Changes of objects, as the bytes of a watch tell them, however long and whatever they hold."""

import copy
import json
import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from facility.kubernetes.client.changes import LONGEST_LINE, UNREADABLE, Change, ChangeReader
from facility.kubernetes.client.kinds import DASK_CLUSTER, POD
from facility.kubernetes.client.shapes import shaped
from tests import api_objects
from tests.any_object import changed

CASES = 400


def line(change: str, found: Any) -> bytes:
    """One change, with its fields in the order in which an API server writes them."""
    return json.dumps({"type": change, "object": found}).encode(errors="replace") + b"\n"


def huge(size: int, change: str = "MODIFIED", namespace: str = "af-ada", **more: Any) -> bytes:
    """A change of a pod that is longer than so many bytes."""
    pod = copy.deepcopy(api_objects.SERVER)
    pod["metadata"] |= {"namespace": namespace, **more}
    pod["spec"]["containers"][0]["args"] = ["\x01" * (size // 6 + 1)]
    return line(change, {"kind": "Pod", "apiVersion": "v1", **pod})


def parts(whole: bytes, size: int) -> Iterator[bytes]:
    return (whole[at : at + size] for at in range(0, len(whole), size))


def read(whole: bytes, size: int = 2**16, told: set[str] | None = None) -> list[Change]:
    reader = ChangeReader(POD, set() if told is None else told)
    return [change for part in parts(whole, size) for change in reader.feed(part)]


@pytest.mark.parametrize("size", [1, 7, 2**16, 2**30])
def test_it_reads_the_same_wherever_its_parts_begin(size: int) -> None:
    pod = api_objects.SERVER
    whole = line("ADDED", pod) + b"\n" + line("BOOKMARK", {"metadata": {"resourceVersion": "7"}})
    added, mark = read(whole + line("ADDED", pod)[:-1], size)
    assert added == ("ADDED", shaped(POD, pod))
    assert mark[0] == "BOOKMARK"
    assert mark[1]["metadata"]["resourceVersion"] == "7"


def test_an_object_as_large_as_they_can_be_written_plainly_is_read() -> None:
    whole = huge(3 * 2**20)
    assert read(whole) == [("MODIFIED", shaped(POD, json.loads(whole)["object"]))]


def test_of_a_longer_one_the_version_is_read_and_the_next_is_read_as_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pod, told = api_objects.SERVER, set[str]()
    whole = huge(3 * LONGEST_LINE, resourceVersion="8") + line("MODIFIED", pod)
    left_out, following = read(whole, told=told)
    assert left_out[0] == "BOOKMARK"
    assert left_out[1]["metadata"]["resourceVersion"] == "8"
    assert following == ("MODIFIED", shaped(POD, pod))
    for namespace in ("af-ada", "af-ada", "af-eve"):
        read(huge(LONGEST_LINE, namespace=namespace, name=f"of-{namespace}"), told=told)
    assert [each.message.split(" is ")[0] for each in caplog.records] == [
        'A change of the Pod "af-ada/notebook"',
        'A change of the Pod "af-eve/of-af-eve"',
    ]
    assert "longer than 4,194,304 bytes" in caplog.text


def test_the_end_of_an_object_is_told_however_long() -> None:
    [(change, pod)] = read(huge(LONGEST_LINE, "DELETED"))
    metadata = pod["metadata"]
    assert (change, metadata["namespace"], metadata["name"]) == ("DELETED", "af-ada", "notebook")


def test_where_even_the_version_is_too_far_in_all_are_to_be_listed_again() -> None:
    metadata = {"annotations": {"x": "x" * LONGEST_LINE}, "name": "x", "resourceVersion": "8"}
    assert read(line("MODIFIED", {"metadata": metadata})) == [UNREADABLE]
    assert read(b"x" * 2 * LONGEST_LINE + b"\n") == [UNREADABLE]
    assert read(b'{"type":"ADDED","object":[' + b" " * LONGEST_LINE + b"\n") == [UNREADABLE]


@pytest.mark.parametrize(
    "said",
    [b"<html>", b"[]", b"1", b"{}", b'{"type":"ADDED"}', b'{"type":[],"object":{}}', b"\xff\x00{"],
)
def test_what_is_no_change_is_told_as_that(said: bytes) -> None:
    assert read(said + b"\n") == [UNREADABLE]


def test_an_error_is_handed_on() -> None:
    assert read(line("ERROR", {"code": 410})) == [("ERROR", {"code": 410})]
    assert read(line("ERROR", None)) == [("ERROR", {})]


def test_what_is_held_of_a_line_has_a_bound() -> None:
    """A hundred and sixty megabytes go through; what they are made of is not counted."""
    part = b"x" * 2**16
    reader = ChangeReader(POD, set())
    tracemalloc.start()
    try:
        for _ in range(2500):
            assert not list(reader.feed(part))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2.5 * LONGEST_LINE


def test_whatever_stands_in_changes_each_is_read() -> None:
    """By a generator with a seed: objects changed at random, lines cut off and put together."""
    for seed in range(CASES):
        source = random.Random(seed)
        kind, found = source.choice(api_objects.OF_EACH_KIND)
        whole = line(source.choice(("ADDED", "DELETED", "ERROR", "x")), changed(source, found))
        if source.random() < 0.5:
            whole = whole[: source.randrange(len(whole))] + b"\n"
        after = line("ADDED", api_objects.DASK_CLUSTER)
        reader = ChangeReader(source.choice((kind, DASK_CLUSTER)), set())
        seen = [change for part in parts(whole + after, 10_000) for change in reader.feed(part)]
        assert seen[-1][0] == "ADDED", seed
        assert all(isinstance(body, dict) for _, body in seen), seed
