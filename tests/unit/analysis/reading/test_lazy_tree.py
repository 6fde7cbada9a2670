"""Files that are read quickly give what uproot and coffea give, or are read plainly."""

import pickle
import random
import subprocess
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import cloudpickle
import numpy as np
import pytest
import uproot
from coffea.nanoevents import (
    BaseSchema,
    DelphesSchema,
    FCCSchema,
    NanoAODSchema,
    NanoEventsFactory,
    PHYSLITESchema,
    TreeMakerSchema,
)
from coffea.nanoevents.mapping import UprootSourceMapping
from uproot.source.cursor import Cursor

from facility.analysis.files.chunk import Chunk
from facility.analysis.reading import file_cache, forms, lazy_tree, relied_on, tree_layout
from facility.analysis.reading.file_cache import OpenFile, Settings
from facility.analysis.reading.lazy_tree import LazyTree
from facility.analysis.reading.physlite import PhysliteSchema, quiet
from facility.analysis.runner import process_chunk as chunks
from facility.analysis.samples.physlite_files import write_files

PHYSLITE = "CollectionTree"
FILES = Path(__file__).parents[3] / "data" / "layouts"


@pytest.fixture(autouse=True)
def tidy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Be as quiet as a worker, and leave no file open."""
    opened: list[OpenFile] = []
    begin = OpenFile.__init__

    def remember(self: OpenFile, *given: Any, **named: Any) -> None:
        opened.append(self)
        begin(self, *given, **named)

    monkeypatch.setattr(OpenFile, "__init__", remember)
    with warnings.catch_warnings():
        quiet()
        warnings.filterwarnings("ignore", "Missing cross-reference", RuntimeWarning)
        yield
    file_cache.close_files()
    for file in opened:
        file.close()


def chunk(path: Path, tree: str, start: int = 0, stop: int | None = None) -> Chunk:
    with uproot.open(path) as file:
        entries, uuid = int(file[tree].num_entries), str(file.file.uuid)
    end = entries if stop is None else stop
    return Chunk(0, "data", str(path), tree, start, end, uuid, path.stat().st_size, entries)


def plain_events(part: Chunk, schema: Any) -> Any:
    """What coffea's Runner gives to a processor."""
    return NanoEventsFactory.from_root(
        {part.path: part.tree},
        entry_start=part.start,
        entry_stop=part.stop,
        schemaclass=schema,
        mode="virtual",
        metadata={
            "dataset": part.dataset,
            "filename": part.path,
            "treename": part.tree,
            "entrystart": part.start,
            "entrystop": part.stop,
            "fileuuid": part.uuid,
        },
    ).events()


def columns(events: Any) -> Iterator[tuple[str, ...]]:
    """Every column, as the names that lead to it."""
    for name in events.fields:
        inside = events.layout[name].fields
        yield from ((name, field) for field in inside) if inside else ((name,),)


def outcome(events: Any, names: tuple[str, ...]) -> Any:
    """What reading a column gives: its values, or the kind of error."""
    layout = events.layout
    try:
        for name in names:
            layout = layout[name]
        return ak.materialize(ak.Array(layout))
    except Exception as error:  # noqa: BLE001 - to be compared
        return type(error)


def compare(part: Chunk, schema: Any, seed: int = 1) -> int:
    """Compare every column of a chunk, in any order; return how many are equal."""
    expected = plain_events(part, schema)
    file = OpenFile(part, Settings(schema))
    assert file.plainly is None
    found = file.events(part, {})
    assert found.layout.form == expected.layout.form
    assert found.fields == expected.fields
    assert found.metadata == expected.metadata
    # FCCSchema has a view of a dictionary in it, which equals nothing but itself.
    form, plain = (
        {**events.attrs["@form"], "contents": list(events.attrs["@form"]["contents"])}
        for events in (found, expected)
    )
    assert form == plain
    assert type(found) is type(expected)
    equal = 0
    names = list(columns(expected))
    assert names == list(columns(found))
    for name in random.Random(seed).sample(names, len(names)):
        one, other = outcome(found, name), outcome(expected, name)
        if isinstance(other, type):
            assert one is other, name
        else:
            assert ak.array_equal(one, other, equal_nan=True, check_parameters=True), name
            equal += 1
    assert file.doubt is None
    file.close()
    return equal


def test_every_column_of_a_real_file(real_physlite: Path) -> None:
    equal = compare(chunk(real_physlite, PHYSLITE, 10, 90), PHYSLITESchema)
    assert equal == 1131


