"""The `facility` command: what it prints, and with which code it ends."""

import argparse
import builtins
import json
import os
import runpy
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from facility import cli, doctor, names
from facility.backend import choose_backend, runs_in_pod
from facility.cli import main
from facility.errors import FacilityError, RequestError
from facility.system.machine import Machine
from facility.worker.software import PYTHON_OF_IMAGES

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples/pools.yaml")
GOOD = {"cpu": 1, "memory": "1Gi", "maxWorkers": 2, "default": True}


@pytest.fixture
def module(monkeypatch):
    """Put a module in the place of one that a subcommand imports."""

    def place(name: str, **content: object) -> None:
        found = SimpleNamespace(**content)
        monkeypatch.setitem(sys.modules, name, found)
        parent, _, child = name.rpartition(".")
        package = __import__(parent, fromlist=["_"])
        monkeypatch.setattr(package, child, found, raising=False)

    return place


def usage(*words: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


# Usage.


@pytest.mark.parametrize("words", [[], ["config"]])
def test_without_a_command_it_says_what_there_is(words, capsys):
    assert main(words) == 2
    assert "check" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["pool"],
        ["config", "check"],
        ["clusters", "stop"],
        ["clusters", "stop", "mine", "--all"],
        ["sample"],
        ["sample", "out", "--files", "0"],
        ["sample", "out", "--files", "many"],
        ["sample", "out", "--level", "10"],
        ["sample", "out", "--codec", "RAR"],
    ],
)
def test_wrong_usage(words, capsys):
    usage(*words)
    assert "error:" in capsys.readouterr().err


def test_a_wrong_number_is_told_what_is_valid(capsys):
    usage("sample", "out", "--events", "0")
    assert "0 is not at least 1" in capsys.readouterr().err
    usage("sample", "out", "--level", "11")
    assert "11 is not from 0 to 9" in capsys.readouterr().err


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for command in ("pools", "clusters", "config", "sample", "hub", "doctor"):
        assert command in said


def test_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["facility", "config", "check", EXAMPLE])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("facility", run_name="__main__")
    assert caught.value.code == 0
    assert "is good" in capsys.readouterr().out


# Pools and their file.


def test_pools(capsys):
    assert main(["pools", "--config", EXAMPLE]) == 0
    first, columns, *rows = capsys.readouterr().out.splitlines()
    assert first == f"Pools from {EXAMPLE}:"
    assert columns.split()[:4] == ["pool", "description", "default", "cpu"]
    assert [row.split()[0] for row in rows] == ["cpu", "gpu", "arm"]
    assert "4Gi..16Gi" in rows[0]
    assert "arm64" in rows[2]
    assert "0.03" in rows[2]


