"""What every test gets: a home of its own, and nothing of the caller's settings."""

import copy
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# What is built lies in the caller's cache folder, which the environment names no more below.
from tools import samples
from tools.building import CACHE, KEPT, BuildError

ARTIFACTS = Path(os.environ.get("CI_ARTIFACTS") or CACHE / "artifacts")
SHARED = "FACILITY_SHARED_DATA"
SHARED_DATA = Path(os.environ.get(SHARED) or Path(__file__).resolve().parents[2] / "shared/data")
"""Real files that are neither in this repository nor among those that `make samples` fetches."""
PRIVATE_PREFIXES = ("FACILITY_", "DASK_", "JUPYTER", "JPY_", "IPYTHON", "PIP_")


def private_settings(home: Path) -> dict[str, str]:
    """Variables that keep programs within `home`.

    HOME is among them because Jupyter and IPython look there. Caches are not private: fonts
    and compiled functions would be made anew for each test.
    """
    return {
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(CACHE / "tests"),
        "DASK_CONFIG": str(home / "dask"),
    }


def leave_out_the_callers_settings() -> Path:
    """Give the whole run a home of its own, before anything reads the caller's.

    This runs while pytest reads this file: Dask reads its configuration when it is imported,
    and fixtures that outlive one test start before that test's own home is there.
    """
    home = Path(tempfile.mkdtemp(prefix="facility-tests-"))
    for name in [name for name in os.environ if name.startswith(PRIVATE_PREFIXES)]:
        del os.environ[name]
    os.environ.pop("XDG_RUNTIME_DIR", None)
    # Processes of the tests read this file again.
    os.environ |= private_settings(home) | {KEPT: str(CACHE.parent), SHARED: str(SHARED_DATA)}
    return home


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores it for what it runs in the background, which programs that a test starts
    # and interrupts would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)

RUN_HOME = leave_out_the_callers_settings()


def pytest_unconfigure() -> None:
    """Remove the home of the run."""
    shutil.rmtree(RUN_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def run_home() -> Path:
    """Home of the whole run, which fixtures see that outlive one test."""
    return RUN_HOME


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Home of this test alone; data, configuration and state folders are in it."""
    folder = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith(PRIVATE_PREFIXES)]:
        monkeypatch.delenv(name)
    for name, value in private_settings(folder).items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture(autouse=True)
def dask_settings() -> Iterator[None]:
    """Put Dask's settings back to what they were, also those that a library changed."""
    module = sys.modules.get("dask.config")
    if module is None:
        yield
        module = sys.modules.get("dask.config")
        if module is not None:
            module.refresh()
        return
    before = copy.deepcopy(module.config)
    yield
    module.config.clear()
    module.config.update(before)


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Folder of what people look at after a run: screenshots, logs, pages."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    return ARTIFACTS


def shared_data(name: str) -> Path:
    """Path of what only the developers' machines have; the test is skipped on others."""
    path = SHARED_DATA / name
    if not path.exists():
        reason = f"{name} is not published, and only the developers' machines have it"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}: it should be {path}")
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def real_files() -> Path:
    """Folder of ROOT files of many kinds that coffea's own tests read."""
    try:
        return samples.samples()
    except BuildError as error:
        pytest.fail(str(error))


@pytest.fixture(scope="session")
def real_physlite() -> Path:
    """Real ATLAS PHYSLITE: 100 simulated events in a TTree with 1,343 branches."""
    try:
        return samples.sample("PHYSLITE_example.root")
    except BuildError as error:
        pytest.fail(str(error))


@pytest.fixture(scope="session")
def public_files() -> Path:
    """Folder of some hundred ROOT files, of which many are old or strange."""
    return shared_data("public_root")


@pytest.fixture(scope="session")
def rntuple_physlite() -> Path:
    """Real ATLAS PHYSLITE whose events are an RNTuple."""
    return shared_data("PHYSLITE_rntuple.root")