def test_every_branch_of_a_real_file_as_it_is(real_physlite: Path) -> None:
    assert compare(chunk(real_physlite, PHYSLITE, 0, 20), BaseSchema, seed=2) > 900


def nano(path: Path, events: int, more: bool = False) -> Path:
    """Write a file with the names of CMS' NanoAOD."""
    rng = np.random.default_rng(events)
    muons, jets = (rng.poisson(mean, events) for mean in (2, 5))

    def collection(counts: Any, **columns: Any) -> Any:
        return ak.unflatten(ak.Array(columns), counts)

    def floats(counts: Any) -> Any:
        return rng.exponential(30, counts.sum()).astype(np.float32)

    content = {
        "run": np.full(events, 1, np.uint32),
        "luminosityBlock": np.arange(events, dtype=np.uint32),
        "event": np.arange(events, dtype=np.uint64),
        "MET_pt": rng.exponential(30, events).astype(np.float32),
        "MET_phi": rng.uniform(-3, 3, events).astype(np.float32),
        "HLT_IsoMu24": rng.uniform(size=events) > 0.5,
        "Muon": collection(
            muons,
            **{name: floats(muons) for name in ("pt", "eta", "phi", "mass")},
            charge=rng.choice(np.array([-1, 1], np.int32), muons.sum()),
            jetIdx=rng.integers(-1, 3, muons.sum(), dtype=np.int32),
        ),
        "Jet": collection(jets, **{name: floats(jets) for name in ("pt", "eta", "phi", "mass")}),
    }
    if more:
        content["PV_npvs"] = rng.integers(0, 60, events, dtype=np.int32)
    with uproot.recreate(path) as file:
        file.mktree(
            "Events",
            {
                name: values.type.content if isinstance(values, ak.Array) else values.dtype
                for name, values in content.items()
            },
            counter_name=lambda counted: "n" + counted,
            field_name=lambda outer, inner: f"{outer}_{inner}" if outer else inner,
        ).extend(content)
    return path


@pytest.mark.parametrize("schema", [PHYSLITESchema, PhysliteSchema, BaseSchema])
def test_every_column_of_synthetic_physlite(tmp_path: Path, schema: Any) -> None:
    first, second = write_files(tmp_path, 2, 3_000, progress=False)
    for path, start, stop in ((first, 0, 3_000), (second, 500, 2_000), (first, 0, 1)):
        assert compare(chunk(path, PHYSLITE, start, stop), schema) >= 30


@pytest.mark.parametrize("schema", [NanoAODSchema, NanoAODSchema.v6, BaseSchema])
def test_every_column_of_nanoaod(tmp_path: Path, schema: Any) -> None:
    for number in (1, 400, 2_000):
        path = nano(tmp_path / f"{number}.root", number)
        assert compare(chunk(path, "Events"), schema) >= 15


@pytest.mark.parametrize(
    ("name", "tree", "schema", "columns"),
    [
        ("treemaker", "PreSelection", TreeMakerSchema, 14),
        ("delphes", "Delphes", DelphesSchema, 46),
        ("fcc", "events", FCCSchema, 44),
        ("treemaker", "PreSelection", BaseSchema, 21),
        ("delphes", "Delphes", BaseSchema, 43),
        ("fcc", "events", BaseSchema, 110),
    ],
)
def test_every_column_of_other_layouts(name: str, tree: str, schema: Any, columns: int) -> None:
    assert compare(chunk(FILES / f"{name}.root", tree, 3, 55), schema) == columns


