"""Old names of modules, which copies of the notebooks of release 0.1 import."""

import subprocess
import sys
from importlib import import_module

import pytest

from facility.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_works_and_names_the_new_one(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"has moved to {MOVED[old]}") as told:
        found = import_module(old)
    new = import_module(MOVED[old])
    public = [name for name in vars(new) if not name.startswith("_")]
    assert all(getattr(found, name) is getattr(new, name) for name in public)
    assert len(told) == 1


def test_what_users_import_is_in_one_place() -> None:
    code = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
from facility.analysis.fileset import fileset as old
import facility.analysis
from facility.analysis import fileset
assert callable(facility.analysis.fileset) and callable(fileset)
try:
    fileset({})
except facility.FilesetError:
    print("called")
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "called\n"


def test_the_warning_names_the_line_of_the_user() -> None:
    code = "from facility.analysis.kinematics import pair_mass\n"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "<string>:1: DeprecationWarning" in ran.stderr
    assert "facility.analysis.samples.kinematics" in ran.stderr


def test_what_is_nowhere_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="nosuchmodule"):
        import_module("facility.analysis.nosuchmodule")
