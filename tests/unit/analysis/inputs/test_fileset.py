"""Filesets: every form of input, and every way in which a file can be wrong."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import uproot
from coffea import processor

from facility.analysis.files.rootfile import inspect
from facility.analysis.inputs.fileset import Fileset, SkippedFilesWarning, fileset
from facility.analysis.samples.physlite_files import write_files
from facility.errors import FilesetError

TREE = "CollectionTree"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_files(tmp_path_factory.mktemp("good"), 3, 40)


def entries(found: Fileset, dataset: str = "data") -> list[str]:
    return list(found[dataset]["files"])


def names(paths: list[Path]) -> list[str]:
    return [str(path) for path in paths]


# What may be given.


def test_a_folder_gives_its_root_files_and_their_events(good: list[Path]) -> None:
    (good[0].parent / "notes.txt").touch()
    (good[0].parent / ".unfinished.root.1.part").touch()
    found = fileset(good[0].parent)
    assert found == {"data": {"files": dict.fromkeys(names(good), TREE), "metadata": {}}}
    assert found.events == dict.fromkeys(names(good), 40)
    assert found.total == 120
    assert found.skipped == ()


@pytest.mark.parametrize(
    "form",
    [
        lambda files: files,
        lambda files: tuple(map(str, files)),
        lambda files: iter(files),
        lambda files: f"{files[0].parent}/*.root.1",
        lambda files: f"{files[0].parent.parent}/{files[0].parent.name}/**/DAOD*",
        lambda files: [files[0], f"{files[0].parent}/*_00000[12]*"],
        lambda files: {"data": files},
        lambda files: {"data": {"files": files, "treename": TREE}},
        lambda files: {"data": {"files": dict.fromkeys(files, TREE)}},
    ],
)
def test_every_form_gives_the_same(good: list[Path], form: Callable[[list[Path]], object]) -> None:
    assert entries(fileset(form(good), treename="CollectionTree")) == names(good)


def test_one_file_relative_and_from_home(
    good: list[Path], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(good[0].parent)
    assert entries(fileset(good[0].name)) == [str(good[0])]
    shutil.copy(good[0], home / "mine.root")
    assert entries(fileset("~/mine.root")) == [str(home / "mine.root")]


def test_several_datasets_with_metadata(good: list[Path]) -> None:
    found = fileset(
        {"zee": {"files": good[:1], "metadata": {"xsec": 2.0}}, "zmumu": good[1:]},
        metadata={"year": 2016},
    )
    assert found["zee"]["metadata"] == {"year": 2016, "xsec": 2.0}
    assert found["zmumu"]["metadata"] == {"year": 2016}
    assert entries(found, "zmumu") == names(good[1:])
    assert found.total == 120


def test_a_name_with_glob_characters_is_a_file_first(good: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "a[1].root"
    shutil.copy(good[0], path)
    assert entries(fileset(path)) == [str(path)]


def test_coffea_takes_it_also_after_pickling(good: list[Path]) -> None:
    found = pickle.loads(pickle.dumps(fileset(good)))
    assert found.total == 120
    runner = processor.Runner(
        processor.IterativeExecutor(status=False), schema=processor.executor.schemas.BaseSchema
    )
    chunks = list(runner.preprocess(found))
    assert sum(chunk.entrystop - chunk.entrystart for chunk in chunks) == 120


def test_entries_are_what_uproot_counts(good: list[Path], real_physlite: Path) -> None:
    for path in (good[0], real_physlite):
        with uproot.open(path) as file:
            assert inspect(str(path), TREE)[:3] == (str(path), file[TREE].num_entries, None)


# What may be wrong.


def damaged(path: Path, target: Path) -> Path:
    """Copy a file and overwrite a part of its metadata."""
    data = bytearray(path.read_bytes())
    data[120:400] = b"\xff" * 280
    target.write_bytes(data)
    return target


@pytest.fixture
def bad(tmp_path: Path, good: list[Path], real_physlite: Path, real_files: Path) -> Path:
    """Give a folder with one file for each thing that can be wrong."""
    (tmp_path / "empty.root").touch()
    (tmp_path / "text.root").write_text("run,event\n1,2\n" * 10)
    (tmp_path / "header.root").write_bytes(real_physlite.read_bytes()[:15])
    (tmp_path / "truncated.root").write_bytes(real_physlite.read_bytes()[:700_000])
    damaged(good[0], tmp_path / "damaged.root")
    shutil.copy(real_files / "nano_dy_rntuple.root", tmp_path / "rntuple.root")
    with uproot.recreate(tmp_path / "treeless.root") as file:
        file["title"] = "no tree"
    with uproot.recreate(tmp_path / "other.root") as file:
        file.mktree("reco", {"x": "float32"}).extend({"x": np.ones(3, np.float32)})
    with uproot.recreate(tmp_path / "histogram.root") as file:
        file[TREE] = np.histogram([1.0, 2.0])
    with uproot.recreate(tmp_path / "zero.root") as file:
        file.mktree(TREE, {"x": "float32"})
    return tmp_path


PROBLEMS = {
    "empty.root": r"is empty \(0 bytes\)\.",
    "text.root": r"is not a ROOT file \(it begins with b'run,even'\)\.",
    "header.root": r"is truncated after 15 bytes; copy it again\.",
    "truncated.root": r"is truncated: it holds 700,000 of 1,641,551 bytes; copy it again\.",
    "damaged.root": r"cannot be read as a ROOT file \(.+\)\.",
    "rntuple.root": r"has no tree 'CollectionTree'; it holds Events\.",
    "treeless.root": r"has no tree 'CollectionTree'; it holds no trees at all\.",
    "other.root": r"has no tree 'CollectionTree'; it holds reco\.",
    "histogram.root": r"holds 'CollectionTree' as a TH1D, which is not a tree\.",
    "missing.root": r"does not exist\.",
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_bad_file_has_a_sentence(bad: Path, name: str) -> None:
    with pytest.raises(
        FilesetError, match=rf"^1 input cannot be used: \S+{name} {PROBLEMS[name]}$"
    ):
        fileset(bad / name)


def test_all_bad_files_are_told_at_once(bad: Path, good: list[Path]) -> None:
    with pytest.raises(FilesetError) as caught:
        fileset([bad, bad / "missing.root", *good])  # zero.root is a good one
    assert len(caught.value.problems) == len(PROBLEMS)
    assert {Path(text.split()[0]).name for text in caught.value.problems} == set(PROBLEMS)
    assert str(caught.value).startswith("10 inputs cannot be used:\n  - ")


def test_skip_keeps_the_good_ones_and_says_what_it_left_out(bad: Path, good: list[Path]) -> None:
    with pytest.warns(SkippedFilesWarning, match=r"9 inputs left out:\n  - /") as caught:
        found = fileset([bad, *good], on_error="skip")
    assert caught[0].filename == __file__
    assert entries(found) == [str(bad / "zero.root"), *names(good)]
    assert found.total == 120
    assert len(found.skipped) == 9
    assert pickle.loads(pickle.dumps(found)).skipped == found.skipped


def test_skip_with_nothing_left_raises(bad: Path) -> None:
    (bad / "zero.root").unlink()
    with pytest.raises(FilesetError, match="9 inputs cannot be used"):
        fileset(bad, on_error="skip")


def test_an_rntuple_is_counted(real_files: Path) -> None:
    assert fileset(real_files / "nano_dy_rntuple.root", treename="Events").total == 40


def test_an_rntuple_of_physlite_is_counted(rntuple_physlite: Path) -> None:
    assert fileset(rntuple_physlite, treename="EventData").total == 100
    with pytest.raises(FilesetError, match="it holds DataHeader, .*EventData.* and 2 more"):
        fileset(rntuple_physlite)


@pytest.mark.parametrize("nothing", [[], (), {}, {"data": []}, {"data": {"files": {}}}])
def test_an_empty_list(nothing: object) -> None:
    with pytest.raises(FilesetError, match="the list of files is empty; give at least one file"):
        fileset(nothing)


def test_a_glob_without_a_match_says_what_there_is(tmp_path: Path, good: list[Path]) -> None:
    (tmp_path / "sub").mkdir()
    cases = {
        tmp_path / "*.root": rf"no file matches {tmp_path}/\*\.root; {tmp_path} holds sub\.",
        tmp_path / "sub" / "*.root": rf"the folder {tmp_path}/sub is empty\.",
        tmp_path / "no" / "*.root": rf"the folder {tmp_path}/no does not exist\.",
        good[0].parent / "*.parquet": r"holds .*_000000\.pool\.root\.1, ",
    }
    for pattern, sentence in cases.items():
        with pytest.raises(FilesetError, match=sentence):
            fileset(pattern)


def test_a_folder_without_root_files(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(FilesetError, match=r"no file named \*\.root; .* 4\.txt and 2 more\."):
        fileset(tmp_path)


def test_a_file_listed_twice_would_count_twice(good: list[Path]) -> None:
    with pytest.raises(FilesetError, match="is 2 times in dataset 'data'"):
        fileset([good[0], str(good[0])])


def test_wrong_arguments(good: list[Path]) -> None:
    with pytest.raises(FilesetError, match="5 is neither a path nor an address"):
        fileset(5)  # type: ignore[arg-type]
    with pytest.raises(FilesetError, match="dataset 'zee' is a mapping without 'files'"):
        fileset({"zee": {"paths": good}})
    with pytest.raises(FilesetError, match=r"is without the name of a tree \(None\): treename="):
        fileset({"zee": {"files": {good[0]: None}}}, treename=None)  # type: ignore[arg-type]
    with pytest.raises(FilesetError, match="on_error='ignore' is neither 'raise' nor 'skip'"):
        fileset(good, on_error="ignore")  # type: ignore[arg-type]


def test_an_address_that_does_not_answer() -> None:
    with pytest.raises(FilesetError, match=r"http://127\.0\.0\.1:9/a\.root cannot be read"):
        fileset("http://127.0.0.1:9/a.root")


def test_a_path_through_a_file(good: list[Path]) -> None:
    with pytest.raises(FilesetError, match=r"cannot be opened \(Not a directory\)"):
        fileset(good[0] / "inside.root")


# Lists of inputs in files.


@pytest.mark.parametrize("name", ["inputs.json", "inputs.yaml", "inputs.yml"])
@pytest.mark.parametrize("as_datasets", [False, True])
def test_inputs_are_read_from_a_list(
    good: list[Path], tmp_path: Path, name: str, as_datasets: bool
) -> None:
    files = names(good)
    (tmp_path / name).write_text(json.dumps({"signal": {"files": files}} if as_datasets else files))
    found = fileset(tmp_path / name)
    assert entries(found, "signal" if as_datasets else "data") == files
    assert found.total == 120


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("broken.json", "[1,", "cannot be read: Expecting value"),
        ("broken.yaml", "a: [1", "cannot be read: while parsing"),
        ("number.yaml", "12", "holds neither a list of files nor datasets"),
        ("empty.json", "[]", "holds neither a list of files nor datasets"),
        ("missing.json", None, "cannot be read: No such file or directory"),
    ],
)
def test_a_list_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, text: str | None, told: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(FilesetError, match=told) as raised:
        fileset(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value)


# What coffea's preprocess writes.


def test_the_tree_of_a_preprocessed_fileset_is_taken(good: list[Path]) -> None:
    whole: list[object] = [
        None, 3, "100 MB", [[0, 40]], [[0, 13], [13, 40]], [[13, 40], [0, 13]], [0, 13, 40],
        np.array([[0, 13], [13, 40]]), ((0, 40),),
    ]  # fmt: skip
    for steps in whole:
        told = {"object_path": TREE, "steps": steps, "num_entries": 40, "uuid": "u"}
        sources = {"data": {"files": {good[0]: told}, "form": None, "metadata": {"year": 2016}}}
        found = fileset(sources, treename="other", progress=False)
        assert found["data"] == {"files": {str(good[0]): TREE}, "metadata": {"year": 2016}}
    found = fileset({"data": {"files": {good[0]: {"steps": None}}}}, treename=TREE)
    assert found.total == 40


@pytest.mark.parametrize(
    "steps", [[[0, 20]], [[0, 20], [30, 40]], [[5, 40]], [0, 20], [[0, 40], [0, 40]], [], [[0, 80]]]
)
def test_steps_that_leave_out_events_are_refused(good: list[Path], steps: object) -> None:
    sources = {"data": {"files": {good[0]: {"object_path": TREE, "steps": steps}}}}
    with pytest.raises(FilesetError, match="steps that are not all of its 40 events once; a run"):
        fileset(sources, progress=False)


def test_what_is_no_tree_and_no_steps_is_told(good: list[Path]) -> None:
    files = {
        good[0]: {"object_path": 5},
        good[1]: ["CollectionTree"],
        good[2]: {"object_path": TREE, "steps": [{"start": 0}]},
    }
    with pytest.raises(FilesetError) as raised:
        fileset({"data": {"files": files}}, progress=False)
    first, second, third = raised.value.problems
    assert "has {'object_path': 5} for the name of its tree" in first
    assert "has ['CollectionTree'] for the name of its tree" in second
    assert "has steps that are neither" in third


# Numbers that files tell.


def count_of(path: Path) -> tuple[int, int]:
    """Place of the entries in an uncompressed tree of uproot's, and of the version of the tree."""
    with uproot.open(path) as file:
        key = file.key("tree")
        version = key.data_cursor.index + 4
        entries = file["tree"].num_entries
    content = path.read_bytes()
    return content.index(entries.to_bytes(8, "big"), version), version


