"""The scheduler of a Dask cluster with pools, as its owner speaks to it."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import dask

from facility.environment.exchange import Exchange
from facility.scheduler.demand import demand
from facility.scheduler.lifetime import Lifetime
from facility.scheduler.retire import Drain
from facility.scheduler.routing import RoutedScheduler, Routes


class PooledScheduler(RoutedScheduler):
    """A scheduler that keeps tasks in their pools, and answers the owner of the Dask cluster.

    Parameters
    ----------
    settings
        As they come, by JSON: ``pools``, a list of `Route` fields; ``untagged``, a list of names of
        pools or None; ``idle_timeout`` and ``owner_timeout`` (seconds); ``objects``, what
        `facility.scheduler.ends` deletes; and ``folder``, for its files, where it has one that is
        removed with the Dask cluster.
    **arguments
        Of distributed's Scheduler.
    """

    exchange: Exchange
    """What the notebook has above the image, as it is here, and for workers to fetch."""

    def __init__(self, settings: Mapping[str, Any], **arguments: Any) -> None:
        super().__init__(Routes.from_settings(settings), **arguments)
        self.lifetime = Lifetime(
            self,
            idle_timeout=settings.get("idle_timeout", 3600.0),
            owner_timeout=settings.get("owner_timeout", 120.0),
            objects=settings.get("objects", []),
        )
        self._parent = settings.get("folder") or dask.config.get("temporary-directory")
        self._files: Path | None = None
        self.handlers["facility_beat"] = self.beat
        self.handlers["facility_end"] = self.lifetime.end
        self.handlers["facility_retire"] = Drain(self).retire

    async def start_unsafe(self) -> Self:
        """Begin to serve, and to watch for the end."""
        # Removed in `close`, and not by a finalizer, which would act in forked children too.
        self._files = Path(tempfile.mkdtemp(prefix="environment-", dir=self._parent))
        self.exchange = Exchange(self, self._files)
        self.handlers.update(self.exchange.calls())
        await super().start_unsafe()
        self.lifetime.start()
        return self

    async def close(self, timeout: float | None = None, reason: str = "unknown") -> None:
        """Close, and remove what it has put on disk."""
        if self._files is not None:
            shutil.rmtree(self._files, ignore_errors=True)
        await super().close(timeout=timeout, reason=reason)

    # What the owner calls.

    def beat(self, owner: str, pools: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Note that an owner lives, and answer with the demand of each pool."""
        self.lifetime.beat(owner)
        if pools is not None:
            self.declare(pools)
        return {
            "pools": demand(self),
            "dismissed": self.just_dismissed(),
            "ending": self.lifetime.ending,
            **self.lifetime.counts(),
        }

    # What replacing workers asks.

    def attended(self) -> bool:
        """Whether an owner has been heard of lately."""
        return self.lifetime.attended_by_owner()
