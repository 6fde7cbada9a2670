"""Which hosts a user's server hands requests on to: itself, and schedulers of its namespace."""

import re
from functools import cache
from typing import Any

from facility import names
from facility.errors import FacilityError
from facility.kubernetes.client.account import FOLDER, pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import SERVICE

LOCAL = ("localhost", names.LOOPBACK)
_numbers: set[str] = set()


def is_dashboard(handler: Any, host: str) -> bool:
    """Tell jupyter-server-proxy whether a host may be asked.

    A scheduler is named by its Service, or by the Service's number, which clients know it by.
    """
    namespace = own_namespace()
    if host in LOCAL:
        return True
    if not namespace:
        return False
    if re.fullmatch(rf"[a-z0-9-]+-scheduler\.{re.escape(namespace)}\.svc", host):
        return True
    if re.fullmatch(r"[0-9.]+|[0-9a-f:]+", host) and host not in _numbers:
        _numbers.clear()
        _numbers.update(scheduler_numbers())
    return host in _numbers


def scheduler_numbers() -> set[str]:
    """Ask for the numbers of the schedulers' Services in the own namespace; none if refused."""
    selector = f"{names.COMPONENT_LABEL}={names.SCHEDULER_COMPONENT}"
    try:
        api = Api(pod_account())
        found = api.now(api.reading(SERVICE, labelSelector=selector))["items"]
    except FacilityError:
        return set()
    return {each["spec"].get("clusterIP", "") for each in found}


@cache
def own_namespace() -> str:
    """Namespace of the pod that this process runs in; nothing outside of Kubernetes."""
    try:
        return (FOLDER / "namespace").read_text().strip()
    except OSError:
        return ""
