"""What a release is made of, and what keeps a tree from being one."""

import shutil
from pathlib import Path

import pytest

from tools import release

VERSION = release.versions()["pyproject.toml"]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files that say the version."""
    for name in (
        "pyproject.toml",
        "facility/__init__.py",
        "helm/facility/Chart.yaml",
        "CITATION.cff",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(release.ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text(f"## [{VERSION}] - 2026-11-28\n")
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / "README.md").write_text("how")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setattr(release, "CHART", tmp_path / "helm" / "facility")
    return tmp_path


def test_all_files_say_one_version() -> None:
    assert set(release.versions().values()) == {VERSION}


def test_a_tree_that_is_a_release(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["check", f"v{VERSION}"]) == 0
    assert capsys.readouterr().out == f"This tree is release v{VERSION}.\n"


def test_all_that_is_wrong_is_told(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chart = tree / "helm" / "facility" / "Chart.yaml"
    chart.write_text(chart.read_text().replace(f"appVersion: {VERSION}", "appVersion: 9.9.9"))
    (tree / "CHANGELOG.md").write_text("nothing")
    (tree / "changes" / "+new.added.md").write_text("new")
    assert release.main(["check", f"v{VERSION}"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"helm/facility/Chart.yaml (appVersion) says 9.9.9, not {VERSION}",
        f"CHANGELOG.md has no section [{VERSION}]: run `make changelog`",
        "changes/ holds what no release tells: +new.added.md",
    ]
    assert release.main(["check", VERSION]) == 1
    assert "is no tag of a release" in capsys.readouterr().out


@pytest.mark.parametrize(("action", "needed"), [("check", "tag"), ("push", "registry")])
def test_what_is_needed_is_asked_for(
    action: str, needed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        release.main([action])
    assert f"{action} needs the {needed}" in capsys.readouterr().err


def test_fragments_are_named_as_the_changelog_wants_them() -> None:
    names = [path.name for path in (release.ROOT / "changes").glob("*.md")]
    kinds = ("added", "changed", "deprecated", "removed", "fixed", "security")
    wrong = [
        name
        for name in names
        if name != "README.md" and not (name[0] == "+" and name.split(".")[-2] in kinds)
    ]
    assert not wrong
