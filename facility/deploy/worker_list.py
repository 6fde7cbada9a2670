"""Which workers a scheduler has, as it tells, for the widget and the panel."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from distributed.objects import SchedulerInfo


class WorkerList:
    """What a scheduler says of itself and its workers.

    Parameters
    ----------
    joined
        Called with the descriptions of workers that are new here.
    changed
        Called whenever workers have come or gone.
    """

    def __init__(
        self, joined: Callable[[Mapping[str, Any]], None], changed: Callable[[], None]
    ) -> None:
        self.info: Any = SchedulerInfo({"workers": {}})
        self.services: Mapping[str, Any] = {}
        """Ports of the scheduler's services as they are reached from here."""
        self._joined = joined
        self._changed = changed

    @property
    def workers(self) -> list[Mapping[str, Any]]:
        """Descriptions of the workers that there are."""
        return list(self.info["workers"].values())

    def clear(self) -> None:
        """Forget the workers, and where the dashboard was: they are gone."""
        self.info["workers"].clear()
        self.info["services"] = {}

    async def subscribe(self, scheduler: Any) -> Any:
        """Ask a scheduler to tell; the connection, for `follow`.

        Raises
        ------
        OSError
            Where it is not reached.
        """
        comm = await scheduler.live_comm()
        comm.name = "facility worker status"
        await comm.write({"op": "subscribe_worker_status"})
        self.info = SchedulerInfo(await comm.read())
        self.info["services"] = {**self.info.get("services", {}), **self.services}
        self._joined(self.info["workers"])
        return comm

    async def follow(self, comm: Any) -> None:
        """Take note of what it tells, until the connection ends."""
        with contextlib.suppress(OSError):
            while True:
                for operation, message in await comm.read():
                    if operation == "add":
                        workers = message.pop("workers")
                        self._joined(workers)
                        self.info["workers"].update(workers)
                        self.info.update(message)
                    else:
                        self.info["workers"].pop(message, None)
                self._changed()
        await comm.close()
