"""Keeps every pool of one Dask cluster at its target, and knows how it ended.

Lives in the event loop and holds no reference to the object that the user has,
so that losing the last reference to that object ends the Dask cluster.
"""

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from distributed.core import Status, rpc

from facility.backend import Backend
from facility.deploy import explain, waiting
from facility.deploy.adaptive import Demand
from facility.deploy.clients import close_clients
from facility.deploy.pool_state import PoolState, pool_states, routes
from facility.deploy.worker_list import WorkerList
from facility.environment.shared import Shared
from facility.errors import ClusterFailedError
from facility.request.bounds import Bounds
from facility.request.checked_request import Ended, Request
from facility.table import Text
from facility.wording import counted

logger = logging.getLogger("facility")

BEAT, ANSWER_SECONDS = 0.5, 10.0
OWNER_SECONDS, FAREWELL_SECONDS = 120.0, 1.0
"""Seconds for which a scheduler lives on without an owner and without a client."""


class Controller:
    """The scheduler and the workers of one Dask cluster.

    Parameters
    ----------
    name
        Name of the Dask cluster.
    say
        Called with every sentence meant for the user.
    """

    def __init__(
        self,
        name: str,
        request: Request,
        backend: Backend,
        *,
        sending: Shared | None = None,
        say: Callable[[str], None] = logger.warning,
    ) -> None:
        self.name = name
        self.sending = sending or Shared()
        self.request = request
        self.backend = backend
        self.say = say
        self.owner = uuid.uuid4().hex
        self.pools: dict[str, PoolState] = pool_states(request.pools)
        self.status = Status.created
        self.ended_because: str | None = None
        self.scheduler: Any = None
        self._following: asyncio.Task[Any] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._ending: str | None = None
        self.over = False
        """Whether nothing runs of it any more."""
        self._kept_logs = False
        self._end: asyncio.Future[None] | None = None
        self._told: set[str] = set()
        self._lock, self._wake = asyncio.Lock(), asyncio.Event()
        self._rescaled = False
        self.worker_list = WorkerList(self._joined, self._wake.set)
        self._tasks: set[asyncio.Task[Any]] = set()

    # Start.

    async def start(self) -> None:
        """Start everything, and wait for as many workers as were asked for.

        Raises
        ------
        ClusterFailedError
            Where the scheduler or a pool cannot start.
        ClusterTimeoutError
            Where the workers did not come in time.
        """
        async with self._lock:
            if self.status != Status.created:
                return
            self.status = Status.starting
            self.loop = asyncio.get_running_loop()
            try:
                async with waiting.told(self.name, self.pools, self.worker_list, self.explain):
                    await self._start()
            except BaseException:
                self.status = Status.failed
                await self._carry_through(Status.failed)
                raise

    async def _start(self) -> None:
        started = time.monotonic()
        asked = [name for name, state in self.pools.items() if state.bounds.maximum]
        start = asyncio.ensure_future(self.backend.start_scheduler(self._settings(), asked))
        await asyncio.sleep(0)
        self._act()
        answer = await waiting.answer(start, self.request.timeout, self.explain)
        self.worker_list.services = answer.get("services", {})
        wanted, limit = self.request.wait, self.request.timeout
        await waiting.insist(lambda: self._connect(answer["address"]), self.backend, started, limit)
        await waiting.insist(self._beat, self.backend, started, limit)
        self._run(self._keep())
        await waiting.until(
            lambda: len(self.worker_list.workers) >= wanted,
            self._check,
            started,
            limit,
            lambda: (
                f"{counted(wanted, 'worker')} and got {len(self.worker_list.workers)}; nothing is "
                f"left running. {self.explain('was starting')}\n"
                "Ask for fewer with wait=, or for more time with timeout=."
            ),
        )
        await waiting.insist(self._beat, self.backend, started, limit)
        self.status = Status.running

    async def settle(self) -> None:
        """Wait for the workers that new bounds have asked for, and for others to leave."""
        if self._rescaled and self.status == Status.running:
            async with waiting.told(self.name, self.pools, self.worker_list, self.explain):
                await waiting.until(
                    lambda: waiting.settled(self.pools, self.worker_list.workers),
                    self._check,
                    time.monotonic(),
                    self.request.timeout,
                    lambda: f"the workers asked for. {self.explain()}",
                )
            self._rescaled = False

    def _check(self) -> None:
        """Raise where no more workers will come."""
        if self.status not in (Status.starting, Status.running):
            when = "workers were awaited" if self._rescaled else "it started"
            raise ClusterFailedError(f"It ended while {when}: {self.ended_because or 'closed'}.")
        if any(state.broken for state in self.pools.values()):
            raise ClusterFailedError(str(self.explain("cannot start its workers")))

    def _settings(self) -> dict[str, Any]:
        return {
            "pools": routes(self.pools.values()),
            "untagged": self.request.untagged,
            "idle_timeout": self.request.idle_timeout,
            "owner_timeout": OWNER_SECONDS,
        }

    async def _connect(self, address: str) -> None:
        arguments = self.backend.security.get_connection_args("client")
        self.scheduler = rpc(address, connection_args=arguments)
        try:
            await self._subscribe()
            await self.sending.send(self.scheduler)
            for state in self.pools.values():
                state.await_anew(time.monotonic())
        except OSError:
            await self.scheduler.close_rpc()
            raise

    async def _subscribe(self) -> None:
        comm = await self.worker_list.subscribe(self.scheduler)
        self._following = self._run(self.worker_list.follow(comm))

    def _joined(self, workers: Mapping[str, Any]) -> None:
        self._tell_once("software", explain.other_software(self.name, workers))

    # Run.

    async def _keep(self) -> None:
        """Compare what is wanted with what there is, again and again."""
        while self.status in (Status.starting, Status.running):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), BEAT)
            self._wake.clear()
            if how := self.backend.scheduler_ended():
                await self._fail(how)
                return
            try:
                await waiting.while_it_runs(self._beat, self.backend)
            except OSError as error:
                # Either the scheduler has ended, which the next round finds,
                # or it is busy: then there is nothing to decide upon.
                logger.debug("no answer from the scheduler of %s: %r", self.name, error)

    async def _beat(self) -> None:
        if self._following is not None and self._following.done():
            # The way to the scheduler was closed, as a gateway does, and not the scheduler.
            await asyncio.wait_for(self._subscribe(), ANSWER_SECONDS)
        beat = self.scheduler.facility_beat(owner=self.owner, pools=routes(self.pools.values()))
        reply = await asyncio.wait_for(beat, ANSWER_SECONDS)
        self._ending = reply["ending"] or self._ending
        now = time.monotonic()
        for state in self.pools.values():
            if leaving := state.dismiss(reply["dismissed"]):
                self._run(self.backend.stop_members(leaving))
                await asyncio.sleep(0)  # Their places are free from then on.
        for ended in self.backend.ended():
            self._lose(ended, now)
        overdue: list[str] = []
        unplaced = self.backend.unplaced()
        for name, demand in reply["pools"].items():
            if name in self.pools:
                overdue += self.pools[name].observe(Demand(**demand), now, unplaced)
            elif demand["waiting"]:
                self._tell_once(
                    name,
                    f"{counted(demand['waiting'], 'task waits', 'tasks wait')} for pool {name!r}, "
                    f"which is not in {self.request.config.source}",
                )
        if any(state.demand.processing or state.demand.waiting for state in self.pools.values()):
            self.backend.note_work()
        if overdue:
            self._run(self._stop_overdue(overdue))
        self._act()

    def _lose(self, ended: Ended, now: float) -> None:
        for state in self.pools.values():
            before = state.lost
            state.lose(ended, now)
            if state.lost > before:
                self.say(
                    f"Dask cluster {self.name}: worker {ended.name} {ended.how}"
                    + ("; no more are started, see c.explain()" if state.broken else "")
                )

    async def _stop_overdue(self, members: list[str]) -> None:
        await self.backend.stop_members(members)
        for member in members:
            self._lose(Ended(member, "was gone for the scheduler", "", False), time.monotonic())

    def _act(self) -> None:
        """Start and retire what the plans say."""
        if self._ending or self.status not in (Status.starting, Status.running):
            return
        now = time.monotonic()
        for state in self.pools.values():
            plan = state.plan(now)
            for group, member in state.missing(now):
                self.backend.start_group(group, [member], state.request)
            state.no_room = None
            for _ in range(plan.start):
                state.no_room = self.backend.room_for(state.request)
                if state.no_room:
                    break
                self.backend.start_group(*state.new_group(now), state.request)
            if plan.retire:
                state.retiring = plan.retire
                self._run(self._retire(state, plan.retire, plan.idle_only))
            if state.demand.waiting and not state.bounds.maximum:
                self._tell_once(state.pool.name, explain.no_workers(state))

    async def _retire(self, state: PoolState, count: int, idle_only: bool) -> None:
        """Retire groups: those that never joined first, then those the scheduler chooses."""
        try:
            young = [name for name, group in state.groups.items() if not group.joined][:count]
            gone = [state.groups.pop(name) for name in young]
            await self.backend.stop_members(m for group in gone for m in group.members)
            names = [name for name, group in state.groups.items() if group.joined]
            if count == len(young) or not names:
                return
            reply = await self.scheduler.facility_retire(
                groups=[sorted(state.groups[name].members) for name in names],
                count=count - len(young),
                grace=state.pool.grace,
                idle_only=idle_only,
                force=state.force,
            )
            retired = [names[index] for index in reply["retired"]]
            state.kept = next((f"{names[index]} {why}" for index, why in reply["kept"]), None)
            gone = [state.groups.pop(name) for name in retired if name in state.groups]
            await self.backend.stop_members(name for group in gone for name in group.members)
        except OSError as error:
            logger.debug("retiring workers of %s failed: %r", state.pool.name, error)
        finally:
            state.retiring = 0

    def rescale(self, bounds: Mapping[str, Bounds], *, force: bool = False) -> None:
        """Set new bounds of some pools."""
        for name, new in bounds.items():
            self.pools[name].rescale(new, force=force)
        self._rescaled = True
        self._wake.set()

    def _tell_once(self, pool: str, sentence: str | None) -> None:
        told = self.pools[pool].told if pool in self.pools else self._told
        if sentence and pool not in told:
            told.add(pool)
            self.say(sentence)

    # Words.

    def explain(self, status: str | None = None) -> Text:
        """Say what runs, what is missing and why."""
        remarks = [*self.backend.remarks(), *self.sending.remarks()]
        if self._ending:
            remarks.append(f"It ends now, since {self._ending}.")
        over = status is None and self.status in (Status.failed, Status.closing, Status.closed)
        return explain.explain(
            self.name,
            status or explain.status_words(self.status, self.ended_because),
            () if over else self.pools.values(),
            () if over else remarks,
            self.backend.reasons,
        )

    # End.

    async def _fail(self, how: str) -> None:
        """Act on a scheduler that ended without our doing."""
        if self._ending or self.backend.scheduler_closed_orderly():
            self.ended_because = self._ending or "its scheduler was asked to close"
            self.status = Status.closed
            self.say(f"Dask cluster {self.name} has ended: {self.ended_because}.")
        else:
            self.ended_because = f"its scheduler {how}"
            self.status = Status.failed
            self.say(
                f"Dask cluster {self.name} has failed: its scheduler {how}. What it had not "
                "finished is lost; start a new one with cluster(...). c.logs() is its log."
            )
        close_clients(self.scheduler.address)
        await self._carry_through(self.status, keep_logs=self.status == Status.failed)

    async def close(self) -> None:
        """End everything."""
        async with self._lock:
            if self._end is not None:
                await asyncio.wait([self._end])
            if self.over and not self._kept_logs:
                return
            final = Status.failed if self.status == Status.failed else Status.closed
            self.status = Status.closing
            await self._carry_through(final)

    async def _carry_through(self, final: Status, *, keep_logs: bool = False) -> None:
        """End everything; who waits for it may be cut off, the end is not."""
        if self._end is None or self._end.done():
            self._end = asyncio.ensure_future(self._finish(final, keep_logs=keep_logs))
        await asyncio.shield(self._end)

    async def _finish(self, final: Status, *, keep_logs: bool) -> None:
        there = self.scheduler is not None and not self.backend.scheduler_ended()
        if not self.backend.abandon() and there:
            # It sees to the end where this process is killed meanwhile.
            with contextlib.suppress(OSError):
                await asyncio.wait_for(self.scheduler.facility_end(), FAREWELL_SECONDS)
        await self._cancel()
        self.worker_list.clear()
        if self.scheduler is not None:
            await self.scheduler.close_rpc()
        await self.backend.close(keep_logs=keep_logs)
        self.status, self.over, self._kept_logs = final, True, keep_logs

    def abandon(self) -> None:
        """End everything that nobody holds any more, from whatever thread collects it."""
        if self.over:
            return
        if self.loop is None or not self.loop.is_running():
            self.backend.close_now()
            self.over = True
            return
        self.backend.abandon()
        self.loop.call_soon_threadsafe(lambda: self._run(self.close()))

    def disown(self) -> None:
        """Leave it to the process that has it: this one is a forked child of that."""
        self.status, self.over = Status.closed, True
        self.ended_because = f"process {os.getppid()} has it, and a forked child cannot use it"
        self.backend.disown()

    async def _cancel(self) -> None:
        """End the tasks in the background, but for the one that calls."""
        others = self._tasks - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _run(self, coroutine: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("a background task of Dask cluster %s failed", self.name, exc_info=error)
