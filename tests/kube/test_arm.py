"""The Z peak on ARM and on amd64, in one Dask cluster, bin by bin."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from facility.config import Config
from facility.config.shapes import ClaimSource, Volume
from tests.kube.notebooks import POOLS, facility_of

pytestmark = [pytest.mark.kube, pytest.mark.timeout(500)]

COMPARED = """
    from facility import cluster, run
    from facility.analysis import compare
    from facility.analysis.reading import physlite
    from facility.analysis.inputs.fileset import fileset
    from facility.analysis.samples.peak_fit import fit_peak
    from facility.analysis.samples.zpeak import ZPeak

    files = fileset("/data/*.root*")
    found = {}
    with cluster(cpu=1, arm=1, name="both", wait=2, timeout=300) as c:
        print([row["pool"] for row in c.pools if row.get("has not")])
        for pool in ("cpu", "arm"):
            result, report = run(
                ZPeak(), files, c, pool=pool, schema=physlite.PhysliteSchema, chunksize=5_000)
            found[pool] = result
            fit = fit_peak(result["mass"][sum, "mumu", :])
            names = {record.worker.partition("-")[0] for record in report.records}
            print(pool, round(fit.position, 1), report.processed, report.complete, names)
    same = compare(found["cpu"], found["arm"], relative=1e-9)
    print(same.ok, sum(each.bins for each in same.items) > 50, max(
        each.relative for each in same.items) <= 1e-9)
    print(same)
"""


def test_arm_gives_the_histograms_of_amd64(
    here: None, state: dict[str, Any], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    words = ["-m", "facility", "sample", str(data), "--files", "2", "--events", "10000"]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    for path in (tmp_path, *tmp_path.parents[:2], data, *data.iterdir()):
        path.chmod(0o755)
    mounted = Volume(
        name="data",
        mount_path="/data",
        read_only=True,
        persistent_volume_claim=ClaimSource(claim_name="data"),
    )
    larger = {"volumes": (mounted,), "memory": 2**30, "memory_max": 2**30}
    pools = {name: POOLS.pools[name].model_copy(update=larger) for name in ("cpu", "arm")}
    config = Config(pools={**POOLS.pools, **pools}, source="the tests")
    (tmp_path / "space").mkdir()
    with facility_of(state, tmp_path / "space", config, data=data) as notebook:
        said = notebook.python(COMPARED)
    lines = said.splitlines()
    # Also that of no pool's own volumes, since the notebook shares it.
    assert lines[0] == "[]"
    assert lines[1].startswith("cpu 91."), said
    assert lines[1].endswith("20000 True {'cpu'}"), said
    assert lines[2].startswith("arm 91."), said
    assert lines[2].endswith("20000 True {'arm'}"), said
    assert lines[3] == "True True True", said
