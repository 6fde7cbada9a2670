"""Where a Dask cluster runs, as processes or as pods, and what a backend does for it."""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from facility import names
from facility.config import Pool
from facility.errors import RequestError, nearest
from facility.request.checked_request import Ended, PoolRequest
from facility.system.logs import SHOWN

if TYPE_CHECKING:
    from distributed.security import Security

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


class Backend(Protocol):
    """What starts and ends the processes or pods of a Dask cluster."""

    shares_files: bool
    """Whether workers see the user's files."""
    dashboard_token: str
    """What the dashboard asks for, nothing where it does not."""

    @property
    def security(self) -> "Security":
        """What a client needs to connect."""

    async def start_scheduler(
        self, settings: Mapping[str, Any], pools: Iterable[str]
    ) -> dict[str, Any]:
        """Start the scheduler; its address and services."""

    def scheduler_ended(self) -> str | None:
        """Say how the scheduler ended; None while it runs."""

    def scheduler_closed_orderly(self) -> bool:
        """Whether the scheduler ended because it decided to or was asked to."""

    def room_for(self, request: PoolRequest) -> str | None:
        """Say why there is no room for one more group now; None where there is."""

    def start_group(self, group: str, members: Iterable[str], request: PoolRequest) -> None:
        """Start the workers of a group, or some in place of those that it lost."""

    def unplaced(self) -> Collection[str]:
        """Return the workers that wait for a place, so that their time to join has not begun."""

    def reasons(self, pool: str) -> list[str]:
        """Say why started workers of a pool do not run yet, and what to do."""

    def remarks(self) -> list[str]:
        """Say what concerns all pools together."""

    def ended(self) -> list[Ended]:
        """Return the workers that ended since the last call."""

    async def stop_members(self, members: Iterable[str]) -> None:
        """End workers that have been retired or never joined."""

    def absent(self, pool: Pool) -> Iterable[str]:
        """Return folders of the notebook that a pool's workers do not have."""

    def note_work(self) -> None:
        """Let others of the user's processes know that there is work."""

    def logs(self, member: str | None = None, most: int = SHOWN) -> str:
        """Return the end of what a worker, or without a name the scheduler, has printed.

        Parameters
        ----------
        most
            Bytes at most.
        """

    async def close(self, *, keep_logs: bool = False) -> None:
        """End everything and leave nothing behind, but the logs where they will be asked for."""

    def close_now(self) -> None:
        """End everything from any thread, also while the interpreter exits."""

    def hurry(self) -> None:
        """Wait for no end any more, only ask for it; called in signal handlers."""

    def abandon(self) -> bool:
        """Ask everything to end, without waiting; whether the scheduler knows of it now."""

    def disown(self) -> None:
        """Let go, in a forked child, of what its parent goes on using."""
