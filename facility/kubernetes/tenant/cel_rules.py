"""Rules that a pod's specification obeys in a user's namespace, as CEL expressions.

What differs between releases stands in `variables` as JSON, which is CEL too: what is to be
filled into a template is data and never code.
"""

import json
from collections.abc import Mapping
from typing import Any

from facility import names
from facility.config import Pool
from facility.config.shapes import Toleration
from facility.kubernetes.tenant import cel_confinement, cel_volumes
from facility.kubernetes.tenant.model import Release, Shape
from facility.kubernetes.tenant.priorities import with_earlier
from facility.kubernetes.tenant.quotas import gpu_resources

Manifest = dict[str, Any]
ACCOUNTS = (names.NOTEBOOK_ACCOUNT, names.SCHEDULER_ACCOUNT, names.WORKER_ACCOUNT)
ALWAYS_TOLERATED = (
    # Kubernetes itself adds these to pods.
    "node.kubernetes.io/not-ready Exists  NoExecute",
    "node.kubernetes.io/unreachable Exists  NoExecute",
    "node.kubernetes.io/memory-pressure Exists  NoSchedule",
)


def variables(release: Release, spec: str) -> list[Manifest]:
    """Return what the rules speak of.

    Parameters
    ----------
    spec
        Expression of the pod's specification, as ``object.spec``.
    """
    shapes = {
        release.notebook_class: release.notebook,
        release.job_class: release.notebook,
        release.scheduler_class: release.scheduler,
    }
    pools = {release.pool_class(pool): pool for pool in release.config.pools.values()}
    shapes |= {name: _shape(pool) for name, pool in pools.items()}
    # Which of the devices a user server has is for the hub to say, which alone may make one.
    every = gpu_resources(release)
    devices = {name: [pool.gpu_resource] if pool.gpus else [] for name, pool in pools.items()} | {
        release.notebook_class: every,
        release.job_class: [],
        release.scheduler_class: [],
    }
    runtimes = {name: [pool.runtime_class or ""] for name, pool in pools.items()}
    runtimes |= {
        release.notebook_class: sorted({"", *(each for [each] in runtimes.values())}),
        release.job_class: [""],
        release.scheduler_class: [""],
    }
    shapes, devices, runtimes = (
        with_earlier(release, shapes),
        with_earlier(release, devices),
        with_earlier(release, runtimes),
    )
    exact, prefixes = images(release)
    data: Mapping[str, Any] = {
        "selectors": {name: dict(shape.node_selector) for name, shape in shapes.items()},
        "tolerated": {
            name: list(
                dict.fromkeys(
                    [
                        *ALWAYS_TOLERATED,
                        *map(_as_text, shape.tolerations),
                        # Where a site wants it, Kubernetes adds this to pods with devices.
                        *(f"{device} Exists  NoSchedule" for device in devices[name]),
                    ]
                )
            )
            for name, shape in shapes.items()
        },
        "gpusOf": devices,
        "runtimes": runtimes,
        "images": exact,
        "imagePrefixes": prefixes,
        "accounts": list(ACCOUNTS),
    }
    found = [{"name": name, "expression": json.dumps(value)} for name, value in data.items()]
    containers = f"{spec}.containers + {spec}.?initContainers.orValue([])"
    tolerations = (
        f"{spec}.?tolerations.orValue([]).map(t, [[t.?key.orValue(''), "
        "t.?operator.orValue('Equal'), t.?value.orValue(''), t.?effect.orValue('')].join(' '), "
        "has(t.tolerationSeconds) ? string(t.tolerationSeconds) : ''])"
    )
    return [
        *found,
        {"name": "class", "expression": f"{spec}.?priorityClassName.orValue('')"},
        {"name": "known", "expression": "variables.class in variables.selectors"},
        {"name": "containers", "expression": containers},
        {"name": "notes", "expression": "namespaceObject.metadata.?annotations.orValue({})"},
        {
            "name": "groups",
            "expression": f"variables.notes[?'{names.GIDS_ANNOTATION}'].orValue('').split(' ')",
        },
        {"name": "tolerations", "expression": tolerations},
        *cel_volumes.variables(release, spec),
        *cel_confinement.variables(release, spec),
    ]


