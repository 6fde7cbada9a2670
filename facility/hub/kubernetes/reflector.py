"""Users' servers as Kubernetes has them, followed for as long as the hub runs."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from kubernetes_asyncio.client import ApiException
from kubespawner.spawner import PodReflector
from traitlets import Tuple, validate

from facility.hub.kubernetes.server_pod import is_server, kept
from facility.kubernetes.client.answers import ListReader
from facility.kubernetes.client.calls import Call
from facility.kubernetes.client.kinds import POD
from facility.kubernetes.client.shapes import shaped

Object = dict[str, Any]


class Kept(dict[str, Object]):
    """Pods under their names: of each that is put in, what `keep` leaves.

    Parameters
    ----------
    keep
        Returns what is kept of a pod, None for nothing.
    """

    def __init__(self, keep: Callable[[Object], Object | None]) -> None:
        super().__init__()
        self._keep = keep

    def __setitem__(self, name: str, pod: Object) -> None:
        found = self._keep(pod)
        if found is None:
            self.pop(name, None)
        else:
            super().__setitem__(name, found)


class LastingPods(PodReflector):
    """Follows pods through every refusal and silence of the API server, and keeps little of each.

    KubeSpawner's own ends the hub when its first look fails, and when it has failed for a minute.
    Servers run on all that time, and another hub would see no more than this one. It also keeps
    whatever has the label of a server, as a whole: a user could fill the hub's memory.
    """

    server_classes = Tuple(help="PriorityClasses of the pods that are followed.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_failure = None
        self.resources: dict[str, Object] = {}

    @validate("resources")
    def _as_kept(self, proposal: Mapping[str, Any]) -> Kept:
        found = Kept(self._keep)
        for name, pod in proposal["value"].items():
            found[name] = pod
        return found

    def _keep(self, pod: Object) -> Object | None:
        found = shaped(POD, pod)
        return kept(found) if is_server(found, self.server_classes) else None

    async def start(self) -> None:
        """Begin; who needs a first look waits for ``first_load_future``."""
        self.watch_task = asyncio.create_task(self._watch_and_update())

    async def _watch_and_update(self) -> None:
        while not self._stopping:
            await super()._watch_and_update()

    async def _list_and_update(self, resource_version: str | None = None) -> str:
        """Look at all pods, one at a time; return the list's version.

        Raises
        ------
        ApiException
            Where Kubernetes refuses.
        """
        asked: dict[str, Any] = {}
        if resource_version is not None:
            asked = {
                "resource_version": resource_version,
                "resource_version_match": "NotOlderThan",
            }
        answer = await self.api.list_pod_for_all_namespaces(
            label_selector=self.label_selector,
            field_selector=self.field_selector,
            _request_timeout=self.request_timeout,
            _preload_content=False,
            **asked,
        )
        async with answer:
            if not answer.ok:
                said = await answer.text(errors="replace")
                raise ApiException(status=answer.status, reason=f"{answer.reason}: {said[:2000]}")
            reader = ListReader(Call("list", "GET", POD, ""), self._keep)
            async for part in answer.content.iter_any():
                reader.feed(part)
        listed = reader.end()
        self.resources = {
            f"{each['metadata']['namespace']}/{each['metadata']['name']}": each
            for each in listed["items"]
        }
        if not self.first_load_future.done():
            self.first_load_future.set_result(None)
        return str(listed["metadata"]["resourceVersion"])
