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
from tools.building import CACHE, KEPT

ARTIFACTS = Path(os.environ.get("CI_ARTIFACTS") or CACHE / "artifacts")
SHARED = "FACILITY_SHARED_DATA"
SHARED_DATA = Path(os.environ.get(SHARED) or Path(__file__).resolve().parents[2] / "shared/data")
"""Real ATLAS files, which are too large for this repository."""
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


def _shared_file(name: str) -> Path:
    """Give the path of a real file; where it is missing only CI insists on it."""
    path = SHARED_DATA / name
    if not path.exists():
        reason = f"{path} is not here; set FACILITY_SHARED_DATA to the folder with it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def real_physlite() -> Path:
    """Real ATLAS PHYSLITE: 100 simulated events in a TTree with 1,343 branches."""
    return _shared_file("PHYSLITE_example.root")


@pytest.fixture(scope="session")
def public_files() -> Path:
    """Folder of some hundred ROOT files, of which many are old or strange."""
    return _shared_file("public_root")


@pytest.fixture(scope="session")
def rntuple_physlite() -> Path:
    """Real ATLAS PHYSLITE whose events are an RNTuple."""
    return _shared_file("PHYSLITE_rntuple.root")
