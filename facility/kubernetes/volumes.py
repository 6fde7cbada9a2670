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
    return (
        [
            {"name": name, "persistentVolumeClaim": {"claimName": claim}}
            for claim, name in volumes.items()
        ],
        [{"name": volumes[each.claim], **each.mount} for each in found],
    )


def volume_of(volume: Volume) -> Manifest:
    """Return a pool's own volume, as a pod names it."""
    found: Manifest = volume.model_dump(by_alias=True, exclude_none=True, mode="json")
    for key in ("mountPath", "subPath", "readOnly"):
        found.pop(key, None)
    limit = volume.empty_dir.size_limit if volume.empty_dir else None
    if limit is not None:
        found["emptyDir"]["sizeLimit"] = format_memory(limit)
    return found


def mount_of(volume: Volume) -> Manifest:
    """Return where a container sees a pool's own volume."""
    found: Manifest = {"name": volume.name, "mountPath": volume.mount_path}
    if volume.sub_path:
        found["subPath"] = volume.sub_path
    if volume.read_only:
        found["readOnly"] = True
    return found
