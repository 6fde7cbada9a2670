"""What a backend does for the fleet: it starts and ends processes, or pods."""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from facility.config import Pool
from facility.logs import SHOWN
from facility.request import Ended, PoolRequest

if TYPE_CHECKING:
    from distributed.security import Security


class Backend(Protocol):
    """What starts and ends the processes or pods of a Dask cluster."""

    shares_files: bool
    """Whether workers see the user's files."""

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
