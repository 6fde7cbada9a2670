"""Every manifest of a user's namespace, and of what all of them rely on: pure functions.

`release_set` makes the objects of a release that are in no namespace: ClusterRoles,
PriorityClasses, admission policies. `tenant_set` makes a user's namespace and all that is in it,
`volume_set` the claims of what all users share.
The API server enforces them, whatever runs in the namespace. What they promise is tested on a real
Kubernetes by trying to get round it (tests/kube/test_tenant.py).
"""

from facility.kubernetes.tenant.manifests import refusal, release_set, tenant_set
from facility.kubernetes.tenant.model import (
    Address,
    CsiVolume,
    Network,
    Permitted,
    Quota,
    Release,
    Shape,
    Tenant,
    slug,
)
from facility.kubernetes.tenant.quotas import is_counted
from facility.kubernetes.tenant.shared_volumes import SharedVolume
from facility.kubernetes.tenant.volumes import is_ours, volume_set

__all__ = [
    "Address",
    "CsiVolume",
    "Network",
    "Permitted",
    "Quota",
    "Release",
    "Shape",
    "SharedVolume",
    "Tenant",
    "is_counted",
    "is_ours",
    "refusal",
    "release_set",
    "slug",
    "tenant_set",
    "volume_set",
]
