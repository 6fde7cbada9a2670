"""What `make test` says about a run: that nothing that should run went missing."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.local.conftest import FIRST
from tools import reports, tiers

REPORT = """<testsuites><testsuite>
<testcase classname="a" name="good"/>
<testcase classname="a" name="bad"><failure/></testcase>
<testcase classname="a" name="bad_at_its_end"/>
<testcase classname="a" name="bad_at_its_end"><error/></testcase>
<testcase classname="b" name="good"/>
<testcase classname="b" name="left_out"><skipped/></testcase>
</testsuite></testsuites>"""
NONE = "<testsuites><testsuite/></testsuites>"
ONE = '<testsuites><testsuite><testcase classname="a" name="good"/></testsuite></testsuites>'
SKIPPED = ONE.replace(
    "/></testsuite>",
    '/><testcase name="b"><skipped message="no file"/></testcase></testsuite>',
)


@pytest.fixture
def pytest_ends(tmp_path, monkeypatch):
    """Make the next run of pytest end with a code and a report, or none."""
    monkeypatch.setattr(tiers, "ARTIFACTS", tmp_path)

    def prepare(code: int, report: str | None) -> None:
        def run(command, **_):
            path = Path(command[-1].removeprefix("--junitxml="))
            if report is not None:
                path.write_text(report)
            return SimpleNamespace(returncode=code)

        monkeypatch.setattr(tiers.subprocess, "run", run)

    return prepare


def test_a_test_that_fails_twice_counts_once(tmp_path):
    path = tmp_path / "report.xml"
    path.write_text(REPORT)
    assert str(reports.read_counts(path)) == "2 passed, 2 failed, 1 skipped"


@pytest.mark.parametrize(
    ("tier", "code", "report", "reason"),
    [
        ("unit", 0, ONE, ""),
        ("unit", 0, SKIPPED, ""),
        ("browser", 0, SKIPPED, "tests were skipped that must run"),
        ("unit", 5, NONE, "it ran no test"),
        ("unit", 0, NONE, "it ran no test"),
        ("unit", 1, ONE, "pytest ended with code 1"),
        ("unit", -9, "<testsuites><testsu", "it ran no test"),
        ("unit", 3, None, "pytest ended with code 3 and left no report"),
    ],
)
def test_why_a_tier_fails(pytest_ends, tier, code, report, reason):
    pytest_ends(code, report)
    counts, said = tiers.run(tier)
    assert said == reason
    assert (counts.failed > 0) == (code in (1, 3))
    assert reports.Ending.read(tiers.ending_of(tier)) == reports.Ending(code, reason)


def test_a_tier_may_have_an_environment_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(tiers, "ARTIFACTS", tmp_path)
    programs = []

    def run(command, **_):
        programs.append(command[0])
        Path(command[-1].removeprefix("--junitxml=")).write_text(ONE)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(tiers.subprocess, "run", run)
    for name in ("unit", "unit-3.11"):
        assert tiers.run(name)[1] == ""
    assert programs == [tiers.sys.executable, str(tiers.ROOT / ".venv-3.11/bin/python")]
    assert [path.name for path in tiers.reports_of("unit")] == ["unit.xml"]
    assert [path.name for path in tiers.reports_of("unit-3.11")] == ["unit-3.11.xml"]


def test_a_tier_in_parts_leaves_a_report_of_each(tmp_path, monkeypatch):
    monkeypatch.setattr(tiers, "ARTIFACTS", tmp_path)
    folder = tmp_path / "junit"
    folder.mkdir()
    for earlier in ("kube", "kube-alone-old"):
        (folder / f"{earlier}.xml").write_text(ONE)

    def run(command, **_):
        for part in ("last", "cilium"):
            (folder / f"kube-alone-{part}.xml").write_text(ONE)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(tiers.subprocess, "run", run)
    counts, said = tiers.run("kube-alone")
    assert (counts.passed, said) == (2, "")
    assert sorted(each.name for each in folder.iterdir()) == [
        "kube-alone-cilium.xml",
        "kube-alone-last.xml",
        "kube-alone.json",
        "kube.xml",
    ]


def test_the_last_line_holds_the_totals(pytest_ends, capsys):
    pytest_ends(0, ONE)
    assert tiers.main(["local", "browser"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 0 failed, 0 skipped"


def test_one_bad_tier_fails_the_run_and_the_others_run_too(pytest_ends, capsys):
    pytest_ends(0, SKIPPED)
    assert tiers.main(["browser", "local"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 0 failed, 2 skipped"


def test_what_was_skipped_is_counted_by_its_reason(pytest_ends, tmp_path, capsys):
    case = '<testcase name="b"><skipped message="no file"/></testcase>'
    twice = SKIPPED.replace(case, case + case.replace('"b"', '"c"'))
    pytest_ends(0, twice)
    assert tiers.main(["unit"]) == 0
    ran = capsys.readouterr().out
    assert tiers.main(["conclude", "unit"]) == 0
    for said in (ran, capsys.readouterr().out):
        assert "\n  2 skipped: no file\n" in said


@pytest.fixture
def leave(tmp_path, monkeypatch):
    """Leave what runs of tiers leave: a report of each part, and how the tier ended."""
    monkeypatch.setattr(tiers, "ARTIFACTS", tmp_path)
    (tmp_path / "junit").mkdir()

    def write(**left):
        for name, report in left.items():
            file = tmp_path / "junit" / f"{name.replace('_', '-')}.xml"
            file.write_text(report)
            reports.Ending(0).write(tiers.ending_of(tiers.tier_of(file)))

    return write


def test_the_conclusion_adds_up_what_earlier_runs_left(leave, capsys):
    leave(unit=ONE, local=SKIPPED)
    assert tiers.main(["conclude", "unit", "local"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 0 failed, 1 skipped"


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ({"unit": ONE}, "FAILED: kube: did not run to its end"),
        ({"unit": ONE, "kube": SKIPPED}, "FAILED: kube skipped tests that must run"),
        ({"unit": ONE, "kube_alone": ONE}, "FAILED: kube: did not run to its end"),
        ({"unit": ONE, "kube": ONE, "kube_alone_last": SKIPPED}, "kube-alone-last skipped tests"),
    ],
)
def test_a_tier_that_went_missing_fails_the_conclusion(leave, capsys, left, words):
    leave(**left)
    assert tiers.main(["conclude", "unit", "kube"]) == 1
    said = capsys.readouterr().out
    assert words in said
    assert "passed, 1 failed, " in said.splitlines()[-1]


def test_a_tier_that_was_ended_half_way_fails_the_conclusion(leave, capsys):
    leave(unit=ONE)
    tiers.ending_of("unit").unlink()
    assert tiers.main(["conclude", "unit"]) == 1
    assert "FAILED: unit: did not run to its end" in capsys.readouterr().out


def test_a_tier_that_ran_no_test_fails_the_conclusion(pytest_ends, capsys):
    pytest_ends(0, NONE)
    assert tiers.main(["kube"]) == 1
    assert tiers.main(["conclude", "kube"]) == 1
    assert "FAILED: kube: it ran no test" in capsys.readouterr().out


def test_the_run_before_a_change_lands_names_each_tier():
    """All but that of a GPU, which most machines have not, and those that take too long."""
    script = (tiers.ROOT / ".ci" / "run").read_text()
    (named,) = [line for line in script.splitlines() if "tools.tiers conclude" in line]
    asked = named.partition("conclude ")[2].partition(' "')[0].split()
    assert asked == [name for name in tiers.TIERS if name != "gpu" and "long" not in name]


def test_without_a_gpu_its_tier_says_so(monkeypatch, capsys):
    monkeypatch.setattr(tiers.shutil, "which", lambda tool: None)
    assert tiers.main(["gpu"]) == 0
    assert "did not run" in capsys.readouterr().out


def test_unknown_tier(capsys):
    assert tiers.main(["unitt"]) == 2
    there = "unit, unit-3.11, local, browser, gpu, long, images-long, kube-long, images, kube"
    assert f"{there}, kube-alone" in capsys.readouterr().out


def test_the_files_that_begin_first_are_there():
    there = {path.stem for path in (tiers.ROOT / "tests" / "local").glob("test_*.py")}
    assert set(FIRST) <= there


@pytest.mark.parametrize(("beside", "code"), [("", 0), ("pytest ended with code 1", 1), (None, 1)])
def test_unit_tests_run_beside_others(tmp_path, monkeypatch, capfd, beside, code):
    monkeypatch.setattr(tiers, "ARTIFACTS", tmp_path)
    folder = tmp_path / "junit"
    folder.mkdir()
    for earlier in ("unit.xml", "unit.json"):
        (folder / earlier).write_text("of an earlier run")

    def unit(command, **streams):
        assert not list(folder.iterdir())
        streams["stdout"].write(b"what the unit tests print")
        if beside is not None:
            (folder / "unit.xml").write_text(ONE)
            reports.Ending(bool(beside), beside).write(folder / "unit.json")
        return SimpleNamespace(wait=lambda: None)

    def local(command, **_):
        Path(command[-1].removeprefix("--junitxml=")).write_text(ONE)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(tiers.subprocess, "Popen", unit)
    monkeypatch.setattr(tiers.subprocess, "run", local)
    assert tiers.main(["unit", "local"]) == code
    out = capfd.readouterr().out
    assert "what the unit tests print" in out
    assert out.splitlines()[-1].startswith("1 passed" if beside is None else "2 passed")
