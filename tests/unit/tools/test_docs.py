"""What of the documentation is made when it is built, and what is checked of the built pages."""

import argparse
import re
import subprocess
from pathlib import Path

import pytest

import facility
from facility import analysis, cli, config
from tools.docs import __main__ as main
from tools.docs import check, parts, reference

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
SET_BY_US = {
    *(
        "FACILITY_AUTHORITY_AFTER",
        "FACILITY_DOCUMENTATION",
        "FACILITY_HUB",
        "FACILITY_HUB_SERVER",
        "FACILITY_JOB",
    ),
    *("FACILITY_JOB_FOLDER", "FACILITY_JOB_SETTINGS", "FACILITY_MEMBER", "FACILITY_NAMESPACE"),
    *("FACILITY_POD", "FACILITY_POD_IP", "FACILITY_PROCESS_OF", "FACILITY_RELEASE"),
    *("FACILITY_SCHEDULER", "FACILITY_VERSION", "FACILITY_WORKER"),
}
"""Variables that the chart, or one process of ours, sets for another."""


def test_every_public_name_is_described() -> None:
    """And what they return: `make docs` sees that autodoc finds a docstring for each."""
    told = reference.api(facility) + reference.api(analysis) + reference.exceptions()
    missing = [
        name
        for module in (facility, analysis)
        for name in module.__all__
        if not re.search(rf"^### {name}$", told, re.MULTILINE)
    ]
    assert not missing


def test_every_error_and_warning_is_described() -> None:
    told = reference.exceptions()
    own = re.findall(r"^class (\w+)\(", (ROOT / "facility/errors.py").read_text(), re.MULTILINE)
    found = set(own)
    assert {"FacilityError", "KubernetesError", "RunInterrupted"} <= found
    assert not [name for name in found if f".. autoexception:: facility.errors.{name}" not in told]
    sources = "".join(path.read_text() for path in (ROOT / "facility").rglob("*.py"))
    warnings = set(re.findall(r"^class (\w+Warning)\(", sources, re.MULTILINE))
    assert warnings == {name for name, _ in reference.WARNINGS}


def test_every_command_and_option_is_described() -> None:
    told = reference.command()

    def look(parser: argparse.ArgumentParser) -> None:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for child in action.choices.values():
                    assert f"`{child.prog}`" in told
                    look(child)
            for option in set(action.option_strings) - {"-h", "--help"}:
                assert f"`{option}`" in told

    look(cli.build_parser(["hub"]))
    assert "%(" not in told
    assert not re.search(r"^: *$", told, re.MULTILINE), "an option without a help text"


def test_every_key_of_a_pool_is_described_with_type_and_default() -> None:
    rows = {
        row.split(" | ")[0].strip("|` "): row for row in reference.pools().splitlines()[2:] if row
    }
    keys = {field.alias for name, field in config.Pool.model_fields.items() if name != "name"}
    assert set(rows) == keys
    assert "| bytes | required |" in rows["memory"]
    assert "| true, false or bytes | `true` |" in rows["spill"]
    assert "| `amd64` or `arm64` |  |" in rows["architecture"]


def test_every_variable_that_a_user_may_set_is_described() -> None:
    sources = [path.read_text() for path in (ROOT / "facility").rglob("*.py")]
    notebooks = [path.read_text() for path in (ROOT / "notebooks").glob("*.ipynb")]
    used = set(re.findall(r"\bFACILITY_[A-Z_]+\b", "".join(sources + notebooks)))
    assert used - set(reference.VARIABLES) == SET_BY_US
    assert set(reference.VARIABLES) <= used


def test_pages_ask_for_what_there_is() -> None:
    asked = [mark for page in DOCS.rglob("*.md") for mark in parts.MARK.finditer(page.read_text())]
    assert {mark[2] for mark in asked if mark[1] == "generated"} == set(reference.PARTS)
    assert len([mark for mark in asked if mark[1] == "file"]) > 3
    for mark in asked:
        assert parts.filled(mark[0]).strip()
    with pytest.raises(ValueError, match="nothing generated is called 'more'; there are facility,"):
        parts.filled("<!-- generated: more -->")
    with pytest.raises(ValueError, match=r"images/README.md has no heading 'Weight'"):
        parts.filled("<!-- file: images/README.md, Weight -->")


def test_a_part_of_a_file_names_files_that_its_reader_has_not(tmp_path: Path) -> None:
    text = parts.from_file(ROOT / "images" / "README.md", None)
    assert not text.startswith("# ")
    assert "`images/images.yaml`" in text
    assert not re.search(r"\]\((?!https?:)", text)


def test_built_pages_are_checked(tmp_path: Path) -> None:
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "template.html").write_text('<a href="{{ nowhere }}">')
    (tmp_path / "there.html").write_text('<h1 id="facility.errors.HubError">There</h1>')
    (tmp_path / "index.html").write_text(
        '<a href="there.html#here">1</a><a href="gone.html">2</a><a href="there.html">3</a>'
        '<a href="https://elsewhere.example">4</a><script src="https://cdn.example/x.js"></script>'
        '<a href="#none">5</a>'
    )
    found = list(check.problems(tmp_path))
    assert found[:4] == [
        "index.html: there.html#here names a place that is not in that page",
        "index.html: gone.html leads nowhere",
        "index.html: #none names a place that is not in that page",
        "index.html loads https://cdn.example/x.js, and a facility has no internet",
    ]
    assert "facility.cluster is public, and no page describes it" in found
    assert "facility.HubError is public, and no page describes it" not in found


def test_pages_are_made_again_when_any_file_of_the_copy_has_changed(tmp_path: Path) -> None:
    assert main.digest_of_sources(tmp_path) == "", "outside of git nothing is known"
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("build\n")
    (tmp_path / "page.md").write_text("one")
    before = main.digest_of_sources(tmp_path)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "page.html").touch()
    assert main.digest_of_sources(tmp_path) == before
    (tmp_path / "page.md").write_text("two")
    changed = main.digest_of_sources(tmp_path)
    (tmp_path / "new.md").touch()
    assert len({before, changed, main.digest_of_sources(tmp_path)}) == 3