def pod_rules(spec: str) -> list[Manifest]:
    """Return the rules that pods obey, and templates from which pods are made."""
    return [
        _rule(
            "variables.known",
            "'the PriorityClass \"' + variables.class + '\" is not one of this facility; valid "
            "are ' + variables.selectors.map(c, c).join(', ')",
        ),
        _rule(
            "!variables.known || variables.selectors[variables.class].all(k, "
            f"{spec}.?nodeSelector.orValue({{}})[?k].orValue('') == "
            "variables.selectors[variables.class][k])",
            "'a pod of PriorityClass ' + variables.class + ' needs the nodeSelector ' + "
            "variables.selectors[variables.class].map(k, k + ': ' + "
            "variables.selectors[variables.class][k]).join(', ')",
        ),
        _rule(
            "!variables.known || variables.tolerations.all(t, "
            "t[0] in variables.tolerated[variables.class] || "
            "t.join(' ') in variables.tolerated[variables.class])",
            "'a pod of PriorityClass ' + variables.class + ' has a toleration that its pool has "
            "not; permitted are ' + variables.tolerated[variables.class].join(', ')",
        ),
        _rule(
            f"!variables.known || {spec}.?runtimeClassName.orValue('') in "
            "variables.runtimes[variables.class]",
            "'a pod of PriorityClass ' + variables.class + ' needs the runtimeClassName \"' + "
            "variables.runtimes[variables.class].join('\" or \"') + '\"'",
        ),
        _rule(
            f"{spec}.?serviceAccountName.orValue('default') in variables.accounts",
            f"'the ServiceAccount ' + {spec}.?serviceAccountName.orValue('default') + ' is not "
            "permitted; valid are ' + variables.accounts.join(', ')",
        ),
        images_of("variables.containers"),
        users_of(spec, "variables.containers"),
        _rule(
            f"!('{names.UID_ANNOTATION}' in variables.notes) || "
            f"({spec}.?securityContext.?supplementalGroups.orValue([]).all(g, "
            "string(g) in variables.groups) && "
            f"string({spec}.?securityContext.?fsGroup.orValue(-1)) in variables.groups + ['-1'])",
            "'pods of this namespace are in no other groups than ' + variables.groups.join(', ')",
        ),
        *cel_volumes.rules(),
        *cel_confinement.spec_rules(spec),
    ]


def users_of(spec: str, containers: str) -> Manifest:
    """Return the rule of whom containers run as, where the namespace says it.

    On file systems of a site a user is a number, so that another number were another user.

    Parameters
    ----------
    containers
        Expression of a list of containers.
    """
    user, group = (
        f"string(c.?securityContext.?{key}.orValue({spec}.?securityContext.?{key}.orValue(-1)))"
        for key in ("runAsUser", "runAsGroup")
    )
    uid = f"variables.notes['{names.UID_ANNOTATION}']"
    gid = f"variables.notes[?'{names.GID_ANNOTATION}'].orValue('-1')"
    return _rule(
        f"!('{names.UID_ANNOTATION}' in variables.notes) || "
        f"{containers}.all(c, {user} == {uid} && {group} == {gid})",
        f"'pods of this namespace have the runAsUser ' + {uid} + ' and ' + ({gid} == '-1' ? "
        f"'no runAsGroup' : 'the runAsGroup ' + {gid})",
    )


def images_of(containers: str) -> Manifest:
    """Return the rule of what containers run.

    Parameters
    ----------
    containers
        Expression of a list of containers.
    """
    return _rule(
        f"{containers}.all(c, c.?image.orValue('') in variables.images || "
        "variables.imagePrefixes.exists(p, c.?image.orValue('').startsWith(p)))",
        f"'an image is not permitted: ' + {containers}.map(c, "
        "c.?image.orValue('none')).join(', ') + '; permitted are ' + "
        "(variables.images + variables.imagePrefixes.map(p, p + '*')).join(', ')",
    )


def images(release: Release) -> tuple[list[str], list[str]]:
    """Return the images that are permitted as they stand, and what permitted ones begin with."""
    exact = {pool.image for pool in release.config.pools.values() if pool.image}
    exact |= {image for image in release.images if not image.endswith("/")}
    prefixes = {image for image in release.images if image.endswith("/")}
    # A repository is followed by a tag or a digest; another repository's name goes on otherwise.
    prefixes |= {
        image + mark for image in release.images if not image.endswith("/") for mark in ":@"
    }
    return sorted(exact), sorted(prefixes)


def _shape(pool: Pool) -> Shape:
    selector = dict(pool.node_selector)
    if pool.architecture:
        selector["kubernetes.io/arch"] = pool.architecture
    return Shape(selector, pool.tolerations)


def _as_text(toleration: Toleration) -> str:
    """Write a toleration as the rules do; without seconds it stands for any number of them."""
    parts = [toleration.key, toleration.operator, toleration.value, toleration.effect]
    if toleration.toleration_seconds is not None:
        parts.append(str(toleration.toleration_seconds))
    return " ".join(part or "" for part in parts)


def _rule(expression: str, message: str) -> Manifest:
    return {"expression": expression, "messageExpression": message}
