"""Rules by which a pod stays on its pool's nodes and devices and ends in time, as CEL expressions.

A notebook server's pod is made by the hub alone, from the values, so that some of them are not
about it.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from facility import names
from facility.config import Pool
from facility.kubernetes.tenant.model import Release
from facility.kubernetes.tenant.priorities import with_earlier

Manifest = dict[str, Any]
RESOURCES = ("cpu", "memory", "ephemeral-storage")
"""What every pod may ask for, beside the devices of its pool."""
ARCHITECTURE = "kubernetes.io/arch"
GRACE_SECONDS = 600
"""Seconds in which a pod has to end, unless a pool allows its tasks more."""
ANNOTATIONS = (
    # Kubernetes and OpenShift set these before the rules are asked.
    *("kubernetes.io/limit-ranger", "batch.kubernetes.io/job-completion-index"),
    *("openshift.io/scc", "security.openshift.io/validated-scc-subject-type"),
)
DEVICES_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
"""By which NVIDIA's runtime gives devices to a container that has asked for none."""
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
HANDLERS = (*PROBES, "lifecycle.?postStart", "lifecycle.?preStop")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def data(release: Release) -> dict[str, Any]:
    """Return what differs between releases, by the variable's name."""
    pools = {release.pool_class(pool): pool for pool in release.config.pools.values()}
    servers = [f"{key}={value}" for key, value in sorted(release.notebook.node_selector.items())]
    servers = sorted({*servers, *release.notebook.choices})
    scheduler = release.scheduler.node_selector
    return {
        "selectable": with_earlier(
            release,
            {
                release.notebook_class: servers,
                release.job_class: servers,
                release.scheduler_class: sorted(
                    f"{key}={value}" for key, value in scheduler.items()
                ),
            }
            | {name: _labels(pool) for name, pool in pools.items()},
        ),
        "nodeAffinity": with_earlier(
            release,
            {release.job_class: [], release.scheduler_class: []}
            | {name: node_terms(pool) for name, pool in pools.items()},
        ),
        "annotationsOf": with_earlier(
            release, {name: dict(pool.annotations) for name, pool in pools.items()}
        ),
        "annotations": [*ANNOTATIONS, *release.permitted.annotations],
        "longestGrace": longest_grace(release),
    }


def longest_grace(release: Release) -> int:
    """Return the seconds in which a pod has to end."""
    return max(GRACE_SECONDS, *(math.ceil(each.grace) for each in release.config.pools.values()))


def _labels(pool: Pool) -> list[str]:
    found = dict(pool.node_selector)
    if pool.architecture:
        found[ARCHITECTURE] = pool.architecture
    return sorted(f"{key}={value}" for key, value in found.items())


