"""Rules of what pods in a user's namespace may mount, as CEL expressions: what is listed alone.

Anything else may be somebody else's: an inline CSI volume reaches any export that the node can
mount, past every NetworkPolicy; an `ephemeral` claim may name a volume that another user has left.
"""

import json
from typing import Any

from facility.kubernetes.tenant.model import Release

Manifest = dict[str, Any]
PLAIN = ("configMap", "secret", "downwardAPI", "persistentVolumeClaim")
PROJECTED = ("serviceAccountToken", "configMap", "secret", "downwardAPI")
PERMITTED = (
    "permitted are configMap, secret, downwardAPI, persistentVolumeClaim, projected of these and "
    "of tokens, emptyDir with a sizeLimit, and inline CSI volumes that the values name"
)


def data(release: Release) -> dict[str, Any]:
    """Return what differs between releases, by the variable's name."""
    # All that a map of CEL holds is of one type.
    inline: dict[str, list[dict[str, str]]] = {}
    for volume in release.permitted.csi:
        key = f"{volume.driver} {str(volume.read_only).lower()}"
        inline.setdefault(key, []).append(dict(volume.attributes))
    return {
        "readOnlyClaims": [volume.name for volume in release.volumes if volume.read_only],
        "csiVolumes": inline,
    }


def variables(release: Release, spec: str) -> list[Manifest]:
    """Return what the rules speak of.

    Parameters
    ----------
    spec
        Expression of the pod's specification, as ``object.spec``.
    """
    plain = " || ".join(f"has(v.{kind})" for kind in PLAIN)
    projected = " || ".join(f"has(s.{kind})" for kind in PROJECTED)
    listed = (
        "v.csi.?fsType.orValue('') == '' && !has(v.csi.nodePublishSecretRef) && "
        "variables.csiVolumes[?(v.csi.driver + ' ' + string(v.csi.?readOnly.orValue(false)))]"
        ".orValue([]).exists(a, a == v.csi.?volumeAttributes.orValue({}))"
    )
    permitted = (
        f"{plain} || (has(v.emptyDir) && has(v.emptyDir.sizeLimit)) || "
        f"(has(v.projected) && v.projected.?sources.orValue([]).all(s, {projected})) || "
        f"(has(v.csi) && {listed})"
    )
    found = [
        {"name": name, "expression": json.dumps(value)} for name, value in data(release).items()
    ]
    volumes = f"{spec}.?volumes.orValue([])"
    return [
        *found,
        {
            "name": "foreignVolumes",
            "expression": f"{volumes}.filter(v, !({permitted})).map(v, v.name)",
        },
        {
            "name": "writable",
            "expression": f"{volumes}.filter(v, has(v.persistentVolumeClaim) && "
            "v.persistentVolumeClaim.claimName in variables.readOnlyClaims && "
            "!v.persistentVolumeClaim.?readOnly.orValue(false))"
            ".map(v, v.persistentVolumeClaim.claimName)",
        },
    ]


def rules() -> list[Manifest]:
    """Return the rules."""
    return [
        {
            "expression": "size(variables.foreignVolumes) == 0",
            "messageExpression": "'these volumes are not permitted: ' + "
            f"variables.foreignVolumes.join(', ') + '; {PERMITTED}'",
        },
        {
            # The kubelet goes by this alone, whatever the PersistentVolume says.
            "expression": "size(variables.writable) == 0",
            "messageExpression": "'nobody may write these claims: ' + "
            "variables.writable.join(', ') + '; mount them with persistentVolumeClaim.readOnly: "
            "true'",
        },
    ]
