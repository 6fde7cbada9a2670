"""The pure parts of `facility.run`: plan, line-up, order of sums, account, names of results."""

import functools
import hashlib
import inspect
import json
import pickle
import random
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facility.analysis.files.rootfile import Inspection
from facility.analysis.inputs.fileset import Fileset
from facility.analysis.inputs.plan import Plan, plan, ranges
from facility.analysis.results.record import Receipt
from facility.analysis.results.report import Report
from facility.analysis.run import run
from facility.analysis.runner.arguments import RunOptions, RunRequest
from facility.analysis.runner.checkpoint import Checkpoint
from facility.analysis.runner.distributed_reduction import (
    DistributedReduction,
    LocalResult,
    ReductionError,
)
from facility.analysis.runner.reduction import FAN, MergeError, Node, Tree, add, merge_here
from facility.analysis.runner.retry_queue import LONGEST_PAUSE, RetryQueue
from facility.analysis.serialization.fingerprint import UnknownContentError, fingerprint
from facility.errors import RequestError


def files(*events: int, cluster: int = 0) -> Fileset:
    found = {
        (f"/f{i}.root", "tree"): Inspection(f"/f{i}.root", n, None, f"uuid-{i}", 100 + i, cluster)
        for i, n in enumerate(events)
    }
    content = {"files": dict(found.keys()), "metadata": {"lumi": 3}}
    return Fileset({"data": content}, {k[0]: v.events for k, v in found.items()}, (), found)


# What is asked for.


def test_run_and_its_request_have_the_same_arguments() -> None:
    told = list(inspect.signature(run).parameters.values())[:-1]
    asked = list(inspect.signature(RunRequest).parameters.values())[:-1]
    assert [(each.name, each.annotation) for each in told] == [
        (each.name, each.annotation) for each in asked
    ]
    empty = inspect.Parameter.empty
    assert [each.default for each in told] == [each.default for each in asked]
    named = {each.name: each.annotation for each in told if each.kind is each.KEYWORD_ONLY}
    assert typing.get_type_hints(RunOptions) == named
    assert [each.name for each in told if each.default is empty] == ["processor", "fileset"]


def test_options_that_a_run_does_not_have_are_told_with_all_else_that_is_wrong() -> None:
    options: Any = {"chunksize": 0, "chunk_size": 5, "unknown": 3, "format": "root"}
    with pytest.raises(RequestError) as caught:
        RunRequest.of_options(len, {}, None, None, options)
    assert [problem.partition(" ")[0] for problem in caught.value.problems] == [
        "chunksize=0",
        "chunk_size=",
        "unknown=",
        "format=",
    ]


# Plan.


