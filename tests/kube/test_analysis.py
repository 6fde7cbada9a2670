"""`facility.run` on pods: notebook 04, a chunk too large for a worker, sums seen meanwhile."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facility.analysis.samples.physlite_files import write_files
from facility.analysis.samples.search_files import TOP_EXCESS
from facility.config import Config
from facility.config.shapes import ClaimSource, Volume
from tests.kube.notebooks import POOLS, Notebook, facility_of

pytestmark = [pytest.mark.kube, pytest.mark.usefixtures("here"), pytest.mark.timeout(500)]
EVENTS, CHUNK = 16_000, 8_000
DATA = Volume(
    name="data",
    mount_path="/data",
    read_only=True,
    persistent_volume_claim=ClaimSource(claim_name="data"),
)
CPU = POOLS.pools["cpu"].model_copy(update={"volumes": (DATA,), "cpu": 0.2})
ROOMY = CPU.model_copy(
    update={"name": "roomy", "default": False, "memory": 2**30, "memory_max": 2**30}
)


@pytest.fixture(scope="module")
def notebook(
    here: None, state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Notebook]:
    folder = tmp_path_factory.mktemp("analysis")
    files = write_files(folder / "data", 1, EVENTS)
    for path in (folder, *folder.parents[:2], folder / "data", *map(Path, files)):
        path.chmod(path.stat().st_mode | 0o555 if path.is_dir() else 0o644)
    config = Config(pools={**POOLS.pools, "cpu": CPU, "roomy": ROOMY}, source="the tests")
    (folder / "space").mkdir()
    with facility_of(state, folder / "space", config, data=folder / "data") as found:
        yield found


@pytest.mark.long
def test_notebook_04_finds_what_is_in_its_data(notebook: Notebook) -> None:
    said = notebook.python(
        """
        from importlib.resources import files
        import nbformat
        from nbclient import NotebookClient
        (path,) = [each for each in files("facility.notebooks").iterdir() if each.name[:2] == "04"]
        text = path.read_text().replace("cluster(2)", "cluster(roomy=2)")
        done = NotebookClient(nbformat.reads(text, as_version=4), timeout=300).execute()
        for cell in done.cells:
            for output in cell.get("outputs", ()):
                print(output.get("text", ""), [*output.get("data", ())])
        """
    )
    assert "338,950 events in 4 datasets" in said
    assert said.count("image/png") == 3
    found = re.findall(r"(signal strength|top rate): (\S+) ± (\S+)", said)
    for (_, value, uncertainty), truth in zip(found, (1.0, TOP_EXCESS), strict=True):
        assert abs(float(value) - truth) < 3 * float(uncertainty) < 0.6


HUNGRY = f"""
    import numpy as np
    import awkward as ak
    from facility import cluster, run

    def hungry(events, most={CHUNK // 2}):
        import time
        start, stop = events.metadata["entrystart"], events.metadata["entrystop"]
        if start == 0 and stop > most:
            taken = [np.ones(5 * 2**20) for _ in range(200)]
        # In single precision a sum depends on where it is cut.
        momenta = np.asarray(ak.flatten(events.Muons.pt), dtype=float)
        return {{"n": len(events), "sum": float(np.sum(momenta**0.7))}}

    def enough(events):
        return hungry(events, 10**9)

    with cluster(cpu=2, name="hungry", wait=2, timeout=200) as c:
        expected, _ = run(enough, "/data/*.root*", c, chunksize={CHUNK}, progress=False)
        found, report = run(hungry, "/data/*.root*", c, chunksize={CHUNK}, progress=False)
        print(abs(found["sum"] / expected["sum"] - 1) < 1e-12, found["n"], report.complete,
              report.exact, [record.chunk.events for record in report.records])
        print(report.records[0].cut)
        print(c.explain())
"""


@pytest.mark.long
def test_a_chunk_that_memory_ends_is_done_in_parts(notebook: Notebook) -> None:
    """The kernel ends the container, Kubernetes says so, and another worker takes its place."""
    said = notebook.python(HUNGRY)
    lines = said.splitlines()
    assert lines[0] == f"True {EVENTS} True False [4000, 4000, 8000]", said
    assert "also when it ran alone" in lines[1], said
    assert "workers lost and replaced; the last one, " in said
    assert "needed more memory than it has and was killed (OOMKilled)" in said


LOOKED_AT = f"""
    import time
    from facility import analysis, cluster

    def slow(events):
        import time
        time.sleep(2)
        return {{"n": len(events)}}

    with cluster(cpu=1, name="looked-at", wait=1, timeout=200) as c:
        going = analysis.start(slow, "/data/*.root*", c, chunksize={EVENTS // 8})
        seen = []
        while not going.done:
            found = going.partial()
            seen.append(found["n"] if found else 0)
            time.sleep(0.5)
        result, report = going.result()
        print(sorted(seen) == seen, any(0 < each < {EVENTS} for each in seen))
        print(result["n"], report.complete)
"""


def test_sums_are_seen_while_a_run_goes_on(notebook: Notebook) -> None:
    assert notebook.python(LOOKED_AT).splitlines() == ["True True", f"{EVENTS} True"]
