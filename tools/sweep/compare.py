"""Read a tree as `facility.run` does and as coffea's Runner does, and tell where they differ."""

import math
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cloudpickle
import uproot
from coffea.nanoevents import BaseSchema
from coffea.processor import IterativeExecutor, Runner, accumulate

from facility.analysis.files.chunk import Chunk
from facility.analysis.inputs.fileset import fileset
from facility.analysis.inputs.plan import plan
from facility.analysis.reading.file_cache import OpenFile, Settings, close_files
from facility.analysis.runner.process_chunk import ChunkError, process_chunk
from facility.errors import FilesetError
from tools.sweep.columns import ERROR, FORM, Column, Columns, Told, content, described, shuffled
from tools.sweep.trees import Tree, trees

PARTS = (1, 2, 3)
"""Into how many chunks a tree is cut, one number after the other."""
LARGEST = 100_000
"""Events of a chunk at most."""
MOST = 5
"""Chunks of one size at most; more events of a large tree tell nothing new."""
DATASET = "sweep"
OPTIONS = {"handler": uproot.MemmapSource}
"""Of `uproot.open`, so that coffea takes half the time."""
REASON = "to be compared"


@dataclass
class Account:
    """What was compared, and what came of it.

    Attributes
    ----------
    files, trees, branches, chunks
        How many; branches are the columns of BaseSchema, and a tree counts for each schema.
    equal, refused, refused_by_us
        Columns of chunks, in each way of reading: alike, refused by both, refused by us only.
    different
        One line for each tree and column that differs, or that one of the two refuses.
    plainly
        Trees that were read as coffea does, by the reason.
    only_by_us
        Chunks that coffea's Runner refuses, and we read: the plain way then stands for the Runner.
    in_part
        Trees of which only the first chunks of each size were read.
    """

    files: int = 0
    trees: int = 0
    branches: int = 0
    chunks: int = 0
    equal: int = 0
    refused: int = 0
    refused_by_us: int = 0
    different: list[str] = field(default_factory=list)
    plainly: Counter[str] = field(default_factory=Counter)
    only_by_us: int = 0
    in_part: int = 0

    def add(self, other: "Account") -> None:
        """Add another one."""
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def __str__(self) -> str:
        lines = [f"  {number:6,} trees read plainly: {why}" for why, number in self.plainly.items()]
        if self.only_by_us:
            lines.append(f"  {self.only_by_us:6,} chunks refused by coffea's Runner, read by us")
        if self.in_part:
            lines.append(f"  {self.in_part:6,} trees read in part: the first {MOST} chunks")
        lines.append(
            f"{self.files:,} files, {self.trees:,} trees, {self.branches:,} branches, "
            f"{self.chunks:,} chunks: {self.equal:,} columns equal, {len(self.different):,} "
            f"different, {self.plainly.total():,} trees read plainly, {self.refused:,} refused by "
            f"both, {self.refused_by_us:,} by us only"
        )
        return "\n".join(lines)


