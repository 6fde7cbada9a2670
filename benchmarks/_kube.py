"""The Kubernetes that benchmarks measure on: that of `make kube-up`, or of the tests that run."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.kube.bringup import external
from tests.kube.bringup.places import Places, places
from tests.kube.bringup.up import running
from tests.kube.conftest import STATE
from tools.building import BuildError


def state_of_running(*images: str) -> dict[str, Any]:
    """Return what runs, as the bring-up wrote it down.

    Parameters
    ----------
    images
        Those that are needed.

    Raises
    ------
    SystemExit
        In a sentence: none is up, it does not answer, or it lacks images.
    """
    found = _found()
    command = [found["kubectl"], f"--kubeconfig={found['kubeconfig']}", "get", "--raw", "/readyz"]
    asked = subprocess.run(
        [*command, "--request-timeout=10s"], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        why = (asked.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SystemExit(
            f"The Kubernetes of {found['kubeconfig']} does not answer: {why} Take it down with "
            "`make kube-down`, and bring it up again with `make kube-up`."
        )
    missing = [name for name in images if name not in found["images"]]
    if missing:
        raise SystemExit(
            f"The Kubernetes that is up has no image {' and no image '.join(missing)}: build them "
            "with `make images`, and put them into its registry with "
            "`.venv/bin/python -m tests.kube.bringup images`."
        )
    return found


def _found() -> dict[str, Any]:
    """Read the file that the tests name, or that of `make kube-up`."""
    named = os.environ.get(STATE)
    try:
        where = places()
        there: Mapping[str, Any] | None
        if named:
            file = Path(named)
            there = json.loads(file.read_text()) if file.exists() else None
        else:
            there = running(where)
        other = external.from_environment(where)
    except BuildError as error:
        raise SystemExit(str(error)) from error
    if there is None:
        raise SystemExit(
            "No Kubernetes is up to measure on: bring one up with `make kube-up`"
            + (", without KUBECONFIG. " if other else ". ")
            + "`make kube-down` takes it down afterwards."
        )
    return dict(there)


def places_of(state: Mapping[str, Any]) -> Places | None:
    """Return where a Kubernetes lies that was brought up here; None for another."""
    return Places(Path(state["kubeconfig"]).parents[1]) if "registry" in state else None
