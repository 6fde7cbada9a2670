"""From the call to the first result, with two workers.

    .venv/bin/python -m benchmarks.cluster_start [--json]

Each sample is taken in a Python process of its own that has imported what it
needs, from the call to the result of one task:

ours
    ``cluster(2)``: a scheduler process, two worker processes, TLS.
local
    ``LocalCluster(n_workers=2)``: the scheduler in this process, no TLS; what a
    user would pick instead.
dask commands
    ``dask scheduler`` and two ``dask worker --no-nanny``, started by hand at the
    same time, with TLS certificates made before.
by hand
    The same three processes, started at once as ours starts them, with no
    pools to keep, no beat and no waiting: the least that they take.

`import_s` is ``from facility import cluster`` after ``import distributed``.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks._measure import Summary, alternate, finish, options, ratio, table

OURS = """
import sys, time
import distributed
from facility import cluster
pools = {"cpu": {"cpu": 1, "memory": "1Gi", "maxWorkers": 2, "default": True}}
if __name__ == "__main__":
    began = time.perf_counter()
    with cluster(2, config={"pools": pools}, wait=2) as c, distributed.Client(c) as client:
        client.submit(sum, [1, 2]).result()
        print(time.perf_counter() - began)
"""

LOCAL = """
import time
import distributed
if __name__ == "__main__":
    began = time.perf_counter()
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as c, distributed.Client(c) as client:
        client.wait_for_workers(2)
        client.submit(sum, [1, 2]).result()
        print(time.perf_counter() - began)
"""

DASK_COMMANDS = """
import pathlib, socket, subprocess, sys, tempfile, time
import distributed
from facility.security.certificates import authority, server_files
if __name__ == "__main__":
    folder = pathlib.Path(tempfile.mkdtemp(dir=sys.argv[1]))
    made = authority()
    made.issue(folder)
    files = server_files(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tls://127.0.0.1:{port}"
    def dask(role, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "dask", role, *arguments,
             "--tls-ca-file", str(made.ca_file),
             "--tls-cert", files[f"tls_{role}_cert"], "--tls-key", files[f"tls_{role}_key"]],
            stderr=subprocess.DEVNULL,
        )
    began = time.perf_counter()
    processes = [
        dask("scheduler", "--host", "127.0.0.1", "--port", str(port), "--protocol", "tls",
             "--dashboard-address", "127.0.0.1:0"),
        *(
            dask("worker", address, "--no-nanny", "--nthreads", "1", "--memory-limit", "1GiB",
                 "--host", "127.0.0.1", "--no-dashboard", "--local-directory", str(folder))
            for _ in range(2)
        ),
    ]
    try:
        with distributed.Client(address, security=made.security(), timeout=60) as client:
            client.wait_for_workers(2)
            client.submit(sum, [1, 2]).result()
            print(time.perf_counter() - began)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
"""

BY_HAND = """
import asyncio, time
import distributed
from facility.request.bounds import Bounds
from facility.config import load
from facility.local.backend import LocalBackend
from facility.request.checked_request import PoolRequest
pools = {"cpu": {"cpu": 1, "memory": "1Gi", "maxWorkers": 2, "default": True}}
if __name__ == "__main__":
    pool = load({"pools": pools}).default
    began = time.perf_counter()
    backend = LocalBackend("by-hand")
    try:
        backend.start_group("cpu", ["cpu-0", "cpu-1"], PoolRequest(pool, Bounds(2, 2), pool.memory))
        answer = asyncio.run(backend.start_scheduler({}, ["cpu"]))
        with distributed.Client(answer["address"], security=backend.security) as client:
            client.wait_for_workers(2)
            client.submit(sum, [1, 2]).result()
            print(time.perf_counter() - began)
    finally:
        backend.close_now()
"""

IMPORT = """
import time
import distributed
began = time.perf_counter()
from facility import cluster
print(time.perf_counter() - began)
"""


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    arguments = options(__doc__.splitlines()[0], rounds=7).parse_args(given)
    with tempfile.TemporaryDirectory() as folder:

        def sample(code: str) -> float:
            return run(code, Path(folder))

        samples = alternate(
            {
                "ours": lambda: sample(OURS),
                "LocalCluster": lambda: sample(LOCAL),
                "by hand": lambda: sample(BY_HAND),
                "dask commands": lambda: sample(DASK_COMMANDS),
                "import facility": lambda: sample(IMPORT),
            },
            arguments.rounds,
        )
    rows = {name: Summary.of(values) for name, values in samples.items()}
    rows["ours / LocalCluster"] = ratio(samples["ours"], samples["LocalCluster"])
    rows["ours / by hand"] = ratio(samples["ours"], samples["by hand"])
    rows["ours / dask commands"] = ratio(samples["ours"], samples["dask commands"])
    finish(
        {
            "ours_s": rows["ours"],
            "local_s": rows["LocalCluster"],
            "by_hand_s": rows["by hand"],
            "dask_commands_s": rows["dask commands"],
            "local_ratio": rows["ours / LocalCluster"],
            "floor_ratio": rows["ours / by hand"],
            "import_s": rows["import facility"],
        },
        json=arguments.json,
        table=table(rows, dict.fromkeys(samples, "s")),
    )


def run(code: str, folder: Path) -> float:
    """Run one sample in a process of its own; the seconds that it prints."""
    script = folder / "sample.py"
    script.write_text(code)
    finished = subprocess.run(
        [sys.executable, script, folder],
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
        text=True,
        env={**os.environ, "XDG_DATA_HOME": str(folder / "data")},
    )
    return float(finished.stdout.split()[-1])


if __name__ == "__main__":
    main()
