"""`facility validate` on real Dask clusters: one seeded difference is found, and no other."""

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from hist import Hist

from facility import RequestError, RunError, cluster
from facility.analysis import validate
from facility.analysis.samples.physlite_files import write_files
from facility.cli import main
from facility.deploy.cluster import PooledCluster

SMALL = {"cpu": "100m", "memory": "700Mi", "maxWorkers": 1}
POOLS: dict[str, Any] = {
    "pools": {
        "cpu": {**SMALL, "default": True},
        "arm": {**SMALL, "env": {"OTHER_MACHINE": "yes"}},
        "same": SMALL,
    }
}
EVENTS, SEEDED = 10_000, 100_000_543
"""Events that are compared, and the number of the one that differs: in the second file."""
SCRIPT = """
import os
import awkward as ak
import numpy as np
from hist import Hist

fileset = "files/*"

def columns(events):
    number = events.EventInfo.eventNumber
    seeded = bool(os.environ.get("OTHER_MACHINE")) & (number == SEEDED)
    lead = ak.fill_none(ak.max(events.Muons.pt, axis=1), np.nan) + ak.where(seeded, 0.25, 0)
    selected = ak.num(events.Muons.pt) > 0
    return {
        "lead": lead,
        "muons": events.Muons[["pt", "eta"]],
        "selected": {"eventNumber": number[selected], "pt": events.Muons.pt[selected]},
        "all": Hist.new.Reg(20, 0, 1e5, name="pt").Double().fill(ak.flatten(events.Muons.pt)),
        "events": len(events),
    }

if __name__ == "__main__":
    raise RuntimeError("this is for other uses of the script")
""".replace("SEEDED", str(SEEDED))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder: pools, files of 10,000 events and more, and a script."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pools.yaml").write_text(json.dumps(POOLS))
    monkeypatch.setenv("FACILITY_CONFIG", str(tmp_path / "pools.yaml"))
    write_files(tmp_path / "files", 2, 6_000)
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    return tmp_path


@pytest.fixture
def c() -> Iterator[PooledCluster]:
    with cluster(cpu=1, arm=1, same=1, wait=1.0, config=POOLS) as made:
        yield made


def test_the_command_finds_the_one_event_that_differs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--pools", "cpu", "arm", "--events", str(EVENTS), "--chunksize", "2000"]
    assert main(["validate", "script.py", *options]) == 1
    told = capsys.readouterr().out
    assert "10,000 events" in told
    assert "1 column differs in 1 event" in told
    assert re.findall(rf"^\d+ +{SEEDED} +(\d+) +lead ", told, re.MULTILINE) == ["543"], told
    page = (here / "validation-script.html").read_text()
    assert "Different." in page
    assert page.count('src="data:image/png;base64,') == 2
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_pools_that_give_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "script.py", "--pools", "cpu", "same", "--page", "same.html"]) == 0
    assert "all equal within the tolerances" in capsys.readouterr().out
    assert "Equal." in Path("same.html").read_text()


def test_all_mistakes_of_a_command_are_told_together(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "empty.py").write_text("def process(events):\n    return {}\n")
    words = ["empty.py", "--pools", "cpu", "amr", "--tolerance", "x", "--page", "no/page.html"]
    assert main(["validate", *words, "--events", "-1"]) == 1
    told = capsys.readouterr().err
    for part in (
        "there is no pool 'amr' (did you mean 'arm'?)",
        "--tolerance x: give NAME=RELATIVE",
        "there is no folder",
        "--events -1",
        "it defines neither `processor`",
        "it defines process",
        "it defines no `fileset`",
    ):
        assert part in told


def test_a_call_in_a_dask_cluster_that_is_there(c: PooledCluster) -> None:
    """Selections, tolerances and sums; the same in both until it is told otherwise."""

    def processor(events: Any) -> Any:
        import os

        number = events.EventInfo.eventNumber
        other = bool(os.environ.get("OTHER_MACHINE"))
        # One event is selected in one pool alone, and another is off by little.
        selected = (number % 2 == 0) & ~(other & (number == 100))
        mass = number * 1.5 * ak.where(other & (number == 200), 1 + 1e-8, 1)
        return {
            "s": {"eventNumber": number[selected], "mass": mass[selected]},
            "mass": Hist.new.Reg(5, 0, 1e4).Double().fill(mass),
            "n": len(events),
        }

    found = validate(processor, "files/*", ("cpu", "arm"), c, events=1_000)
    assert {e.column: (e.event, e.entry) for e in found.first if e.column == "s/eventNumber"} == {
        "s/eventNumber": (100, 100)
    }
    assert {(e.event, e.second) for e in found.first if e.column == "s/mass"} == {
        (100, "missing"), (200, repr(300 * (1 + 1e-8))),
    }  # fmt: skip
    assert found.differing == 2
    assert found.results.ok
    assert [r.by_pool().keys() for r in found.reports] == [{"cpu"}, {"arm"}]
    near = validate(
        processor, "files/*", ("cpu", "arm"), c, events=1_000,
        tolerances={"s/*": 1e-6, "masss": 1e-6},
    )  # fmt: skip
    assert near.differing == 1
    assert near.problems == (
        (
            "a tolerance is given for 'masss', and the processor returns s/eventNumber, s/mass, "
            "mass, n"
        ),
    )


def test_what_is_wrong_with_a_call_is_told_together(c: PooledCluster) -> None:
    with pytest.raises(RequestError) as told:
        validate(len, "files/*", ("cpu", "amr"), c, events=0, chunksize=0, tolerances={"x": -1})
    text = str(told.value)
    assert "there is no pool 'amr'" in text
    assert "events=0 is not" in text
    assert "chunksize=0 is not" in text
    assert "the tolerance of x, -1, is neither" in text
    with pytest.raises(RequestError, match="both pools are 'cpu'"):
        validate(len, "files/*", ("cpu", "cpu"), c)
    with pytest.raises(RequestError, match="the metadata have filename"):
        validate(lambda events: {}, "files/*", ("cpu", "arm"), c, metadata={"filename": "x"})


def test_a_processor_that_fails_in_one_pool(c: PooledCluster) -> None:
    def processor(events: Any) -> Any:
        import os

        if os.environ.get("OTHER_MACHINE"):
            raise ValueError("not on this machine")
        return {"x": np.arange(len(events))}

    with pytest.raises(RunError, match="not on this machine"):
        validate(processor, "files/*", ("cpu", "arm"), c, events=100)
