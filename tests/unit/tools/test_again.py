"""The second look at failures: real runs of pytest on tests of a few lines."""

import os
import sys

import pytest

from tests.kube.bringup import __main__ as bringup
from tests.kube.bringup import tier
from tools import again, tiers
from tools.reports import Ending

# Fails the first time that it is run, and never again.
ONCE = """
import os, pathlib, pytest
def once(name):
    mark = pathlib.Path(__file__).with_name(name)
    if not mark.exists():
        mark.touch()
        raise OSError("only the first time")
def test_good(): pass
"""
IN_MANY_WAYS = """
@pytest.fixture
def fails_at_its_end():
    yield
    once("end")
def test_with_a_fixture(fails_at_its_end): pass
@pytest.mark.parametrize("case", ["a/b.py::c[d]"])
def test_of_a_case(case): once("case")
class TestOfClass:
    def test_inside(self): once("class")
"""
FLAKY = [
    "tests/local/test_few.py::test_with_a_fixture",
    "tests/local/test_few.py::test_of_a_case[a/b.py::c[d]]",
    "tests/local/test_few.py::TestOfClass::test_inside",
]
MANY = "@pytest.mark.parametrize('n', range(4))\ndef test_flaky(n): once(str(n))\n"
BAD = "def test_bad(): assert False\n"
SKIPS = "def test_skips():\n    try: once('skips')\n    except OSError: raise\n    pytest.skip()\n"
ENDS = "def test_ends(): os._exit(1)\n"
INTERRUPTS = "def test_interrupts():\n    once('i')\ndef test_z(): raise KeyboardInterrupt\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project of one test file, which is the tier local."""
    (tmp_path / "tests" / "local").mkdir(parents=True)
    (tmp_path / "pytest.ini").touch()
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr(tiers, "ROOT", tmp_path)
    monkeypatch.setattr(tiers, "ARTIFACTS", tmp_path / "artifacts")
    set_arguments(monkeypatch)
    return tmp_path


def set_arguments(monkeypatch, *more):
    local = tiers.Tier("a few tests", ("tests/local", *more), again=True)
    monkeypatch.setitem(tiers.TIERS, "local", local)


def ran(root, text, capfd):
    """Run a file of tests as `.ci/run` does; return the code and lines of the conclusion."""
    (root / "tests" / "local" / "test_few.py").write_text(ONCE + text)
    tiers.main(["local"])
    capfd.readouterr()
    code = tiers.main(["conclude", "local"])
    return code, capfd.readouterr().out.splitlines()


def test_what_passes_alone_is_named_and_does_not_count(root, capfd):
    code, said = ran(root, IN_MANY_WAYS, capfd)
    assert code == 0
    assert [line for line in said if line.startswith("flaky: ")] == [f"flaky: {t}" for t in FLAKY]
    assert "local        1 passed, 3 failed, 0 skipped" in said
    assert said[-1] == "4 passed, 0 failed, 0 skipped"
    # What both runs have left is there.
    first, second = (root / "artifacts" / each / "local.xml" for each in ("junit", "again/junit"))
    assert "only the first time" in first.read_text()
    assert "only the first time" not in second.read_text()


@pytest.mark.parametrize(
    ("text", "why", "total"),
    [
        (BAD, "local: did not pass alone either: tests/local/test_few.py::test_bad", "1 passed, 1"),
        # Those that pass alone are told all the same.
        (BAD + IN_MANY_WAYS.partition("class")[0], "alone either: tests", "3 passed, 1"),
        (SKIPS, "did not pass alone either: tests/local/test_few.py::test_skips", "1 passed, 1"),
        (MANY, "local: 4 tests failed, and only up to 3 are looked at again", "1 passed, 4"),
        (ENDS, "local: pytest ended with code 1 and left no report", "0 passed, 1"),
        (INTERRUPTS, "local: pytest ended with code 2", "2 passed, 1"),
        ("import none_such\n", "local: pytest ended with code 2", "0 passed, 1"),
    ],
    ids=["twice", "one-of-three", "skipped", "many", "crash", "interrupted", "unreadable"],
)
def test_what_stays_wrong(root, capfd, text, why, total):
    code, said = ran(root, text, capfd)
    assert code == 1
    assert said[-2].startswith("FAILED: ")
    assert why in said[-2]
    assert said[-1].startswith(f"{total} failed")
    flaky = [line for line in said if line.startswith("flaky: ")]
    assert len(flaky) == (2 if total.startswith("3") else 0)
    looked = "alone either" in why
    assert (root / "artifacts" / "again").exists() == looked


