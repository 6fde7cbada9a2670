"""What a script may define for a validation, and all that is wrong with one."""

import sys
from pathlib import Path

import pytest

from facility.analysis.validation.script import loaded
from facility.errors import RequestError

GOOD = """
import sys
fileset = [sys.argv[1]]
treename = "Events"
def columns(events): ...
if __name__ == "__main__":
    raise SystemExit("no")
"""


def write(folder: Path, text: str | bytes, name: str = "script.py") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_script_with_its_own_modules_and_arguments(tmp_path: Path) -> None:
    write(tmp_path, "FACTOR = 2\n", "beside_the_script.py")
    path = write(tmp_path, f"import beside_the_script\n{GOOD}")
    before = sys.argv[:], sys.path[:]
    with loaded(path, ["a.root"]) as script:
        assert script.processor.__name__ == "columns"
        assert (script.fileset, script.options) == (["a.root"], {"treename": "Events"})
    assert (sys.argv, sys.path) == before
    with loaded(path, ["a.root"], ["b.root"]) as script:
        assert script.fileset == ["b.root"]
    del sys.modules["beside_the_script"]


def test_coffea_s_module_is_no_processor(tmp_path: Path) -> None:
    path = write(tmp_path, "from coffea import processor\nfileset = []\ndef columns(events): ...\n")
    with loaded(path, []) as script:
        assert script.processor.__name__ == "columns"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(x): ...\n", ["it defines neither `processor`", "it defines f", "no `fileset`"]),
        ("processor = columns = len\nfileset = []\n", ["both `processor` and `columns`"]),
        ("x = 1\n1 / 0\n", ["it stops in line 2: ZeroDivisionError"]),
        ("raise SystemExit(3)\n", ["it stops in line 1: SystemExit"]),
        ("def (:\n", ["it is no Python: line 1"]),
        (b"\xff\x00", ["it is no Python"]),
    ],
)
def test_what_is_wrong_with_a_script(tmp_path: Path, text: str | bytes, told: list[str]) -> None:
    with pytest.raises(RequestError) as error, loaded(write(tmp_path, text), []):
        pass
    assert all(part in str(error.value) for part in told)


def test_files_that_are_no_scripts(tmp_path: Path) -> None:
    for path, told in (
        (tmp_path / "no.py", "it cannot be read"),
        (write(tmp_path, "{}", "n.ipynb"), "jupyter nbconvert"),
        (write(tmp_path, "x = 1\n", "script.txt"), "its name has to end with .py"),
    ):
        with pytest.raises(RequestError, match=told), loaded(path, []):
            pass
