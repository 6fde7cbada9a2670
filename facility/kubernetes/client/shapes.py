"""Of what type is what is read of an object of Kubernetes: pure.

Users write some of these objects, and a kind that is defined by others may hold anything anywhere.
So every answer of the API server passes through `shaped` before anybody looks at it. What is named
here has the type that is named here or is left out; what is needed is always there. What is not
named passes as it is, and nobody reads it.
"""

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any

from facility.kubernetes.client import kinds
from facility.kubernetes.client.kinds import Kind
from facility.quantity import parse_quantity

Shape = Callable[[Any], Any]
"""Returns what is to be read of a value, `MISSING` where it is not of its type."""
MISSING: Any = object()
LONGEST_MESSAGE = 16_384
"""Letters of what is told to people; Kubernetes itself allows 1,024 to an event."""
LONGEST_NAME = 253
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.:]*[A-Za-z0-9])?")
EPOCH = "1970-01-01T00:00:00Z"
YEARS = range(1970, 9000)
"""With which one can calculate; Kubernetes writes any of four figures."""
LARGEST = 2**31 - 1
LARGEST_QUANTITY = 2**63
OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def text(value: Any) -> Any:
    """Return a text."""
    return value if isinstance(value, str) else MISSING


def is_name(text: str) -> bool:
    """Tell whether a text can be the name of an object: of an owner Kubernetes takes any text."""
    return len(text) <= LONGEST_NAME and _NAME.fullmatch(text) is not None


def name(value: Any) -> Any:
    """Return the name of an object, or none."""
    return value if value == "" or (isinstance(value, str) and is_name(value)) else MISSING


def message(value: Any) -> Any:
    """Return the beginning of a text for people: they are searched for many things."""
    return value[:LONGEST_MESSAGE] if isinstance(value, str) else MISSING


def whole(value: Any) -> Any:
    """Return a number that is whole and not negative."""
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
    return value if fits else MISSING


def yes_or_no(value: Any) -> Any:
    """Return true or false."""
    return value if isinstance(value, bool) else MISSING


def moment(value: Any) -> Any:
    """Return a time that has an offset and lies within `YEARS`."""
    try:
        found = datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return MISSING
    return value if found.tzinfo is not None and found.year in YEARS else MISSING


def quantity(value: Any) -> Any:
    """Return a quantity of Kubernetes, as large as it can write them."""
    try:
        return value if parse_quantity(value) <= LARGEST_QUANTITY else MISSING
    except ValueError:
        return MISSING


def operator(value: Any) -> Any:
    """Return what a quota says of the values of its scope."""
    return value if value in OPERATORS else MISSING


def each(shape: Shape) -> Shape:
    """Return the shape of a list, without the parts that are of another."""

    def fit(value: Any) -> Any:
        if not isinstance(value, list):
            return MISSING
        return [found for part in value if (found := shape(part)) is not MISSING]

    return fit


def named(shape: Shape) -> Shape:
    """Return the shape of values under names, without those that are of another."""

    def fit(value: Any) -> Any:
        if not isinstance(value, dict):
            return MISSING
        return {
            name: found for name, part in value.items() if (found := shape(part)) is not MISSING
        }

    return fit


def fields(shapes: Mapping[str, Shape], **needed: Any) -> Shape:
    """Return the shape of an object.

    Parameters
    ----------
    shapes
        Of what is read of it.
    needed
        What has to be there, and is taken for what where it is not; with `MISSING` there is no
        object without.
    """

    def fit(value: Any) -> Any:
        if not isinstance(value, dict):
            return MISSING
        found = dict(value)
        for key, shape in shapes.items():
            if key in found:
                found[key] = shape(found[key])
            if found.get(key, MISSING) is MISSING:
                found.pop(key, None)
                if key not in needed:
                    continue
                if needed[key] is MISSING:
                    return MISSING
                found[key] = shape(needed[key])
        return found

    return fit


