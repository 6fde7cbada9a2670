"""Where a Dask cluster's pods come from: the pod of the notebook, or of the script."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facility import names
from facility.errors import FacilityError, KubernetesError
from facility.kubernetes.api import Api
from facility.kubernetes.kinds import CONFIG_MAP, POD


@dataclass(frozen=True)
class Place:
    """What the pods of a Dask cluster take over from the pod that asks for them."""

    namespace: str
    image: str
    """By digest where the registry gave one."""
    owner: Mapping[str, str] | None = None
    """Reference to the pod, with which everything ends."""
    pull_secrets: tuple[str, ...] = ()
    pull_policy: str = "IfNotPresent"
    release: str = names.DEFAULT_RELEASE
    """Release of the hub, which names PriorityClasses."""
    folders: tuple[str, ...] = ()
    """Where volumes are mounted that outlive the pod: the home, shared data."""


def place_of(pod: Mapping[str, Any], release: str = names.DEFAULT_RELEASE) -> Place:
    """Read the place from the own pod's description.

    Parameters
    ----------
    release
        Release of the hub.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    statuses = {
        status["name"]: status for status in pod.get("status", {}).get("containerStatuses", ())
    }
    container = next((c for c in spec["containers"] if c["name"] == "notebook"), None)
    container = container or spec["containers"][0]
    lasting = {
        volume["name"] for volume in spec.get("volumes", ()) if "persistentVolumeClaim" in volume
    }
    return Place(
        namespace=metadata["namespace"],
        image=by_digest(container["image"], statuses.get(container["name"], {}).get("imageID", "")),
        # No blockOwnerDeletion: OpenShift refuses it to all who may not write the owner.
        owner={
            "apiVersion": "v1",
            "kind": "Pod",
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        pull_secrets=tuple(secret["name"] for secret in spec.get("imagePullSecrets", ())),
        pull_policy=container.get("imagePullPolicy", "IfNotPresent"),
        release=release,
        folders=tuple(
            mount["mountPath"]
            for mount in container.get("volumeMounts", ())
            if mount["name"] in lasting
        ),
    )


def by_digest(image: str, image_id: str) -> str:
    """Name an image by the digest that runs, where its registry gave one.

    A tag may move between the notebook's start and a worker's. An image that was loaded into
    the node has no digest in a registry; then its name has to do.
    """
    found = image_id.partition("://")[2] or image_id
    name, at, digest = found.partition("@")
    return f"{name}@{digest}" if at and name and digest.startswith("sha256:") else image


def own_pod(api: Api) -> Place:
    """Ask Kubernetes about the pod that this process runs in.

    Raises
    ------
    FacilityError
        Where it cannot be found.
    """
    name = os.environ.get("FACILITY_POD") or os.environ.get("HOSTNAME") or ""
    try:
        return place_of(api.now(api.reading(POD, name)), release_of(api))
    except KubernetesError as error:
        raise FacilityError(
            f"This process looks for its own pod {name!r} in namespace {api.namespace}, whose "
            f"image its workers take: {error}. Where the pod has another host name than its own, "
            "set FACILITY_POD to its name."
        ) from error


def release_of(api: Api) -> str:
    """Name of the hub's release, from the ConfigMap that it keeps in each user's namespace."""
    try:
        found = api.now(api.reading(CONFIG_MAP, names.POOLS_CONFIG_MAP))
    except KubernetesError as error:
        if error.status not in (403, 404):
            raise
        # A namespace that no hub has made.
        return names.DEFAULT_RELEASE
    return str(found.get("data", {}).get(names.RELEASE_KEY, names.DEFAULT_RELEASE))
