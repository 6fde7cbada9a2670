"""An API server of tests that keeps what it is given, for clients that list, watch and write.

Of Kubernetes' rules it has one: a Deployment needs containers with a name, and a Service ports.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Plural, namespace and name of an object."""
GROUPS = {
    "kubernetes.dask.org": {"daskclusters": "DaskCluster", "daskworkergroups": "DaskWorkerGroup"},
    "apps": {"deployments": "Deployment"},
    "apiextensions.k8s.io": {"customresourcedefinitions": "CustomResourceDefinition"},
    "": {"namespaces": "Namespace", "services": "Service", "pods": "Pod", "events": "Event"},
}
WITHOUT_NAMESPACE = ("Namespace", "CustomResourceDefinition")
VERBS = ["create", "delete", "get", "list", "patch", "watch"]


class KubernetesServer:
    """What is there.

    Attributes
    ----------
    objects
        What is kept.
    asked
        How often each kind of call was made of each namespace: method, plural, namespace.
    """

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.asked: Counter[Key] = Counter()
        self.changed = asyncio.Event()
        self._watches: list[tuple[str, asyncio.Queue[bytes]]] = []
        self._version = 0

    def put(self, plural: str, body: Object, change: str = "ADDED") -> Object:
        """Keep an object, and tell who watches."""
        self._version += 1
        metadata = body["metadata"]
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", f"uid-{self._version}")
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self.objects[plural, metadata["namespace"], metadata["name"]] = body
        line = json.dumps({"type": change, "object": body}).encode() + b"\n"
        for kind, queue in self._watches:
            if kind == plural:
                queue.put_nowait(line)
        self.changed.set()
        return body

    async def until(self, fits: Any) -> None:
        """Wait until something holds of what is kept."""
        async with asyncio.timeout(120):
            while not fits():
                self.changed.clear()
                await self.changed.wait()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        group = "" if parts[0] == "api" else "/".join(parts[1:2])
        rest = parts[2:] if parts[0] == "api" else parts[3:]
        if parts[0] == "version":
            return web.json_response({"gitVersion": "v1.35.0"})
        if parts[-1] == "selfsubjectaccessreviews":
            return web.json_response({"status": {"allowed": True}}, status=201)
        if not rest:
            return web.json_response(_discovery(parts, group))
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        plural, name = rest[0], rest[1] if len(rest) > 1 else ""
        self.asked[request.method, plural, namespace] += 1
        if request.method == "POST":
            return self._create(plural, namespace, await request.json())
        if "watch" in request.query:
            return await self._watch(request, plural)
        # kr8s names the same name twice.
        name = name or request.query.get("fieldSelector", "").rpartition("=")[2]
        key = (plural, namespace, name)
        if name and len(rest) > 1:
            if key not in self.objects:
                return _refused(404, "NotFound")
            if request.method == "DELETE":
                self.put(plural, self.objects[key], "DELETED")
                return web.json_response(self.objects.pop(key))
            if request.method == "PATCH":
                merged = _merged(self.objects[key], await request.json())
                return web.json_response(self.put(plural, merged, "MODIFIED"))
            return web.json_response(self.objects[key])
        found = [
            each
            for (kind, space, own), each in self.objects.items()
            if kind == plural and namespace in ("", space) and name in ("", own)
        ]
        kind = f"{GROUPS[group][plural]}List"
        metadata = {"resourceVersion": str(self._version)}
        return web.json_response({"kind": kind, "metadata": metadata, "items": found})

    def _create(self, plural: str, namespace: str, body: Object) -> web.StreamResponse:
        if plural == "events":
            return web.json_response(body, status=201)
        spec = body.get("spec")
        try:
            if plural == "deployments":
                assert all(each["name"] for each in spec["template"]["spec"]["containers"])
            elif plural == "services":
                assert all(each["port"] for each in spec["ports"])
                body["status"] = {"loadBalancer": {}}
        except (AssertionError, KeyError, TypeError):
            return _refused(422, "Invalid")
        body["metadata"]["namespace"] = namespace
        return web.json_response(self.put(plural, body), status=201)

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        response = web.StreamResponse()
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        # What was made between the list and this is told first.
        since = int(request.query.get("resourceVersion") or 0)
        for (kind, *_), each in self.objects.items():
            if kind == plural and int(each["metadata"]["resourceVersion"]) > since:
                queue.put_nowait(json.dumps({"type": "MODIFIED", "object": each}).encode() + b"\n")
        self._watches.append((plural, queue))
        await response.prepare(request)
        try:
            while True:
                await response.write(await queue.get())
        finally:
            self._watches.remove((plural, queue))


def _discovery(parts: list[str], group: str) -> Object:
    if parts == ["api"]:
        return {"versions": ["v1"]}
    if parts == ["apis"]:
        version = {"version": "v1"}
        groups = [
            {"name": each, "versions": [version], "preferredVersion": version}
            for each in GROUPS
            if each
        ]
        return {"groups": groups}
    return {
        "resources": [
            {
                "name": plural,
                "singularName": kind.lower(),
                "kind": kind,
                "verbs": VERBS,
                "namespaced": kind not in WITHOUT_NAMESPACE,
            }
            for plural, kind in GROUPS[group].items()
        ]
    }


def _refused(status: int, reason: str) -> web.Response:
    said = {"kind": "Status", "reason": reason, "message": f"{reason} it is", "code": status}
    return web.json_response(said, status=status)


def _merged(found: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(found) if isinstance(found, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


@asynccontextmanager
async def kubernetes_server(kubeconfig: Path) -> AsyncIterator[KubernetesServer]:
    """Serve on a port of this machine, which is written into a file."""
    found = KubernetesServer()
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", found.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": server}],
        "users": [{"name": "x", "user": {"token": "x"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x", "namespace": "x"}}],
    }
    kubeconfig.write_text(json.dumps(config))  # noqa: ASYNC240 - a small file
    try:
        yield found
    finally:
        await runner.cleanup()
