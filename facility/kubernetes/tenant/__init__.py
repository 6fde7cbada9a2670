"""Every manifest of a user's namespace, and of what all of them rely on: pure functions.

`release_set` makes the objects of a release that are in no namespace: ClusterRoles,
PriorityClasses, admission policies. `tenant_set` makes a user's namespace and all that is in it.
The API server enforces them, whatever runs in the namespace. What they promise is tested on a real
Kubernetes by trying to get round it (tests/kube/test_tenant.py).
"""

from facility.kubernetes.tenant.manifests import refusal, release_set, tenant_set
from facility.kubernetes.tenant.quotas import is_counted
from facility.kubernetes.tenant.settings import (
    Address,
    Network,
    Quota,
    Release,
    Shape,
    Tenant,
    slug,
)

__all__ = [
    "Address",
    "Network",
    "Quota",
    "Release",
    "Shape",
    "Tenant",
    "is_counted",
    "refusal",
    "release_set",
    "slug",
    "tenant_set",
]
