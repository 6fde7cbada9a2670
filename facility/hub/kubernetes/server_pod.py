"""The pod of a user's server: told from those of users' own, and what is kept of it. Pure."""

from collections.abc import Collection, Mapping
from typing import Any

from facility.kubernetes.worker_pods import trimmed

Object = dict[str, Any]
METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
CONTAINER = ("name", "ports")
STATUS = ("name", "image", "ready", "restartCount", "state", "lastState")
UNKNOWN = {"name": "", "ready": False, "state": {}}
"""Status of a container of which nothing is said."""


def is_server(pod: Mapping[str, Any], classes: Collection[str]) -> bool:
    """Tell whether the hub has made a pod.

    Labels may be set by users on pods of their own. These PriorityClasses may not: an admission
    policy refuses them to all accounts of their namespaces.

    Parameters
    ----------
    classes
        PriorityClasses of users' servers.
    """
    return (pod.get("spec") or {}).get("priorityClassName") in classes


def kept(pod: Object) -> Object:
    """Return what the hub needs of a server's pod: KubeSpawner, and words about its start.

    Environment, volumes and annotations, which may be megabytes, are not among it.
    """
    metadata, spec, status = pod["metadata"], pod["spec"], pod["status"]
    # KubeSpawner looks for both, whatever there is.
    said = {**trimmed(pod)["status"], "podIP": status.get("podIP")}
    if "containerStatuses" in status or status["phase"] == "Running":
        found = status.get("containerStatuses") or [UNKNOWN]
        said["containerStatuses"] = [_part(each, STATUS) for each in found]
    return {
        "metadata": _part(metadata, METADATA),
        "spec": {
            **_part(spec, ("nodeName", "priorityClassName")),
            "containers": [_part(each, CONTAINER) for each in spec["containers"]],
        },
        "status": said,
    }


def _part(whole: Object, keys: tuple[str, ...]) -> Object:
    return {key: whole[key] for key in keys if key in whole}