METADATA = fields(
    {
        **dict.fromkeys(("name", "namespace"), name),
        **dict.fromkeys(("uid", "resourceVersion"), text),
        "creationTimestamp": moment,
        "deletionTimestamp": moment,
        "labels": named(text),
        "annotations": named(text),
        "finalizers": each(text),
        "ownerReferences": each(fields({"kind": text, "name": name}, kind=MISSING, name=MISSING)),
    },
    name="",
    namespace="",
    uid="",
    resourceVersion="",
    creationTimestamp=EPOCH,
    labels={},
)
_CONDITIONS = each(
    fields(
        {
            "type": text,
            "status": text,
            "reason": message,
            "message": message,
            "lastTransitionTime": moment,
        },
        type=MISSING,
        status=MISSING,
        lastTransitionTime=EPOCH,
    )
)
_SAID = {"reason": message, "message": message}
_STATE = fields(
    {
        "running": fields({}),
        "waiting": fields(_SAID),
        "terminated": fields({"exitCode": whole, **_SAID}, exitCode=1),
    }
)
_POD_STATUS = fields(
    {
        "phase": text,
        "podIP": text,
        **_SAID,
        "conditions": _CONDITIONS,
        "containerStatuses": each(
            fields(
                {
                    "name": text,
                    "image": text,
                    "imageID": text,
                    "ready": yes_or_no,
                    "restartCount": whole,
                    "state": _STATE,
                    "lastState": _STATE,
                },
                name="",
                ready=False,
                state={},
                lastState={},
            )
        ),
    },
    phase="Unknown",
)
_CONTAINER = fields(
    {
        "name": text,
        "image": text,
        "imagePullPolicy": text,
        "command": each(text),
        "args": each(text),
        "resources": fields({"requests": named(quantity), "limits": named(quantity)}),
        "securityContext": fields({}),
        "ports": each(fields({"name": text, "containerPort": whole}, containerPort=MISSING)),
        "volumeMounts": each(
            fields({"name": text, "mountPath": text}, name=MISSING, mountPath=MISSING)
        ),
    },
    name="",
    image="",
    ports=[],
)
_POD_SPEC = fields(
    {
        "nodeName": text,
        "priorityClassName": text,
        "securityContext": fields({}),
        "containers": each(_CONTAINER),
        "imagePullSecrets": each(fields({"name": text}, name=MISSING)),
        "volumes": each(
            fields(
                {
                    "name": text,
                    "persistentVolumeClaim": fields({"claimName": name}, claimName=MISSING),
                },
                name=MISSING,
            )
        ),
    },
    containers=[],
)
_TAINT = fields({"key": text, "value": text, "effect": text}, key=MISSING, effect="")
_NODE_STATUS = fields(
    {
        "allocatable": named(quantity),
        "conditions": _CONDITIONS,
        "images": each(fields({"names": each(text)}, names=[])),
    },
    allocatable={},
    conditions=[],
    images=[],
)
_SCOPE = fields(
    {"scopeName": text, "operator": operator, "values": each(text)},
    scopeName=MISSING,
    operator=MISSING,
)
_QUOTA_SPEC = fields(
    {
        "hard": named(quantity),
        "scopes": each(text),
        "scopeSelector": fields({"matchExpressions": each(_SCOPE)}),
    },
    hard={},
)
_CLAIM_SPEC = fields(
    {
        "volumeName": text,
        "accessModes": each(text),
        "resources": fields({"requests": named(text)}, requests={}),
    },
    accessModes=[],
    resources={},
)


def _kind(**parts: Shape) -> Shape:
    """Return the shape of a kind, of which all parts are needed."""
    return fields({"metadata": METADATA, **parts}, **{key: {} for key in ["metadata", *parts]})


_OF_ANY_KIND = _kind()
_DATA = _kind(data=named(text))
SHAPES: dict[Kind, Shape] = {
    kinds.POD: _kind(spec=_POD_SPEC, status=_POD_STATUS),
    kinds.QUOTA: _kind(
        spec=_QUOTA_SPEC, status=fields({"hard": named(quantity), "used": named(quantity)})
    ),
    kinds.LEASE: _kind(
        spec=fields({"holderIdentity": text, "renewTime": moment, "leaseDurationSeconds": whole})
    ),
    kinds.JOB: _kind(
        spec=fields({"backoffLimit": whole, "suspend": yes_or_no}, backoffLimit=6),
        status=fields(
            {**dict.fromkeys(("active", "failed", "succeeded"), whole), "conditions": _CONDITIONS}
        ),
    ),
    kinds.EVENT: fields(
        {
            "metadata": METADATA,
            "lastTimestamp": text,
            "eventTime": text,
            **_SAID,
            "involvedObject": fields({"name": text, "uid": text}),
        },
        metadata={},
    ),
    kinds.CLAIM: _kind(spec=_CLAIM_SPEC),
    kinds.VOLUME: _kind(
        spec=fields({"claimRef": fields({"name": text}, name="")}, claimRef={}),
    ),
    kinds.SERVICE: _kind(spec=fields({"clusterIP": text})),
    kinds.ENDPOINTS: fields(
        {
            "metadata": METADATA,
            "endpoints": each(fields({"addresses": each(text)}, addresses=[])),
            "ports": each(fields({"port": whole}, port=MISSING)),
        },
        metadata={},
    ),
    kinds.DASK_CLUSTER: _kind(spec=fields({}), status=fields({"phase": text})),
    kinds.NAMESPACE: _kind(status=fields({"conditions": _CONDITIONS})),
    kinds.DEFINITION: _kind(status=fields({"conditions": _CONDITIONS})),
    kinds.NODE: _kind(
        spec=fields({"taints": each(_TAINT), "unschedulable": yes_or_no}, taints=[]),
        status=_NODE_STATUS,
    ),
    kinds.DAEMON_SET: _kind(
        spec=fields({"template": fields({"spec": _POD_SPEC}, spec={})}, template={})
    ),
    kinds.STORAGE_CLASS: fields(
        {"metadata": METADATA, "provisioner": text}, metadata={}, provisioner=""
    ),
    kinds.ACCESS_REVIEW: _kind(status=fields({"allowed": yes_or_no}, allowed=False)),
    kinds.FELIX: _kind(spec=fields({"wireguardEnabled": yes_or_no}, wireguardEnabled=False)),
    kinds.CONFIG_MAP: _DATA,
    kinds.SECRET: _DATA,
}
"""What is read of each kind; of others it is their metadata."""


def shaped(kind: Kind, found: Any) -> Any:
    """Return an object of a kind as it is read, `MISSING` where it is none."""
    return SHAPES.get(kind, _OF_ANY_KIND)(found)
