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
LEASE_TEXT, LEASE_NOTES = 1024, 16
"""Characters of each text in a Lease, and its annotations, labels and owners at most."""


def data(release: Release) -> dict[str, Any]:
    """Return what differs between releases, by the variable's name."""
    return {"finalizers": [*FINALIZERS, *release.permitted.finalizers]}


def variables(release: Release) -> list[Manifest]:
    """Return what the rules speak of."""
    fixed = {"finalizersOf": FINALIZERS_OF}
    return [
        {"name": name, "expression": json.dumps(value)}
        for name, value in (data(release) | fixed).items()
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


def lease_rules() -> list[Manifest]:
    """Return the rules of Leases, which hold a name and times and nothing else."""
    texts = " && ".join(
        f"size(object.spec.?{key}.orValue('')) <= {LEASE_TEXT}"
        for key in ("holderIdentity", "preferredHolder", "strategy")
    )
    notes = "object.metadata.?annotations.orValue({})"
    counts = " && ".join(
        f"size(object.metadata.?{key}.orValue({empty})) <= {LEASE_NOTES}"
        for key, empty in (("annotations", "{}"), ("labels", "{}"), ("ownerReferences", "[]"))
    )
    return [
        {
            "expression": f"(!has(object.spec) || ({texts})) && {counts} && "
            f"{notes}.all(k, size({notes}[k]) <= {LEASE_TEXT})",
            "message": f"a Lease has texts of at most {LEASE_TEXT} characters, and at most "
            f"{LEASE_NOTES} annotations, labels and owners",
        }
    ]
