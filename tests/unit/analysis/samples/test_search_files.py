"""The files of the small search: what is in them, and that they are the same everywhere."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from facility.analysis.inputs.fileset import fileset
from facility.analysis.samples.kinematics import pair_mass
from facility.analysis.samples.physlite_files import TREE
from facility.analysis.samples.search_files import PROCESSES, search_files

SCALE = 0.1


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return search_files(tmp_path_factory.mktemp("search"), SCALE)


def masses(files: dict, dataset: str) -> dict[str, np.ndarray]:
    """Masses in GeV of opposite pairs of two leptons above 25 GeV, by flavour."""
    events = uproot.open(files[dataset]["files"][0])[TREE].arrays()
    flavours = []
    for number, name in enumerate(("Electrons", "Muons")):
        fields = {key: events[f"Analysis{name}AuxDyn.{key}"] for key in ("pt", "eta", "phi")}
        fields |= {"charge": events[f"Analysis{name}AuxDyn.charge"]}
        found = ak.zip(fields)
        found = found[found.pt > 25e3]
        flavours.append(ak.with_field(found, ak.full_like(found.pt, number), "flavour"))
    leptons = ak.concatenate(flavours, axis=1)
    leptons = leptons[ak.num(leptons) == 2]
    a, b = leptons[:, 0], leptons[:, 1]
    mass = ak.to_numpy(pair_mass(a.pt, a.eta, a.phi, b.pt, b.eta, b.phi)) / 1e3
    kind = np.where(ak.to_numpy(a.charge * b.charge) < 0, ak.to_numpy(a.flavour + b.flavour), -1)
    return {name: mass[kind == number] for number, name in enumerate(("ee", "emu", "mumu"))}


def test_it_is_a_fileset_with_what_scales_it(files: dict) -> None:
    found = fileset(files)
    assert list(found) == ["data", *PROCESSES]
    assert found["data"]["metadata"] == {"lumi_ipb": 1_000.0}
    assert found["signal"]["metadata"] == {"xsec_pb": PROCESSES["signal"].cross_section}
    assert found.total == 23_500 + round(1_000 * (7.5 + 1.15 * 2.5 + 0.02))


def test_each_process_makes_its_pairs(files: dict) -> None:
    signal, top, drell_yan = (masses(files, name) for name in ("signal", "top", "drell-yan"))
    for flavour in ("ee", "mumu"):
        assert abs(np.median(signal[flavour]) - 300) < 2
        assert abs(np.median(drell_yan[flavour]) - 91) < 2
    assert len(signal["emu"]) < 0.15 * len(signal["ee"]), "of unrelated leptons only"
    assert 1.6 < len(top["emu"]) / len(top["ee"]) < 2.4


def test_the_data_have_more_top_quarks_than_predicted(files: dict) -> None:
    observed = (masses(files, "data")["emu"] > 110).sum()
    simulated = sum(
        (masses(files, name)["emu"] > 110).sum()
        / (process.events * SCALE) * process.cross_section * 1_000
        for name, process in PROCESSES.items()
    )  # fmt: skip
    assert observed / simulated == pytest.approx(1.15, abs=0.15)


def test_they_are_written_once_and_the_same_elsewhere(files: dict, tmp_path: Path) -> None:
    [path] = map(Path, files["signal"]["files"])
    before = path.stat().st_mtime_ns
    assert search_files(path.parents[1], SCALE) == files
    assert path.stat().st_mtime_ns == before
    again = Path(search_files(tmp_path, SCALE)["signal"]["files"][0])
    with uproot.open(path) as one, uproot.open(again) as two:
        assert one.file.uuid == two.file.uuid
        assert ak.array_equal(one[TREE].arrays(), two[TREE].arrays())
