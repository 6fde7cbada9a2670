"""A file is the one that its path names, and a tree the one that its name names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema

from facility.analysis.files.open_file import find, held, open_root, split
from facility.analysis.files.rootfile import inspect
from facility.analysis.inputs.fileset import fileset
from facility.analysis.inputs.plan import plan
from facility.analysis.reading.file_cache import OpenFile, Settings

NAMES = [
    "plain.root", "a.root:b.root", "a.root:Events", "trailing.root ", " leading.root", " ",
    "c:olon.root", "two::colons.root", "zip::x.root", "a.root::b", "per%20cent.root", "ha#sh.root",
    "qu?est.root", "st*ar.root", "br[1].root", "new\nline.root", "file:x.root", "~.root", "none",
]  # fmt: skip


def write(path: Path, *trees: tuple[str, int], more: int = 0) -> Path:
    """Write trees whose column `x` counts from a number of their own."""
    with path.open("wb+") as stream, uproot.recreate(stream) as file:
        for number, (name, events) in enumerate(trees):
            first = 1_000 * (number + 1) + more
            tree = file.mktree(name, {"x": "int64"})
            tree.extend({"x": np.arange(first, first + events)})
    return path


def values(path: Path | str, tree: str, plainly: str | None = None) -> list[int]:
    """Look into a file, plan it and read it."""
    files = fileset(path, treename=tree, progress=False)
    found: list[int] = []
    for chunk in plan(files, 4).chunks:
        file = OpenFile(chunk, Settings(BaseSchema), plainly)
        assert file.plainly == plainly
        found += file.events(chunk, {}).x.to_list()
        file.close()
    return found


@pytest.mark.parametrize("plainly", [None, "as asked"])
def test_a_path_is_the_name_of_a_file(tmp_path: Path, plainly: str | None) -> None:
    # What some of the names would be taken for is there too.
    for number, name in enumerate(["a.root", "trailing.root", "two", "zip", *NAMES]):
        write(tmp_path / name, ("Events", 5), more=10 * number)
    for number, name in enumerate(NAMES, start=4):
        first = 1_000 + 10 * number
        path = tmp_path / name
        assert values(path, "Events", plainly) == list(range(first, first + 5)), name


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("several") / "several.root"
    trees = ("Events", 5), ("dir/sub/Events", 6), ("dir/sub/Events", 7), ("Events", 5)
    return write(path, *trees)


@pytest.mark.parametrize("plainly", [None, "as asked"])
@pytest.mark.parametrize(
    ("name", "first", "events"),
    [
        ("Events", 4_000, 5),
        ("/Events", 4_000, 5),
        ("Events;2", 4_000, 5),
        ("Events;1", 1_000, 5),
        ("dir/sub/Events", 3_000, 7),
        ("/dir/sub/Events", 3_000, 7),
        ("//dir//sub/Events/", 3_000, 7),
        ("dir/sub/Events;2", 3_000, 7),
        ("/dir;1/sub/Events;1", 2_000, 6),
    ],
)
def test_a_name_may_have_folders_and_a_cycle(
    several: Path, name: str, first: int, events: int, plainly: str | None
) -> None:
    assert values(several, name, plainly) == list(range(first, first + events))


@pytest.mark.parametrize("name", ["Events;3", "Events;x", "dir", "sub/Events", "Events/x", "", "/"])
def test_a_name_that_is_not_there(several: Path, name: str) -> None:
    problem = str(inspect(str(several), name).problem)
    if name == "dir":
        assert problem.endswith("holds 'dir' as a TDirectory, which is not a tree.")
    elif ";" in name:
        assert "it holds Events;1, Events;2, dir/sub/Events;1, dir/sub/Events;2." in problem
    else:
        assert problem.endswith(f"has no tree {name!r}; it holds Events, dir/sub/Events.")
    with open_root(str(several)) as file:
        if name != "dir":
            with pytest.raises(KeyError):
                find(file, name)


def test_a_folder_that_is_inside_itself_is_listed_once(several: Path) -> None:
    with open_root(str(several)) as file:
        inner = find(file, "dir").key
        # As a damaged file has it: the folder's list of names is that of the folder above.
        sub = inner.get()
        sub._fSeekKeys, sub._keys, sub._keys_lookup = (
            file._fSeekKeys, file._keys, file._keys_lookup,
        )  # fmt: skip
        file.file.object_cache[inner.cache_key] = sub
        assert sorted(dict(held(file))) == ["Events", "dir"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.root:Events", ("a.root", "Events")),
        ("/x/DAOD.pool.root.1:dir/Events;2", ("/x/DAOD.pool.root.1", "dir/Events;2")),
        ("root://h:1094//x/a.root:Events", ("root://h:1094//x/a.root", "Events")),
        ("data/*.root:Events", ("data/*.root", "Events")),
        ("a.root", None),
        ("root://h:1094//x/a.root", None),
        ("a.root:", None),
        ("a.root::b", None),
        ("mc20_13TeV:DAOD_PHYSLITE.1.root", None),
        ("c:olon.root", None),
    ],
)
def test_what_is_written_as_uproot_writes_it(text: str, parts: tuple[str, str] | None) -> None:
    assert split(text) == parts


def test_a_tree_may_stand_behind_the_file(several: Path, tmp_path: Path) -> None:
    every: list[Any] = [
        f"{several}:dir/sub/Events",
        [f"{several}:dir/sub/Events"],
        f"{several.parent}/*.root:dir/sub/Events",
        {"data": f"{several}:dir/sub/Events"},
        {"data": {"files": [f"{several}:dir/sub/Events"], "treename": "other"}},
        {"data": {"files": {f"{several}:dir/sub/Events": None}}},
        {"data": {"files": {several: "dir/sub/Events"}}},
        {"data": {"files": {several: None}, "treename": "dir/sub/Events"}},
        {"data": {"files": {several: {"object_path": "dir/sub/Events"}}}},
    ]
    for sources in every:
        found = fileset(sources, treename="CollectionTree", progress=False)
        assert found["data"]["files"] == {str(several): "dir/sub/Events"}, sources
        assert found.total == 7
    found = fileset({"data": {"files": {several: None}}}, treename="Events", progress=False)
    assert found.total == 5
