"""Synthetic PHYSLITE files: the same again, in PHYSLITE's units, and whole or not there."""

import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import NanoEventsFactory

from facility.analysis.reading.physlite import PhysliteSchema
from facility.analysis.samples.kinematics import MUON_MASS, Z_MASS, Momenta, decay, pair_mass
from facility.analysis.samples.physlite_files import CODECS, TREE, example_files, write_files
from facility.errors import SampleError


def read(path: Path) -> ak.Array:
    with uproot.open(path) as file:
        return file[TREE].arrays()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of 20,100 events: a full basket and one more."""
    return write_files(tmp_path_factory.mktemp("sample"), 1, 20_100)[0]


def test_the_same_seed_and_number_give_the_same_events(tmp_path: Path) -> None:
    first = write_files(tmp_path / "a", 2, 500, seed=7)
    again = write_files(tmp_path / "b", 2, 500, seed=7)
    other = write_files(tmp_path / "c", 1, 500, seed=8)
    assert [path.name for path in first] == [path.name for path in again]
    for one, two in zip(first, again, strict=True):
        assert ak.array_equal(read(one), read(two))
    assert not ak.array_equal(read(first[0]), read(first[1]))
    assert not ak.array_equal(read(first[0]), read(other[0]))


def test_the_number_of_files_does_not_change_their_events(tmp_path: Path) -> None:
    few = write_files(tmp_path / "few", 1, 300)
    many = write_files(tmp_path / "many", 3, 300)
    assert ak.array_equal(read(few[0]), read(many[0]))


def test_branches_are_those_of_physlite(sample: Path, real_physlite: Path) -> None:
    """Each branch is in the real file too, with the same type of number."""

    def number(typename: str) -> str:
        return typename.removeprefix("std::vector<").removesuffix(">").removesuffix("[]")

    with uproot.open(sample) as ours, uproot.open(real_physlite) as theirs:
        mine, real = ours[TREE].typenames(), theirs[TREE].typenames()
    columns = {name: kind for name, kind in mine.items() if "." in name and name[0] != "n"}
    assert {name: number(kind) for name, kind in columns.items()} == {
        name: number(real[name]) for name in columns
    }


def test_units_are_mev_and_values_are_sane(sample: Path) -> None:
    events = read(sample)
    for name in ("Electrons", "Muons"):
        pt = events[f"Analysis{name}AuxDyn.pt"]
        assert 20e3 < ak.mean(pt) < 60e3
        assert ak.all(np.abs(events[f"Analysis{name}AuxDyn.eta"]) <= 2.5)
        assert ak.all(np.abs(events[f"Analysis{name}AuxDyn.charge"]) == 1)
        assert ak.all(pt[:, :-1] >= pt[:, 1:]), "sorted by falling pt"
    assert ak.all(events["AnalysisJetsAuxDyn.pt"] >= 15e3)
    assert ak.all(ak.num(events["MET_Core_AnalysisMETAuxDyn.mpx"]) == 5)
    numbers = events["EventInfoAuxDyn.eventNumber"]
    assert ak.to_list(numbers) == list(range(20_100))


@pytest.mark.parametrize("collection", ["Electrons", "Muons"])
def test_coffea_reads_it_and_finds_the_z(sample: Path, collection: str) -> None:
    events = NanoEventsFactory.from_root(
        {str(sample): TREE}, schemaclass=PhysliteSchema, mode="virtual"
    ).events()
    leptons = events[collection]
    pairs = leptons[ak.num(leptons) == 2]
    mass = (pairs[:, 0] + pairs[:, 1]).mass / 1e3
    opposite = mass[pairs[:, 0].charge != pairs[:, 1].charge]
    peak = opposite[np.abs(opposite - 91.2) < 5]
    assert len(peak) > 800
    assert abs(ak.mean(peak) - 91.19) < 0.3


def test_decays_conserve_the_mass() -> None:
    rng = np.random.default_rng(3)
    mass = rng.uniform(20e3, 2e6, 2_000)
    first, second = decay(rng, mass, MUON_MASS)

    def energy(p: Momenta) -> np.ndarray:
        return np.sqrt((p.pt * np.cosh(p.eta)) ** 2 + MUON_MASS**2)

    total = sum(
        sign * component**2
        for sign, component in (
            (1, energy(first) + energy(second)),
            (-1, first.pt * np.cos(first.phi) + second.pt * np.cos(second.phi)),
            (-1, first.pt * np.sin(first.phi) + second.pt * np.sin(second.phi)),
            (-1, first.pt * np.sinh(first.eta) + second.pt * np.sinh(second.eta)),
        )
    )
    assert np.allclose(np.sqrt(total), mass, rtol=1e-6)


def test_the_mass_of_a_pair_neglects_little() -> None:
    rng = np.random.default_rng(4)
    mass = np.full(1_000, Z_MASS)
    found = pair_mass(*(values for daughter in decay(rng, mass, MUON_MASS) for values in daughter))
    assert 0 < Z_MASS - np.median(found) < 0.5


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec(tmp_path: Path, codec: str) -> None:
    path = write_files(tmp_path, 1, 50, codec=codec, level=1)[0]
    with uproot.open(path) as file:
        assert file.file.compression.name == codec
        assert file[TREE].num_entries == 50


def test_all_wrong_numbers_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SampleError) as caught:
        write_files(tmp_path / "new", 0, -5, seed=-1, codec="zstd")
    assert caught.value.problems == (
        "files=0 is not between 1 and 10,000.",
        "events=-5 is not between 1 and 100,000,000.",
        "seed=-1 is negative; any whole number from 0 on is valid.",
        "codec='zstd' is none of ZSTD, LZ4, ZLIB, LZMA (did you mean 'ZSTD'?).",
    )
    assert not (tmp_path / "new").exists()
    with pytest.raises(SampleError, match="level=10 is not between 0 and 9, the levels of LZMA"):
        write_files(tmp_path, 1, 1, codec="LZMA", level=10)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SampleError, match=r"file/sub is not writable \(Not a directory\); choose"):
        write_files(tmp_path / "file" / "sub", 1, 10)


def test_more_than_the_disk_holds_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"need about 300,000\.0 GB .* GB free; ask for fewer"):
        write_files(tmp_path, 10_000, 100_000_000)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """Let the kernel refuse to make any file larger than 100 kB, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files_only")
def test_a_disk_that_fills_up_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match=r"could not be finished \(File too large\)"):
        write_files(tmp_path, 1, 20_000)
    assert not list(tmp_path.iterdir())


def test_files_that_are_there_are_used_again(home: Path) -> None:
    first = example_files(2, 100)
    assert all(path.is_relative_to(home) for path in first)
    written = [path.stat().st_mtime_ns for path in first]
    assert example_files(2, 100) == first
    assert [path.stat().st_mtime_ns for path in first] == written


@pytest.mark.usefixtures("home")
def test_in_a_pod_they_are_where_all_pods_of_a_user_can_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facility.analysis.samples.physlite_files.runs_in_pod", lambda: True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert example_files(1, 100)[0].is_relative_to(tmp_path)