@pytest.mark.parametrize("told", [-1, -(2**63), 2**45, 2**62, 4_607_182_418_800_017_408])
def test_a_count_that_no_file_of_that_size_holds_is_refused(tmp_path: Path, told: int) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path, compression=None) as file:
        file.mktree("tree", {"x": "float32"}).extend({"x": np.zeros(12_345, np.float32)})
    at, _ = count_of(path)
    content = bytearray(path.read_bytes())
    content[at : at + 8] = told.to_bytes(8, "big", signed=True)
    path.write_bytes(content)
    problem = str(inspect(str(path), "tree").problem)
    assert "does not tell how many events its 'tree' has; it is damaged" in problem


@pytest.mark.parametrize("version", [0, 1, 5, 15, 21, 300])
def test_a_version_that_nobody_describes_is_refused(tmp_path: Path, version: int) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path, compression=None) as file:
        file.mktree("tree", {"x": "float32"}).extend({"x": np.zeros(12_345, np.float32)})
    _, at = count_of(path)
    content = bytearray(path.read_bytes())
    content[at : at + 2] = version.to_bytes(2, "big")
    path.write_bytes(content)
    problem = str(inspect(str(path), "tree").problem)
    assert f"holds 'tree' as a TTree of version {version}, which uproot does not know" in problem