def compare_file(path: Path, seed: int = 0) -> Account:
    """Compare every column of every tree of a file.

    Parameters
    ----------
    seed
        Of the order in which our columns are read.
    """
    account = Account(files=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = list(trees(path))
        except Exception:  # noqa: BLE001 - whatever it is, coffea refuses the file
            _compare(Tree(path, "tree", BaseSchema), (), seed, account)
            return account
        for tree in found:
            try:
                account.trees += 1
                _compare(tree, PARTS if tree.schema is BaseSchema else PARTS[1:2], seed, account)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault
                account.different.append(f"{tree}: {_first_line(error)}")
            finally:
                close_files()
    return account


def _compare(tree: Tree, parts: Iterable[int], seed: int, account: Account) -> None:
    files = {DATASET: {"files": {str(tree.path): tree.name}}}
    try:
        [item] = _runner(tree, sys.maxsize).preprocess(files)
        theirs: int | str = int(item.entrystop)
    except Exception as error:  # noqa: BLE001 - whatever it is, coffea refuses it
        theirs = _first_line(error)
    try:
        ours = plan(fileset(files, progress=False), sys.maxsize)
    except FilesetError as error:
        if isinstance(theirs, str):
            account.refused += 1
        else:
            account.refused_by_us += 1
            account.different.append(f"{tree}: coffea reads it, we do not: {error}")
        return
    if ours.events != theirs:
        account.different.append(f"{tree}: {ours.events:,} events, coffea: {theirs}")
        return
    largest = min(ours.events, LARGEST)
    sizes = {max(1, math.ceil(largest / into)) for into in parts}
    account.in_part += any(ours.events > MOST * size for size in sizes)
    different: Counter[str] = Counter()
    for number, size in enumerate(sorted(sizes, reverse=True)):
        _compare_chunks(tree, ours.chunks[0], size, seed, number == 0, account, different)
    for what, times in sorted(different.items()):
        account.different.append(f"{tree}: {what} ({times} times)")


def _compare_chunks(
    tree: Tree,
    whole: Chunk,
    size: int,
    seed: int,
    first: bool,
    account: Account,
    different: Counter[str],
) -> None:
    """Compare one chunk after the other, as coffea's Runner cuts them."""
    try:
        files = {DATASET: {"files": {str(tree.path): tree.name}}}
        runner = _runner(tree, size)
        expected: dict[Any, Told] = runner(files, Columns(), uproot_options=OPTIONS)
    except Exception:  # noqa: BLE001 - whatever it is, coffea refuses it
        expected = {(0, size): {}}
    if first and tree.schema is BaseSchema:
        account.branches += len(next(iter(expected.values())).keys() - {FORM})
    account.chunks += len(expected)
    reasons: set[str] = set()
    for (start, stop), told in expected.items():
        part = replace(whole, start=start, stop=stop)
        theirs = told or _plainly(part, Settings(tree.schema))
        account.only_by_us += bool(theirs) and not told
        for way, ours, plainly in readings(part, Settings(tree.schema), seed, also_plainly=first):
            if plainly is not None:
                reasons.add(plainly.replace(tree.name, "the tree"))
            _count(way, ours, theirs, account, different)
    if first:
        account.plainly.update(reasons)


def _count(way: str, ours: Told, theirs: Told, account: Account, different: Counter[str]) -> None:
    """Count what is equal in one chunk, and what is not."""
    if not theirs:
        account.refused += not ours
        if ours:
            different[f"{way}, coffea refuses it, we do not"] += 1
        return
    if not ours:
        account.refused_by_us += 1
        different[f"{way}, coffea reads it, we do not"] += 1
        return
    for column in {**theirs, **ours}:
        one, other = ours.get(column, ERROR), theirs.get(column, ERROR)
        if one.startswith(ERROR) and other.startswith(ERROR):
            account.refused += 1
        elif one == other:
            account.equal += 1
        else:
            account.refused_by_us += one.startswith(ERROR)
            what = f"{one.removeprefix(ERROR)}, coffea reads it" if ERROR in one else "other values"
            what = f"{other.removeprefix(ERROR)} of coffea, we read it" if ERROR in other else what
            different[f"{way}, {'.'.join(column)}: {what}"] += 1


def readings(
    part: Chunk, settings: Settings, seed: int, also_plainly: bool
) -> Iterator[tuple[str, Told, str | None]]:
    """Read a chunk in each way that `facility.run` has.

    Parameters
    ----------
    also_plainly
        Whether to read it as coffea does, too.

    Returns
    -------
    iterator of tuple
        The way; what is in each column, nothing where the chunk is refused; and why it was read
        plainly.
    """
    packed = bytes(cloudpickle.dumps(Columns(seed))), bytes(cloudpickle.dumps(settings))
    try:
        found, receipt = process_chunk(part, {}, *packed, "none")
    except ChunkError as error:
        yield f"as facility.run ({error})", {}, None
    else:
        [told] = cloudpickle.loads(found).values()
        yield "as facility.run", told, receipt.plainly
        if receipt.plainly is not None:
            quick = _quickly(part, settings, seed)
            yield "quickly", {**told, **quick}, None
    if also_plainly:
        settings = replace(settings, uproot_options=OPTIONS)
        yield "plainly", _plainly(part, settings), None


def _quickly(part: Chunk, settings: Settings, seed: int) -> Told:
    """Read column by column, and leave out those that are not to be read quickly.

    Returns
    -------
    dict
        Empty where all is to be read plainly.
    """
    found: Told = {}
    doubted: set[Column] = set()
    while True:
        file = OpenFile(part, settings)
        try:
            if file.plainly is not None:
                return {}
            events = file.events(part, {})
            found[FORM] = described(events)
            for column in shuffled(events, seed):
                if column in found or column in doubted:
                    continue
                told = content(events, column)
                if file.doubt is not None:
                    doubted.add(column)
                    break
                found[column] = told
            else:
                return found
        finally:
            file.close()


def _plainly(part: Chunk, settings: Settings) -> Told:
    """Read as coffea does; nothing where that is refused."""
    try:
        file = OpenFile(part, settings, REASON)
    except Exception:  # noqa: BLE001 - damaged bytes make uproot raise anything at all
        return {}
    try:
        [told] = Columns().process(file.events(part, {})).values()
    except Exception:  # noqa: BLE001 - and the schema whatever it likes
        return {}
    finally:
        file.close()
    return told


class _OneByOne(IterativeExecutor):  # type: ignore[misc]
    """coffea's simplest executor, without its bar."""

    def __call__(self, items: Any, function: Any, accumulator: Any) -> Any:
        return accumulate(map(function, items), accumulator), 0


def _runner(tree: Tree, chunksize: int) -> Runner:
    # Files of one name may differ, so that nothing is kept of them.
    return Runner(_OneByOne(retries=0), schema=tree.schema, chunksize=chunksize, metadata_cache={})


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
