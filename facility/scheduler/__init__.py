"""The one preload of every scheduler: routing, demand, draining, ends.

It imports distributed and names only, and nothing of the library is pickled to
a scheduler: it learns the pools of its Dask cluster as JSON, from the environment
variable `SETTINGS_VARIABLE` at its start and from the owner's calls later on.

    dask scheduler --preload facility.scheduler
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask

from facility.module_path import ModulePath
from facility.scheduler.demand import demand
from facility.scheduler.lifetime import Lifetime
from facility.scheduler.retire import Drain
from facility.scheduler.routing import RoutedScheduler, Routes

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

SETTINGS_VARIABLE = "FACILITY_SCHEDULER"
"""Environment variable with the settings as JSON: ``pools`` (a list of `Route`
fields), ``untagged`` (a list of pool names or null), ``idle_timeout`` and
``owner_timeout`` (seconds), ``objects``, what `facility.scheduler.ends` deletes, and ``folder``,
for its files, where it has one that is removed with the Dask cluster."""


async def dask_setup(scheduler: "Scheduler") -> None:
    """Turn a plain scheduler into the scheduler of a Dask cluster with pools."""
    settings: dict[str, Any] = json.loads(os.environ.get(SETTINGS_VARIABLE, "{}"))
    routes = Routes.from_settings(settings)
    routed = RoutedScheduler.adopt(scheduler, routes)
    lifetime = Lifetime(
        routed,
        idle_timeout=settings.get("idle_timeout", 3600.0),
        owner_timeout=settings.get("owner_timeout", 120.0),
        objects=settings.get("objects", []),
    )
    routed.attended = lifetime.attended_by_owner
    drain = Drain(routed)

    def beat(owner: str, pools: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Note that an owner lives, and answer with the demand of each pool."""
        lifetime.beat(owner)
        if pools is not None:
            routed.declare(pools)
        return {
            "pools": demand(routed),
            "dismissed": routed.just_dismissed(),
            "ending": lifetime.ending,
            **lifetime.counts(),
        }

    def end() -> None:
        """Begin the end, for an owner that may be gone before it is done."""
        lifetime.end()

    # Removed below, and not by a finalizer, which would act in forked children too.
    parent = settings.get("folder") or dask.config.get("temporary-directory")
    own = tempfile.mkdtemp(prefix="modules-", dir=parent)
    module_path = routed.module_path = ModulePath(Path(own))

    def modules(files: dict[str, bytes]) -> None:
        """Have these be importable here too: tasks are unpickled that name them."""
        module_path.replace(files)

    routed.handlers["facility_beat"] = beat
    routed.handlers["facility_modules"] = modules
    routed.handlers["facility_end"] = end
    routed.handlers["facility_retire"] = drain.retire
    lifetime.start()


def dask_teardown(scheduler: "RoutedScheduler") -> None:
    """Remove what `dask_setup` has put on disk."""
    shutil.rmtree(scheduler.module_path.folder, ignore_errors=True)
