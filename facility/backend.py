"""Where Dask clusters run: as processes on this machine, or as pods on Kubernetes."""

import os
from collections.abc import Mapping
from pathlib import Path

from facility import names
from facility.errors import RequestError, nearest

LOCAL = "local"
KUBERNETES = "kubernetes"
BACKENDS = (LOCAL, KUBERNETES)

_ACCOUNT = Path("var/run/secrets/kubernetes.io/serviceaccount/token")


def choose_backend(
    explicit: str | None, environ: Mapping[str, str], in_pod: bool
) -> tuple[str, str]:
    """Decide where a Dask cluster runs.

    Parameters
    ----------
    explicit
        The argument ``backend``, None where none was given.
    environ
        Environment variables; `FACILITY_BACKEND` overrides what is found.
    in_pod
        Whether this process runs in a pod with a service account.

    Returns
    -------
    backend
        `local` or `kubernetes`.
    reason
        Why, as a clause.

    Raises
    ------
    RequestError
        If the argument or the variable names no backend.
    """
    if explicit is not None:
        return _known(explicit, "the argument backend"), "the argument backend says so"
    named = environ.get(names.BACKEND_VARIABLE)
    if named:
        origin = f"the variable {names.BACKEND_VARIABLE}"
        return _known(named, origin), f"{origin} says so"
    if in_pod:
        return KUBERNETES, "this process runs in a pod with a service account"
    return LOCAL, "this process does not run in a pod with a service account"


def runs_in_pod(root: Path = Path("/"), environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether this process runs in a pod that may speak to Kubernetes."""
    environ = os.environ if environ is None else environ
    return "KUBERNETES_SERVICE_HOST" in environ and (root / _ACCOUNT).exists()


def _known(name: str, origin: str) -> str:
    if name in BACKENDS:
        return name
    raise RequestError(
        f"Cannot choose where the Dask cluster runs by {origin}",
        [f"{name!r} is no backend{nearest(name, BACKENDS)}; valid are {' and '.join(BACKENDS)}"],
    )
