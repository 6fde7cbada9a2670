"""Where a Dask cluster's pods come from: the pod of the notebook, or of the script."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from facility import names
from facility.errors import FacilityError, KubernetesError
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import CLAIM, CONFIG_MAP, NAMESPACE, POD

SHARED_MODES = frozenset({"ReadOnlyMany", "ReadWriteMany"})
"""Access modes of claims that pods on several nodes may mount at a time."""
IDENTITY = ("runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy", "supplementalGroups")
"""What says as whom a pod runs; the first two may be said of a container instead."""
MOUNT = ("mountPath", "mountPropagation", "readOnly", "subPath")


@dataclass(frozen=True)
class ClaimMount:
    """A folder of a claim, as the own pod mounts it."""

    claim: str
    mount: Mapping[str, Any]
    """Path and what else Kubernetes wants to know, but for the volume's name."""

    @property
    def path(self) -> str:
        """Where it is seen."""
        return str(self.mount["mountPath"])


@dataclass(frozen=True)
class PodTemplate:
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
    shared: tuple[ClaimMount, ...] = ()
    """What scheduler and workers mount too: shared data, and a home that many nodes may mount."""
    unshared: tuple[ClaimMount, ...] = ()
    """What outlives the pod and is mounted there alone."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """As whom pods run: fields of a pod's security context."""
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    """Which nodes schedulers run on, and what they get: ``nodeSelector`` and ``tolerations`` of a
    pod, ``resources`` of a container; where there is batch, the ``priorityClass`` of schedulers
    and the ``jobPriorityClass`` of jobs."""

    @property
    def scheduler_class(self) -> str:
        """PriorityClass of schedulers; the hub names it where there is batch."""
        by_release = names.scheduler_priority_class(self.release)
        return str(self.scheduler.get("priorityClass", by_release))

    @property
    def job_class(self) -> str:
        """PriorityClass of jobs; the hub names it where there is batch."""
        return str(self.scheduler.get("jobPriorityClass", names.job_priority_class(self.release)))


def template_of(
    pod: Mapping[str, Any],
    release: str = names.DEFAULT_RELEASE,
    claims: Mapping[str, Any] | None = None,
) -> PodTemplate:
    """Read the place from the own pod's description.

    Parameters
    ----------
    release
        Release of the hub.
    claims
        Claims of the namespace, each under its name; one that is not known is taken for one that
        a single node may mount.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    statuses = {
        status["name"]: status for status in pod.get("status", {}).get("containerStatuses", ())
    }
    container = next((c for c in spec["containers"] if c["name"] == "notebook"), None)
    container = container or spec["containers"][0]
    sharable = {
        name
        for name, each in (claims or {}).items()
        if SHARED_MODES & {*each["spec"]["accessModes"]}
    }
    mounts = _claim_mounts(spec.get("volumes", ()), container.get("volumeMounts", ()))
    return PodTemplate(
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
        shared=tuple(each for each in mounts if each.claim in sharable),
        unshared=tuple(each for each in mounts if each.claim not in sharable),
        identity=_identity(spec, container),
    )


def _claim_mounts(
    volumes: Iterable[Mapping[str, Any]], mounts: Iterable[Mapping[str, Any]]
) -> list[ClaimMount]:
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]
        for volume in volumes
        if "persistentVolumeClaim" in volume
    }
    found = []
    for mount in mounts:
        if (claim := claims.get(mount["name"])) is not None:
            kept = {key: mount[key] for key in MOUNT if key in mount}
            read_only = {"readOnly": True} if claim.get("readOnly") else {}
            found.append(ClaimMount(claim["claimName"], kept | read_only))
    return found


def _identity(spec: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, Any]:
    """Read as whom a pod runs, whoever said it: the hub, or OpenShift by itself."""
    found = {**(spec.get("securityContext") or {}), **(container.get("securityContext") or {})}
    return {key: found[key] for key in IDENTITY if key in found}


def by_digest(image: str, image_id: str) -> str:
    """Name an image by the digest that runs, where its registry gave one.

    A tag may move between the notebook's start and a worker's. An image that was loaded into
    the node has no digest in a registry; then its name has to do.
    """
    found = image_id.partition("://")[2] or image_id
    name, at, digest = found.partition("@")
    return f"{name}@{digest}" if at and name and digest.startswith("sha256:") else image


def own_pod(api: Api) -> PodTemplate:
    """Ask Kubernetes about the pod that this process runs in.

    Raises
    ------
    FacilityError
        Where it cannot be found.
    """
    template = template_of(read_own_pod(api), claims=_claims(api))
    return replace(template, **said_by_hub(api))


def read_own_pod(api: Api) -> dict[str, Any]:
    """Ask Kubernetes for the description of the pod that this process runs in.

    Raises
    ------
    FacilityError
        Where it cannot be found.
    """
    name = os.environ.get("FACILITY_POD") or os.environ.get("HOSTNAME") or ""
    try:
        return dict(api.now(api.reading(POD, name)))
    except KubernetesError as error:
        raise FacilityError(
            f"This process looks for its own pod {name!r} in namespace {api.namespace}, whose "
            f"image its workers take: {error}. Where the pod has another host name than its own, "
            "set FACILITY_POD to its name."
        ) from error


def said_by_hub(api: Api) -> dict[str, Any]:
    """Release and shape of schedulers, from the ConfigMap of a user's namespace; else nothing."""
    try:
        found = api.now(api.reading(CONFIG_MAP, names.POOLS_CONFIG_MAP))
    except KubernetesError as error:
        if error.status not in (403, 404):
            raise
        # A namespace that no hub has made.
        return {}
    return told_by(found)