@pytest.mark.parametrize(
    ("name", "tree", "columns"),
    [
        ("uproot-HZZ-lz4", "events", 51),  # TBranch 12
        ("uproot-Zmumu-lzma", "events", 20),
        ("uproot-sample-5.30.00-zlib", "sample", 35),
        ("uproot-sample-6.10.05-uncompressed", "sample", 35),
        ("uproot-issue31", "T;1", 5),  # TBranchElement 10
        ("uproot-issue76", "Events", 6),
        ("uproot-issue38a", "ntupler/tree", 0),
        ("uproot-small-evnt-tree-nosplit", "tree", 1),
    ],
)
def test_every_column_of_a_tree_of_version_19(
    public_files: Path, name: str, tree: str, columns: int
) -> None:
    path = public_files / f"{name}.root"
    part = chunk(path, tree)
    for start, stop in ((0, part.stop), (part.stop // 3, part.stop // 3 + 1)):
        assert compare(chunk(path, tree, start, stop), BaseSchema) >= columns


def test_a_tree_of_version_19_with_elements_of_version_9(public_files: Path) -> None:
    path = public_files / "uproot-issue431.root"
    part = chunk(path, "E")
    file = OpenFile(part, Settings(BaseSchema))
    assert file.plainly is None
    found, expected = file.events(part, {}), plain_events(part, BaseSchema)
    assert found.layout.form == expected.layout.form
    # Of others coffea makes Python objects, which takes minutes.
    simple = (uproot.AsDtype, uproot.AsJagged)
    with uproot.open(path) as whole:
        names = [
            name
            for name, branch in whole["E"].items()
            if isinstance(branch.interpretation, simple) and name in expected.fields
        ]
    assert len(names) > 30
    for name in names:
        one, other = outcome(found, (name,)), outcome(expected, (name,))
        assert one is other or ak.array_equal(one, other, equal_nan=True), name
    assert file.doubt is None


def test_every_column_of_an_rntuple(rntuple_physlite: Path) -> None:
    assert compare(chunk(rntuple_physlite, "EventData", 5, 95), PhysliteSchema) > 800


def test_an_rntuple_has_the_collections_of_a_ttree(
    rntuple_physlite: Path, real_physlite: Path
) -> None:
    ntuple = plain_events(chunk(rntuple_physlite, "EventData"), PhysliteSchema)
    tree = plain_events(chunk(real_physlite, PHYSLITE), PhysliteSchema)
    for name in ("Electrons", "Muons", "Jets", "TauJets", "Photons"):
        one, other = ntuple.layout[name].form, tree.layout[name].form
        assert one.content.parameter("__record__") == other.content.parameter("__record__")
        assert {"pt", "eta", "phi"} <= set(one.content.fields) & set(other.content.fields)
        assert "" not in one.content.fields
    assert {"smk", "tav"} <= set(ntuple.xTrigDecision.fields) & set(tree.xTrigDecision.fields)
    assert ntuple.Electrons[ak.num(ntuple.Electrons) > 0][0, 0].pt > 0
    with pytest.raises(ValueError, match="PhysliteSchema, the default"):
        OpenFile(chunk(rntuple_physlite, "EventData"), Settings(PHYSLITESchema))


def test_a_form_is_made_once_for_files_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = forms._make
    monkeypatch.setattr(forms, "_kept", OrderedDict())
    monkeypatch.setattr(forms, "_make", lambda *given: made.append(given[2]) or make(*given))
    alike = [nano(tmp_path / f"{number}.root", number) for number in (100, 200)]
    other = nano(tmp_path / "other.root", 50, more=True)
    for path in (*alike, other, *alike):
        events = OpenFile(chunk(path, "Events"), Settings(NanoAODSchema)).events(
            chunk(path, "Events"), {"year": len(path.name)}
        )
        assert events.metadata["filename"] == str(path)
        assert events.metadata["year"] == len(path.name)
        assert ("PV" in events.fields) is (path is other)
    assert len(made) == 2


def test_a_branch_is_read_when_it_is_asked_for(real_physlite: Path) -> None:
    part = chunk(real_physlite, PHYSLITE)
    OpenFile(part, Settings(PhysliteSchema)).close()  # makes the form
    file = OpenFile(part, Settings(PhysliteSchema))
    branches = file.directory[PHYSLITE].member("fBranches")
    assert (len(branches), len(branches._read_already)) == (1343, 0)
    assert len(ak.flatten(file.events(part, {}).Muons.pt)) == 5
    assert 0 < len(branches._read_already) <= 3
    file.close()


def test_files_stay_open_but_not_for_ever(tmp_path: Path) -> None:
    paths = write_files(tmp_path, file_cache.MOST + 1, 100, progress=False)
    settings = Settings(PhysliteSchema)
    parts = [chunk(path, PHYSLITE) for path in paths]
    files = [file_cache.open_file(part, settings) for part in parts[:-1]]
    assert file_cache.open_file(parts[0], settings) is files[0]
    file_cache.open_file(parts[-1], settings)
    assert [file.directory.closed for file in files] == [False, True, False, False]
    # A file that was replaced is another one.
    replaced = write_files(tmp_path / "new", 1, 100, seed=7, progress=False)[0].replace(paths[0])
    fresh = file_cache.open_file(chunk(replaced, PHYSLITE), settings)
    assert fresh is not files[0]
    assert file_cache.open_file(chunk(replaced, PHYSLITE), Settings(BaseSchema)) is not fresh
    file_cache.close_files()
    assert fresh.directory.closed


# What is read plainly.


class Curious(BaseSchema):  # type: ignore[misc]
    """A schema whose form depends on the dataset."""

    def __init__(self, base_form: Any) -> None:
        super().__init__(base_form)
        if base_form["parameters"]["metadata"].get("dataset") == "data":
            self._form["fields"] = [f"data_{name}" for name in self._form["fields"]]


def damaged(path: Path, find: bytes, put: bytes) -> Path:
    """Change bytes in the metadata of a file that is not compressed."""
    content = path.read_bytes()
    assert content.count(find) >= 1
    path.write_bytes(content.replace(find, put))
    return path


def uncompressed(path: Path) -> Path:
    with uproot.recreate(path, compression=None) as file:
        file.mktree("tree", {"x": np.float32, "y": np.int64}).extend(
            {"x": np.arange(10, dtype=np.float32), "y": np.arange(10)}
        )
    return path


@pytest.fixture
def compared_anew() -> Iterator[None]:
    relied_on.differing.cache_clear()
    yield
    relied_on.differing.cache_clear()


@pytest.mark.parametrize(
    ("kind", "method", "parameter"),
    [(Cursor, "skip_after", "obj"), (UprootSourceMapping, "setup", "")],
)
def test_another_library_is_read_plainly(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compared_anew: None,
    kind: type,
    method: str,
    parameter: str,
) -> None:
    part = chunk(uncompressed(tmp_path / "a.root"), "tree")
    theirs = getattr(kind, method)
    monkeypatch.setattr(kind, method, lambda self, *others: theirs(self, *others))
    file = OpenFile(part, Settings(BaseSchema))
    expected = ", ".join(filter(None, ["self", parameter]))
    assert file.plainly is not None
    assert file.plainly.startswith(f"quick reading does not know uproot {uproot.__version__}, ")
    assert f"{kind.__name__}.{method} takes (self, *others) and not ({expected})" in file.plainly
    assert ak.to_list(file.events(part, {}).y) == list(range(10))
    assert not isinstance(file.directory["tree"], LazyTree)


def test_a_library_without_what_quick_reading_imports_is_read_plainly(tmp_path: Path) -> None:
    part = chunk(uncompressed(tmp_path / "a.root"), "tree")
    script = f"""
import pickle
import uproot.models.TTree as theirs
del theirs.Model_TTree_v20
from coffea.nanoevents import BaseSchema
from facility.analysis.reading.file_cache import OpenFile, Settings
part = pickle.loads({pickle.dumps(part)!r})
file = OpenFile(part, Settings(BaseSchema))
assert "Model_TTree_v20.read_members is missing" in file.plainly, file.plainly
assert file.events(part, {{}}).y.tolist() == list(range(10))
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_classes_of_the_users_own_are_for_uproot_alone(tmp_path: Path) -> None:
    part = chunk(uncompressed(tmp_path / "a.root"), "tree")
    own = dict(uproot.classes)
    file = OpenFile(part, Settings(BaseSchema, {"custom_classes": own}))
    assert file.plainly == "uproot_options have custom_classes"
    assert file.directory.file.custom_classes is own


def test_a_schema_that_looks_at_metadata_is_asked_each_time(tmp_path: Path) -> None:
    part = chunk(uncompressed(tmp_path / "a.root"), "tree")
    file = OpenFile(part, Settings(Curious))
    assert "makes use of metadata" in str(file.plainly)
    assert file.events(part, {}).fields == ["data_x", "data_y"]
    assert file.events(part, {"dataset": "mc"}).fields == ["x", "y"]


def test_a_layout_that_is_not_known_is_read_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = chunk(uncompressed(tmp_path / "a.root"), "tree")
    monkeypatch.setattr(tree_layout, "BRANCHES", (12,))
    file = OpenFile(part, Settings(BaseSchema))
    assert file.plainly == "a branch is of version 13"
    assert ak.to_list(file.events(part, {}).x) == list(range(10))


@pytest.mark.parametrize(
    ("name", "tree", "version"),
    [("uproot-from-geant4", "HitStrips", 5), ("uproot-sample-5.23.02-uncompressed", "sample", 16),
     ("uproot-sample-5.29.02-uncompressed", "sample", 18)],
)  # fmt: skip
def test_an_older_tree_is_read_plainly(
    public_files: Path, name: str, tree: str, version: int
) -> None:
    part = chunk(public_files / f"{name}.root", tree)
    file = OpenFile(part, Settings(BaseSchema))
    assert file.plainly == f"{tree} is a TTree of version {version}, not one of 19 and 20"
    # As uproot alone opens it.
    assert file.directory.file.custom_classes is None
    found = file.events(part, {})
    with uproot.open(part.path) as whole:
        for field in found.fields:
            assert ak.to_list(found[field]) == ak.to_list(whole[tree][field].array())
    assert len(found.fields) >= 3


def test_what_uproot_reads_by_the_description_in_the_file_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = chunk(uncompressed(tmp_path / "a.root"), "tree")
    model = uproot.classes["TAttLine"].known_versions[2]
    read = model.read_members

    def wrongly(self: Any, chunk: Any, cursor: Any, *more: Any) -> None:
        # As for a file of a private build of ROOT, whose TAttLine is another one.
        read(self, chunk, cursor, *more)
        cursor.skip(-1)

    with monkeypatch.context() as patch:
        patch.setattr(model, "read_members", wrongly)
        file = OpenFile(part, Settings(BaseSchema))
        assert str(file.plainly).startswith("tree is not laid out as its version 20; uproot goes")
        assert ak.to_list(file.events(part, {}).y) == list(range(10))
    # What uproot has put aside for that file changes nothing for others.
    assert OpenFile(part, Settings(BaseSchema)).plainly is None


def test_what_is_inside_something_ends_no_later_than_that(tmp_path: Path) -> None:
    # Else damaged numbers of bytes would have the same bytes walked along again and again.
    path = uncompressed(tmp_path / "a.root")
    content = bytearray(path.read_bytes())
    at = content.index(b"TBranch\0") - 8
    count = int.from_bytes(content[at : at + 4], "big")
    content[at : at + 4] = (count + 1_000).to_bytes(4, "big")
    path.write_bytes(content)
    with (
        lazy_tree.open_lazily(str(path), {}) as file,
        pytest.raises(tree_layout.LayoutError) as raised,
    ):
        file["tree"]
    assert str(raised.value) == "a branch ends behind its list"


def test_a_column_of_another_type_is_read_plainly(tmp_path: Path) -> None:
    part = chunk(uncompressed(tmp_path / "a.root"), "tree")
    settings = Settings(BaseSchema)
    file = file_cache.open_file(part, settings)
    object.__setattr__(file._form, "types", {**file._form.types, "y": "float"})

    def process(events: Any) -> float:
        return float(np.sum(events.x)) + int(np.sum(events.y))

    result, read, *_ = chunks._processed(cloudpickle.dumps(process), part, {}, settings)
    assert result == 90.0
    assert read.plainly == "y is a int64_t, not a float"
    # The others of this file follow.
    assert file_cache.open_file(part, settings) is read
    object.__setattr__(file._form, "types", {**file._form.types, "y": "int64_t"})


def test_a_branch_that_cannot_be_read_is_left_to_uproot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = chunk(uncompressed(tmp_path / "a.root"), "tree")
    settings = Settings(BaseSchema)
    OpenFile(part, settings).close()
    read = lazy_tree.read_object_any

    def wrongly(chunk: Any, cursor: Any, *more: Any) -> Any:
        found = read(chunk, cursor, *more)
        cursor.skip(1)
        return found

    monkeypatch.setattr(lazy_tree, "read_object_any", wrongly)
    process = cloudpickle.dumps(lambda events: int(np.sum(events.y)))
    result, file, *_ = chunks._processed(process, part, {}, settings)
    assert result == 45
    assert file.plainly == "y was not read where it is"


def test_damaged_metadata_raise_what_uproot_raises(tmp_path: Path) -> None:
    part = chunk(uncompressed(tmp_path / "a.root"), "tree")
    damaged(Path(part.path), b"TBranch\0", b"TBronch\0")
    with pytest.raises(AttributeError, match="TBronch"):
        plain_events(part, BaseSchema)
    with pytest.raises(AttributeError, match="TBronch"):
        OpenFile(part, Settings(BaseSchema)).events(part, {})


def test_weights_of_a_tree_that_cannot_be_read_lazily(
    rntuple_physlite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = chunk(rntuple_physlite, "##Params")
    file = OpenFile(part, Settings(BaseSchema))
    expected = file.sums_of_weights()
    assert expected is not None
    assert expected.events == 100
    file = OpenFile(part, Settings(BaseSchema))
    monkeypatch.setattr(tree_layout, "BRANCHES", (12,))
    assert file.sums_of_weights() == expected
    assert file.plainly is None
    assert str(file.weights_plainly).startswith("its sums of weights: ")
