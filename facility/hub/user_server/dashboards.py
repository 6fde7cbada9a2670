"""What a user's server hands requests on to: itself, and Dask clusters of its namespace.

Dashboards on its machine ask for a token, which they get from here.
"""

import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from facility import names
from facility.dask_process.dashboard_access import TOKEN_HEADER
from facility.errors import FacilityError
from facility.kubernetes.client.account import FOLDER, pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import POD, SERVICE, Kind
from facility.local import registry

LOCAL = ("localhost", names.LOOPBACK)
WORKERS_SECONDS = 5.0
"""Seconds for which is taken for granted where workers are: the number of a pod that has ended is
another one's soon, maybe another user's."""
_numbers: set[str] = set()
_workers: set[tuple[str, int]] = set()
_workers_asked = [-WORKERS_SECONDS]
"""When it was asked last where workers are (monotonic, in seconds)."""


def is_dashboard(handler: Any, host: str) -> bool:
    """Tell jupyter-server-proxy whether a host may be asked.

    A scheduler is named by its Service, or by the Service's number, which clients know it by. A
    worker is known by the number of its pod alone, and may be asked at its dashboard's port.

    Parameters
    ----------
    handler
        Of a request for ``proxy/HOST:PORT/...``; the port is its second argument.
    """
    namespace = own_namespace()
    if host in LOCAL:
        return True
    if not namespace:
        return False
    if re.fullmatch(rf"[a-z0-9-]+-scheduler\.{re.escape(namespace)}\.svc", host):
        return True
    if not re.fullmatch(r"[0-9.]+|[0-9a-f:]+", host):
        return False
    if host in _numbers or (host, int(handler.path_args[1])) in worker_dashboards():
        return True
    _numbers.clear()
    _numbers.update(scheduler_numbers())
    return host in _numbers


def send_tokens() -> None:
    """Have jupyter-server-proxy, and the Dask panel with it, show dashboards their tokens."""
    from jupyter_server_proxy.handlers import ProxyHandler

    ProxyHandler.proxy = with_token_sent(ProxyHandler.proxy)
    ProxyHandler.proxy_open = with_token_sent(ProxyHandler.proxy_open)


def with_token_sent(hand_on: Callable[..., Any]) -> Callable[..., Any]:
    """Have a method of ``ProxyHandler`` send the token of the dashboard that it asks."""

    def asking(self: Any, host: str, port: Any, *arguments: Any, **named: Any) -> Any:
        headers = self.request.headers
        headers.pop(TOKEN_HEADER, None)
        if host in LOCAL and (token := registry.dashboard_token(int(port))):
            headers[TOKEN_HEADER] = token
        return hand_on(self, host, port, *arguments, **named)

    return asking


def scheduler_numbers() -> set[str]:
    """Ask for the numbers of the schedulers' Services in the own namespace; none if refused."""
    found = _of_component(SERVICE, names.SCHEDULER_COMPONENT)
    return {each["spec"].get("clusterIP", "") for each in found}


def worker_dashboards() -> set[tuple[str, int]]:
    """Return the numbers of the own namespace's worker pods, each with ports of its dashboards."""
    now = time.monotonic()
    if now - _workers_asked[0] >= WORKERS_SECONDS:
        _workers.clear()
        for pod in _of_component(POD, names.WORKER_COMPONENT):
            _workers.update(_dashboards_of(pod))
        _workers_asked[0] = now
    return _workers


def _dashboards_of(pod: Any) -> Iterator[tuple[str, int]]:
    """Yield where the dashboards of a pod are, nothing of one that has its number no longer."""
    status = pod.get("status", {})
    # One in the network of its node would open all that the node serves.
    if status.get("phase") != "Running" or pod["spec"].get("hostNetwork"):
        return
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            if port.get("name", "").startswith(f"{names.WORKER_DASHBOARD}-"):
                yield status.get("podIP", ""), port["containerPort"]


def _of_component(kind: Kind, component: str) -> list[Any]:
    """Ask with the user's own account for what Dask clusters have in the own namespace."""
    try:
        api = Api(pod_account())
        selector = f"{names.COMPONENT_LABEL}={component}"
        found: list[Any] = api.now(api.reading(kind, labelSelector=selector))["items"]
    except FacilityError:
        return []
    return found


@cache
def own_namespace() -> str:
    """Namespace of the pod that this process runs in; nothing outside of Kubernetes."""
    try:
        return (FOLDER / "namespace").read_text().strip()
    except OSError:
        return ""