def told_by(config_map: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the hub says in the ConfigMap of a user's namespace.

    Raises
    ------
    FacilityError
        Where it is not as the hub writes it.
    """
    data = config_map.get("data", {})
    try:
        scheduler = json.loads(data.get(names.SCHEDULER_KEY, "{}"))
    except (ValueError, RecursionError):
        scheduler = None
    if not isinstance(scheduler, dict):
        raise FacilityError(
            f"{names.SCHEDULER_KEY} in the ConfigMap {names.POOLS_CONFIG_MAP} of this namespace is "
            "not as the hub writes it. The hub writes it anew when a server starts; an "
            "administrator finds out who has changed it."
        )
    return {
        "release": data.get(names.RELEASE_KEY, names.DEFAULT_RELEASE),
        "scheduler": scheduler,
    }


def _claims(api: Api) -> dict[str, Any]:
    """Claims of the namespace, each under its name; none where they may not be read."""
    try:
        found = api.now(api.reading(CLAIM))["items"]
    except KubernetesError as error:
        if error.status != 403:
            raise
        return {}
    return {each["metadata"]["name"]: each for each in found}


def identity_of(api: Api) -> dict[str, Any]:
    """As whom pods of the namespace have to run, for who has no pod of its own there."""
    try:
        found = api.now(api.reading(NAMESPACE, api.namespace))
    except KubernetesError as error:
        if error.status != 403:
            raise
        return {}
    return identity_in(found)


def identity_in(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """As whom pods of a namespace have to run, by its annotations.

    Raises
    ------
    FacilityError
        Where they are not as the hub writes them.
    """
    notes = namespace["metadata"].get("annotations") or {}
    named = {"runAsUser": names.UID_ANNOTATION, "runAsGroup": names.GID_ANNOTATION}
    try:
        identity: dict[str, Any] = {
            key: int(notes[note]) for key, note in named.items() if note in notes
        }
        groups = [int(each) for each in notes.get(names.GIDS_ANNOTATION, "").split()]
    except ValueError:
        raise FacilityError(
            f"The annotations {names.UID_ANNOTATION}, {names.GID_ANNOTATION} and "
            f"{names.GIDS_ANNOTATION} of this namespace have to be numbers, which say as whom pods "
            "run. The hub writes them anew when a server starts."
        ) from None
    return identity | ({"supplementalGroups": groups} if groups else {})
