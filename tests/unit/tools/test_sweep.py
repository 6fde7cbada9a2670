"""What `facility.run` reads of trees made at random; and that the sweep tells what differs."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from facility.analysis.reading.baskets import Baskets
from tools.sweep.__main__ import died, main, root_files, tell
from tools.sweep.compare import Account, compare_file
from tools.sweep.processes import side_by_side
from tools.sweep.random_trees import compare_random, write

SEED = int(os.environ.get("FUZZ_SEED", "0"))
"""Of the first random file; `make fuzz` tries others for as long as is wanted."""
FILES = 10

LAYOUTS = Path(__file__).parents[2] / "data" / "layouts"


@pytest.mark.parametrize("part", range(4))
def test_random_trees_are_read_as_coffea_reads_them(part: int) -> None:
    total = Account()
    for seed in range(SEED + part * FILES, SEED + (part + 1) * FILES):
        total.add(compare_random(seed))
    assert not total.different
    assert total.equal > 300
    assert not total.plainly


def test_the_same_seed_gives_the_same_tree(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.root" for number in range(3)]
    for path, seed in zip(paths, (7, 7, 8), strict=True):
        write(path, seed)
    sizes = [path.stat().st_size for path in paths]
    assert sizes[0] == sizes[1] != sizes[2]


def test_each_difference_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last of the integers that are read quickly is wrong."""
    column = Baskets.column

    def wrongly(*given: Any) -> Any:
        found = column(*given)
        if found.data.dtype == np.int32:
            found.data[-1] += 1
        return found

    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        columns = {name: np.arange(9, dtype=np.int32) for name in ("x", "y")}
        columns["z"] = np.arange(9.0)
        file.mktree("tree", columns).extend(columns)
    assert tell([compare_file(path)]) == 0
    assert "3 branches, 6 chunks" in capsys.readouterr().out
    monkeypatch.setattr(Baskets, "column", wrongly)
    account = compare_file(path)
    assert account.different == [
        f"{path} 'tree' as BaseSchema: as facility.run, {name}: other values (6 times)"
        for name in ("x", "y")
    ]
    assert tell([account]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[:-1] == [f"DIFFERENT {line}" for line in account.different]
    assert " 2 different" in told[-1]


def test_what_neither_can_read_is_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    path.write_bytes((LAYOUTS / "fcc.root").read_bytes()[:1_000])
    account = compare_file(path)
    assert (account.files, account.refused, account.different) == (1, 1, [])
    # A sweep of nothing has shown nothing.
    assert tell([account]) == 1


def test_what_only_we_refuse_is_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path := tmp_path / "a.root", 8)
    monkeypatch.setattr("facility.analysis.runner.process_chunk._packed", lambda _: 1 / 0)
    account = compare_file(path)
    assert account.refused_by_us > 0
    assert "coffea reads it, we do not" in account.different[0]


def test_folders_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b.root", "deep/a.root.1", "deep/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = root_files([tmp_path, tmp_path / "deep/c.txt"])
    assert [path.name for path in found] == ["b.root", "a.root.1", "c.txt"]
    for wrong in ([], [str(tmp_path / "nothing")], ["--fuzz", str(tmp_path)]):
        with pytest.raises(SystemExit):
            main(wrong)
        assert "name folders with files *.root, or ask for --fuzz" in capsys.readouterr().err


def test_a_process_that_dies_is_a_difference() -> None:
    [account] = side_by_side(os._exit, [1, 2], 1, died)
    assert account.different == ["1: a process died of one of these"]
