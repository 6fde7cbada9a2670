"""Claims of shared volumes, their PersistentVolumes, and what confines the hub that makes those.

A PersistentVolume is in no namespace and may be anything, also a folder of a node. So the hub may
make them only where the values have a template, and an admission policy admits only what follows
from it: for a claim of one of the release's users, with exactly the template's source.
"""

import hashlib
import json
from typing import Any

from facility.kubernetes.tenant.model import Release, Tenant
from facility.kubernetes.tenant.shared_volumes import PLACEHOLDER, SECRETS, SharedVolume, filled
from facility.quantity import format_memory

Manifest = dict[str, Any]
DATA = ("sources", "attributes", "mountOptions")
"""Variables of the policy that follow from the values."""


def volume_set(tenant: Tenant) -> list[Manifest]:
    """Return the claims of the shared volumes in a user's namespace, each after its volume."""
    return [
        manifest for volume in tenant.release.volumes for manifest in _manifests(tenant, volume)
    ]


def is_ours(volume: str, namespace: str) -> bool:
    """Tell whether a PersistentVolume of this name was made for a namespace's claim."""
    return volume.startswith(f"{namespace}.")


def _manifests(tenant: Tenant, volume: SharedVolume) -> list[Manifest]:
    size = {"storage": format_memory(volume.capacity)}
    claim: Manifest = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": volume.name,
            "namespace": tenant.namespace,
            "labels": tenant.labels,
        },
        "spec": {"accessModes": list(volume.access_modes), "resources": {"requests": size}},
    }
    if volume.source is None:
        if volume.storage_class is not None:
            claim["spec"]["storageClassName"] = volume.storage_class
        return [claim]
    spec: Manifest = {
        "accessModes": list(volume.access_modes),
        "capacity": dict(size),
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": tenant.namespace,
            "name": volume.name,
        },
        # What is shared is the site's, whatever becomes of a user.
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        "volumeMode": "Filesystem",
        **({"mountOptions": volume.options} if volume.options else {}),
        **filled(volume.source, tenant.namespace),
    }
    # Hardly anything of one can be changed, so that another template makes another one.
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{tenant.namespace}.{volume.name}.{digest}"
    claim["spec"] |= {"storageClassName": "", "volumeName": name}
    made = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": tenant.labels},
        "spec": spec,
    }
    return [made, claim]


# The policy.


def variables(release: Release) -> list[Manifest]:
    """Return what the rules speak of."""
    made = [volume for volume in release.volumes if volume.source is not None]
    data = {
        "sources": {volume.name: volume.terms for volume in made},
        "attributes": {volume.name: volume.attributes for volume in made},
        "mountOptions": {volume.name: volume.options for volume in made},
    }
    nfs, csi = "object.spec.nfs", "object.spec.csi"
    # In a list all must be text, and what stands in an object may be anything.
    secrets = ", ".join(
        f"string({csi}.?{key}.?namespace.orValue('')) + '/' + "
        f"string({csi}.?{key}.?name.orValue(''))"
        for key in SECRETS
    )
    source = (
        f"has({nfs}) ? ['nfs', string({nfs}.server), string({nfs}.path), "
        f"{nfs}.?readOnly.orValue(false) ? 'true' : 'false'] : "
        f"has({csi}) ? ['csi', string({csi}.driver), string({csi}.volumeHandle), "
        f"{csi}.?readOnly.orValue(false) ? 'true' : 'false', {secrets}] : ['neither nfs nor csi']"
    )
    return [
        *({"name": name, "expression": json.dumps(data[name])} for name in DATA),
        {"name": "space", "expression": "object.spec.?claimRef.?namespace.orValue('')"},
        {"name": "claim", "expression": "object.spec.?claimRef.?name.orValue('')"},
        {"name": "source", "expression": source},
    ]


def rules(release: Release, ours: str) -> list[Manifest]:
    """Return what the hub's PersistentVolumes obey.

    Parameters
    ----------
    ours
        Expression of whether an object bears the release's label, after ``object.``.
    """
    known = "request.operation == 'DELETE' || !(variables.claim in variables.sources) || "
    replaced = f"replace('{PLACEHOLDER}', variables.space)"
    return [
        {
            "expression": "request.name.startsWith(variables.prefix) && "
            f"(request.operation == 'CREATE' || oldObject.{ours}) && "
            f"(request.operation == 'DELETE' || object.{ours})",
            "message": f"the hub of release {release.name} makes, changes and deletes only "
            f"PersistentVolumes of its own users, whose names begin with {release.prefix}",
        },
        {
            # The hub has rights in the namespaces of its users alone, by a binding that it may
            # make nowhere else.
            "expression": "request.operation == 'DELETE' || "
            "(variables.space.startsWith(variables.prefix) && "
            "request.name.startsWith(variables.space + '.' + variables.claim + '.') && "
            "authorizer.group('').resource('persistentvolumeclaims').namespace(variables.space)"
            ".check('patch').allowed())",
            "messageExpression": "'a PersistentVolume of the hub is for a claim of one of its "
            "users, named NAMESPACE.CLAIM.*; the hub cannot patch claims in the namespace \"' + "
            "variables.space + '\"'",
        },
        {
            "expression": "request.operation == 'DELETE' || variables.claim in variables.sources",
            "messageExpression": "'no shared volume of the values is called \"' + variables.claim "
            "+ '\"; there are ' + variables.sources.map(v, v).join(', ')",
        },
        {
            "expression": f"{known}(variables.source == variables.sources[variables.claim]"
            f".map(s, s.{replaced}) && (!has(object.spec.csi) || "
            "(size(object.spec.csi.?volumeAttributes.orValue({})) == "
            "size(variables.attributes[variables.claim]) && "
            "variables.attributes[variables.claim].all(k, "
            "object.spec.csi.?volumeAttributes.orValue({})[?k].orValue('') == "
            f"variables.attributes[variables.claim][k].{replaced}) && "
            "object.spec.csi.?fsType.orValue('') == '' && "
            "!has(object.spec.csi.controllerPublishSecretRef) && "
            "!has(object.spec.csi.controllerExpandSecretRef) && "
            "!has(object.spec.csi.nodeExpandSecretRef))))",
            "messageExpression": "'the source of a PersistentVolume of the hub is that of the "
            "values, which say ' + variables.sources[variables.claim].join(' ') + ', and not ' + "
            "variables.source.join(' ')",
        },
        {
            "expression": f"{known}(object.spec.?mountOptions.orValue([]) == "
            "variables.mountOptions[variables.claim] && "
            "object.spec.persistentVolumeReclaimPolicy == 'Retain' && "
            "object.spec.?storageClassName.orValue('') == '' && "
            "object.spec.?volumeMode.orValue('Filesystem') == 'Filesystem')",
            "message": "a PersistentVolume of the hub has the mountOptions of the values, is "
            "retained, has no StorageClass, and is no block device",
        },
    ]
