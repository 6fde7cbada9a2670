"""Which dashboards a user's server leads to: asked of jupyter-server-proxy's own handlers.

The API server is a list of objects here, of which the own namespace's can be seen.
"""

from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_server_proxy.config import ServerProxy
from jupyter_server_proxy.handlers import RemoteProxyHandler, setup_handlers
from tornado import web
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from facility import names
from facility.errors import KubernetesError
from facility.hub.user_server import dashboards
from facility.hub.user_server.dashboards import is_dashboard, own_namespace
from facility.kubernetes.client.kinds import POD, SERVICE, Kind

Object = dict[str, Any]
PORT = names.WORKER_DASHBOARD_PORT


class Server:
    """An API server that lists a namespace's objects."""

    def __init__(self) -> None:
        self.services: list[Object] = [{"spec": {"clusterIP": each}} for each in ("10.0.0.2", "")]
        self.pods = [worker("10.1.0.1"), worker("10.1.0.2", count=2)]
        self.asked: list[tuple[Kind, str]] = []
        self.refuses = False

    def reading(self, kind: Kind, **params: str) -> Kind:
        self.asked.append((kind, params["labelSelector"]))
        return kind

    def now(self, kind: Kind) -> Object:
        if self.refuses:
            raise KubernetesError("get", kind.name, "af-ada/*", 403, "Forbidden", "no")
        return {"items": {POD: self.pods, SERVICE: self.services}[kind]}


def worker(number: str, count: int = 1, phase: str = "Running", **spec: Any) -> Object:
    ports = [{"name": f"dashboard-{each}", "containerPort": PORT + each} for each in range(count)]
    container = {"name": "worker", "ports": [*ports, {"name": "x", "containerPort": 22}]}
    return {
        "metadata": {},
        "spec": {"containers": [container], **spec},
        "status": {"phase": phase, "podIP": number},
    }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr(dashboards, "own_namespace", lambda: "af-ada")
    monkeypatch.setattr(dashboards, "pod_account", lambda: None)
    monkeypatch.setattr(dashboards, "Api", lambda _: found)
    monkeypatch.setattr(dashboards, "_numbers", set())
    monkeypatch.setattr(dashboards, "_workers", set())
    monkeypatch.setattr(dashboards, "_workers_asked", [-dashboards.WORKERS_SECONDS])
    return found


def leads(host_and_port: str) -> bool:
    """Whether jupyter-server-proxy, set up as in a user's server, asks there."""
    application = web.Application(base_url="/", cookie_secret="s")
    setup_handlers(application, ServerProxy(host_allowlist=is_dashboard))
    connection: Any = SimpleNamespace(set_close_callback=lambda _: None, no_keep_alive=False)
    line = RequestStartLine("GET", f"/proxy/{host_and_port}/status", "HTTP/1.1")
    headers = HTTPHeaders({"Host": "af.example.org"})
    request = HTTPServerRequest(start_line=line, headers=headers, connection=connection)
    found: Any = application.find_handler(request)
    if not found.handler_class or not issubclass(found.handler_class, RemoteProxyHandler):
        return False
    handler = found.handler_class(application, request, **found.handler_kwargs)
    handler.path_args = [handler.decode_argument(each) for each in found.path_args]
    return bool(handler._check_host_allowlist(handler.path_args[0]))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("mine-scheduler.af-ada.svc:8787", True),
        ("mine-scheduler.af-bob.svc:8787", False),
        ("mine-scheduler.af-ada.svc.example.org:8787", False),
        ("kubernetes.default.svc:443", False),
        ("10.0.0.1:8787", False),
        ("10.0.0.2:8787", True),
        # Workers: by the number of a pod, at ports that the pod says are dashboards.
        (f"10.1.0.1:{PORT}", True),
        (f"10.1.0.1:{PORT + 1}", False),
        (f"10.1.0.2:{PORT + 1}", True),
        ("10.1.0.1:22", False),
        ("10.1.0.1:8888", False),
        # A pod of another namespace.
        (f"10.2.0.1:{PORT}", False),
        (f"10.1.0.10:{PORT}", False),
        (f"0:{PORT}", False),
    ],
)
def test_dashboards_of_the_own_namespace_alone(server: Server, asked: str, expected: bool) -> None:
    assert leads(asked) is expected


@pytest.mark.parametrize(
    "pod",
    [
        worker("10.1.0.3", phase="Succeeded"),
        worker("10.1.0.3", phase="Failed"),
        worker("10.1.0.3", phase="Pending"),
        worker("10.1.0.3", hostNetwork=True),
    ],
)
def test_a_number_that_is_no_longer_a_workers_is_refused(server: Server, pod: Object) -> None:
    server.pods.append(pod)
    assert not leads(f"10.1.0.3:{PORT}")


def test_only_workers_are_asked_for_and_seldom(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        assert leads(f"10.1.0.1:{PORT}")
    assert server.asked == [(POD, f"{names.COMPONENT_LABEL}={names.WORKER_COMPONENT}")]
    # Its number may be somebody else's a moment later.
    server.pods.clear()
    monkeypatch.setattr(dashboards, "WORKERS_SECONDS", 0.0)
    assert not leads(f"10.1.0.1:{PORT}")


def test_a_server_without_rights_leads_to_itself_alone(server: Server) -> None:
    server.refuses = True
    assert not leads(f"10.1.0.1:{PORT}")
    assert not leads("10.0.0.2:8787")
    assert leads("localhost:5000")


def test_outside_of_kubernetes_there_is_no_namespace() -> None:
    own_namespace.cache_clear()
    assert own_namespace() == ""
    assert not leads("-scheduler..svc:8787")
    assert not leads(f"10.1.0.1:{PORT}")
