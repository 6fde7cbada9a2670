"""Scripts that `facility submit` has started on this machine, and what cuts them off."""

import json
import os
import signal
import textwrap
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from facility import names
from facility.analysis.samples.physlite_files import write_files
from facility.cli import main
from facility.jobs import local
from facility.system.processes import with_environment
from tests.local.pools import until

POOLS = json.dumps(
    {"pools": {"cpu": {"cpu": "100m", "memory": "600Mi", "maxWorkers": 3, "default": True}}}
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, with pools that fit."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pools.yaml").write_text(POOLS)
    monkeypatch.setenv("FACILITY_CONFIG", str(tmp_path / "pools.yaml"))
    return tmp_path


def script(text: str) -> str:
    Path("script.py").write_text(textwrap.dedent(text))
    return "script.py"


def state(name: str) -> Any:
    return json.loads((names.jobs_folder() / name / local.STATE).read_text())


def of_job(name: str) -> list[psutil.Process]:
    """What runs of a job."""
    folder = str(names.jobs_folder() / name)
    return with_environment(lambda found: found.get(local.FOLDER_VARIABLE) == folder)


def log(name: str) -> str:
    return (names.jobs_folder() / name / local.LOG).read_text()


def test_it_runs_with_the_workers_that_the_command_names(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script(
        """
        import os, sys
        from facility import cluster
        with cluster(1) as c, c.get_client() as client:
            client.wait_for_workers(2)
            with open("result.txt", "w") as result:
                print(client.submit(sum, [40, 2]).result(), *sys.argv[1:], file=result)
        print("written by", os.environ["FACILITY_JOB"])
        """
    )
    words = ["submit", "script.py", "--pool", "cpu=2", "--name", "mine", "--follow"]
    assert main([*words, "--", "--more", "x y"]) == 0
    out = capfd.readouterr().out
    assert "pool cpu: 2 workers, as FACILITY_POOLS says, instead of 1 worker" in out
    assert out.endswith("written by mine\n")
    assert (here / "result.txt").read_text() == "42 --more x y\n"
    assert main(["jobs"]) == 0
    assert capfd.readouterr().out.splitlines()[1].split()[:2] == ["mine", "done"]
    assert main(["jobs", "log", "mine"]) == 0
    assert "written by mine" in capfd.readouterr().out
    assert main(["submit", "script.py", "--name", "mine"]) == 1
    assert "there is a job 'mine'" in capfd.readouterr().err
    assert main(["jobs", "remove", "mine"]) == 0
    assert main(["jobs", "log", "mine"]) == 1
    assert "no job 'mine' of yours on this machine; there is none" in capfd.readouterr().err


def test_a_run_that_is_cut_off_goes_on_in_the_next_try(here: Path) -> None:
    folder = write_files(here / "data", 2, 2_000)[0].parent
    script(
        f"""
        import glob, os, signal, threading, time
        import facility
        def slow(events):
            time.sleep(0.2)
            return len(events)
        def doom():
            while len(glob.glob("kept/*.chunk")) < 3:
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGKILL)
        if __name__ == "__main__":
            if not os.path.exists("kept"):
                threading.Thread(target=doom).start()
            with facility.cluster(1) as c:
                results, report = facility.run(
                    slow, "{folder}", c, chunksize=200, checkpoint="kept", progress=False
                )
            restored = sum(record.restored for record in report.records)
            print("events", results, "restored" if restored > 2 else "all again")
        """
    )
    assert main(["submit", "script.py", "--name", "again", "--follow"]) == 0
    found = state("again")
    assert (found["tries"], found["code"]) == (2, 0)
    assert "killed by SIGKILL; try 2 of 3 follows" in log("again")
    assert "events 4000 restored" in log("again")


def test_a_script_that_fails_is_tried_and_then_given_up(capfd: pytest.CaptureFixture[str]) -> None:
    script("print('so far'); raise SystemExit(3)")
    assert main(["submit", "script.py", "--name", "bad", "--retries", "0", "--follow"]) == 1
    assert capfd.readouterr().out.endswith("so far\n")
    assert main(["jobs"]) == 0
    assert "failed (exit code 3)" in capfd.readouterr().out
    assert state("bad")["tries"] == 1


SLOW = """
import sys, facility
def slow(events):
    import time
    time.sleep(0.5)
    return len(events)
if __name__ == "__main__":
    with facility.cluster(1) as c:
        try:
            facility.run(slow, "{folder}", c, chunksize=100)
        except facility.RunInterrupted as stopped:
            print("so far", stopped.results, stopped.report.processed)
"""


def test_an_end_that_is_asked_for_keeps_what_was_done(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write_files(here / "data", 1, 10_000)[0].parent
    script(SLOW.format(folder=folder))
    assert main(["submit", "script.py", "--name", "slow"]) == 0
    until(lambda: "events/s" in log("slow"))
    assert main(["jobs", "remove", "slow"]) == 1
    assert "runs; stop it first" in capfd.readouterr().err
    assert main(["jobs", "stop", "slow"]) == 0
    assert "so far" in log("slow")
    assert state("slow")["stopped"]
    assert main(["jobs", "log", "slow", "--follow"]) == 1
    assert main(["jobs"]) == 0
    assert "stopped" in capfd.readouterr().out


def test_a_job_that_nobody_watches_any_more_is_told_and_can_be_ended(
    capfd: pytest.CaptureFixture[str],
) -> None:
    script("import time; print('here', flush=True); time.sleep(600)")
    assert main(["submit", "script.py", "--name", "lost"]) == 0
    until(lambda: "here" in log("lost"))
    psutil.Process(state("lost")["pid"]).kill()
    until(lambda: "lost with its process" in str(local.MachineJobs().table()))
    assert len(of_job("lost")) == 1
    assert main(["jobs", "stop", "lost"]) == 0
    until(lambda: not of_job("lost"))
    assert main(["jobs", "remove", "lost"]) == 0


def test_ctrl_c_while_it_is_followed_leaves_it_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    script("import time\nfor i in range(40):\n    print('line', i)\n    time.sleep(0.1)")

    def interrupt() -> None:
        until(lambda: (names.jobs_folder() / "on" / local.LOG).exists() and "line 3" in log("on"))
        os.kill(os.getpid(), signal.SIGINT)

    killer = threading.Thread(target=interrupt)
    killer.start()
    assert main(["submit", "script.py", "--name", "on", "--follow"]) == 0
    killer.join()
    assert "job on goes on" in capfd.readouterr().err
    until(lambda: local.MachineJobs().succeeded("on") is True)
    assert "line 39" in log("on")


def test_a_folder_that_cannot_be_made(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script("print()")
    (here / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(here / "file"))
    assert main(["submit", "script.py"]) == 1
    assert "set XDG_DATA_HOME" in capfd.readouterr().err


def test_what_cannot_begin_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script("print()")
    monkeypatch.setattr(local, "STATE", "other.json")  # which its watcher does not look for
    assert main(["submit", "script.py", "--name", "early"]) == 1
    assert "could not begin" in capfd.readouterr().err
