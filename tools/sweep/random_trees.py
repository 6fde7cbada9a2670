"""ROOT files of trees made at random: types, lists, baskets, compression, names.

The same seed gives the same file. uproot writes them; vectors and split objects, which only ROOT
writes, come from `root_trees`.
"""

import random
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from tools.sweep.compare import Account, compare_file

NUMBERS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?")
EVENTS = (0, 1, 2, 3, 10, 64, 65, 300, 1_000)
STARTS = ("pt", "x_y", "Jets.pt", "Muon_pt", "n", "nMuon", "index", "é", "a b", "_x")
"""What names of branches begin with."""
NANO = ("run", "luminosityBlock", "event")
"""What coffea's NanoAODSchema wants."""
TREES = ("Events", "tree", "CollectionTree", "in/a/folder", "some tree")

Values = Any
"""What a branch holds: an array of NumPy or of Awkward Array."""


def compare_random(seed: int) -> Account:
    """Compare a file that is made at random."""
    with tempfile.TemporaryDirectory(prefix="facility-fuzz-") as folder:
        path = Path(folder) / "random.root"
        write(path, seed)
        account = compare_file(path, seed)
    account.different = [f"--fuzz --cases 1 --seed {seed}: {each}" for each in account.different]
    return account


def write(path: Path, seed: int) -> None:
    """Write a file of one or two trees."""
    choose = random.Random(seed)
    with uproot.recreate(path, compression=_compression(choose)) as file:
        for name in choose.sample(TREES, choose.choice((1, 1, 2))):
            events = choose.choice(EVENTS)
            is_ntuple = choose.random() < 0.25
            kinds = _KINDS + _ONLY_NTUPLES if is_ntuple else _KINDS
            data = {
                f"{choose.choice(STARTS)}{number}": choose.choice(kinds)(choose, events)
                for number in range(choose.randint(1, 8))
            }
            if name == "Events":
                data |= {key: np.arange(events, dtype=np.uint32) for key in NANO}
            empty = {key: _part(values, 0, 0) for key, values in data.items()}
            if is_ntuple:
                tree = file.mkrntuple(name, empty)
            else:
                capacity = choose.choice((1, 2, 10))
                tree = file.mktree(name, empty, "a title", initial_basket_capacity=capacity)
            inside = [choose.randint(0, events) for _ in range(choose.choice((0, 1, 4)))]
            cuts = [0, *sorted(inside), events]
            for start, stop in pairwise(cuts):
                tree.extend({key: _part(values, start, stop) for key, values in data.items()})


def _compression(choose: random.Random) -> Any:
    codec = choose.choice((None, uproot.ZLIB, uproot.LZ4, uproot.ZSTD, uproot.LZMA))
    return codec and codec(choose.choice((1, 5, 9)))


def _part(values: Values, start: int, stop: int) -> Values:
    part = values[start:stop]
    return ak.to_packed(part) if isinstance(part, ak.Array) else part


def _numbers(choose: random.Random, size: int, *shape: int) -> Values:
    """Numbers of any type, the strangest ones among them."""
    dtype = np.dtype(choose.choice(NUMBERS))
    number = size * int(np.prod(shape))
    found = np.frombuffer(choose.randbytes(number * dtype.itemsize), dtype).copy()
    if dtype.kind == "b":
        found = np.frombuffer(choose.randbytes(number), np.uint8) > 127
    elif choose.random() < 0.5:
        found = (found % 7 if dtype.kind in "iu" else np.round(np.nan_to_num(found) % 7)).astype(
            dtype
        )
    return found.reshape(size, *shape)


def _counts(choose: random.Random, events: int) -> Values:
    """How long lists are: short, long, or empty nearly everywhere."""
    mean = choose.choice((0, 0.05, 2, 40 if events <= 300 else 5))
    return np.random.default_rng(choose.getrandbits(32)).poisson(mean, events)


def _lists(choose: random.Random, events: int) -> Values:
    counts = _counts(choose, events)
    return ak.unflatten(_numbers(choose, int(counts.sum())), counts)


def _fixed(choose: random.Random, events: int) -> Values:
    return _numbers(choose, events, *choose.choice(((1,), (3,), (2, 2))))


def _lists_of_fixed(choose: random.Random, events: int) -> Values:
    counts = _counts(choose, events)
    return ak.unflatten(
        ak.from_numpy(_numbers(choose, int(counts.sum()), 2), regulararray=True), counts
    )


def _strings(choose: random.Random, events: int) -> Values:
    lengths = [choose.choice((0, 1, 5, 254, 255, 300)) for _ in range(events)]
    # Of none at all Awkward Array would not know that they are strings.
    return ak.Array(["é"[: length % 2] + "x" * (length // 2) for length in (*lengths, 0)])[:-1]


def _records(choose: random.Random, events: int) -> Values:
    return ak.zip({"x": _numbers(choose, events), "y": _numbers(choose, events)})


def _lists_of_records(choose: random.Random, events: int) -> Values:
    counts = _counts(choose, events)
    fields = {name: _numbers(choose, int(counts.sum())) for name in ("pt", "eta", "idx")}
    return ak.unflatten(ak.zip(fields), counts)


def _lists_of_lists(choose: random.Random, events: int) -> Values:
    outer = _counts(choose, events)
    return ak.unflatten(_lists(choose, int(outer.sum())), outer)


def _lists_of_strings(choose: random.Random, events: int) -> Values:
    outer = _counts(choose, events)
    return ak.unflatten(_strings(choose, int(outer.sum())), outer)


_KINDS: tuple[Callable[[random.Random, int], Values], ...] = (
    _numbers,
    _lists,
    _lists,
    _fixed,
    _strings,
    _records,
    _lists_of_records,
)
_ONLY_NTUPLES = (_lists_of_lists, _lists_of_strings, _lists_of_fixed)
