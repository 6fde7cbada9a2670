"""Columns that are taken out of baskets at once are those that uproot reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from facility.analysis.reading.baskets import VECTOR, Baskets, _Basket, _Kind, _lists

NUMBERS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?")
CODECS = {
    "ZSTD": uproot.ZSTD(3),
    "LZ4": uproot.LZ4(4),
    "ZLIB": uproot.ZLIB(1),
    "LZMA": uproot.LZMA(1),
    "none": None,
}
BASKET, EVENTS = 700, 3_000


def write(path: Path, codec: str) -> Path:
    rng = np.random.default_rng(4)
    with uproot.recreate(path, compression=CODECS[codec]) as file:
        tree = None
        for start in range(0, EVENTS, BASKET):
            size = min(BASKET, EVENTS - start)
            counts = rng.poisson(1.5, size)
            block: dict[str, Any] = {}
            for name in NUMBERS:
                dtype = np.dtype(name)
                content = rng.integers(0, 2 if name == "?" else 100, counts.sum()).astype(dtype)
                block[f"flat_{dtype.name}"] = rng.integers(0, 2, size).astype(dtype)
                block[f"lists_{dtype.name}"] = ak.unflatten(content, counts)
            block["pairs"] = rng.normal(size=(size, 2))
            if tree is None:
                types = {
                    key: value.type.content
                    if isinstance(value, ak.Array)
                    else (value.dtype, value.shape[1:])
                    for key, value in block.items()
                }
                tree = file.mktree("tree", types)
            tree.extend(block)
    return path


@pytest.fixture(params=CODECS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Baskets]]:
    path = write(tmp_path / "a.root", request.param)
    with uproot.open(path) as file:
        baskets = Baskets(str(path), file.file.source)
        yield file["tree"], baskets
        baskets.close()


def same(found: Any, branch: Any, start: int, stop: int) -> bool:
    expected = branch.array(entry_start=start, entry_stop=stop)
    assert found is not None, branch.name
    assert found.form == expected.layout.to_ListOffsetArray64(True).form if found.is_list else True
    return bool(ak.array_equal(ak.Array(found), expected, equal_nan=True, dtype_exact=True))


@pytest.mark.parametrize(
    ("start", "stop"), [(0, EVENTS), (0, 1), (699, 701), (700, 1_400), (5, 2_950), (2_999, 3_000)]
)
def test_every_type_codec_and_range(tree: tuple[Any, Baskets], start: int, stop: int) -> None:
    branches, baskets = tree
    for name in NUMBERS:
        for shape in ("flat", "lists"):
            branch = branches[f"{shape}_{np.dtype(name).name}"]
            assert same(baskets.column(branch, start, stop), branch, start, stop)
    assert baskets.requested > 0


def test_what_is_not_simple_is_left_to_uproot(
    tree: tuple[Any, Baskets], real_physlite: Path
) -> None:
    branches, baskets = tree
    assert baskets.column(branches["pairs"], 0, 10) is None
    assert baskets.column(branches["flat_int32"], 10, 10) is None
    with uproot.open(real_physlite) as file:
        real = file["CollectionTree"]
        baskets = Baskets(str(real_physlite), file.file.source)
        kinds = {
            baskets.column(branch, 0, 100) is None: branch.typename
            for branch in real.branches
            if branch.typename in ("std::vector<float>", "std::vector<std::vector<float>>")
        }
        baskets.close()
    assert kinds == {False: "std::vector<float>", True: "std::vector<std::vector<float>>"}


@pytest.mark.parametrize(("start", "stop"), [(0, 100), (3, 71)])
def test_vectors_of_a_real_file(real_physlite: Path, start: int, stop: int) -> None:
    found = 0
    with uproot.open(real_physlite) as file:
        baskets = Baskets(str(real_physlite), file.file.source)
        for branch in file["CollectionTree"].branches:
            column = baskets.column(branch, start, stop)
            if column is not None:
                assert same(column, branch, start, stop)
                found += 1
        baskets.close()
    assert found > 600


@pytest.mark.parametrize("room", [1_000, 1])
@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "?"])
def test_vectors_of_every_type_in_several_baskets(name: str, room: int) -> None:
    rng = np.random.default_rng(1)
    dtype = np.dtype(name).newbyteorder(">")
    lists = [rng.integers(0, 100, rng.poisson(2)).astype(dtype) for _ in range(300)]
    baskets = []
    for part in (lists[:100], lists[100:120], lists[120:]):
        written = [bytes(VECTOR) + values.tobytes() for values in part]
        ends = np.cumsum([len(data) for data in written])
        positions = np.concatenate([[0], ends]).astype(np.int32)
        data = np.frombuffer(b"".join(written), np.uint8)
        baskets.append(_Basket(0, len(part), data, positions))
    baskets[0] = baskets[0]._replace(first=7)
    baskets[-1] = baskets[-1]._replace(last=150)
    numbers = np.empty(room, np.dtype(name))
    found = ak.Array(_lists(baskets, _Kind(dtype, VECTOR), numbers, 263))
    assert ak.to_list(found) == [values.tolist() for values in lists[7:270]]
    assert found.layout.content.dtype == np.dtype(name)


def test_the_stored_size_of_a_column_decides_nothing(
    tree: tuple[Any, Baskets], monkeypatch: pytest.MonkeyPatch
) -> None:
    branches, baskets = tree
    for name in ("flat_int32", "lists_float64"):
        for told in (-1, 0, 2, 1 << 62):
            branch = branches[name]
            monkeypatch.setitem(branch._members, "fTotBytes", told)
            assert same(baskets.column(branch, 5, 2_950), branch, 5, 2_950)


def test_baskets_that_are_outside_the_file_are_left_to_uproot(
    tree: tuple[Any, Baskets], monkeypatch: pytest.MonkeyPatch
) -> None:
    branches, baskets = tree
    branch = branches["flat_int32"]
    seeks = branch.member("fBasketSeek").copy()
    for place in (0, 1 << 40):
        seeks[1] = place
        monkeypatch.setitem(branch._members, "fBasketSeek", seeks)
        assert baskets.column(branch, 0, EVENTS) is None
        assert baskets.column(branch, 0, BASKET) is not None
    # More events than its baskets hold.
    assert baskets.column(branch, 0, EVENTS + 1) is None


def test_an_address_is_read_through_uproot(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root", "ZSTD")
    with uproot.open(path) as file:
        branch = file["tree"]["lists_float32"]
        before = file.file.source.num_requested_bytes
        baskets = Baskets(f"file://{path}", file.file.source)
        column = baskets.column(branch, 10, 2_000)
        read = file.file.source.num_requested_bytes - before
        assert read > 1_000
        assert baskets.requested == 0
        assert same(column, branch, 10, 2_000)


@pytest.mark.parametrize("codec", ["ZSTD", "LZ4", "ZLIB"])
def test_damaged_baskets_are_left_to_uproot(tmp_path: Path, codec: str) -> None:
    path = write(tmp_path / "a.root", codec)
    with uproot.open(path) as file:
        branch = file["tree"]["lists_float64"]
        begin = int(branch.member("fBasketSeek")[1])
        end = begin + branch.basket_compressed_bytes(1)
    content = path.read_bytes()
    for first, last in ((begin, begin + 4), (begin + 80, end), (end - 200, end - 100)):
        path.write_bytes(content[:first] + bytes(last - first) + content[last:])
        with uproot.open(path) as file:
            branch = file["tree"]["lists_float64"]
            baskets = Baskets(str(path), file.file.source)
            assert same(baskets.column(branch, 0, 600), branch, 0, 600)
            assert baskets.column(branch, 0, 800) is None
            baskets.close()


def test_a_file_cut_while_it_is_open(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root", "ZSTD")
    with uproot.open(path) as file:
        branch = file["tree"]["flat_int64"]
        baskets = Baskets(str(path), file.file.source)
        with path.open("r+b") as same_file:
            same_file.truncate(int(branch.member("fBasketSeek")[2]) + 10)
        assert baskets.column(branch, 0, EVENTS) is None
        baskets.close()