@pytest.mark.parametrize("events", [1, 99, 100, 101, 250, 1_000, 12_345])
@pytest.mark.parametrize("cluster", [0, 7, 30, 100, 5_000])
def test_each_event_is_in_one_range(events: int, cluster: int) -> None:
    cut = list(ranges(events, 100, cluster))
    assert [stop for _, stop in cut[:-1]] == [start for start, _ in cut[1:]]
    assert (cut[0][0], cut[-1][1]) == (0, events)
    assert all(0 < stop - start <= 150 for start, stop in cut)
    assert len(cut) == -(-events // 100)


def test_a_file_without_events_has_one_range_without_any() -> None:
    assert list(ranges(0, 100)) == list(ranges(0, 100, 30)) == [(0, 0)]


def test_too_many_chunks_are_refused_before_they_are_made() -> None:
    with pytest.raises(RequestError) as raised:
        plan(files(5, 2**62, 7), 200_000)
    assert "give at least chunksize=4,611,686,018,428 or fewer files" in str(raised.value)
    assert "are in /f1.root" in str(raised.value)
    assert len(plan(files(2**62), 2**62).chunks) == 1


def test_cuts_move_to_clusters_that_are_near() -> None:
    assert list(ranges(1_000, 250, 240)) == [(0, 240), (240, 480), (480, 720), (720, 1_000)]
    assert list(ranges(1_000, 250, 0)) == [(0, 250), (250, 500), (500, 750), (750, 1_000)]


def test_a_plan_is_named_after_what_the_files_are() -> None:
    one = plan(files(100, 250), 100)
    assert [(c.index, c.path, c.start, c.stop) for c in one.chunks] == [
        (0, "/f0.root", 0, 100),
        (1, "/f1.root", 0, 83),
        (2, "/f1.root", 83, 167),
        (3, "/f1.root", 167, 250),
    ]
    assert one.events == 350
    assert one.metadata == {"data": {"lumi": 3}}
    assert plan(files(100, 250), 100).hash == one.hash
    assert plan(files(100, 250), 200).hash != one.hash
    assert plan(files(100, 251), 100).hash != one.hash


# Line-up.


def test_new_chunks_then_suspects_alone() -> None:
    retry_queue = RetryQueue(range(3))
    assert [retry_queue.next(0, n, 2) for n in (0, 1, 2)] == [0, 1, None]
    retry_queue.suspect(0)
    assert retry_queue.next(0, 1, 2) == 2
    assert retry_queue.next(0, 1, 2) is None
    assert retry_queue.next(0, 0, 2) == retry_queue.alone == 0
    retry_queue.add(5)
    assert retry_queue.next(0, 1, 2) is None
    assert retry_queue.ended(0)
    assert retry_queue.next(0, 0, 2) == 5
    assert not retry_queue.ended(5)


def test_pauses_grow() -> None:
    retry_queue = RetryQueue(())
    retry_queue.delay(4, 1, now=10.0)
    retry_queue.suspect(9)
    assert retry_queue.next(10.4, 0, 2) is None
    assert retry_queue.pause(10.4, 0.5) == pytest.approx(0.1)
    assert retry_queue.next(10.6, 0, 2) == 4
    retry_queue.delay(4, 20, now=10.0)
    assert retry_queue.next(10.0 + LONGEST_PAUSE, 0, 2) == 4
    assert retry_queue.pause(0.0, 0.5) == 0.5


# DistributedReduction.


def tree_sum(values: list[float | None], order: list[int]) -> float | None:
    """Add as a run does when chunks end in this order."""
    tree = Tree(len(values))
    known: dict[Node, Any] = {}

    def know(node: Node, value: Any) -> None:
        known[node] = value
        parent = tree.know(node)
        if parent is not None:
            know(parent, add([known.pop(child) for child in tree.children(parent)]))

    for index in order:
        know(Node(0, index), values[index])
    assert list(known) == [tree.root]
    return known[tree.root]


@pytest.mark.parametrize("leaves", [1, 2, FAN, FAN + 1, FAN**2, 100])
def test_the_order_in_which_chunks_end_changes_no_bit(leaves: int) -> None:
    rng = random.Random(leaves)
    values: list[float | None] = [rng.random() * 10 ** rng.randint(-9, 9) for _ in range(leaves)]
    sums = set()
    for _ in range(5):
        order = rng.sample(range(leaves), leaves)
        sums.add(tree_sum(values, order))
    assert sums == {merge_here(dict(enumerate(values)), leaves)}
    values[0] = None
    assert tree_sum(values, list(range(leaves))) == merge_here(
        {i: v for i, v in enumerate(values) if v is not None}, leaves
    )


def test_all_leaves_are_below_the_root() -> None:
    tree = Tree(70)
    assert list(tree.leaves(tree.root)) == list(range(70))
    assert list(tree.leaves(Node(1, 8))) == list(range(64, 70))
    assert list(tree.leaves(Node(0, 3))) == [3]


def test_what_is_forgotten_is_added_again() -> None:
    tree = Tree(FAN + 1)
    for place in range(FAN + 1):
        tree.know(Node(0, place))
    assert tree.know(Node(1, 0)) is None
    tree.forget(Node(1, 0))
    assert tree.know(Node(1, 1)) is None
    for place in range(FAN - 1):
        assert tree.know(Node(0, place)) is None
    assert tree.know(Node(0, FAN - 1)) == Node(1, 0)
    assert tree.know(Node(1, 0)) == tree.root


def test_adding_changes_no_input_and_tells_what_cannot_be_added() -> None:
    first, second = {"a": np.ones(2), "b": {"c": 1}}, {"a": np.ones(2), "b": {"c": 2}}
    total = add([first, None, second, second])
    assert total["b"] == {"c": 5}
    assert first["a"].tolist() == second["a"].tolist() == [1, 1]
    with pytest.raises(MergeError, match="ValueError"):
        add([{"a": 1}, {"a": {}}])


class Ready:
    """A future that has ended."""

    def __init__(self, value: Any) -> None:
        self.value = value


class AtOnce:
    """Stands in for `Tasks`: does in this process what is submitted; news wait to be read."""

    def __init__(self) -> None:
        self.news: list[tuple[Node, Any]] = []
        self.submitted: list[str] = []

    def submit(self, what: str, function: Any, *arguments: Any) -> Ready:
        self.submitted.append(what)
        values = [
            [part.value for part in argument] if isinstance(argument, list) else argument
            for argument in arguments
        ]
        return Ready(function(*values))

    def watch(self, node: Node, future: Any) -> None:
        self.news.append((node, future))

    def gather(self, futures: list[Ready]) -> list[Any]:
        return [future.value for future in futures]


def leaf(value: float) -> Any:
    return Ready((pickle.dumps(value), None))


def test_sums_come_from_workers_from_here_and_from_both() -> None:
    tasks = AtOnce()
    sums = DistributedReduction(tasks, FAN + 2)  # type: ignore[arg-type]
    for place in range(FAN - 1):
        sums.know(Node(0, place), LocalResult(pickle.dumps(1.0)))
    assert sums.collect() == FAN - 1
    sums.know(Node(0, FAN - 1), leaf(1.0))
    assert tasks.submitted == [*["restored"] * (FAN - 1), "merge"]
    sums.know(*tasks.news.pop())
    sums.know(Node(0, FAN), None)
    sums.know(Node(0, FAN + 1), LocalResult(pickle.dumps(0.5)))
    sums.know(*tasks.news.pop())
    assert sums.complete
    assert sums.collect() == FAN + 0.5
    assert list(sums.values) == [Node(2, 0)]


def test_a_sum_that_was_lost_is_made_again() -> None:
    tasks = AtOnce()
    sums = DistributedReduction(tasks, FAN + 1)  # type: ignore[arg-type]
    for _ in range(2):
        for place in range(FAN):
            sums.know(Node(0, place), leaf(2.0))
        node, future = tasks.news.pop()
        assert sums.merges == {node: future}
        if place and len(tasks.submitted) == 1:
            assert sums.reopen(node, OSError("lost"), most=1) == list(range(FAN))
            assert sums.collect() is None
    sums.know(node, future)
    sums.know(Node(0, FAN), leaf(1.0))
    sums.know(*tasks.news.pop())
    assert sums.collect() == 2 * FAN + 1
    with pytest.raises(ReductionError, match="lost"):
        sums.reopen(node, OSError("lost"), most=1)
    with pytest.raises(ReductionError, match="axes"):
        sums.reopen(node, MergeError("axes"), most=9)


# Account.


def account() -> Report:
    report = Report.of(plan(files(100, 250), 100), started=0.0)
    for record, worker in zip(report.records, ("w-0", "w-1"), strict=False):
        record.take(Receipt(worker, 1.0, 0.5, 1_500_000))
        record.state = "processed"
    report.records[1].restored = True
    report.records[2].state, report.records[2].error = "failed", "OSError: <gone>"
    report.seconds = 2.0
    return report


def test_events_add_up() -> None:
    report = account()
    assert (report.total, report.processed, report.failed, report.not_reached) == (350, 183, 84, 83)
    assert report.rate == 50
    assert not report.complete
    assert report.unbalanced() == []
    assert list(report.datasets) == [
        {"dataset": "data", "events": 350, "processed": 183, "failed": 84, "not reached": 83,
         "MB": 3.0, "seconds": 1.0}
    ]  # fmt: skip
    assert [row["events"] for row in report.files] == [100, 250]
    assert [row["worker"] for row in report.workers] == ["w-0"]
    assert [row["error"] for row in report.failures] == ["OSError: <gone>"]


def test_a_lost_or_doubled_range_is_noticed() -> None:
    report = account()
    missing = report.records.pop(3)
    assert "167 of 250" in report.unbalanced()[0]
    report.records += [missing, missing]
    assert report.unbalanced()


def test_the_report_as_json_text_and_html(tmp_path: Path) -> None:
    report = account()
    found = json.loads(report.save(tmp_path / "report.json").read_text())
    states = {"processed": 183, "failed": 84, "not_reached": 83, "not_asked": 0}
    assert found["events"] == {"total": 350, **states}
    assert len(found["chunks"]) == 4
    assert "183 of 350 events processed in 2.0 s (50 events/s), 84 failed" in str(report)
    assert "&lt;gone&gt;" in report._repr_html_()


def test_a_report_says_when_making_the_processor_takes_long() -> None:
    report = Report.of(plan(files(100, 250), 100), 0.0)
    report.pickled = 500_000_000
    for record in report.records:
        record.state = "processed"
        record.take(Receipt("cpu-0", 1.0, 2.0, 10, unpickling=0.1))
    assert report.advice == []
    for record in report.records:
        record.take(Receipt("cpu-0", 1.0, 2.0, 10, unpickling=0.5))
    [text] = report.advice
    assert "(500 MB) took 0.50 s a chunk, 25% of the time" in text
    assert text in str(report)
    assert text in report._repr_html_()
    assert json.loads(report.to_json())["notes"] == [text]


def test_a_picture_of_a_run(tmp_path: Path) -> None:
    figure = account().plot()
    chunks, rate = figure.axes
    assert [text.get_text() for text in chunks.get_yticklabels()] == ["w-0"]
    [stairs] = rate.patches
    values, edges, _ = stairs.get_data()
    assert np.sum(values * np.diff(edges)) == pytest.approx(100)
    figure.savefig(tmp_path / "run.png")
    empty = Report.of(plan(files(100), 100), started=0.0)
    empty.plot().savefig(tmp_path / "empty.png")


# Names of results.

CODE = """
import functools, sys
import numpy as np
sys.path.insert(0, "{root}")
from facility.analysis.serialization.fingerprint import fingerprint
LIMIT = 20
def cut(pt):  {comment}
    return pt > LIMIT and pt not in {{"a", "b", "c"}}
class Base:
    def process(self, events):
        return cut(events)
class Mine(Base):
    def __init__(self, names):
        self.names, self.array, self.me = names, np.arange(3), self
    @functools.cached_property
    def value(self):
        return [self.again(x) for x in self.names]
    def again(self, x):
        return self.again({constant}) if x else 1
print(fingerprint(Mine({{"x", "yy", "zzz"}})))
"""


def printed(seed: int, **parts: Any) -> str:
    code = CODE.format(root=Path(__file__).parents[4], **{"comment": "", "constant": 0} | parts)
    environment = {"PYTHONHASHSEED": str(seed)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_a_fingerprint_is_that_of_the_code_and_not_of_the_process() -> None:
    first = printed(1)
    assert len(first.strip()) == 64
    assert printed(2, comment="# a comment") == first
    assert printed(1, constant=2) != first


LIMIT = 20


def test_a_fingerprint_changes_with_what_a_function_refers_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(limit: int) -> Any:
        return lambda pt: pt > limit + LIMIT

    before = fingerprint(make(1))
    assert before == fingerprint(make(1))
    assert before != fingerprint(make(2))
    assert fingerprint(functools.partial(max, 1)) != fingerprint(functools.partial(min, 1))
    monkeypatch.setitem(globals(), "LIMIT", 30)
    assert before != fingerprint(make(1))


def test_regular_expressions_have_a_fingerprint() -> None:
    one, other = re.compile(r"HLT_e\d+"), re.compile(r"HLT_mu\d+")
    assert fingerprint(one) == fingerprint(re.compile(r"HLT_e\d+"))
    assert len({fingerprint(each) for each in (one, other, re.compile(r"HLT_e\d+", re.I))}) == 3


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(UnknownContentError):
        fingerprint([file])


def checkpoint(folder: Path, work: Plan, processor: Any = max, schema: Any = int) -> Checkpoint:
    return Checkpoint(folder, work, processor, schema)


def test_checkpoints_keep_what_depends_on_the_same(tmp_path: Path) -> None:
    work = plan(files(100, 250), 100)
    kept, receipt = checkpoint(tmp_path, work), Receipt("w", 1.0, 2.0, 3)
    assert kept.load(work.chunks[0]) is None
    kept.save(work.chunks[0], b"result", receipt)
    assert checkpoint(tmp_path, work).load(work.chunks[0]) == (b"result", receipt)
    assert kept.load(work.chunks[1]) is None
    assert checkpoint(tmp_path, work, processor=min).load(work.chunks[0]) is None
    assert checkpoint(tmp_path, work, schema=str).load(work.chunks[0]) is None
    other = Plan(work.chunks, {"data": {"lumi": 4}})
    assert checkpoint(tmp_path, other).load(work.chunks[0]) is None


def test_half_a_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    work = plan(files(100), 100)
    kept = checkpoint(tmp_path, work)
    kept.save(work.chunks[0], b"result", Receipt("w", 1.0, 2.0, 3))
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert kept.load(work.chunks[0]) is None
    assert kept.foreign == 1


class Opened:
    """What a pickle of somebody else's would do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("opened"),)


def test_what_others_put_into_a_checkpoint_is_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    work = plan(files(100, 250), 100)
    kept, receipt = checkpoint(tmp_path / "kept", work), Receipt("w", 1.0, 2.0, 3)
    kept.save(work.chunks[0], b"result", receipt)
    kept.save(work.chunks[1], b"other", receipt)
    first, second = (kept.folder / f"{kept.key(work.chunks[i])}.chunk" for i in (0, 1))
    own = first.read_bytes()
    attacks = {
        "unsigned": pickle.dumps((b"", Opened())),
        "of release 0.1": (lambda c: hashlib.sha256(c).digest() + c)(pickle.dumps(Opened())),
        "of another chunk": second.read_bytes(),
        "empty": b"",
    }
    with monkeypatch.context() as other:
        other.setenv("XDG_DATA_HOME", str(tmp_path / "of somebody else"))
        theirs = checkpoint(tmp_path / "theirs", work)
        theirs.save(work.chunks[0], b"result", receipt)
    attacks["signed by somebody else"] = (theirs.folder / first.name).read_bytes()
    for content in attacks.values():
        first.write_bytes(content)
        again = checkpoint(kept.folder, work)
        assert again.load(work.chunks[0]) is None
        [said] = again.remarks()
        assert "1 file was not opened, and computed again" in said
    assert not Path("opened").exists()
    first.write_bytes(own)
    again = checkpoint(kept.folder, work)
    assert again.load(work.chunks[0]) == (b"result", receipt)
    assert not again.remarks()


def test_a_checkpoint_that_cannot_be_kept(tmp_path: Path) -> None:
    work = plan(files(100), 100)
    with pytest.raises(RequestError, match="not writable"):
        checkpoint(Path("/dev/full/folder"), work)
    with (tmp_path / "file").open("w") as file, pytest.raises(RequestError, match="noticed"):
        checkpoint(tmp_path, work, processor=functools.partial(print, file=file))
