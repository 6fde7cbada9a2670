"""Rules about the files of this repository, each checked on all of them."""

import ast
import importlib
import json
import pkgutil
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import facility
from facility import cli, config
from facility.hub.kubernetes.release import read_values
from tools import house

ROOT = Path(__file__).resolve().parents[2]


def tracked(*suffixes: str) -> list[Path]:
    """Files that git holds, new ones that it does not ignore included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    paths = sorted({ROOT / name for name in listed if name})
    return [path for path in paths if path.is_file() and (not suffixes or path.suffix in suffixes)]


# While pytest collects, git still has the caller's own settings.
FILES = tracked()
PYTHON = [path for path in FILES if path.suffix == ".py"]
NOTEBOOKS = [path for path in FILES if path.suffix == ".ipynb"]

LOCKS = ("requirements.lock", "requirements-gpu.lock", "requirements-docs.lock")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a text file, none of a binary one."""
    data = path.read_bytes()
    if b"\0" not in data[:8192]:
        yield from enumerate(data.decode(errors="replace").splitlines(), start=1)


def found(pattern: str, paths: list[Path]) -> list[str]:
    regex = re.compile(pattern)
    return [
        f"{name_of(path)}:{number}: {line.strip()[:120]}"
        for path in paths
        if path != Path(__file__)
        for number, line in lines_of(path)
        if regex.search(line)
    ]


def test_no_paths_of_a_developers_machine() -> None:
    assert not found(rf"{re.escape(str(ROOT.parent))}/|/root/|/home/(?!user\b|jovyan\b)\w", FILES)


def test_no_package_index_is_named() -> None:
    # Written in pieces, so that this file names none either.
    pieces = (("py", "pi"), ("python", "hosted"), ("npm", "js"), ("deb", r"\.debian"))
    words = ["".join(parts) for parts in pieces]
    # A package's URL in a list of packages begins with its kind.
    assert not found("(?<!pkg:)(" + "|".join(words) + ")|index-url[ =]+http", FILES)


@pytest.mark.parametrize("name", LOCKS)
def test_lock_has_hashes_and_no_addresses(name: str) -> None:
    lock = (ROOT / name).read_text()
    assert "://" not in lock
    assert not re.search(r"^\s*(-|--)(index|extra|find|trusted|f |i )", lock, re.MULTILINE)
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert len(blocks) > (100 if name == "requirements.lock" else 10)
    assert not [block.split()[0] for block in blocks if "--hash=sha256:" not in block]


def test_lock_holds_what_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(item for extra in extras for item in extra)]
    locks = [(ROOT / name).read_text() for name in LOCKS]
    locked = set(re.findall(r"^([A-Za-z0-9._-]+)(?:\[\w+\])?==", "\n".join(locks), re.M))
    names = [re.match(r"[A-Za-z0-9._-]+", item) for item in asked]
    wanted = {match[0].lower() for match in names if match}
    assert wanted - {"facility"} <= locked


def test_files_stay_small() -> None:
    assert not [name_of(path) for path in FILES if path.stat().st_size > 1_000_000]


def test_modules_hold_one_idea() -> None:
    # Tests may be long: they are lists of cases.
    modules = [path for path in PYTHON if not path.is_relative_to(ROOT / "tests")]
    long = {name_of(path): len(path.read_text().splitlines()) for path in modules}
    assert not {name: count for name, count in long.items() if count > 400}


