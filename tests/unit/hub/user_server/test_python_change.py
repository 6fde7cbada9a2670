"""What a user is told when the image came with another Python."""

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from facility import names
from facility.hub.user_server import pod, python_change
from facility.hub.user_server.python_change import NOTICE, tell_of_change

NEW = "3.13.5"


def package(site: Path, name: str, origin: object = None) -> None:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    if origin is not None:
        (info / "direct_url.json").write_text(json.dumps(origin))


def own(home: Path, python: str = "3.11") -> Path:
    return home / ".local/lib" / f"python{python}" / "site-packages"


def environment(folder: Path, python: str = "3.11.2", target: str = sys.executable) -> Path:
    """Lay out what venv makes, with packages and a Python that links to another one."""
    minor = python.rpartition(".")[0]
    package(folder / f"lib/python{minor}/site-packages", "ipykernel")
    package(folder / f"lib/python{minor}/site-packages", "pip")
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(target)
    sees = "include-system-site-packages = true"
    (folder / "pyvenv.cfg").write_text(f"home = /usr/bin\n{sees}\nversion = {python}\n")
    return folder


def kernel(home: Path, name: str, program: Path | str) -> None:
    folder = home / ".local/share/jupyter/kernels" / name
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({"argv": [str(program), "-m", "ipykernel"]}))


def told(home: Path, version: str = NEW, shipped: tuple[str, ...] = ()) -> str | None:
    return tell_of_change(home, lambda: shipped, version, print)


def command_of(home: Path) -> str:
    found = re.search(r"```sh\n(.*?)\n```", (home / NOTICE).read_text(), re.S)
    assert found
    return found[1]


def test_packages_are_listed_once_with_the_command_that_installs_them_again(home: Path) -> None:
    package(own(home), "mplhep_extra")
    package(own(home), "numpy")
    package(own(home), "~broken")
    assert told(home, shipped=("numpy",)) == f"/lab/tree/{NOTICE}"
    text = (home / NOTICE).read_text()
    assert text.startswith("# Python has changed from 3.11 to 3.13\n")
    assert "* 1 package of yours: mplhep_extra\n" in text
    assert command_of(home) == "python3 -m pip install --user mplhep_extra"
    (home / NOTICE).unlink()
    assert told(home) is None
    assert not (home / NOTICE).exists()


def test_what_came_from_elsewhere_comes_from_there_again(home: Path) -> None:
    package(own(home), "folder", {"url": "file:///home/jovyan/my code", "dir_info": {}})
    git = {"vcs": "git", "commit_id": "abc"}
    package(own(home), "code", {"url": "https://example.org/code", "vcs_info": git})
    package(own(home), "odd", ["no address"])
    assert told(home)
    words = shlex.split(command_of(home))
    assert words[5:] == [
        "code @ git+https://example.org/code@abc",
        "folder @ file:///home/jovyan/my code",
        "odd",
    ]


def test_environments_whose_python_has_gone_are_named_with_their_kernels(home: Path) -> None:
    environment(home / "mine")
    kernel(home, "mine", home / "mine/bin/python")
    environment(home / "project/.venv", target="/usr/bin/python3.11-that-has-gone")
    # These work as before: of the new Python, or with a Python of its own.
    environment(home / "new", python="3.13.1")
    (home / "conda").write_text("")
    (home / "conda").chmod(0o755)
    environment(home / "alone", target=str(home / "conda"))
    for name, program in (("relative", "python"), ("elsewhere", home / "x/bin/python")):
        kernel(home, name, program)
    assert told(home)
    text = (home / NOTICE).read_text()
    assert f"* environment {home}/mine, kernel mine: ipykernel\n" in text
    assert f"* environment {home}/project/.venv: ipykernel\n" in text
    assert text.count("* ") == 2
    first, second = command_of(home).split(" \\\n  && ")
    assert first == (
        f"python3 -m venv --clear --without-pip --system-site-packages {home}/mine"
        f" && python3 -m pip --python {home}/mine install ipykernel"
    )
    assert f"{home}/project/.venv" in second


def test_the_command_makes_an_environment_that_works(home: Path) -> None:
    """Installed again is a wheel of this machine, since no index is asked."""
    wheel = home / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("thing.py", "answer = 42\n")
        about = "Metadata-Version: 2.1\nName: thing\nVersion: 1\n"
        file.writestr("thing-1.dist-info/METADATA", about)
        file.writestr("thing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("thing-1.dist-info/RECORD", "")
    folder = environment(home / "mine")
    site = folder / "lib/python3.11/site-packages"
    (site / "ipykernel-1.0.dist-info").rmdir()
    package(site, "thing", {"url": wheel.as_uri(), "archive_info": {}})
    assert told(home, version="3.99.0")
    command = command_of(home).replace("python3 ", f"{shlex.quote(sys.executable)} ")
    environ = {**os.environ, "PIP_NO_INDEX": "1"}
    done = subprocess.run(
        ["sh", "-c", command], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    program = [folder / "bin/python", "-c", "import thing; print(thing.answer)"]
    assert subprocess.run(program, capture_output=True, text=True, check=True).stdout == "42\n"


def test_a_home_that_has_nothing_of_an_older_python_is_left_alone(home: Path) -> None:
    package(own(home, "3.13"), "current")
    (home / ".local/lib/python3").mkdir()
    assert told(home) is None
    assert not (home / NOTICE).exists()
    assert json.loads((names.data_folder() / python_change.RECORD).read_text()) == {
        "python": "3.13"
    }


def test_the_newest_of_several_older_ones_counts_where_none_is_noted(home: Path) -> None:
    package(own(home, "3.9"), "ancient")
    package(own(home, "3.11"), "recent")
    assert told(home)
    assert "recent" in (home / NOTICE).read_text()
    assert "ancient" not in (home / NOTICE).read_text()


def test_a_way_back_is_told_too(home: Path) -> None:
    package(own(home, "3.13"), "newer")
    assert told(home) is None
    assert told(home, version="3.11.2")
    assert "from 3.13 to 3.11" in (home / NOTICE).read_text()


def test_a_home_that_cannot_be_written_does_not_keep_the_server_from_starting(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package(own(home), "mine")
    (home / NOTICE).mkdir()
    assert told(home) is None
    assert "What Python 3.11 had in" in capsys.readouterr().out
    # It is tried again.
    (home / NOTICE).rmdir()
    assert told(home)


def test_jupyterlab_opens_there_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = f"/lab/tree/{NOTICE}"
    monkeypatch.delenv("JUPYTERHUB_DEFAULT_URL", raising=False)
    assert pod.environment(home)["JUPYTERHUB_DEFAULT_URL"] == "/lab"
    assert pod.environment(home, page)["JUPYTERHUB_DEFAULT_URL"] == page
    # Another application is not left for it.
    monkeypatch.setenv("JUPYTERHUB_DEFAULT_URL", "/voila")
    assert pod.environment(home, page)["JUPYTERHUB_DEFAULT_URL"] == "/voila"


def test_the_images_packages_are_not_the_users() -> None:
    assert "distributed" in pod.packages_of_image()