def test_the_best_compressed_file_is_no_damaged_one(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root", compression=uproot.ZSTD(9)) as file:
        tree = file.mktree("tree", {"x": "bool"})
        for _ in range(2):
            tree.extend({"x": np.zeros(20_000_000, bool)})
    assert inspect(str(tmp_path / "a.root"), "tree").events == 40_000_000


def test_every_public_file_is_counted_as_uproot_counts(public_files: Path) -> None:
    counted = versions = 0
    for path in sorted(public_files.glob("*.root")):
        with uproot.open(path) as file:
            for name, kind in file.classnames().items():
                if kind in ("TTree", "ROOT::RNTuple"):
                    tree = file[name]
                    found = inspect(str(path), name)
                    assert (found.events, found.problem) == (tree.num_entries, None), path
                    counted += 1
                    versions |= 1 << (tree.class_version or 0)
    assert counted > 100
    assert versions.bit_count() >= 6


@pytest.mark.parametrize(("name", "tree", "events"), [("from-geant4", "HitStrips", 4808),
                         ("issue-250", "B4", 1000)])  # fmt: skip
def test_events_of_geant4(public_files: Path, name: str, tree: str, events: int) -> None:
    path = public_files / f"uproot-{name}.root"
    assert fileset(path, treename=tree, progress=False).total == events
