"""Full disks, logs that never end, and a umask of 0: on real disks of a few megabytes."""

import os
import resource
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, get_worker

from facility import cluster, names
from facility.cli import main
from facility.deploy.cluster import PooledCluster
from facility.hub.local.settings import prepare_folder
from facility.jobs import local
from facility.local import registry
from facility.system import logs
from tests.disks import run_on_small_disk
from tests.local.pools import POOLS, until


@pytest.fixture(scope="module")
def c() -> Iterator[PooledCluster]:
    with cluster(1, config=POOLS) as made:
        yield made


@pytest.fixture
def client(c: PooledCluster) -> Iterator[Client]:
    with Client(c) as found:
        yield found


# What begins on a full disk.


BEGIN = """
import sys
from contextlib import redirect_stderr
from facility import cluster
from facility.security.certificates import authority
from facility.cli import main
from facility.errors import FacilityError
from facility.names import certificates_folder, data_folder

def attempt(what, call):
    print(f"--- {what}")
    try:
        call()
    except FacilityError as error:
        print(error)

Path("SCRIPT").write_text("print('never')")
authority()
fill()
with redirect_stderr(sys.stdout):
    attempt("cluster", lambda: cluster(1))
    attempt("certificates", lambda: authority(data_folder() / "other"))
    attempt("submit", lambda: main(["submit", "SCRIPT", "--name", "early"]))
    attempt("hub", lambda: main(["hub", "--port", "18444"]))
    attempt("doctor", lambda: main(["doctor"]))
    assert sorted(path.name for path in data_folder().glob("*/*") if path.is_dir()) == ["logs"]
    clear()
    os.system(f"mount -o remount,ro {HOME}")
    attempt("read only", lambda: cluster(1))
print("--- end")
"""


def test_what_cannot_begin_says_where_how_full_and_what_to_do(home: Path, tmp_path: Path) -> None:
    told = run_on_small_disk(home, BEGIN.replace("SCRIPT", str(tmp_path / "script.py")))
    parts = dict(part.split("\n", 1) for part in told.split("--- ")[1:] if "\n" in part)
    full = (
        "No space left on device (0 kB of 6.3 MB are free on its disk). Remove something there, "
        "or set XDG_DATA_HOME to a folder on another disk.\n"
    )
    data = home / "data" / "facility"
    assert f"{data}/clusters/dask-" in parts["cluster"]
    assert f"cannot be kept in {data}/other: " in parts["certificates"]
    assert f"{data}/jobs/early cannot be made: " in parts["submit"]
    assert f"{data}/hub, which cannot be written: " in parts["hub"]
    missing = parts["doctor"].partition("Missing:\n")[2]
    assert f"the data folder {data} cannot be written: " in missing
    for part in ("cluster", "certificates", "submit", "hub"):
        assert parts[part].endswith(full), part
    assert full in missing
    assert "Read-only file system. Make it writable, or set XDG_DATA_HOME" in parts["read only"]
    assert "Traceback" not in told


# What goes on when the disk becomes full.


GO_ON = """
import subprocess, sys
from facility import cluster
from tests.local.pools import POOLS, until

def speak(words):
    print(words)
    print(words, file=sys.stderr)
    return words

with cluster(1, config=POOLS) as c, c.get_client() as client:
    assert client.submit(speak, "before").result() == "before"
    fill()
    assert client.submit(speak, "in between" * 1000).result()
    print(c.explain())
    c.scale(2)
    client.wait_for_workers(2)
    assert set(client.run(speak, "nowhere").values()) == {"nowhere"}
    clear()
    client.run(speak, "after")
    until(lambda: c.logs("cpu").count("after") == 4)
    print(c.logs("cpu"))
    print(c.explain())
"""


def test_tasks_that_print_and_new_workers_go_on(home: Path) -> None:
    told = run_on_small_disk(home, GO_ON)
    assert "takes nothing more: No space left on device (0 kB of 6.3 MB" in told
    assert "What workers print is lost meanwhile" in told
    assert told.count("takes nothing more") == 1, "it has room again"
    assert "\nbefore\n" in told
    assert "bytes are missing here, since the disk took nothing more\n" in told
    assert "\nafter\n" in told


JOB = """
from facility.cli import main

Path("FOLDER/script.py").write_text('''
print("before")
with open(HOME + "/fill", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
print("x" * 100_000)
print("went on", file=open("FOLDER/result", "w"))
'''.replace("HOME", repr(str(HOME))))
assert main(["submit", "FOLDER/script.py", "--name", "mine", "--follow"]) == 0
assert main(["jobs"]) == 0
clear()
assert main(["jobs", "log", "mine"]) == 0
"""


def test_a_job_goes_on_and_its_end_is_known(home: Path, tmp_path: Path) -> None:
    told = run_on_small_disk(home, JOB.replace("FOLDER", str(tmp_path)))
    assert (tmp_path / "result").read_text() == "went on\n"
    assert told.count("before\n") == 2
    assert "mine  done" in told


