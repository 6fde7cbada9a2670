"""Rules of how large what a user makes may be, as CEL expressions.

Quotas count objects. Without these rules each may be as large as etcd takes, 1.5 MB, and a few
hundred of them fill the etcd that all users share. CEL knows no size of an object, so that each
list and each text of a pod that has no bound of Kubernetes' own has one here.
"""

from collections.abc import Mapping
from typing import Any

from facility import names
from facility.wording import counted

Manifest = dict[str, Any]
TEXT_BYTES = 64 * 1024
"""Characters of all that a pod's containers are told: commands, variables, paths."""
NOTES_BYTES = 16 * 1024
"""Characters of all annotations that a pod is made with."""
LABELS, OWNERS = 64, 16
METADATA = (
    f"at most {LABELS} labels, {NOTES_BYTES} characters of annotations, and {OWNERS} owners and "
    "finalizers"
)
WORD = 1024
"""Characters of a single name or path."""
OF_POD: Mapping[str, int] = {
    "containers": 16,
    "initContainers": 16,
    "hostAliases": 16,
    "imagePullSecrets": 16,
    "readinessGates": 8,
    "schedulingGates": 8,
    "tolerations": 64,
    "topologySpreadConstraints": 8,
    "volumes": 64,
    "dnsConfig.?options": 16,
    "securityContext.?supplementalGroups": 256,
    "securityContext.?sysctls": 8,
}
"""Entries of each list of a pod at most."""
OF_CONTAINER: Mapping[str, int] = {
    "args": 1024,
    "command": 1024,
    "env": 512,
    "ports": 64,
    "resizePolicy": 8,
    "restartPolicyRules": 8,
    "volumeDevices": 16,
    "volumeMounts": 64,
}
"""Entries of each list of a container at most."""
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HANDLERS = (*PROBES, "lifecycle.?postStart", "lifecycle.?preStop")
HEADER = ("name", "value")
REFERRED = (
    *("?valueFrom.?configMapKeyRef.?name", "?valueFrom.?secretKeyRef.?name"),
    "?valueFrom.?resourceFieldRef.?containerName",
)
"""What a variable may name, without a bound of Kubernetes' own."""
ITEMS = ("configMap", "secret", "downwardAPI")
VOLUMES = (
    *("configMap.?name", "secret.?secretName", "persistentVolumeClaim.?claimName"),
    "emptyDir.?medium",
)
TERMS = (
    ("podAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "t"),
    ("podAffinity", "preferredDuringSchedulingIgnoredDuringExecution", "t.podAffinityTerm"),
    ("podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "t"),
    ("podAntiAffinity", "preferredDuringSchedulingIgnoredDuringExecution", "t.podAffinityTerm"),
)
AFFINITY_TERMS, SELECTOR_ENTRIES = 8, 32


def variables(spec: str) -> list[Manifest]:
    """Return what the rules speak of.

    Parameters
    ----------
    spec
        Expression of the pod's specification, as ``object.spec``.
    """
    told = " + ".join(
        [
            *(_sizes(f"c.?{key}") for key in ("args", "command")),
            _sizes("c.?env", "name", "?value", *REFERRED),
            _sizes("c.?volumeMounts", "mountPath", "?subPath", "?subPathExpr"),
            _sizes("c.?volumeDevices", "devicePath"),
            _sizes("c.?ports", "?hostIP"),
            *(_sizes(f"c.?{handler}.?exec.?command") for handler in HANDLERS),
            *(_sizes(f"c.?{handler}.?httpGet.?httpHeaders", *HEADER) for handler in HANDLERS),
            *(_size(f"c.?{handler}.?httpGet.?path") for handler in HANDLERS),
            *(_size(f"c.?{probe}.?grpc.?service") for probe in PROBES),
        ]
    )
    mounted = " + ".join(
        [
            *(_size(f"v.?{name}") for name in VOLUMES),
            *(_sizes(f"v.?{kind}.?items", "path") for kind in ITEMS),
            f"v.?projected.?sources.orValue([]).map(s, {_sources()}).sum()",
        ]
    )
    return [
        {
            "name": "told",
            "expression": f"variables.containers.map(c, {told}).sum() + "
            f"{spec}.?volumes.orValue([]).map(v, {mounted}).sum() + "
            f"{_sizes(f'{spec}.?imagePullSecrets', '?name')}",
        }
    ]


def rules(spec: str, metadata: str) -> list[Manifest]:
    """Return the rules of pods, and of templates from which pods are made.

    Parameters
    ----------
    spec, metadata
        Expressions of a pod's specification, and of what may be its metadata.
    """
    lists = [f"size({spec}.?{path}.orValue([])) <= {most}" for path, most in OF_POD.items()]
    inside = " && ".join(
        f"size(c.?{path}.orValue([])) <= {most}" for path, most in OF_CONTAINER.items()
    )
    words = " && ".join(
        f"size(c.?{path}.orValue('')) <= {WORD}"
        for path in ("image", "workingDir", "terminationMessagePath")
    )
    names = f"{spec}.?hostAliases.orValue([]).all(h, size(h.?hostnames.orValue([])) <= 16)"
    options = (
        f"{spec}.?dnsConfig.?options.orValue([]).all(o, size(o.?name.orValue('')) + "
        f"size(o.?value.orValue('')) <= {WORD})"
    )
    security = f"{_plain(spec)} && variables.containers.all(c, {_plain('c')})"
    # These know no mismatchLabelKeys.
    spread = f"{spec}.?topologySpreadConstraints.orValue([]).all(t, {_selector('t')})"
    return [
        _rule(
            " && ".join([*lists, names, options, security, spread, *_affinities(spec)]),
            "a list of the pod is too long, or it has windowsOptions: "
            + ", ".join(f"{path.replace('.?', '.')} {most}" for path, most in OF_POD.items())
            + f", terms of affinity {AFFINITY_TERMS}, and entries of a selector {SELECTOR_ENTRIES} "
            "are permitted",
        ),
        _rule(
            f"variables.containers.all(c, {inside} && {words})",
            "a list or path of a container is too long: "
            + ", ".join(f"{path} {most}" for path, most in OF_CONTAINER.items())
            + f", and {WORD} characters of image and paths are permitted",
        ),
        _rule(
            f"variables.told <= {TEXT_BYTES}",
            f"commands, variables and paths of a pod have at most {TEXT_BYTES} characters",
        ),
        {
            # Kubernetes itself adds some later.
            "expression": "variables.isServer || request.operation != 'CREATE' || "
            f"({_metadata(metadata)})",
            "message": f"a pod is made with {METADATA}",
        },
    ]


def secret_rule() -> Manifest:
    """Return the rule of Secrets."""
    # Written in base64; `stringData` has become `data` before the rules are asked.
    size = "object.?data.orValue({}).map(k, size(k) + size(object.data[k]) * 3 / 4).sum()"
    return {
        "expression": f"{size} <= {names.SECRET_BYTES} && {_metadata('object.metadata')}",
        "message": f"a Secret holds at most {counted(names.SECRET_BYTES, 'byte')}, and {METADATA}: "
        "all users share the space",
    }


def _metadata(metadata: str) -> str:
    """Write that labels, annotations and owners are few and short."""
    notes, owners = f"{metadata}.?annotations.orValue({{}})", f"{metadata}.?ownerReferences"
    return (
        f"size({metadata}.?labels.orValue({{}})) <= {LABELS} && "
        f"{notes}.map(k, size(k) + size({notes}[k])).sum() <= {NOTES_BYTES} && "
        f"size({metadata}.?finalizers.orValue([])) <= {OWNERS} && "
        f"size({owners}.orValue([])) <= {OWNERS} && {_sizes(owners, 'name', 'uid')} <= {WORD * 4}"
    )


def _rule(expression: str, message: str) -> Manifest:
    """Return a rule that is not about servers: the hub makes those, from the values."""
    return {"expression": f"variables.isServer || ({expression})", "message": message}


def _size(path: str) -> str:
    return f"size({path}.orValue(''))"


def _sizes(path: str, *keys: str) -> str:
    """Write the characters of all texts in a list, or of all entries' texts under some keys."""
    found = " + ".join(
        f"size(e.{key}.orValue(''))" if key.startswith("?") else f"size(e.{key})" for key in keys
    )
    return f"{path}.orValue([]).map(e, {found or 'size(e)'} + 1).sum()"


def _sources() -> str:
    return " + ".join(
        [
            *(_size(f"s.?{name}") for name in ("configMap.?name", "secret.?name")),
            *(_size(f"s.?serviceAccountToken.?{key}") for key in ("audience", "path")),
            *(_sizes(f"s.?{kind}.?items", "path") for kind in ITEMS),
        ]
    )


def _plain(of: str) -> str:
    """Write that a security context holds no long text."""
    found = f"{of}.?securityContext"
    return " && ".join(
        [
            f"!{found}.?windowsOptions.hasValue()",
            f"size({found}.?seLinuxOptions.?level.orValue('')) <= {WORD}",
            f"size({found}.?seccompProfile.?localhostProfile.orValue('')) <= {WORD}",
        ]
    )


def _selector(term: str, *keys: str) -> str:
    found = f"{term}.?labelSelector"
    lists = " && ".join(
        f"size({term}.?{key}.orValue([])) <= {SELECTOR_ENTRIES}"
        for key in ("matchLabelKeys", *keys)
    )
    return (
        f"{lists} && size({found}.?matchLabels.orValue({{}})) <= {SELECTOR_ENTRIES} && "
        f"size({found}.?matchExpressions.orValue([])) <= {SELECTOR_ENTRIES} && "
        f"{found}.?matchExpressions.orValue([]).all(e, "
        f"size(e.?values.orValue([])) <= {SELECTOR_ENTRIES})"
    )


def _affinities(spec: str) -> list[str]:
    return [
        f"size({spec}.?affinity.?{kind}.?{strength}.orValue([])) <= {AFFINITY_TERMS} && "
        f"{spec}.?affinity.?{kind}.?{strength}.orValue([])"
        f".all(t, {_selector(term, 'mismatchLabelKeys')})"
        for kind, strength, term in TERMS
    ]
