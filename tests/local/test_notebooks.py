"""Every notebook runs from its first cell to its last, and says nothing that nobody asked for."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from facility.analysis.samples.physlite_files import write_files
from facility.analysis.samples.search_files import TOP_EXCESS

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
MOST_LINES = 12
"""Lines of plain text that one notebook may print, progress included."""
LOGS = """
logs = c.logs("cpu")
assert logs
assert "Skipping" not in logs and "Warning" not in logs, logs
"""


def execute(path: Path, folder: Path) -> NotebookNode:
    """Run a notebook in a folder of its own, with a look at the workers' logs before it closes."""
    notebook = nbformat.read(path, as_version=4)
    (closing,) = (
        index for index, cell in enumerate(notebook.cells) if "c.close()" in cell.source.split("\n")
    )
    notebook.cells.insert(closing, nbformat.v4.new_code_cell(LOGS))
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def keep(done: NotebookNode, path: Path, artifacts: Path) -> None:
    """Leave an executed notebook, without our look at logs, for the pages of a release."""
    done.cells = [cell for cell in done.cells if cell.source != LOGS]
    folder = artifacts / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(done, folder / path.name)


def outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    for cell in notebook.cells:
        yield from cell.get("outputs", ())


def printed(notebook: NotebookNode) -> str:
    return "".join(o.text for o in outputs(notebook) if o.output_type == "stream")


def assert_quiet(notebook: NotebookNode) -> None:
    text = printed(notebook)
    assert not re.search("warning|skipping|error|traceback", text, re.IGNORECASE), text
    assert len(text.splitlines()) <= MOST_LINES, text
    # Of what says nothing about itself, Python shows where it is in memory.
    assert not [value for value in values(notebook) if re.search("at 0x[0-9a-f]+>", value)]


def pictures(notebook: NotebookNode) -> list[str]:
    return [o.data["image/png"] for o in outputs(notebook) if "image/png" in o.get("data", {})]


def values(notebook: NotebookNode) -> list[Any]:
    return [o.data["text/plain"] for o in outputs(notebook) if o.output_type == "execute_result"]


def test_there_are_four() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_as_committed(path: Path) -> None:
    """Valid, for the kernel that every user has, and without outputs."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


def test_first_cluster(tmp_path: Path, artifacts: Path) -> None:
    done = execute(NOTEBOOKS[0], tmp_path)
    assert_quiet(done)
    assert "328350" in values(done)
    assert any("/status" in value for value in values(done)), "a link to the dashboard"
    assert any("2 workers" in value or "2 of" in value for value in values(done))
    assert "<Status.closed: 'closed'>" in values(done)
    keep(done, NOTEBOOKS[0], artifacts)


def test_pools_and_routing(tmp_path: Path, artifacts: Path) -> None:
    done = execute(NOTEBOOKS[1], tmp_path)
    assert_quiet(done)
    tables = [value for value in values(done) if value.startswith("pool ")]
    assert len(tables) == 2
    assert [row.split()[0] for row in tables[0].splitlines()] == ["pool", "cpu", "arm", "big"]
    keep(done, NOTEBOOKS[1], artifacts)


def test_z_peak_in_files_of_its_own(tmp_path: Path, home: Path, artifacts: Path) -> None:
    done = execute(NOTEBOOKS[2], tmp_path)
    assert_quiet(done)
    assert "files: 4, events: 400,000" in printed(done)
    assert len(list((home / "data").rglob("*.root.1"))) == 4
    positions = re.findall(r"(ee|mumu): peak at (\S+) ± \S+ GeV", printed(done))
    assert [flavour for flavour, _ in positions] == ["ee", "mumu"]
    assert all(abs(float(position) - 91.19) < 0.1 for _, position in positions)
    reports = [value for value in values(done) if "events processed" in value]
    assert len(reports) == 2, "of facility.run, and of coffea's Runner"
    for report in reports:
        assert re.match(r"400,000 of 400,000 events processed in \S+ s \([\d,]+ events/s\)", report)
    assert len(pictures(done)) == 2, "of the run, and of the peak"
    keep(done, NOTEBOOKS[2], artifacts)


@pytest.mark.long
def test_z_peak_in_a_folder_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "mine", 2, 5_000)
    monkeypatch.setenv("FACILITY_DATA", str(tmp_path / "mine" / "*.root.1"))
    done = execute(NOTEBOOKS[2], tmp_path)
    assert_quiet(done)
    assert "files: 2, events: 10,000" in printed(done)
    assert len(pictures(done)) == 2


def test_z_peak_in_a_real_file(
    tmp_path: Path, real_physlite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACILITY_DATA", str(real_physlite))
    done = execute(NOTEBOOKS[2], tmp_path)
    assert_quiet(done)
    assert "files: 1, events: 100" in printed(done)
    assert "ee: no fit. 32 pairs between 70 and 110 GeV are too few" in printed(done)
    assert len(pictures(done)) == 2


def test_small_search(tmp_path: Path, artifacts: Path) -> None:
    done = execute(NOTEBOOKS[3], tmp_path)
    assert_quiet(done)
    assert "338,950 events in 4 datasets" in printed(done)
    found = re.findall(r"(signal strength|top rate): (\S+) ± (\S+)", printed(done))
    assert [name for name, *_ in found] == ["signal strength", "top rate"]
    for (_, value, uncertainty), truth in zip(found, (1.0, TOP_EXCESS), strict=True):
        assert abs(float(value) - truth) < 3 * float(uncertainty) < 0.6
    significance = re.search(r"are (\S+) standard deviations away", printed(done))
    assert significance
    assert float(significance[1]) > 5
    assert len(pictures(done)) == 3
    keep(done, NOTEBOOKS[3], artifacts)


METER = """
from types import SimpleNamespace
from facility.analysis import run_progress
meter = run_progress.Meter(1_000)
run_progress.time = SimpleNamespace(monotonic=lambda: meter.line.began + 10)
meter.tell(100, 100, 10**9, 0, 4)
meter.tell(400, 400, 4 * 10**9, 1, 4, {"cpu": (300, 3 * 10**9), "arm": (100, 10**9)})
"""
END = 'meter.end("990 of 1,000 events processed in 12.0 s, 10 failed", 1_000)'
START = """
from facility import cluster
slow = {"DASK_DISTRIBUTED__WORKER__PRELOAD": "['import time; time.sleep(5)']"}
pool = {"cpu": "100m", "memory": "400Mi", "maxWorkers": 2, "default": True, "env": slow}
c = cluster(2, wait=2, config={"pools": {"cpu": pool}}, name="slow")
c.close()
"""


def test_progress_is_one_bar_that_moves_and_ends_and_no_alarm(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in (METER, METER + END, START)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    going, ended, started = (output.data["text/html"] for output in outputs(notebook))
    assert '<progress value="400" max="1000">' in going
    assert "400 of 1,000 events, 40 events/s, about 15 s left, 1 chunk failed, 4 chunks at" in going
    assert "(arm: 10 events/s, 0.80 Gbit/s; cpu: 30 events/s, 2.40 Gbit/s)" in going
    assert ended == (
        '<progress value="1000" max="1000"></progress> '
        "990 of 1,000 events processed in 12.0 s, 10 failed"
    )
    assert re.fullmatch(
        r'<progress value="2" max="2"></progress> Dask cluster slow: 2 of 2 workers, \d+ s: ready',
        started,
    )
