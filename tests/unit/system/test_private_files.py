"""Modes of files and folders, and what is said where a disk takes no more."""

import errno
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from facility import names
from facility.errors import FacilityError
from facility.hub.user_server.environment import certificates_environment
from facility.hub.user_server.notebooks import copy_notebooks
from facility.system import private_files


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def no_room() -> Iterator[None]:
    """Let the system refuse to make files of more than a byte, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.usefixtures("open_umask")
def test_modes_do_not_follow_the_umask(tmp_path: Path) -> None:
    private_files.make_folder(tmp_path / "a" / "b")
    private_files.make_folder(tmp_path / "c" / "d", private_files.READABLE_FOLDER)
    private_files.write_private(tmp_path / "private", b"x")
    private_files.write_readable(tmp_path / "readable", b"x")
    os.close(private_files.open_private(tmp_path / "opened", os.O_WRONLY))
    found = {path.relative_to(tmp_path).as_posix(): mode(path) for path in tmp_path.rglob("*")}
    assert found == {
        "a": 0o700,
        "a/b": 0o700,
        "c": 0o755,
        "c/d": 0o755,
        "private": 0o600,
        "readable": 0o644,
        "opened": 0o600,
    }
    (tmp_path / "library").touch()
    private_files.keep_from_others(tmp_path / "library")
    assert mode(tmp_path / "library") == 0o644
    with private_files.private_umask():
        (tmp_path / "its own").touch()
    (tmp_path / "ours").touch()
    assert (mode(tmp_path / "its own"), mode(tmp_path / "ours")) == (0o600, 0o666)


def test_a_folder_of_the_users_is_closed_to_others_and_its_parents_stay(home: Path) -> None:
    own = names.data_folder() / "tls"
    own.mkdir(parents=True)
    for path in (own, names.data_folder(), home / "data"):
        path.chmod(0o777)
    private_files.make_private(own)
    assert [mode(path) for path in (own, names.data_folder(), home / "data")] == [
        0o700,
        0o700,
        0o777,
    ]


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file"):
        private_files.make_folder(tmp_path / "file" / "below")


@pytest.mark.usefixtures("no_room")
def test_nothing_is_left_of_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large") as caught:
        private_files.write_private(tmp_path / "name", b"xy")
    assert caught.value.filename == str(tmp_path / "name")
    with pytest.raises(OSError, match="File too large"):
        private_files.check_room(tmp_path)
    private_files.check_room(tmp_path, 1)
    told = private_files.trouble(tmp_path)
    assert told is not None
    assert told.startswith(f"{tmp_path} takes nothing more: File too large (")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "B are free on its disk). Remove something there, or choose a folder on"),
        (errno.EDQUOT, "your quota there is used up, which `quota -s` shows. Remove something"),
        (errno.EROFS, "Read-only file system. Make it writable, or choose a folder that is."),
        (errno.EACCES, "Permission denied. Make it writable, or choose a folder that is."),
    ],
)
def test_what_to_do_depends_on_why(tmp_path: Path, number: int, told: str) -> None:
    error = OSError(number, os.strerror(number))
    assert told in private_files.refusal(error, tmp_path / "missing" / "folder", "choose a folder")
    cause = FacilityError("told")
    cause.__cause__ = error
    assert private_files.is_full(cause) is (number in (errno.ENOSPC, errno.EDQUOT))


@pytest.mark.usefixtures("no_room")
def test_a_server_starts_in_a_full_home_for_its_user_to_clear_it_up(home: Path) -> None:
    said: list[str] = []
    copy_notebooks(home / "notebooks", said.append)
    assert list((home / "notebooks").iterdir()) == [], "half a notebook would stay for ever"
    assert certificates_environment(said.append) == {}
    assert ["notebooks cannot be copied" in said[0], "cannot be kept in" in said[1]] == [True] * 2
    (home / "file").touch()
    with pytest.raises(FacilityError, match="Not a directory"):
        copy_notebooks(home / "file" / "notebooks", said.append)
