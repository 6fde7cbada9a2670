"""What may be submitted, and counts of workers as text."""

from pathlib import Path

import pytest

from facility.cli import main
from facility.errors import RequestError
from facility.jobs.request import LARGEST, submission
from facility.jobs.script import told
from facility.request.worker_counts import over, parse, standing, text


def test_counts_are_read_and_written() -> None:
    counts = parse(["cpu=0:200", " gpu = 2 "], "--pool")
    assert counts == {"cpu": (0, 200), "gpu": 2}
    assert standing({"FACILITY_POOLS": text(counts)}) == counts
    assert standing({}) == standing({"FACILITY_POOLS": " "}) == {}


def test_every_mistake_in_counts_is_told() -> None:
    with pytest.raises(RequestError, match="FACILITY_POOLS cannot be read") as caught:
        standing({"FACILITY_POOLS": "cpu,gpu=-1,=3,a=1:2:3,b=1,b=2,c=²"})
    assert len(caught.value.problems) == 6


@pytest.mark.parametrize(
    ("asked", "given", "notes"),
    [
        ({"cpu": 4}, "", []),
        ({"cpu": 1}, "cpu=0:9", ["pool cpu: (0, 9), as FACILITY_POOLS says, instead of 1 worker"]),
        ({"cpu": 4, "gpu": 1}, "gpu=2", ["pool gpu: 2 workers, as FACILITY_POOLS says"]),
        ({}, "gpu=2", []),
        ({"cpu": (0, 9)}, "cpu=0:9", []),
    ],
)
def test_standing_counts_that_differ_from_a_call_are_told(asked, given, notes) -> None:
    found = over(asked, standing({"FACILITY_POOLS": given}))
    assert len(found) == len(notes)
    assert all(map(str.startswith, found, notes))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.ipynb", b"{}", "it is a notebook"),
        ("a.py", b"x = 1\ndef f(:\n", "line 2: "),
        ("a.py", b"\0", "it is no Python"),
        ("a.py", b"\xff", "it is no Python"),
        ("a.py", b"x = 1\n" * (LARGEST // 6 + 1), "at most 40,000"),
        ("a.py", None, "cannot be read"),
    ],
)
def test_scripts_that_cannot_be_submitted(tmp_path: Path, name, content, problem) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=problem):
        submission(tmp_path / name)
    with pytest.raises(RequestError, match="folder|directory"):
        submission(tmp_path)


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("z_peak", "z-peak-"),
        ("2nd try", "job-2nd-try-"),
        ("ÄÖ", "job-"),
        ("x" * 60, "x" * 30 + "-"),
    ],
)
def test_jobs_are_named_after_their_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"{stem}.py").write_text("print()")
    found = submission(Path(f"{stem}.py"), ("a",), pools={"cpu": 3})
    assert found.name.startswith(name)
    assert found.name[len(name) :].isalnum()
    assert (found.script, found.folder) == (tmp_path / f"{stem}.py", tmp_path)
    with pytest.raises(RequestError, match="with a letter first"):
        submission(Path(f"{stem}.py"), name="2nd")


def test_ends_are_told() -> None:
    assert (told(3), told(-9)) == ("exit code 3", "killed by SIGKILL")


def test_mistakes_of_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["submit", str(tmp_path / "no.py")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    (tmp_path / "a.py").write_text("print()")
    assert main(["submit", str(tmp_path / "a.py"), "--pool", "cup=2"]) == 1
    assert "no pool 'cup'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["submit", str(tmp_path / "a.py"), "--retries", "11"])
    assert caught.value.code == 2