@pytest.mark.parametrize(
    ("others", "word"),
    [
        ({"test_few": ENDS}, "crashed while running"),
        ({"test_x": "import none_such\n"}, "collection"),
    ],
    ids=["crash", "unreadable"],
)
def test_side_by_side_neither_a_crash_nor_a_file_has_a_second_chance(
    root, capfd, monkeypatch, others, word
):
    """There pytest ends as if tests had failed."""
    set_arguments(monkeypatch, "-p", "xdist", "-n", "1")
    for name, text in others.items():
        (root / "tests" / "local" / f"{name}.py").write_text(f"import os\n{text}")
    code, said = ran(root, others.get("test_few", ""), capfd)
    assert code == 1
    assert word in (root / "artifacts" / "junit" / "local.xml").read_text()
    assert "FAILED: local: pytest ended with code 1" in said
    assert not (root / "artifacts" / "again").exists()


def test_a_tier_of_which_all_is_certain_has_no_second_chance(root, capfd, monkeypatch):
    unit = tiers.Tier("a few tests", ("tests/local",))
    monkeypatch.setitem(tiers.TIERS, "local", unit)
    code, said = ran(root, "def test_flaky(): once('x')\n", capfd)
    assert (code, said[-1]) == (1, "1 passed, 1 failed, 0 skipped")
    assert "FAILED: local: pytest ended with code 1" in said


def test_which_tiers_have_a_second_chance():
    chosen = [name for name, each in tiers.TIERS.items() if each.again]
    assert chosen == ["local", "browser", "kube", "kube-alone"]


def test_what_failed_beside_the_tests_is_told_and_counts(root, capfd):
    (root / "tests" / "local" / "test_few.py").write_text(ONCE)
    assert tiers.main(["local"]) == 0
    capfd.readouterr()
    assert tiers.main(["conclude", "local", "--failed=make-run"]) == 1
    assert capfd.readouterr().out.splitlines()[-2:] == [
        "FAILED: make-run",
        "1 passed, 1 failed, 0 skipped",
    ]


def report(file, *names):
    cases = (
        f'<testcase classname="tests.kube.{f}" name="{n}"><failure/></testcase>' for f, n in names
    )
    file.write_text(f"<testsuite>{''.join(cases)}</testsuite>")
    return file


def test_one_kubernetes_is_brought_up_for_all_and_only_the_parts_that_failed(tmp_path):
    nodes = ["tests/kube/test_api.py::test_a", "tests/kube/test_hub_cilium.py::test_b"]
    runs = {
        "kube": report(tmp_path / "kube.xml", ("test_api", "test_a")),
        "kube-alone": report(tmp_path / "kube-alone-cilium.xml", ("test_hub_cilium", "test_b")),
    }
    found = {
        name: again.Run("tests.kube.bringup", Ending(1, "it failed"), [file])
        for name, file in runs.items()
    }
    tests = {name: again.tests_of(each, tier.ROOT) for name, each in found.items()}
    ((name, command),) = again.commands(found, tests, tmp_path).items()
    assert name == "kube"
    assert command == [
        *(sys.executable, "-m", "tests.kube.bringup", "test", "--part=main", "--part=cilium"),
        *("-n", "0", *nodes, f"--junitxml={tmp_path}/kube.xml"),
    ]
    # What is no failure of tests: something is left of it, or it did not come up.
    broken = again.Run("tests.kube.bringup", Ending(tier.BROKEN, "it failed"), [runs["kube"]])
    assert again.tests_of(broken, tier.ROOT) == {}


def test_tests_that_are_named_run_alone_in_their_part(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    state = tmp_path / "state.json"
    state.write_text("{}")
    report = tmp_path / "kube.xml"
    named = ["tests/kube/test_absent.py", "-n", "0", "--collect-only", "-q"]
    given = [*named, f"--junitxml={report}"]
    assert tier.run(state, given, tier.MAIN) == tier.NOTHING_RAN
    assert "no tests collected" in capfd.readouterr().out
    assert tier.run(state, given, tier.LAST) == 0
    found = [line for line in capfd.readouterr().out.splitlines() if "::" in line]
    assert found
    assert all(line.startswith("tests/kube/test_absent.py::") for line in found)
    assert sorted(path.name for path in tmp_path.glob("*.xml")) == ["kube-last.xml", "kube.xml"]


def test_pytest_that_does_not_even_begin_is_no_failed_test(tmp_path, capfd):
    given = ["-p", "none_such", f"--junitxml={tmp_path}/kube.xml", "tests/kube/test_absent.py"]
    assert tier.run(tmp_path / "state.json", given, tier.MAIN) == tier.BROKEN
    assert "none_such" in capfd.readouterr().err


def test_a_bring_up_that_breaks_is_no_failed_test(monkeypatch, capsys, tmp_path):
    """Python's own code for what nobody expected is that of failed tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/tmp/none")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "other"))
    tool = tmp_path / "kubectl"
    tool.write_text("#!/bin/sh\necho no JSON\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert bringup.main(["test"]) == tier.BROKEN
    assert "JSONDecodeError" in capsys.readouterr().err
    tool.write_text("#!/bin/sh\nexit 1\n")
    assert bringup.main(["test"]) == tier.BROKEN
    assert "does not answer" in capsys.readouterr().err
