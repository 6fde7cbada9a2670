"""Ends what runs in a user's namespace: by a deadline, past what hangs, and telling what does."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from facility import names
from facility.errors import FacilityError, KubernetesError, one_line
from facility.hub.kubernetes.server_pod import is_server
from facility.kubernetes import deletion
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import (
    ACCOUNT,
    DASK_CLUSTER,
    JOB,
    LEASE,
    POD,
    SECRET,
    Kind,
)

PATIENCE = 120.0
"""Seconds in which all ought to be gone."""
OPERATOR_SECONDS = 10.0
"""Seconds after which a DaskCluster no longer waits for an operator."""
GRACE = 20
"""Seconds that a pod has to end in, whatever it asks for itself."""
FORCE_SECONDS = 60.0
"""Seconds after which a pod that has had its time is taken away."""
LOOK = 0.5
AT_ONCE = 20
"""Objects of a namespace that are asked to end at once."""
ACCOUNT_TOKENS = "type=kubernetes.io/service-account-token"
SERVERS = f"{names.APP_COMPONENT_LABEL}={names.USER_SERVER_COMPONENT}"
Object = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """Objects of one kind that are to end.

    Parameters
    ----------
    kind
        Of the objects.
    selector, fields
        Which of them.
    classes
        PriorityClasses of pods that alone are meant; none for all.
    only
        Names that alone are meant; none for all.
    """

    kind: Kind
    selector: str = ""
    fields: str = ""
    classes: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def keep(self, found: Object) -> Object | None:
        """Return what is looked at of an object; None where it is not meant."""
        name = found["metadata"]["name"]
        other = self.classes and not is_server(found, self.classes)
        if other or (self.only and name not in self.only):
            return None
        kept = ("name", "uid", "finalizers", "ownerReferences", "deletionTimestamp")
        return {"metadata": {key: v for key, v in found["metadata"].items() if key in kept}}


CLUSTERS = (Part(DASK_CLUSTER),)


def with_servers(release: str) -> tuple[Part, ...]:
    """Return Dask clusters and the servers that the hub has made."""
    return (*CLUSTERS, Part(POD, SERVERS, classes=names.server_priority_classes(release)))


EVERYTHING = (
    # Whoever has a token of theirs can do nothing any more, and no pod is made again.
    Part(ACCOUNT, only=(names.NOTEBOOK_ACCOUNT, names.SCHEDULER_ACCOUNT)),
    Part(SECRET, fields=ACCOUNT_TOKENS),
    Part(JOB),
    Part(DASK_CLUSTER),
    Part(SECRET, names.CLUSTER_LABEL),
    Part(SECRET, names.JOB_LABEL),
    Part(POD),
)
"""All that acts for a user, in the order in which it is asked to end."""


@dataclass
class Outcome:
    """What came of it.

    Parameters
    ----------
    asked
        How many objects of each kind there were.
    left
        A sentence for each object that is still there, or kind that may not be ended.
    """

    asked: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


async def end(api: Api, parts: Iterable[Part], patience: float = PATIENCE) -> Outcome:
    """End what is in a namespace; what does not end holds nothing else up.

    Parameters
    ----------
    patience
        Seconds after which what is still there is told.
    """
    return await _Ends(api, tuple(parts), patience).run()


class _Ends:
    """One end of a namespace."""

    def __init__(self, api: Api, parts: tuple[Part, ...], patience: float) -> None:
        self.api = api
        self.parts = parts
        self.patience = patience
        self.seen: set[tuple[str, str]] = set()
        self.problems: dict[tuple[str, str], str] = {}
        self.outcome = Outcome()
        self.started = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    async def run(self) -> Outcome:
        """Ask again and again, until nothing is left or the time is over."""
        left: list[tuple[Part, Object]] = []
        try:
            async with asyncio.timeout(self.patience):
                while True:
                    left = await self._left()
                    if not left:
                        break
                    for few in _few(left):
                        await asyncio.gather(*(self._ask(part, each) for part, each in few))
                    await asyncio.sleep(LOOK)
        except TimeoutError:
            pass
        self.outcome.left = [*map(self._told, left), *self._refused()]
        return self.outcome

    async def _left(self) -> list[tuple[Part, Object]]:
        found: list[tuple[Part, Object]] = []
        for part in self.parts:
            try:
                listed = await self.api.list(part.kind, part.selector, part.fields, part.keep)
            except FacilityError as error:
                if not _is_missing(error):
                    self.problems[part.kind.name, ""] = one_line(error)
                continue
            self.problems.pop((part.kind.name, ""), None)
            found += [(part, each) for each in listed["items"]]
        for part, each in found:
            # Accounts are made anew at once or by the hub: those are others.
            key = part.kind.name, each["metadata"]["uid"]
            if key not in self.seen:
                self.seen.add(key)
                count = self.outcome.asked.get(part.kind.name, 0)
                self.outcome.asked[part.kind.name] = count + 1
        return found

    async def _ask(self, part: Part, found: Object) -> None:
        """Ask for the end of one object; its refusal is nobody else's."""
        metadata = found["metadata"]
        name = metadata["name"]
        try:
            if part.kind is DASK_CLUSTER:
                await self._ask_cluster(name, metadata)
            elif part.kind is POD:
                forced = self.elapsed > FORCE_SECONDS
                asked = metadata.get("deletionTimestamp") is not None
                if forced or not asked:
                    await self.api.delete(POD, name, grace=0 if forced else GRACE)
            elif metadata.get("deletionTimestamp") is None:
                await self.api.delete(part.kind, name)
            self.problems.pop((part.kind.name, name), None)
        except FacilityError as error:
            if not _is_missing(error):
                self.problems[part.kind.name, name] = one_line(error)

    async def _ask_cluster(self, name: str, metadata: Object) -> None:
        lease = deletion.owning_lease({"metadata": metadata})
        if lease:
            await self.api.delete(LEASE, lease)
        for call in deletion.deletions(self.api.namespace, name):
            try:
                await self.api.ask(call)
            except KubernetesError as error:
                if error.status != 404:
                    raise
        if metadata.get("finalizers") and self.elapsed > OPERATOR_SECONDS:
            await self.api.ask(deletion.released(self.api.namespace, name))

    def _told(self, left: tuple[Part, Object]) -> str:
        part, found = left
        metadata = found["metadata"]
        why = self.problems.pop((part.kind.name, metadata["name"]), "")
        if not why and metadata.get("finalizers"):
            why = f"held by {', '.join(metadata['finalizers'])}"[:300]
        where = f"{part.kind.name} {self.api.namespace}/{metadata['name']}"
        return f"{where} is there after {self.patience:.0f} s ({why or 'nothing says why'})"

    def _refused(self) -> Iterator[str]:
        for (kind, name), why in self.problems.items():
            if not name:
                yield f"{kind}s of {self.api.namespace} cannot be ended: {why}"


def _is_missing(error: FacilityError) -> bool:
    return isinstance(error, KubernetesError) and error.status == 404


def _few(left: list[tuple[Part, Object]]) -> Iterator[list[tuple[Part, Object]]]:
    for at in range(0, len(left), AT_ONCE):
        yield left[at : at + AT_ONCE]
