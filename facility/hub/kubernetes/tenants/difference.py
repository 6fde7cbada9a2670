"""What is there of a user's namespace, and what has to be done so that it is as planned: pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from facility import names
from facility.hub.kubernetes.tenants.plan import Plan
from facility.kubernetes.client.kinds import (
    CILIUM_POLICY,
    CLAIM,
    NETWORK_POLICY,
    QUOTA,
    ROLE_BINDING,
    SECRET,
    VOLUME,
    Kind,
    kind_of,
)
from facility.kubernetes.tenant import Tenant, is_ours, refusal, volume_set

MADE_ANNOTATION = "facility/made"
"""Annotation of a user's namespace: hash of the manifests of which all in it was last made."""
REMOVED = (QUOTA, NETWORK_POLICY, CILIUM_POLICY, ROLE_BINDING)
"""Kinds of which nothing stays that the values no longer ask for."""
OVER = ("Failed", "Succeeded")
"""Phases of pods in which nothing is mounted any more."""

Object = Mapping[str, Any]
Manifest = dict[str, Any]


# The namespace itself.


def refused(plan: Plan, found: Object | None, *, creates: bool) -> str | None:
    """Say why a namespace cannot be made or repaired, None if it can be.

    Parameters
    ----------
    found
        The namespace as it is, None where there is none.
    creates
        Whether the hub makes namespaces.
    """
    tenant = plan.tenant
    if found is not None:
        return refusal(tenant, found)
    if creates:
        return None
    return (
        f"The namespace {tenant.namespace} does not exist, and tenants.createNamespaces "
        "is false: the site makes it, with the labels "
        f"{names.HUB_LABEL}={tenant.release.name} and {names.TENANT_LABEL}={tenant.slug} "
        f"and the annotation {names.USER_ANNOTATION}={tenant.user}."
    )


def is_complete(plan: Plan, found: Object | None) -> bool:
    """Tell whether all in a namespace was made before, from these very manifests."""
    notes = (found or {}).get("metadata", {}).get("annotations") or {}
    return bool(notes.get(MADE_ANNOTATION) == plan.contents_digest)


def namespace_manifest(plan: Plan, *, complete: bool) -> Manifest:
    """Return the manifest of the namespace.

    Parameters
    ----------
    complete
        Whether it says of what all in it was made: not before all of it is.
    """
    metadata = plan.namespace["metadata"]
    made = {MADE_ANNOTATION: plan.contents_digest} if complete else {}
    annotations = {**metadata["annotations"], **made}
    return {**plan.namespace, "metadata": {**metadata, "annotations": annotations}}


# What is in it.


@dataclass(frozen=True)
class Difference:
    """What has to be done, in this order.

    Parameters
    ----------
    apply
        Manifests of what is missing or changed: created or patched.
    delete
        Kind and name of what should not be there.
    """

    apply: tuple[Manifest, ...]
    delete: tuple[tuple[Kind, str], ...]


def kinds_to_look_at(plan: Plan, *, complete: bool) -> list[Kind]:
    """Return the kinds of which has to be known what is there.

    Parameters
    ----------
    complete
        Whether all was made from these manifests before; else kinds too of which nothing is made
        any more.
    """
    made = map(kind_of, (plan.binding, *plan.contents))
    # What is in a Secret is not looked at.
    kinds = [kind for kind in made if kind is not SECRET]
    return list(dict.fromkeys([*kinds, *(() if complete else REMOVED)]))


def difference(plan: Plan, there: Mapping[Kind, Iterable[Object]], *, complete: bool) -> Difference:
    """Compare what is in a namespace with what should be.

    Writing costs hub and Kubernetes much more than looking, so that what was made from the same
    manifests before is made again only where it has changed.

    Parameters
    ----------
    there
        The release's objects, by their kind.
    complete
        Whether all was made from these manifests before.
    """
    apply = [
        manifest
        for manifest in plan.contents
        if not complete or not is_as_made(manifest, there.get(kind_of(manifest), ()))
    ]
    expected = {
        (kind_of(each), each["metadata"]["name"]) for each in (plan.binding, *plan.contents)
    }
    delete = [
        (kind, name)
        for kind in REMOVED
        for each in there.get(kind, ())
        if (kind, name := each["metadata"]["name"]) not in expected
    ]
    return Difference(tuple(apply), tuple(delete))


def is_as_made(manifest: Object, there: Iterable[Object]) -> bool:
    """Tell whether an object has all that its manifest says.

    What Kubernetes fills in, and what others have added, does not count: applying the manifest
    would leave it.

    Parameters
    ----------
    there
        Objects of the manifest's kind.
    """
    name = manifest["metadata"]["name"]
    found = next((each for each in there if each["metadata"]["name"] == name), None)
    # In a list its objects do not say of what kind they are.
    said = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind")}
    return found is not None and "deletionTimestamp" not in found["metadata"] and has(found, said)


