"""What the pods of a Dask cluster mount: the pool's own volumes, and what the notebook shares."""

from collections.abc import Iterable
from typing import Any

from facility.config.shapes import Volume
from facility.kubernetes.pod_template import PodTemplate
from facility.quantity import format_memory

Manifest = dict[str, Any]


def shared(template: PodTemplate, taken: Iterable[str]) -> tuple[list[Manifest], list[Manifest]]:
    """Return volumes and mounts of what the notebook shares with scheduler and workers.

    Parameters
    ----------
    taken
        Paths at which something else is mounted.
    """
    taken = {*taken}
    found = [each for each in template.shared if each.path not in taken]
    # Names of the notebook's volumes may be those of other volumes here.
    volumes = {claim: f"claim-{n}" for n, claim in enumerate(dict.fromkeys(e.claim for e in found))}
    read_only = {
        claim: all(each.mount.get("readOnly") for each in found if each.claim == claim)
        for claim in volumes
    }
    return (
        [
            {"name": name, "persistentVolumeClaim": claim_of(claim, read_only[claim])}
            for claim, name in volumes.items()
        ],
        [{"name": volumes[each.claim], **each.mount} for each in found],
    )


def claim_of(claim: str, read_only: bool) -> Manifest:
    """Return a claim as a pod's volume names it; what no container writes, the node need not."""
    return {"claimName": claim, **({"readOnly": True} if read_only else {})}


def volume_of(volume: Volume, disk: int) -> Manifest:
    """Return a pool's own volume, as a pod names it.

    Parameters
    ----------
    disk
        Bytes that the pod may have on its node's disk.
    """
    found: Manifest = volume.model_dump(by_alias=True, exclude_none=True, mode="json")
    for key in ("mountPath", "subPath", "readOnly"):
        found.pop(key, None)
    if volume.empty_dir is not None:
        limit = volume.empty_dir.size_limit
        found["emptyDir"]["sizeLimit"] = format_memory(disk if limit is None else limit)
    if volume.persistent_volume_claim is not None:
        claim = volume.persistent_volume_claim.claim_name
        found["persistentVolumeClaim"] = claim_of(claim, volume.read_only)
    return found


def mount_of(volume: Volume) -> Manifest:
    """Return where a container sees a pool's own volume."""
    found: Manifest = {"name": volume.name, "mountPath": volume.mount_path}
    if volume.sub_path:
        found["subPath"] = volume.sub_path
    if volume.read_only:
        found["readOnly"] = True
    return found