def refuse(mark: int) -> int:
    """Let the system refuse this process what would make a file larger, as a full disk does."""
    size = os.fstat(1).st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    print("lost" * 1000)
    sys.stderr.write("lost")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print("back", mark)
    return mark


def test_a_print_that_the_system_refuses_costs_no_task(c: PooledCluster, client: Client) -> None:
    assert client.submit(refuse, 17).result() == 17
    until(lambda: "back 17" in c.logs("cpu"))
    assert "4,001 bytes are missing here" in c.logs("cpu")


# Logs.


def flood(marker: str) -> str:
    for number in range(40):
        print(f"{marker} {number} " + "x" * 250_000)
    print(f"{marker} done")
    return str(get_worker().name)


def flood_by_another_program(marker: str) -> str:
    code = f"for i in range(40): print('{marker}', i, 'y' * 250_000)"
    subprocess.run([sys.executable, "-c", code], check=True)
    return str(get_worker().name)


@pytest.mark.parametrize("task", [flood, flood_by_another_program])
def test_logs_of_workers_have_an_end_and_show_it(
    c: PooledCluster, client: Client, task: object
) -> None:
    marker = f"m{id(task)}"
    name = client.submit(task, marker).result()
    path = c._controller.backend.folder / registry.LOGS / f"{name}.log"  # type: ignore[attr-defined]
    until(lambda: path.stat().st_size <= logs.LIMIT)
    # What another program prints while the log is made shorter may be lost.
    client.submit(print, marker, "done", workers=[name], pure=False).result()
    told = c.logs("cpu")
    first, rest = told.split("\n", 2)[1:]
    assert first.startswith("facility: the first ")
    assert first.endswith(" bytes of this log are left out")
    assert len(rest) <= logs.SHOWN
    assert rest.rstrip().endswith(f"{marker} done")


def test_a_jobs_log_is_followed_though_it_is_shortened(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "for number in range(60): print(number, 'x' * 200_000)\nprint('the end', flush=True)\n"
    )
    assert main(["submit", str(script), "--name", "long", "--follow"]) == 0
    followed = capfd.readouterr().out
    assert followed.endswith("the end\n")
    assert (names.jobs_folder() / "long" / local.LOG).stat().st_size <= logs.LIMIT
    assert main(["jobs", "log", "long"]) == 0
    told = capfd.readouterr().out
    assert told.startswith("facility: the first ")
    assert told.endswith("the end\n")


# Modes.


def open_to_others(folder: Path) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if mode & 0o022 and not stat.S_ISLNK(mode):
            found.append(f"{path} {mode & 0o777:o}")
    return found


USE = """
import os
os.umask(0)
import facility
from facility.analysis import Skim
from facility.analysis.samples.physlite_files import write_files
from facility.cli import main
from tests.local.pools import POOLS

def processor(events):
    return Skim(events, ["EventInfo.runNumber"])

def umask():
    found = os.umask(0)
    print("hello")
    return found

if __name__ == "__main__":
    write_files(facility.names.Path("made/data"), 1, 500)
    with facility.cluster(1, config=POOLS) as c, c.get_client() as client:
        assert client.submit(umask).result() == 0, "what tasks make is the user's own"
        options = {"checkpoint": "made/kept", "output": "made/skims", "progress": False}
        results, report = facility.run(processor, "made/data", c, **options)
        report.save("made/report.json")
        c.send_code()
        assert main(["submit", "umask.py", "--name", "open"]) == 0
        os.system("find made home -perm /022 ! -type l -ls")
        assert os.path.isdir("home/data/facility/jobs/open")
"""


def test_nothing_of_ours_is_open_to_others_with_a_umask_of_0(tmp_path: Path) -> None:
    for place in ("home", "home/cache", "made"):
        (tmp_path / place).mkdir(mode=0o755)
    (tmp_path / "umask.py").write_text("print('a job')")
    (tmp_path / "use.py").write_text(textwrap.dedent(USE))
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "use.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(root),
            "XDG_DATA_HOME": str(tmp_path / "home" / "data"),
            "XDG_CACHE_HOME": str(tmp_path / "home" / "cache"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "-rw" not in done.stdout
    assert "drw" not in done.stdout
    assert open_to_others(tmp_path) == []
    for private in ("made/kept", "home/data", "home/data/facility/jobs", "home/cache/facility"):
        assert (tmp_path / private).stat().st_mode & 0o777 == 0o700, private


def test_folders_that_are_open_already_are_closed(home: Path) -> None:
    hub = names.data_folder() / "hub"
    hub.mkdir(parents=True)
    for place in (hub, names.data_folder()):
        place.chmod(0o777)
    prepare_folder(hub)
    assert open_to_others(home / "data") == []