def test_a_mistake_is_a_sentence_on_stderr(capsys, tmp_path):
    assert main(["pools", "--config", str(tmp_path / "none.yaml")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("facility: The pools file")
    assert "Traceback" not in printed.err


def test_check_tells_all_mistakes(capsys, tmp_path):
    path = tmp_path / "pools.yaml"
    path.write_text(json.dumps({"pools": {"cpu": {**GOOD, "memory": "4GB", "spots": True}}}))
    assert main(["config", "check", str(path)]) == 1
    said = capsys.readouterr().err
    assert "pools.cpu.memory: '4GB'" in said
    assert "pools.cpu.spots: unknown key (did you mean 'spot'?)" in said


def test_check_of_a_good_file(capsys):
    assert main(["config", "check", EXAMPLE]) == 0
    assert capsys.readouterr().out == (f"{EXAMPLE} is good. Its pools: cpu (default), gpu, arm.\n")


def test_schema(capsys):
    assert main(["config", "schema"]) == 0
    assert capsys.readouterr().out == (ROOT / "facility/pools.schema.json").read_text()


# Dask clusters.


def test_clusters(module, capsys):
    ended = []
    module(
        "facility.deploy.launch",
        clusters=lambda: [{"name": "one"}, {"name": "two"}],
        stop=ended.append,
    )
    assert main(["clusters"]) == 0
    assert "one" in capsys.readouterr().out
    assert main(["clusters", "stop", "one"]) == 0
    assert capsys.readouterr().out == "Dask cluster one is ended.\n"
    assert main(["clusters", "stop", "--all"]) == 0
    assert ended == ["one", "one", "two"]


def test_no_clusters_to_stop(module, capsys):
    module("facility.deploy.launch", clusters=list, stop=None)
    assert main(["clusters", "stop", "--all"]) == 0
    assert capsys.readouterr().out == "There is no Dask cluster to end.\n"


# Sample files.


def test_sample(module, capsys, tmp_path):
    asked = []

    def write_files(folder, files, events, **rest):
        asked.append((folder, files, events, rest))
        path = tmp_path / "a.root"
        path.write_bytes(b"x" * 1_500_000)
        return [path]

    module("facility.analysis.samples.physlite_files", write_files=write_files)
    assert main(["sample", str(tmp_path), "--files", "1", "--events", "7", "--seed", "3"]) == 0
    assert asked == [(tmp_path, 1, 7, {"seed": 3, "codec": "ZSTD", "level": 5})]
    assert "1 of 7 events each" in capsys.readouterr().out


def test_a_missing_package(module, capsys, tmp_path):
    def write_files(*_, **__):
        import nosuchpackage.part  # noqa: F401

    module("facility.analysis.samples.physlite_files", write_files=write_files)
    assert main(["sample", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "facility: the package 'nosuchpackage' is missing; "
        "install it with: pip install 'facility[analysis]'\n"
    )


def test_a_missing_module_of_its_own_is_no_advice_to_install(module, tmp_path):
    def write_files(*_, **__):
        import facility.nosuchmodule  # noqa: F401

    module("facility.analysis.samples.physlite_files", write_files=write_files)
    with pytest.raises(ModuleNotFoundError):
        main(["sample", str(tmp_path)])


def test_a_folder_that_cannot_be_written(module, capsys, tmp_path):
    (tmp_path / "file").write_text("")

    def write_files(folder, *_, **__):
        folder.mkdir()

    module("facility.analysis.samples.physlite_files", write_files=write_files)
    assert main(["sample", str(tmp_path / "file" / "out")]) == 1
    assert capsys.readouterr().err == f"facility: {tmp_path}/file/out: Not a directory\n"


def test_interrupted(module, capsys, tmp_path):
    def write_files(*_, **__):
        raise KeyboardInterrupt

    module("facility.analysis.samples.physlite_files", write_files=write_files)
    assert main(["sample", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "facility: interrupted\n"


def test_a_reader_that_has_enough(capfd, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert main(["config", "schema"]) == 0
    assert capfd.readouterr().err == ""


# The hub.


def test_hub(module):
    given = []

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--port", type=int)

    def run(arguments: argparse.Namespace) -> int:
        given.append(arguments.port)
        return 1

    module("facility.hub.local.launcher", add_arguments=add_arguments, run=run)
    assert main(["hub", "--port", "8123"]) == 1
    assert given == [8123]


def test_hub_without_its_packages(monkeypatch, capsys):
    real = builtins.__import__

    def without_jupyterhub(name, *rest):
        if name == "facility.hub.local" and rest[2] == ("launcher",):
            return real("jupyterhub_that_is_not_there", *rest)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_jupyterhub)
    assert main(["hub"]) == 1
    assert "pip install 'facility[hub]'" in capsys.readouterr().err


def test_other_commands_do_not_import_the_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "facility.hub.local.launcher", None)
    assert cli.build_parser(["pools"]).parse_args(["pools"]).run is not None


# Which backend.


def test_backend_of_the_argument():
    environ = {names.BACKEND_VARIABLE: "kubernetes"}
    assert choose_backend("local", environ, True) == ("local", "the argument backend says so")


def test_backend_of_the_variable():
    environ = {names.BACKEND_VARIABLE: "local"}
    assert choose_backend(None, environ, True) == (
        "local",
        "the variable FACILITY_BACKEND says so",
    )


def test_backend_of_the_place():
    assert choose_backend(None, {}, True)[0] == "kubernetes"
    assert choose_backend(None, {names.BACKEND_VARIABLE: ""}, False)[0] == "local"


@pytest.mark.parametrize(("explicit", "origin"), [("locl", "argument"), (None, "variable")])
def test_no_backend(explicit, origin):
    with pytest.raises(RequestError, match=f"{origin}.*'locl' is no backend.*'local'"):
        choose_backend(explicit, {names.BACKEND_VARIABLE: "locl"}, False)


def test_in_a_pod(tmp_path):
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert not runs_in_pod(tmp_path, environ)
    token = tmp_path / "var/run/secrets/kubernetes.io/serviceaccount/token"
    token.parent.mkdir(parents=True)
    token.write_text("")
    assert runs_in_pod(tmp_path, environ)
    assert not runs_in_pod(tmp_path, {})


# The doctor.


@pytest.fixture
def healthy(monkeypatch):
    """All packages are there, and nothing of the caller's settings."""
    monkeypatch.delenv(names.BACKEND_VARIABLE, raising=False)
    monkeypatch.delenv(names.CONFIG_VARIABLE, raising=False)
    listed = [doctor.Package("distributed", "", ">=1", "2.0")]
    monkeypatch.setattr(doctor, "packages", lambda: listed)
    return listed


def test_doctor(healthy, capsys):
    assert main(["doctor", "--config", EXAMPLE]) == 0
    said = capsys.readouterr().out
    assert "Python" in said
    assert "processes on this machine, because" in said
    assert f"cpu (default), gpu, arm, from {EXAMPLE}" in said
    assert "distributed 2.0" in said
    assert "Nothing is missing." in said
    assert "facility[" not in said


def test_doctor_tells_a_broken_file(healthy, capsys, tmp_path):
    path = tmp_path / "pools.yaml"
    path.write_text("pools: {}")
    assert main(["doctor", "--config", str(path)]) == 1
    assert "pools: there is none" in capsys.readouterr().out


def test_doctor_tells_a_wrong_backend(healthy, monkeypatch, capsys):
    monkeypatch.setenv(names.BACKEND_VARIABLE, "slurm")
    assert main(["doctor"]) == 1
    assert "'slurm' is no backend" in capsys.readouterr().out


def test_doctor_tells_that_there_is_no_service_account(healthy, monkeypatch, capsys):
    monkeypatch.setenv(names.BACKEND_VARIABLE, "kubernetes")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "pods on Kubernetes, because the variable FACILITY_BACKEND says so" in said
    assert "set FACILITY_BACKEND=local" in said


def test_doctor_tells_outside_that_workers_refuse_this_python(healthy, monkeypatch, capsys):
    monkeypatch.setenv(names.BACKEND_VARIABLE, "kubernetes")
    for version, refused in (("3.10.1", True), (f"{PYTHON_OF_IMAGES}.1", False)):
        monkeypatch.setattr(doctor.platform, "python_version", lambda version=version: version)
        assert main(["doctor"]) == 1
        said = capsys.readouterr().out
        assert ("workers on Kubernetes refuse this process: Python 3.10.1 here" in said) == refused
    # In a pod it has the image's Python, or a kernel of the user's own that cluster() tells of.
    monkeypatch.setattr(doctor, "runs_in_pod", lambda: True)
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.10.1")
    assert main(["doctor"]) == 1
    assert "refuse this process" not in capsys.readouterr().out


def test_doctor_tells_a_data_folder_that_cannot_be_made(healthy, monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert main(["doctor"]) == 1
    assert (
        "cannot be written: Not a directory. Make it writable, or set XDG_DATA"
        in capsys.readouterr().out
    )


def test_doctor_makes_nothing(healthy, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "new"))
    assert main(["doctor"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_doctor_tells_missing_packages(healthy, capsys):
    healthy[:] = [
        doctor.Package("distributed", "", "==2026.8.*", "2025.1.0"),
        doctor.Package("dask", "", "", None),
        doctor.Package("uproot", "analysis", ">=5", None),
    ]
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "distributed ==2026.8.* is needed, and 2025.1.0 is installed; dask is not" in said
    assert "pip install 'facility'" in said
    assert "To know:" in said
    assert "uproot >=5 is not installed. Install with: pip install 'facility[analysis]'" in said


def test_doctor_counts_an_optional_part_as_no_failure(healthy, capsys):
    healthy.append(doctor.Package("jupyterhub", "hub", ">=6", None))
    assert main(["doctor"]) == 0
    assert "facility[hub]" in capsys.readouterr().out


def test_doctor_without_metadata(healthy, capsys):
    healthy.clear()
    assert main(["doctor"]) == 0
    assert "facility itself is not installed" in capsys.readouterr().out


def test_packages_of_the_metadata():
    def version(name: str) -> str:
        if name == "absent":
            raise metadata.PackageNotFoundError(name)
        return "1.2"

    listed = doctor.packages(
        [
            "here>=1",
            "absent[with]>=2; extra == 'hub'",
            "other==1; python_version < '3' and extra == 'hub'",
            "pytest; extra == 'test'",
        ],
        version,
    )
    assert listed == [
        doctor.Package("here", "", ">=1", "1.2"),
        doctor.Package("absent", "hub", ">=2", None),
    ]
    assert [package.good for package in listed] == [True, False]


def test_packages_without_metadata(monkeypatch):
    def requires(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert doctor.packages() == []


def test_a_machine_in_words():
    assert doctor.describe_machine(Machine(4, 8 * 2**30, ("0",), "arm64")) == (
        "4 cores, 8.0 GiB of memory, GPU 0, arm64"
    )


def test_doctor_advises_on_pools_that_cannot_run_here(healthy, monkeypatch):
    monkeypatch.setattr(doctor, "this_machine", lambda: Machine(2, 8 * 2**30, (), "amd64"))
    found = doctor.examine(EXAMPLE)
    assert found.missing == []
    assert any("gpu" in text and "no GPU" in text for text in found.advice)
    assert any("arm64" in text for text in found.advice)


def test_every_error_of_the_facility_is_caught(monkeypatch, capsys):
    def fail(_: argparse.Namespace) -> int:
        raise FacilityError("something")

    monkeypatch.setattr(cli, "_schema", fail)
    assert main(["config", "schema"]) == 1
    assert capsys.readouterr().err == "facility: something\n"