def names_in(path: Path) -> list[str]:
    """Names of a module and its classes, as words with underscores between."""
    classes = [n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
    return [path.stem, *(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in classes)]


def test_names_are_words_of_the_glossary() -> None:
    _, unused = (ROOT / "docs" / "glossary.md").read_text().split("## Words that name")
    rows = re.findall(r"^\| (\w+) \| ([^|]*) \|", unused, re.MULTILINE)[1:]
    assert len(rows) > 15
    nowhere = {word for word, why in rows if why in ("a word of our own", "says nothing")}
    alone = {word for word, _ in rows}

    def is_wrong(name: str) -> bool:
        words = {word.rstrip("s") for word in name.split("_")}
        return bool(words & nowhere) or name.strip("_") in alone | {f"{word}s" for word in alone}

    assert not [
        f"{name_of(path)}: {name}"
        for path in PYTHON
        if path.is_relative_to(ROOT / "facility")
        for name in names_in(path)
        if is_wrong(name)
    ]


def test_folders_can_be_read_at_a_glance() -> None:
    many = {name_of(folder): len(house.modules(folder)) for folder in house.folders()}
    assert not {folder: count for folder, count in many.items() if count > 16}


def test_every_folder_with_an_order_has_its_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    held = {c["containers"][0] for c in contracts["contracts"] if c["type"] == "layers"}
    for folder in house.folders():
        dotted = ".".join(folder.relative_to(ROOT).parts)
        inside = [path for path in folder.rglob("*.py") if path.stem != "__init__"]
        imports = any(f"from {dotted}" in path.read_text() for path in inside)
        assert dotted in held or not imports, f"{dotted} has no layers in pyproject.toml"


def test_the_map_of_the_package_is_that_of_the_code() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert house.with_section(page) == page, "run `make house`"


def test_each_folder_says_what_belongs_there_and_what_does_not() -> None:
    folders = [folder for folder in house.folders() if folder.name != "facility"]
    assert not [
        name_of(folder) for folder in folders if len(house.docstring(folder / "__init__.py")) < 2
    ]


def test_silenced_checks_say_which() -> None:
    assert not found(r"# type: ignore(?!\[)|# noqa(?!: )|\bTODO\b|\bFIXME\b|\bXXX\b", PYTHON)


def test_every_package_folder_has_an_init() -> None:
    folders = {path.parent for path in PYTHON if path.is_relative_to(ROOT / "facility")}
    assert not [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_notebooks_hold_no_outputs(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    ran = [cell for cell in cells if cell.get("outputs") or cell.get("execution_count") is not None]
    assert not ran, f"run `make notebooks-strip`: {len(ran)} cells of {path.name} hold outputs"


def test_public_surface() -> None:
    assert facility.__all__ == [
        "cluster",
        "pools",
        "clusters",
        "run",
        "Executor",
        "FacilityError",
        "RequestError",
        "ConfigError",
        "ClusterFailedError",
        "ClusterTimeoutError",
        "FilesetError",
        "HubError",
        "RunError",
        "RunInterrupted",
    ]
    assert set(facility.__all__) <= set(dir(facility))
    assert all(callable(getattr(facility, name)) for name in facility.__all__)


README = ROOT / "README.md"
PAGES = [
    path
    for path in FILES
    if path.suffix == ".md"
    and (path.parent == ROOT or path.is_relative_to(ROOT / "docs"))
    and path.name != "CHANGELOG.md"
]
"""What is written for readers: README, CONTRIBUTING and the documentation."""


def blocks_of(page: Path, *languages: str) -> list[str]:
    """Blocks of code in a page that are marked as of one of some languages."""
    pattern = rf"^```(?:{'|'.join(languages)})\n(.*?)^```"
    return re.findall(pattern, page.read_text(), re.M | re.S)


def commands_of(page: Path) -> list[str]:
    """Lines of the blocks marked as shell commands."""
    blocks = blocks_of(page, "sh", "bash", "shell")
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line and not line.startswith("#")]


def test_commands_in_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([.a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    commands = [line for page in PAGES for line in commands_of(page)]
    used = [word for line in commands if line.startswith("make ") for word in shlex.split(line)[1:]]
    assert "run" in used
    assert "test" in used
    assert not {word for word in used if "=" not in word} - targets


def test_facility_commands_in_the_documentation_are_understood() -> None:
    words = [shlex.split(line) for page in PAGES for line in commands_of(page)]
    calls = [line[1:] for line in words if line[0] in ("facility", ".venv/bin/facility")]
    assert len(calls) > 10
    for call in calls:
        assert cli.parse(call).run is not None, call


def test_values_in_the_documentation_are_valid() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page, "yaml")]
    assert len(blocks) > 2
    pool = {"cpu": {"default": True, "cpu": 1, "memory": "1Gi", "maxWorkers": 1}}
    images = {"registry": "registry.example/facility"}
    for block in blocks:
        found = yaml.safe_load(block)
        hub = {"domain": "af.example.org"} | found.pop("hub", {})
        assert read_values({"pools": pool, "images": images, "hub": hub} | found).config.pools


def test_python_in_the_documentation_is_python() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page, "python")]
    assert len(blocks) > 5
    for block in blocks:
        ast.parse(block)


def test_readme_is_short_and_has_a_small_picture() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert (ROOT / picture).stat().st_size < 300_000


def test_schema_is_the_one_of_the_model() -> None:
    stored = json.loads((ROOT / "facility" / "pools.schema.json").read_text())
    assert stored == config.json_schema(), "run `make schema`"


def test_links_in_the_documentation_lead_somewhere() -> None:
    links = [
        (path, target)
        for path in FILES
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
    ]
    assert links
    assert not [
        f"{name_of(path)}: {target}"
        for path, target in links
        if "://" not in target and not (path.parent / target).exists()
    ]


def test_no_module_shadows_a_public_name() -> None:
    for module in pkgutil.walk_packages(facility.__path__, "facility."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert callable(facility.cluster)
    assert callable(facility.pools)
    assert callable(facility.clusters)


def test_unit_tests_stand_where_what_they_test_stands() -> None:
    places = {folder.relative_to(ROOT / "facility") for folder in house.folders()}
    places |= {Path("tools"), Path("images")}
    unit = ROOT / "tests" / "unit"
    folders = {path.parent.relative_to(unit) for path in unit.rglob("test_*.py")}
    assert not {str(folder) for folder in folders - places}
