"""Rules about the profiles of seccomp and AppArmor, as CEL expressions."""

from collections.abc import Mapping
from typing import Any

from facility.kubernetes.tenant.model import Shape

Manifest = dict[str, Any]
NAMES = {"seccompProfile": "seccompOf", "appArmorProfile": "appArmorOf"}
"""Variables of the profiles of nodes that pods of each PriorityClass may have."""
NOTE = "container.apparmor.security.beta.kubernetes.io/"
"""Annotation by which AppArmor was told once; Kubernetes still writes it beside the field."""


def data(shapes: Mapping[str, Shape]) -> dict[str, dict[str, list[str]]]:
    """Return the profiles of nodes for each PriorityClass, by the variable's name."""
    return {
        variable: {name: _localhost(shape, key) for name, shape in shapes.items()}
        for key, variable in NAMES.items()
    }


def _localhost(shape: Shape, key: str) -> list[str]:
    profile = shape.profiles.get(key, {})
    return [profile["localhostProfile"]] if "localhostProfile" in profile else []


def rule(key: str, containers: str, spec: str | None = None) -> Manifest:
    """Return the rule of one kind of profile.

    Parameters
    ----------
    key
        Of a security context: ``seccompProfile`` or ``appArmorProfile``, of which
        dask-kubernetes' kinds know nothing.
    containers
        Expression of a list of containers.
    spec
        Expression of the pod's specification, where it is looked at too.
    """
    named = f"variables.{NAMES[key]}[variables.class]"

    def allowed(of: str) -> str:
        found = f"{of}.?securityContext.?{key}"
        kind = f"{found}.?type.orValue('RuntimeDefault')"
        return (
            f"({kind} == 'RuntimeDefault' || {kind} == 'Localhost' && "
            f"{found}.?localhostProfile.orValue('') in {named})"
        )

    pod = f"{allowed(spec)} && " if spec else ""
    return {
        "expression": f"!variables.known || {pod}{containers}.all(c, {allowed('c')})",
        "messageExpression": f"'a pod of PriorityClass ' + variables.class + ' has the {key} "
        f"RuntimeDefault' + {named}.map(p, ' or Localhost ' + p).join('')",
    }


def note(key: str, value: str) -> str:
    """Write whether an annotation says what the field of AppArmor may say.

    Parameters
    ----------
    key, value
        Expressions of the annotation's key and its value.
    """
    return (
        f"{key}.startsWith('{NOTE}') && ({value} == 'runtime/default' || variables.known && "
        f"variables.appArmorOf[variables.class].exists(p, {value} == 'localhost/' + p))"
    )
