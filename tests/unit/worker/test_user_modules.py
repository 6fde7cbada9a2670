"""Which of the user's files are sent to workers as modules."""

import sys
from pathlib import Path

import pytest

from facility.module_path import ModulePath
from facility.worker import user_modules


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_modules_and_packages_are_found(tmp_path: Path) -> None:
    write(tmp_path, mine="a = 1", cuts__sub__deep="b = 2", scripts__alone="c")
    (tmp_path / "cuts" / "__init__.py").touch()
    (tmp_path / "cuts" / "values.yaml").write_text("pt: 25")
    (tmp_path / "cuts" / "data.root").write_bytes(b"x" * 99)
    (tmp_path / "cuts" / ".hidden.py").touch()
    (tmp_path / "not-a-name.py").touch()
    found = user_modules.find(tmp_path)
    assert set(found.files) == {
        "mine.py",
        "cuts/__init__.py",
        "cuts/sub/deep.py",
        "cuts/values.yaml",
    }
    assert str(found) == f"cuts, mine of {tmp_path} (4 files, 0 kB)"


def test_what_stands_for_an_installed_module_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, random="", dask="", facility="", mine="")
    found = user_modules.find(tmp_path)
    assert set(found.files) == {"mine.py"}
    assert [each.partition(" ")[0] for each in found.left_out] == ["dask", "facility", "random"]
    assert "dask is left out: an installed module has this name" in str(found)


def test_what_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    write(tmp_path, mine="a = 1")
    (tmp_path / "broken.py").symlink_to("/proc/self/mem")
    found = user_modules.find(tmp_path)
    assert set(found.files) == {"mine.py"}
    assert found.left_out == ("broken is left out: Input/output error",)
    gone = user_modules.find(tmp_path / "gone")
    assert gone.left_out == ("nothing is sent: No such file or directory",)


def test_too_much_is_not_sent_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_modules, "MOST", 2**20)
    write(tmp_path, small="a = 1", large="#" * 3 * 2**20)
    found = user_modules.find(tmp_path)
    assert not found.files
    assert "nothing is sent: they have 3 MiB of the 1 that code may have, large.py most" in str(
        found
    )


def test_the_folder_is_the_scripts_or_the_notebooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert user_modules.users_folder() == tmp_path.resolve()
    (tmp_path / "scripts").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "scripts"), *sys.path])
    assert user_modules.users_folder() == (tmp_path / "scripts").resolve()
    # An installed program, such as `pytest`.
    monkeypatch.setattr(sys, "path", [str(Path(sys.executable).parent), *sys.path])
    assert user_modules.users_folder() == tmp_path.resolve()


def test_placed_modules_are_imported_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    module_path = ModulePath(tmp_path)
    module_path.replace({"placed_by_a_test.py": b"value = 1"})
    import placed_by_a_test  # type: ignore[import-not-found]

    assert placed_by_a_test.value == 1
    module_path.replace({"placed_by_a_test.py": b"value = 22"})
    import placed_by_a_test

    assert placed_by_a_test.value == 22
    module_path.remove()
    with pytest.raises(ModuleNotFoundError):
        import placed_by_a_test