def has(found: Any, wanted: Any) -> bool:
    """Tell whether a part of an object has all that is wanted of it."""
    if not wanted and isinstance(wanted, (Mapping, list)):
        # Kubernetes leaves out what is empty.
        return not found
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            has(found.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        same = isinstance(found, list) and len(found) == len(wanted)
        return same and all(map(has, found, wanted))
    return bool(found == wanted)


# Shared volumes. Hardly anything of a claim or a PersistentVolume can be changed: what no longer
# fits makes way as soon as no pod mounts it, and is left as it is until then.


@dataclass(frozen=True)
class VolumeDifference:
    """What has to be done for a user's shared volumes, in this order.

    Parameters
    ----------
    replace
        Claims that make way; what follows waits until they are gone.
    delete
        PersistentVolumes that belong to no claim any more.
    apply
        Manifests, each claim's after its volume's.
    """

    replace: tuple[str, ...]
    delete: tuple[str, ...]
    apply: tuple[Manifest, ...]


def foreign_claim(tenant: Tenant, claims: Iterable[Object]) -> str | None:
    """Say which claim that others have made is in the way, None if none is."""
    wanted = _volume_names(tenant)
    for claim in claims:
        name, volume = _volume_of(claim)
        if wanted.get(name) and not is_ours(volume, tenant.namespace):
            return (
                f"The claim {name} of {tenant.namespace} has another volume than the one that "
                f"sharedVolumes.{name} makes for it. Administrators: see whether it holds data, "
                f"and `kubectl -n {tenant.namespace} delete pvc {name}`."
            )
    return None


def unfit_claims(tenant: Tenant, claims: Iterable[Object]) -> set[str]:
    """Return the claims that no longer fit, or are being deleted."""
    wanted = _volume_names(tenant)
    unfit = set()
    for claim in claims:
        name, volume = _volume_of(claim)
        other = volume != wanted.get(name, "") or "deletionTimestamp" in claim["metadata"]
        if other and is_ours(volume, tenant.namespace):
            unfit.add(name)
    return unfit


def volume_difference(
    tenant: Tenant,
    uid: str,
    unfit: Collection[str],
    pods: Iterable[Object],
    volumes: Iterable[Object],
) -> VolumeDifference:
    """Compare a user's shared volumes with what the values say.

    Parameters
    ----------
    uid
        Of the user's namespace, with which the PersistentVolumes go.
    unfit
        Claims that no longer fit.
    pods
        Of the namespace.
    volumes
        The user's PersistentVolumes.
    """
    held = {*unfit} & mounted_claims(pods)
    made = volume_set(tenant)
    expected = {each["metadata"]["name"] for each in made if kind_of(each) is VOLUME}
    delete = [
        name
        for volume in volumes
        if (name := volume["metadata"]["name"]) not in expected
        and volume["spec"]["claimRef"]["name"] not in held
    ]
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": tenant.namespace, "uid": uid}
    apply = []
    for manifest in made:
        if kind_of(manifest) is VOLUME:
            if manifest["spec"]["claimRef"]["name"] in held:
                continue
            metadata = {**manifest["metadata"], "ownerReferences": [owner]}
            apply.append({**manifest, "metadata": metadata})
        elif manifest["metadata"]["name"] not in held:
            apply.append(manifest)
    return VolumeDifference(tuple(sorted({*unfit} - held)), tuple(delete), tuple(apply))


def mounting(pod: Object) -> dict[str, Any] | None:
    """Return what is looked at of a pod that mounts something, which may be megabytes."""
    phase = pod["status"]["phase"]
    volumes = [each for each in pod["spec"].get("volumes", ()) if "persistentVolumeClaim" in each]
    return {"spec": {"volumes": volumes}, "status": {"phase": phase}} if volumes else None


def mounted_claims(pods: Iterable[Object]) -> set[str]:
    """Return the names of the claims that pods mount."""
    return {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods
        if pod.get("status", {}).get("phase") not in OVER
        for volume in pod["spec"].get("volumes", ())
        if "persistentVolumeClaim" in volume
    }


def _volume_names(tenant: Tenant) -> dict[str, str]:
    """Return the volume of each claim that there should be, "" where Kubernetes chooses it."""
    return {
        each["metadata"]["name"]: each["spec"].get("volumeName", "")
        for each in volume_set(tenant)
        if kind_of(each) is CLAIM
    }


def _volume_of(claim: Object) -> tuple[str, str]:
    """Return the name of a claim and that of its volume, "" where it has none yet."""
    return claim["metadata"]["name"], claim["spec"].get("volumeName", "")
