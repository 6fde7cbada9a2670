"""Runs a trial on Kubernetes: makes its jobs, does faults to them, looks on until all are over."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facility.errors import FacilityError, KubernetesError
from facility.kubernetes.client import kinds
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import Kind
from facility.quantity import parse_quantity
from facility.site.acceptance.manifests import LABEL, NAME, job
from facility.site.acceptance.outcomes import Outcome, ended, outcomes
from facility.site.acceptance.plan import Fault, PlannedJob
from facility.site.acceptance.usage import Sample, ServerCost, cores_of, server_cost
from facility.wording import counted

Object = dict[str, Any]
METRICS = Kind("Metrics", "", "/metrics", namespaced=False)
KEEPS_AWAY = ("NoSchedule", "NoExecute")
MOST_NODES = 200
"""Nodes up to which each is asked how many cores it uses."""
NODE_SECONDS = 3.0
"""In which a node has to say so: the API server waits much longer for one that is gone."""


@dataclass(frozen=True)
class Settings:
    """What a trial is.

    Parameters
    ----------
    run
        Its name.
    image
        One with Python.
    plan
        Its jobs.
    every
        Seconds between two looks.
    patience
        Seconds after which it is given up.
    priority_class
        That of its pods.
    busy
        Whether jobs calculate.
    keep
        Whether its jobs stay.
    """

    run: str
    image: str
    plan: Sequence[PlannedJob]
    every: float = 2.0
    patience: float = 3600.0
    priority_class: str | None = None
    busy: bool = False
    keep: bool = False


@dataclass(frozen=True)
class Seen:
    """What was seen of a trial.

    Parameters
    ----------
    outcomes
        What became of each job.
    samples
        How full it was when.
    allocatable
        Cores of the nodes that take such jobs.
    nodes
        How many those are.
    cost
        Requests and processor time of the API server for one job; None where it does not say.
    calls
        Calls that the trial itself made, for one job.
    in_time
        Whether all had ended before it was given up.
    """

    outcomes: Sequence[Outcome]
    samples: Sequence[Sample]
    allocatable: float
    nodes: int
    cost: ServerCost | None
    calls: float
    in_time: bool


@dataclass
class Trial:
    """A trial.

    Parameters
    ----------
    api
        Kubernetes, in the namespace of the jobs.
    settings
        What it is.
    tell
        Called with how far it is.
    """

    api: Api
    settings: Settings
    tell: Callable[[str], None]
    _began: float = 0.0
    _cores: dict[str, float] = field(default_factory=dict)
    _pods: dict[str, Object] = field(default_factory=dict)
    _deleted: set[str] = field(default_factory=set)
    _samples: list[Sample] = field(default_factory=list)

    async def run(self) -> Seen:
        """Run it, and take its jobs away.

        Raises
        ------
        KubernetesError
            Where something is refused.
        FacilityError
            Where no node takes such jobs.
        """
        self._cores = await self._nodes()
        before, calls = await self._cost(), self.api.calls
        self._began = time.monotonic()
        making = asyncio.ensure_future(self._make())
        try:
            in_time = await self._look_on(making)
            found = await self._jobs()
            count = len(self.settings.plan)
            after = await self._cost()
            return Seen(
                outcomes=outcomes(self.settings.plan, found, self._pods),
                samples=self._samples,
                allocatable=sum(self._cores.values()),
                nodes=len(self._cores),
                cost=after.since(before, count) if before and after else None,
                calls=(self.api.calls - calls) / count,
                in_time=in_time,
            )
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
            if not self.settings.keep:
                self.tell("taking the jobs away")
                await self.api.delete_all(kinds.JOB, self._selector)

    @property
    def _selector(self) -> str:
        return f"{LABEL}={self.settings.run}"

    async def _nodes(self) -> dict[str, float]:
        """Return the cores of each node that takes pods without tolerations."""
        listed = (await self.api.within("").list(kinds.NODE))["items"]
        found = {
            each["metadata"]["name"]: float(
                parse_quantity(each["status"]["allocatable"].get("cpu", 0))
            )
            for each in listed
            if _takes_pods(each)
        }
        largest = max((each.cores for each in self.settings.plan), default=0.0)
        if not any(cores >= largest for cores in found.values()):
            most = max(found.values(), default=0.0)
            raise FacilityError(
                f"No node takes a job of --size={largest:g}: {counted(len(found), 'node')} without "
                f"taints can be asked, the largest takes {most:g}. Ask for smaller jobs with "
                "--size, or add nodes."
            )
        return found

    async def _make(self) -> None:
        async def one(planned: PlannedJob) -> None:
            settings = self.settings
            manifest = job(
                planned,
                settings.run,
                settings.image,
                settings.priority_class,
                busy=settings.busy,
            )
            await self.api.create(kinds.JOB, manifest)

        tasks = [asyncio.ensure_future(one(each)) for each in self.settings.plan]
        try:
            await asyncio.gather(*tasks)
        finally:
            # None is made any more once one was refused.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_on(self, making: "asyncio.Future[None]") -> bool:
        """Look on until all jobs have ended; whether they have before the patience ended."""
        count = len(self.settings.plan)
        while True:
            if making.done():
                making.result()
            sample = await self._sample(making=not making.done())
            self._samples.append(sample)
            self.tell(
                f"{sample.ended} of {counted(count, 'job')} have ended, {sample.running} run, "
                f"{sample.waiting} wait; cores asked for: {sample.requested:.1f}"
            )
            if sample.ended == count:
                return True
            if sample.at > self.settings.patience:
                return False
            await asyncio.sleep(self.settings.every)

    async def _sample(self, *, making: bool) -> Sample:
        everywhere = self.api.within("")
        pods, jobs, used = await asyncio.gather(
            everywhere.list(kinds.POD, keep=_trimmed), self._jobs(), self._used()
        )
        at = time.monotonic() - self._began
        own = [
            pod
            for pod in pods["items"]
            if pod["metadata"]["labels"].get(LABEL) == self.settings.run
        ]
        self._pods |= {pod["metadata"]["uid"]: pod for pod in own}
        await self._do_faults(own)
        over = {each["metadata"]["name"] for each in jobs if ended(each)}
        waiting, running = counts(
            {each.name for each in self.settings.plan} - over, own, self._pods.values()
        )
        requested = cores_of(pods["items"], self._cores)
        return Sample(at, requested, used, waiting, running, len(over), making)

    async def _do_faults(self, pods: Sequence[Object]) -> None:
        """Delete one pod of each job that is to lose one, while it works."""
        chosen = {each.name for each in self.settings.plan if each.fault is Fault.DELETED}
        for pod in pods:
            name = pod["metadata"]["labels"].get(NAME, "")
            if name in chosen - self._deleted and pod["status"]["phase"] == "Running":
                self._deleted.add(name)
                await self.api.delete(kinds.POD, pod["metadata"]["name"])

    async def _jobs(self) -> list[Object]:
        return list((await self.api.list(kinds.JOB, self._selector))["items"])

    async def _used(self) -> float | None:
        """Return the cores that those nodes use which say it; None where none does."""
        if len(self._cores) > MOST_NODES:
            return None
        said = [each for each in await asyncio.gather(*map(self._used_of, self._cores)) if each]
        return sum(said) if said else None

    async def _used_of(self, node: str) -> float:
        """Return the cores that a node uses; 0 where it does not say, as one that is gone."""
        call = self.api.reading(kinds.NODE, node, "proxy/stats/summary", only_cpu_and_memory="true")
        try:
            async with asyncio.timeout(NODE_SECONDS):
                said = await self.api.ask(call)
            return float(said["node"]["cpu"]["usageNanoCores"]) / 1e9
        except (KubernetesError, TimeoutError, KeyError, TypeError, ValueError):
            return 0.0

    async def _cost(self) -> ServerCost | None:
        try:
            return server_cost(str(await self.api.ask(self.api.within("").reading(METRICS))))
        except KubernetesError as error:
            if error.status not in (403, 404):
                raise
            return None


def counts(unended: set[str], pods: Iterable[Object], seen: Iterable[Object]) -> tuple[int, int]:
    """Count the jobs that wait for a node, and those that have one.

    Parameters
    ----------
    unended
        Names of the jobs that have not ended.
    pods
        Pods that there are.
    seen
        Pods that were ever seen. A job that has lost its pod waits for no node: Kubernetes makes
        it another one a little later.
    """
    live = {
        pod["metadata"]["labels"].get(NAME, ""): bool(pod["spec"].get("nodeName"))
        for pod in pods
        if pod["status"]["phase"] in ("Pending", "Running")
    }
    had = {pod["metadata"]["labels"].get(NAME, "") for pod in seen}
    running = sum(1 for name in unended if live.get(name))
    waiting = sum(1 for name in unended if live.get(name) is False or name not in had)
    return waiting, running


def _takes_pods(node: Mapping[str, Any]) -> bool:
    ready = any(
        each["type"] == "Ready" and each["status"] == "True"
        for each in node["status"]["conditions"]
    )
    tainted = any(each["effect"] in KEEPS_AWAY for each in node["spec"]["taints"])
    return ready and not tainted and not node["spec"].get("unschedulable")


def _trimmed(pod: Object) -> Object:
    """Return what is looked at of a pod: there may be many thousands."""
    metadata, spec = pod["metadata"], pod["spec"]
    labels = {key: metadata["labels"][key] for key in (LABEL, NAME) if key in metadata["labels"]}
    return {
        "metadata": {"uid": metadata["uid"], "name": metadata["name"], "labels": labels},
        "spec": {
            "nodeName": spec.get("nodeName", ""),
            "containers": [{"resources": each.get("resources", {})} for each in spec["containers"]],
        },
        "status": {"phase": pod["status"]["phase"]},
    }
