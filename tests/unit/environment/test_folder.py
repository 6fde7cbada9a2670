"""What of the user's folder travels, and what stays."""

import base64
import os
import sys
from pathlib import Path

import pytest

from facility.environment import folder as folders
from facility.environment.folder import Limits, content, look, users_folder, withheld
from facility.errors import RequestError
from facility.security.certificates import authority


def write(folder: Path, *paths: str, text: str = "a = 1") -> None:
    for path in paths:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def test_any_kind_of_file_travels_but_for_hidden_ones_and_outputs(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "sf/2024.root", "table.csv", "notes", "deep/er/x.onnx")
    write(tmp_path, ".env", ".globus/usercert.pem", "sf/.hidden", "analysis.ipynb")
    write(tmp_path, "checkpoints/run.json", "outputs/skim.root", "__pycache__/mine.pyc")
    found = look(tmp_path)
    assert set(found.files) == {"mine.py", "sf/2024.root", "table.csv", "notes", "deep/er/x.onnx"}
    assert (found.left, found.whole, found.size) == ({}, True, 25)


def test_patterns_of_git_are_obeyed_in_each_folder(tmp_path: Path) -> None:
    write(tmp_path, "a.log", "deep/b.log", "deep/keep.log", "build/x", "deep/build/y", "top.txt")
    write(tmp_path, "deep/top.txt", "data/raw/1.root", "data/raw/2.root", "odd/a1", "odd/b1")
    write(tmp_path, ".gitignore", text="# logs\n*.log\nbuild/\n/top.txt\nodd/[!b]?\n")
    write(tmp_path, "deep/.gitignore", text="!keep.log\n")
    write(tmp_path, ".facilityignore", text="data/**/1.root\n")
    assert set(look(tmp_path).files) == {
        *("deep/keep.log", "deep/top.txt", "data/raw/2.root", "odd/b1"),
    }


def test_what_is_too_large_is_named_and_the_smallest_go_first(tmp_path: Path) -> None:
    write(tmp_path, "huge", text="x" * 100)
    for number in (1, 2, 3):
        write(tmp_path, f"part{number}", text="x" * 10 * number)
    found = look(tmp_path, Limits(file=50, total=40))
    assert set(found.files) == {"part1", "part2"}
    assert found.left == {
        "huge": "it has 0.0 MB and a file may have 0.0 MB",
        "part3": "all files together may have 0.0 MB",
    }
    assert "40000 MB" in look(_sparse(tmp_path / "big", 40 * 10**9), Limits()).left["sparse.root"]


def _sparse(folder: Path, size: int) -> Path:
    """A folder of many GB that takes no disk."""
    folder.mkdir()
    with (folder / "sparse.root").open("wb") as file:
        file.truncate(size)
    return folder


def test_links_out_of_the_folder_and_in_a_circle_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "analysis"
    write(folder, "real.txt", "sub/x")
    write(tmp_path, "secret")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "sub" / "circle").symlink_to(folder)
    (folder / "loop").symlink_to("loop")
    (folder / "inside.txt").symlink_to("real.txt")
    found = look(folder)
    assert set(found.files) == {"real.txt", "sub/x", "inside.txt"}
    assert found.left["out"] == "it is a symbolic link out of the folder"
    assert found.left["sub/circle"] == "it is a symbolic link to a folder"
    assert "loop" in found.left
    # What has become a link since it was seen is not read either.
    (folder / "real.txt").unlink()
    (folder / "real.txt").symlink_to(tmp_path / "secret")
    assert content(found, "real.txt") is None


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no other file system")
def test_other_file_systems_stay(tmp_path: Path) -> None:
    """Of a folder on which another is mounted: here the system's own."""
    left: dict[str, str] = {}
    list(folders._walk(Path("/dev"), left))
    assert left["shm/"] == "it is on another file system"


def test_the_home_and_too_many_files_send_modules_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "mine.py", "cuts/__init__.py", "cuts/pt.yaml", "cuts/large.root", "data.csv")
    monkeypatch.setattr(folders, "MOST_FILES", 3)
    found = look(tmp_path)
    assert not found.whole
    assert set(found.files) == {"mine.py", "cuts/__init__.py", "cuts/pt.yaml"}
    assert found.left["other files"].startswith("it has more than 3 files, so modules and")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert look(tmp_path).left["other files"].startswith("it is your home, so modules and")


def test_modules_that_stand_in_for_others_stay_and_folders_of_data_do_not(tmp_path: Path) -> None:
    write(tmp_path, "random.py", "dask.py", "facility.py", "mine.py", "numpy/table.csv")
    found = look(tmp_path)
    assert set(found.files) == {"mine.py", "numpy/table.csv"}
    assert set(found.left) == {"random", "dask", "facility"}


def _token() -> bytes:
    parts = (b'{"alg":"RS256"}', b'{"sub":"ada","exp":1}', bytes(range(60)))
    return b".".join(base64.urlsafe_b64encode(each).rstrip(b"=") for each in parts)


def test_keys_and_tokens_stay_whatever_they_are_called(tmp_path: Path, home: Path) -> None:
    made = authority()
    key = made.client_key.read_bytes()
    assert withheld(key) == "it holds a private key"
    assert withheld(b"# my proxy\n" + made.client_cert.read_bytes() + key) is not None
    begin = b"-----BEGIN OPENSSH " + b"PRIVATE KEY-----"
    assert withheld(b"x = '''" + begin + b"'''") == "it holds a private key"
    assert withheld(b"{'t': '" + _token() + b"'}") == "it holds a token (JWT)"
    assert withheld(bytes.fromhex("308209d10201033082098d06092a864886f70d010701a0")) is not None
    assert withheld(b"ghp_" + b"a1" * 18) == "it holds an access token"
    assert withheld(made.client_cert.read_bytes()) is None
    assert withheld(b"PRIVATE KEY is a word, and eyJ is no token") is None
    assert withheld(None) == "it cannot be read"


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    write(tmp_path, "mine.py")
    (tmp_path / "broken").symlink_to("/proc/self/mem")
    assert set(look(tmp_path).left) == {"broken"}
    assert look(tmp_path / "gone").left == {"./": "No such file or directory"}
    os.mkfifo(tmp_path / "pipe")
    assert set(look(tmp_path).files) == {"mine.py"}


def test_the_folder_is_the_scripts_or_the_notebooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert users_folder() == tmp_path.resolve()
    (tmp_path / "scripts").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "scripts"), *sys.path])
    assert users_folder() == (tmp_path / "scripts").resolve()
    # An installed program, such as `pytest`.
    monkeypatch.setattr(sys, "path", [str(Path(sys.executable).parent), *sys.path])
    assert users_folder() == tmp_path.resolve()


def test_limits_are_said_by_a_variable() -> None:
    assert Limits.said({}) == Limits(50_000_000, 500_000_000)
    assert Limits.said({"FACILITY_SEND": "1M:2Gi"}) == Limits(10**6, 2**31)
    assert Limits.said({"FACILITY_SEND": "3M"}) == Limits(3 * 10**6, 3 * 10**6)
    with pytest.raises(RequestError, match=r"FACILITY_SEND=much:more: .* as in 50M:500M"):
        Limits.said({"FACILITY_SEND": "much:more"})
