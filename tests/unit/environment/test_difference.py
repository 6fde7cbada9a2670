"""What a notebook has above its image, of packages and folders as installers leave them."""

import json
import os
import sys
from pathlib import Path

import pytest

from facility.environment.difference import NEVER_SENT, Difference, Image, difference
from facility.environment.installed import distributions

IMAGE = Image("3.13.5", "x86_64", {"numpy": "2.0", "dask": "1.0"}, (), ("cp313-cp313-any",))


def install(site: Path, name: str, version: str, *paths: str, **info: str) -> None:
    """Leave what an installer leaves: the files, and the list of them."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    listed = list(paths or [f"{name}/__init__.py"])
    for path in listed:
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text("")
    for file, text in info.items():
        place = folder / {"wheel": "WHEEL", "url": "direct_url.json"}[file]
        place.write_text(text)
        listed.append(f"{folder.name}/{place.name}")
    listed.append("../../../bin/tool")
    lines = [f'"{path}",,' if "," in path else f"{path},," for path in listed]
    (folder / "RECORD").write_text("\n".join(lines))


def editable(site: Path, name: str, sources: Path, **files: str) -> None:
    url = json.dumps({"url": sources.as_uri(), "dir_info": {"editable": True}})
    install(site, name, "0.1", *(each.replace("__dot__", ".") for each in files), url=url)
    for file, text in files.items():
        (site / file.replace("__dot__", ".")).write_text(text)


def find(*places: Path, image: Image = IMAGE, own: Path | None = None) -> Difference:
    return difference(map(str, places), image, own=own, machine="x86_64")


def sent(found: Difference) -> dict[str, set[str]]:
    return {each.name: set(each.imports) for each in found.parts}


def test_what_the_image_lacks_or_has_otherwise_is_found(tmp_path: Path) -> None:
    install(tmp_path, "numpy", "2.0")
    install(tmp_path, "new", "1.0", "new/__init__.py", "new/data.bin", "new/a,b.txt", "single.py")
    assert sent(find(tmp_path)) == {"new": {"new", "single"}}
    (part,) = find(tmp_path).parts
    assert set(part.files) == {
        *("new/__init__.py", "new/data.bin", "new/a,b.txt", "single.py"),
    }
    newer, image = tmp_path / "newer", tmp_path / "image"
    install(newer, "numpy", "2.1")
    install(image, "numpy", "2.0")
    (part,) = find(newer, image).parts
    assert (part.name, part.version, part.target) == ("numpy", "2.1", "site")


def test_the_first_of_several_installations_counts(tmp_path: Path) -> None:
    install(tmp_path / "user", "numpy", "2.0")
    install(tmp_path / "system", "numpy", "3.0")
    assert not find(tmp_path / "user", tmp_path / "system").parts


def test_what_speaks_to_workers_is_never_sent_and_has_to_agree(tmp_path: Path) -> None:
    for name in NEVER_SENT:
        install(tmp_path, name, "9.0")
    found = find(tmp_path)
    assert not found.parts
    assert found.refused == ("dask==1.0",)
    assert found.clashes == ("dask 9.0 here and 1.0 in the image",)


def test_compiled_packages_know_their_machine(tmp_path: Path) -> None:
    tag = "Tag: cp313-cp313-any\n"
    install(tmp_path, "fast", "1.0", "fast/__init__.py", "fast/core.so", wheel=tag)
    install(tmp_path, "slow", "1.0", wheel="Tag: py3-none-any\n")
    assert {each.name: each.machine for each in find(tmp_path).parts} == {
        "fast": "x86_64",
        "slow": "",
    }


def test_a_package_for_another_python_is_not_sent_and_told(tmp_path: Path) -> None:
    install(tmp_path, "old", "1.0", "old/__init__.py", "old/a.so", wheel="Tag: cp312-cp312-any\n")
    found = find(tmp_path)
    assert not found.parts
    assert (
        "it was built for cp312-cp312-any, and workers run Python 3.13.5" in found.left["old 1.0"]
    )


def test_editable_installations_travel_with_their_sources(tmp_path: Path) -> None:
    """setuptools writes a module with a dictionary; hatchling and others a line in a .pth."""
    sources = tmp_path / "repository"
    (sources / "flat" / "sub").mkdir(parents=True)
    (sources / "flat" / "__init__.py").touch()
    (sources / "flat" / "sub" / "values.json").touch()
    (sources / "flat" / ".cache").mkdir()
    (sources / "flat" / ".cache" / "large").touch()
    mapping = f"from x import y\nMAPPING: dict[str, str] = {{'flat': {str(sources / 'flat')!r}}}\n"
    other = tmp_path / "other" / "src"
    (other / "deep").mkdir(parents=True)
    (other / "deep" / "__init__.py").touch()
    (other / "notes.txt").touch()
    site = tmp_path / "site-packages"
    editable(site, "flat", sources, __editable___flat_0_1_finder__dot__py=mapping)
    editable(site, "deep", other.parent, _deep__dot__pth=f"{other}\n")
    # What site.py does with the .pth at the start.
    found = find(site, other)
    assert {each.name: set(each.files) for each in found.parts} == {
        "flat": {"flat/__init__.py", "flat/sub/values.json", "flat-0.1.dist-info/direct_url.json"},
        "deep": {"deep/__init__.py", "deep-0.1.dist-info/direct_url.json"},
    }


def test_a_broken_editable_installation_is_told(tmp_path: Path) -> None:
    editable(tmp_path, "gone", tmp_path / "nowhere", _gone__dot__pth=f"{tmp_path}/nowhere\n")
    found = find(tmp_path)
    assert not found.parts
    assert f"points to {tmp_path}/nowhere, which is not there" in found.left["gone 0.1"]
    assert "python -m pip uninstall gone" in found.left["gone 0.1"]


def test_folders_of_pythonpath_and_loose_modules(tmp_path: Path) -> None:
    extra, site, own = tmp_path / "extra", tmp_path / "site-packages", tmp_path / "own"
    for path in ("tools/__init__.py", "tools/table.csv", "alone.py", "plots/notes.txt"):
        (extra / path).parent.mkdir(parents=True, exist_ok=True)
        (extra / path).touch()
    install(site, "numpy", "2.0")
    (site / "loose.py").touch()
    own.mkdir()
    (own / "mine.py").touch()
    found = find(own, extra, site, own=own)
    assert {each.name: set(each.files) for each in found.parts} == {
        str(extra): {"tools/__init__.py", "tools/table.csv", "alone.py"},
        str(site): {"loose.py"},
    }
    known = Image("3.13.5", "x86_64", {"numpy": "2.0"}, (str(extra), str(site)))
    assert not find(own, extra, site, image=known, own=own).parts


def test_names_of_python_and_of_the_library_are_left_out(tmp_path: Path) -> None:
    site, folder = tmp_path / "site-packages", tmp_path / "folder"
    install(site, "typing-backport", "1.0", "typing.py", "backport.py")
    folder.mkdir()
    for name in ("facility", "random", "fine"):
        (folder / f"{name}.py").touch()
    found = find(site, folder)
    assert sent(found) == {"typing-backport": {"backport"}, str(folder): {"fine"}}
    assert found.left == {
        f"typing of {site}": "Python itself has a module of this name",
        f"facility of {folder}": "the library has a module of this name",
        f"random of {folder}": "Python itself has a module of this name",
    }


def test_links_in_a_circle_do_not_hold_it_up(tmp_path: Path) -> None:
    package = tmp_path / "looped"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "again").symlink_to(package)
    (package / "dangling").symlink_to(tmp_path / "nowhere")
    (part,) = find(tmp_path).parts
    assert set(part.files) == {"looped/__init__.py"}


def test_nothing_of_pythons_own_folders_is_found() -> None:
    """This process against an image that has all of its packages."""
    site = [place for place in sys.path if place.endswith("site-packages")]
    own = [place for place in sys.path if place not in site and "python3" in place]
    packages = {name: each.version for name, each in distributions(sys.path).items()}
    image = Image("3.13", os.uname().machine, packages, site)
    found = difference([*own, *site], image)
    assert own
    assert [each.name for each in found.parts] == []
    assert not found.refused


@pytest.mark.parametrize("text", ["MAPPING = nothing()", "MAPPING: dict = {", "OTHER = 1", ""])
def test_a_finder_that_says_nothing_is_told(tmp_path: Path, text: str) -> None:
    editable(tmp_path, "odd", tmp_path, __editable___odd_0_1_finder__dot__py=text)
    found = find(tmp_path)
    assert "does not say in a file where its packages are" in found.left["odd 0.1"]