def node_terms(pool: Pool) -> list[list[list[str]]]:
    """Write a pool's node affinity as the rules do: of each term its weight and its expressions.

    The weight of a term that has to be fulfilled is 0.
    """
    affinity = (pool.affinity.node_affinity if pool.affinity else None) or {}
    required = (affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or ()
    preferred = affinity.get(PREFERRED) or ()
    return [
        *([["0"], *_expressions(term)] for term in required),
        *([[str(each["weight"])], *_expressions(each["preference"])] for each in preferred),
    ]


def _expressions(term: Mapping[str, Any]) -> list[list[str]]:
    return [
        [each["key"], each["operator"], *each.get("values", ())]
        for each in term.get("matchExpressions", ())
    ]


def variables(release: Release, spec: str) -> list[Manifest]:
    """Return what the rules speak of.

    Parameters
    ----------
    spec
        Expression of the pod's specification, as ``object.spec``.
    """
    found = [
        {"name": name, "expression": json.dumps(value)} for name, value in data(release).items()
    ]
    affinity = f"{spec}.?affinity.?nodeAffinity"

    def expressions(term: str) -> str:
        return (
            f"{term}.?matchExpressions.orValue([]).map(e, [e.key, e.operator] + "
            "e.?values.orValue([]))"
        )

    terms = (
        f"{affinity}.?{REQUIRED}.?nodeSelectorTerms.orValue([])"
        f".map(t, [['0']] + {expressions('t')}) + {affinity}.?{PREFERRED}.orValue([])"
        f".map(p, [[string(p.weight)]] + {expressions('p.preference')})"
    )
    servers = sorted(names.server_priority_classes(release.name))
    return [
        *found,
        {"name": "servers", "expression": json.dumps(servers)},
        {"name": "isServer", "expression": "variables.class in variables.servers"},
        {"name": "nodeTerms", "expression": terms},
    ]


def spec_rules(spec: str) -> list[Manifest]:
    """Return the rules about a pod's specification."""
    selector = f"{spec}.?nodeSelector.orValue({{}})"
    affinity = f"{spec}.?affinity.?nodeAffinity"
    hosts = " && ".join(
        f"c.?{handler}.?{kind}.?host.orValue('') == ''"
        for handler in HANDLERS
        for kind in ("httpGet", "tcpSocket")
    )
    graces = " && ".join(
        f"c.?{probe}.?terminationGracePeriodSeconds.orValue(0) <= variables.longestGrace"
        for probe in PROBES
    )
    listed = json.dumps(RESOURCES)
    resources = " && ".join(
        f"c.?resources.{kind}.orValue({{}}).all(r, r in {listed} || "
        "r in variables.gpusOf[variables.class])"
        for kind in ("limits", "requests")
    )
    of_class = "'pods of PriorityClass ' + variables.class + '"
    return [
        {
            "expression": f"!variables.known || variables.isServer || {selector}.all(k, "
            f"k == '{ARCHITECTURE}' && !variables.selectable[variables.class].exists(s, "
            f"s.startsWith(k + '=')) || "
            f"(k + '=' + {selector}[k]) in variables.selectable[variables.class])",
            "messageExpression": f"{of_class} choose no nodes; of nodeSelector permitted are ' + "
            f"variables.selectable[variables.class].join(', ') + ' and {ARCHITECTURE}'",
        },
        {
            "expression": "!(variables.class in variables.nodeAffinity) || "
            "variables.nodeTerms == variables.nodeAffinity[variables.class] && "
            f"{affinity}.?{REQUIRED}.?nodeSelectorTerms.orValue([])"
            ".all(t, !has(t.matchFields)) && "
            f"{affinity}.?{PREFERRED}.orValue([]).all(p, !has(p.preference.matchFields))",
            "messageExpression": f"{of_class} have the node affinity of their pool and no other'",
        },
        {
            "expression": _own_namespace(spec),
            "message": "an affinity to pods of other namespaces is not permitted: leave out "
            "namespaces and namespaceSelector",
        },
        {
            "expression": f"{spec}.?schedulerName.orValue('default-scheduler') == "
            "'default-scheduler'",
            "message": "schedulerName must be default-scheduler",
        },
        {
            "expression": f"!variables.known || variables.containers.all(c, {resources})",
            "messageExpression": f"{of_class} have no other resources than ' + "
            f"({listed} + variables.gpusOf[variables.class]).join(', ') + '; what has GPUs or "
            "other devices is said by the pool'",
        },
        {
            "expression": "!variables.known || variables.isServer || "
            "size(variables.gpusOf[variables.class]) == 0 || "
            "variables.containers.exists(c, c.?resources.limits.orValue({}).exists(r, "
            "r in variables.gpusOf[variables.class] && string(c.resources.limits[r]) != '0'))",
            "messageExpression": f"{of_class} ask for at least one ' + "
            "variables.gpusOf[variables.class].join(', ')",
        },
        {
            "expression": "variables.isServer || variables.containers.all(c, "
            f"size(c.?envFrom.orValue([])) == 0 && c.?env.orValue([]).all(e, "
            f"e.name != '{DEVICES_VARIABLE}'))",
            "message": f"the variable {DEVICES_VARIABLE} is not permitted, nor envFrom, in which "
            "it may stand: devices are given by Kubernetes alone. Write each variable into env",
        },
        {
            "expression": f"variables.containers.all(c, {hosts})",
            "message": "a probe or lifecycle hook with a host is not permitted: the node would "
            "call it, past the network policies",
        },
        {
            "expression": f"{spec}.?terminationGracePeriodSeconds.orValue(30) <= "
            f"variables.longestGrace && variables.containers.all(c, {graces})",
            "messageExpression": "'terminationGracePeriodSeconds must be at most ' + "
            "string(variables.longestGrace)",
        },
    ]


def user_namespace_rule(spec: str) -> Manifest:
    """Return the rule of user namespaces, of which dask-kubernetes' kinds know nothing.

    In one, Pod Security allows root, who may write on a shared volume what others own.
    """
    return {
        "expression": f"{spec}.?hostUsers.orValue(true) || "
        f"'{names.UID_ANNOTATION}' in variables.notes",
        "message": "hostUsers: false is not permitted, since pods might run as root then",
    }


def _own_namespace(spec: str) -> str:
    """Write that no affinity to pods looks into another namespace."""

    def own(term: str) -> str:
        return f"size({term}.?namespaces.orValue([])) == 0 && !has({term}.namespaceSelector)"

    return " && ".join(
        f"{spec}.?affinity.?{kind}.?{REQUIRED}.orValue([]).all(t, {own('t')}) && "
        f"{spec}.?affinity.?{kind}.?{PREFERRED}.orValue([]).all(p, {own('p.podAffinityTerm')})"
        for kind in ("podAffinity", "podAntiAffinity")
    )


def metadata_rules(metadata: str, *, always: bool = True) -> list[Manifest]:
    """Return the rules about labels and annotations, which other software obeys.

    Parameters
    ----------
    metadata
        Expression of what may be the pod's metadata, as ``object.?metadata``.
    always
        Whether a later change keeps them too; to pods Kubernetes itself adds some then.
    """
    unless = (
        "variables.isServer || "
        if always
        else ("variables.isServer || request.operation != 'CREATE' || ")
    )
    notes = f"{metadata}.?annotations.orValue({{}})"
    labels = f"{metadata}.?labels.orValue({{}})"
    foreign = (
        f"{notes}.map(k, k).filter(k, !("
        "variables.annotations.exists(a, a == k || (a.endsWith('/') && k.startsWith(a))) || "
        "(variables.class in variables.annotationsOf && "
        f"variables.annotationsOf[variables.class][?k].orValue('') == {notes}[k])))"
    )
    ours = [names.HUB_LABEL, names.TENANT_LABEL]
    servers = [names.APP_COMPONENT_LABEL, "component"]
    return [
        {
            "expression": f"{unless}size({foreign}) == 0",
            "messageExpression": "'an annotation is not permitted: ' + "
            f"{foreign}.join(', ') + '; permitted are those of the pool and ' + "
            "variables.annotations.join(', ')",
        },
        {
            "expression": f"{unless}{json.dumps(servers)}.all(k, {labels}[?k].orValue('') != "
            f"'{names.USER_SERVER_COMPONENT}') && {json.dumps(ours)}.all(k, !(k in {labels}))",
            "message": "labels by which the hub knows user servers are the hub's alone: "
            f"{', '.join((*ours, *servers))}",
        },
    ]
