"""Users' servers as Kubernetes has them, followed for as long as the hub runs."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import ClientError, ClientResponse
from kubernetes_asyncio.client import ApiException
from kubespawner.spawner import PodReflector
from traitlets import Unicode, validate

from facility.hub.kubernetes.server_pod import is_server, kept
from facility.kubernetes.client.answers import ListReader
from facility.kubernetes.client.calls import Call
from facility.kubernetes.client.changes import ChangeReader
from facility.kubernetes.client.kinds import POD
from facility.kubernetes.client.shapes import shaped

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds until the next try, after the first failure and after many in a row."""
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

    priority_class = Unicode(help="PriorityClass of the pods that are followed.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.resources: dict[str, Object] = {}
        self._told: set[str] = set()
        """Namespaces of which it is told that a pod of theirs is too large."""

    @validate("resources")
    def _as_kept(self, proposal: Mapping[str, Any]) -> Kept:
        found = Kept(self._keep)
        for name, pod in proposal["value"].items():
            found[name] = pod
        return found

    def _keep(self, pod: Object) -> Object | None:
        found = shaped(POD, pod)
        return kept(found) if is_server(found, self.priority_class) else None

    async def start(self) -> None:
        """Begin; who needs a first look waits for ``first_load_future``."""
        self.watch_task = asyncio.create_task(self._watch_and_update())

    async def _watch_and_update(self) -> None:
        """List and watch in turn until it is stopped.

        KubeSpawner's own ends when it has failed for some seconds, and fails at a change of more
        than 4 MiB, which a user can make.
        """
        version: str | None = "0"
        pause = FIRST_PAUSE
        while not self._stopping:
            try:
                version = await self._list_and_update(version)
                version = await self._follow(version)
                pause = FIRST_PAUSE
            except asyncio.CancelledError:
                if self._stopping:
                    return
                raise
            except TimeoutError:
                self.log.warning("Kubernetes says nothing of users' servers, and is asked again")
            except Exception as error:  # of whatever kind: servers run on all that time
                version = "0"
                # The traceback only where the error is none of Kubernetes and of the network.
                expected = isinstance(error, ApiException | ClientError | OSError)
                self.log.warning(
                    "Following users' servers failed, and is tried again in %.1f s: %s",
                    pause,
                    error,
                    exc_info=not expected,
                )
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _follow(self, version: str) -> str:
        """Take in changes until the watch ends; return the version of the last.

        Raises
        ------
        ApiException
            Where Kubernetes refuses, or the pods have to be listed again.
        """
        begin = time.monotonic()
        answer = await self.api.list_pod_for_all_namespaces(
            watch=True,
            label_selector=self.label_selector,
            field_selector=self.field_selector,
            resource_version=version,
            timeout_seconds=self.timeout_seconds,
            _request_timeout=self.request_timeout,
            _preload_content=False,
        )
        reader = ChangeReader(POD, self._told)
        async with answer:
            await _accepted(answer)
            async for part in answer.content.iter_any():
                for change, pod in reader.feed(part):
                    if change == "ERROR":
                        raise ApiException(status=pod.get("code"), reason=pod.get("message"))
                    version = str(pod["metadata"]["resourceVersion"])
                    if change == "DELETED":
                        self.resources.pop(_key(pod), None)
                    elif change != "BOOKMARK":
                        self.resources[_key(pod)] = pod
                if time.monotonic() - begin >= self.restart_seconds:
                    break
        return version

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
            await _accepted(answer)
            reader = ListReader(Call("list", "GET", POD, ""), self._keep)
            async for part in answer.content.iter_any():
                reader.feed(part)
        listed = reader.end()
        self.resources = {_key(each): each for each in listed["items"]}
        if not self.first_load_future.done():
            self.first_load_future.set_result(None)
        return str(listed["metadata"]["resourceVersion"])


def _key(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


async def _accepted(answer: ClientResponse) -> None:
    if not answer.ok:
        said = await answer.text(errors="replace")
        raise ApiException(status=answer.status, reason=f"{answer.reason}: {said[:2000]}")
