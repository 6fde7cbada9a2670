"""A failing test tells what Kubernetes knows of it: pods, events and logs of its namespaces."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kube.conftest import STATE

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]
FAILS = """
import yaml
from tests.kube.conftest import until
from tests.kube.tenancy import tenant_space

def test_fails(kube, tenant_space):
    kube.apply(kube.pod("says", "echo of its own"))
    kube.output("says")
    tenant_space.notebook.run(
        "create", "-f", "-", text=yaml.safe_dump(tenant_space.pod("user", "echo of the user")))
    until(lambda: "Succeeded" in tenant_space.admin.run(
        "get", "pod", "user", "-o", "jsonpath={.status.phase}"))
    assert False, "on purpose"
"""


@pytest.mark.long
def test_a_failing_test_shows_pods_events_and_logs(state: dict[str, object]) -> None:
    root = Path(__file__).parents[2]
    # Beside the others, so that their fixtures are its own; with a name that is collected nowhere.
    test = root / "tests" / "kube" / f"fails_{os.getpid()}.py"
    test.write_text(FAILS)
    try:
        words = [sys.executable, "-m", "pytest", str(test), "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            words, cwd=root, capture_output=True, text=True, env=os.environ, check=False
        )
    finally:
        test.unlink()
    assert STATE in os.environ
    assert done.returncode == 1, done.stdout
    for words in ("on purpose", "pods of test-", "pods of af-", "events of af-", "Scheduled"):
        assert words in done.stdout
    assert "log of test-" in done.stdout
    assert "of its own" in done.stdout
    assert "of the user" in done.stdout
