"""What a user waits for while a server starts, in words: pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from facility.kubernetes.explain import hindrance, is_scheduled

Object = Mapping[str, Any]


def stage(pod: Object | None, events: Iterable[Object]) -> tuple[int, str]:
    """Say how far the start of a server is.

    Parameters
    ----------
    pod
        The server's pod, None while there is none.
    events
        Those of this pod.

    Returns
    -------
    tuple
        Percent, and what is awaited.
    """
    if pod is None:
        return 10, "Your namespace is being prepared: limits, network, rights."
    if is_scheduled(pod):
        return 80, "JupyterLab starts."
    on_a_node = "nodeName" in pod.get("spec", {})
    return 50 if on_a_node else 30, f"Your server does not run yet: {hindrance(pod, events)}."
