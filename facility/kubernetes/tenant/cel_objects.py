"""Rules about all that a user may write, whatever its kind, as CEL expressions.

What is kept of it stays in etcd, which all users share, and what ends it has to be able to.
"""

import json
from typing import Any

from facility.kubernetes.tenant.model import Release

Manifest = dict[str, Any]
FINALIZERS = ("foregroundDeletion", "orphan")
"""Of any object: Kubernetes itself sets and removes them."""
FINALIZERS_OF = {
    "pods": ["batch.kubernetes.io/job-tracking"],
    "daskclusters": ["kopf.zalando.org/KopfFinalizerMarker"],
}
"""Of some kinds: Kubernetes' controller of Jobs and dask-kubernetes' operator remove them."""
TOKEN = "kubernetes.io/service-account-token"
OBJECT_CHARACTERS = 96 * 1024
"""Characters of an object at most. Quotas count objects, and without this each might be as large as
etcd takes, 1.5 MB. A Secret of `names.SECRET_BYTES`, in base64, still has room."""
LEASE_CHARACTERS = 8 * 1024
"""The same of a Lease, which holds a name and times."""
CHARACTERS = "size('%s'.format([object]))"
"""Of all that Kubernetes keeps of an object, names of its fields included. CEL has no other measure
of one; it knows ``format`` from Kubernetes 1.29 on."""


def data(release: Release) -> dict[str, Any]:
    """Return what differs between releases, by the variable's name."""
    return {"finalizers": [*FINALIZERS, *release.permitted.finalizers]}


def variables(release: Release) -> list[Manifest]:
    """Return what the rules speak of."""
    fixed = {"finalizersOf": FINALIZERS_OF, "mostOf": {"leases": LEASE_CHARACTERS}}
    most = f"variables.mostOf[?request.resource.resource].orValue({OBJECT_CHARACTERS})"
    return [
        *(
            {"name": name, "expression": json.dumps(value)}
            for name, value in (data(release) | fixed).items()
        ),
        {"name": "most", "expression": most},
        {"name": "size", "expression": CHARACTERS},
    ]


def finalizer_rules() -> list[Manifest]:
    """Return the rules of finalizers, without whose end no object and no namespace ends."""
    return [
        {
            "expression": "object.metadata.?finalizers.orValue([]).all(f, "
            "f in variables.finalizers || "
            "f in variables.finalizersOf[?request.resource.resource].orValue([]) || "
            "(request.operation == 'UPDATE' && "
            "f in oldObject.metadata.?finalizers.orValue([])))",
            "messageExpression": "'a finalizer is not permitted: ' + "
            "object.metadata.finalizers.join(', ') + '; permitted are ' + "
            "variables.finalizers.join(', ')",
        }
    ]


def secret_rules() -> list[Manifest]:
    """Return the rules of Secrets."""
    return [
        {
            "expression": f"object.?type.orValue('') != '{TOKEN}'",
            "message": f"a Secret of type {TOKEN} is not permitted: its token never expires. "
            "A pod has one of its own, and `kubectl create token` makes others",
        }
    ]


def size_rule(own: str) -> Manifest:
    """Return the rule of how large an object may be that a user makes or changes.

    What the hub makes follows the values, and what Kubernetes adds later has to be possible.

    Parameters
    ----------
    own
        Expression that is true where an account of the user's namespace asks.
    """
    return {
        "expression": f"!({own}) || variables.size <= variables.most",
        "messageExpression": "'one of ' + request.resource.resource + ' has at most ' + "
        "string(variables.most) + ' characters, as all users share the space; this one has ' + "
        "string(variables.size)",
    }
