"""Which hosts a user's server hands requests on to: itself, and schedulers of its namespace."""

import re
from functools import cache
from typing import Any

from facility import names
from facility.kubernetes.account import FOLDER

LOCAL = ("localhost", names.LOOPBACK)


def is_dashboard(handler: Any, host: str) -> bool:
    """Tell jupyter-server-proxy whether a host may be asked."""
    namespace = own_namespace()
    scheduler = rf"[a-z0-9-]+-scheduler\.{re.escape(namespace)}\.svc"
    return host in LOCAL or bool(namespace and re.fullmatch(scheduler, host))


@cache
def own_namespace() -> str:
    """Namespace of the pod that this process runs in; nothing outside of Kubernetes."""
    try:
        return (FOLDER / "namespace").read_text().strip()
    except OSError:
        return ""
