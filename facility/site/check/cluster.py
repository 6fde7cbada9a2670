"""Judges the API server: its version, what it admits, and what the caller may do. Pure."""

import re
from collections.abc import Iterator, Mapping

from facility.hub.kubernetes.values.model import Values
from facility.kubernetes.client import kinds
from facility.site.check.finding import Finding, advice, good, missing, unknown
from facility.site.check.reading import LENDING
from facility.site.check.snapshot import Snapshot

OLDEST = (1, 30)
"""Kubernetes' first version with ValidatingAdmissionPolicies that are not a trial."""
CHART = "the chart"
POLICIES = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
WITHOUT = "--disable-admission-plugins"
OPERATOR_GROUP = "kubernetes.dask.org"
BY_ANNOTATION = {
    "cert-manager.io/": ("cert-manager.io", "cert-manager"),
    "traefik.ingress.kubernetes.io/": ("traefik.io", "Traefik"),
}
"""Beginnings of an Ingress' annotations, the API group of whoever obeys them, and who that is."""


def judge(snapshot: Snapshot, values: Values | None) -> Iterator[Finding]:
    """Look at the API server."""
    yield _version(snapshot)
    yield _policies(snapshot)
    yield _pod_security(snapshot)
    yield from _rights(snapshot)
    if values is None:
        return
    yield from _operator(snapshot, values)
    yield from _ingress(snapshot, values)
    yield from _classes(snapshot, values)


def _version(snapshot: Snapshot) -> Finding:
    oldest = ".".join(map(str, OLDEST))
    name, asked = "Kubernetes' version", f"{CHART}, {oldest} or newer"
    numbers = re.match(r"v?(\d+)\.(\d+)", snapshot.version)
    if numbers is None:
        told = f"the API server says {snapshot.version!r}, which is no version"
        return unknown(name, asked, told, "Ask who runs it.")
    if (int(numbers[1]), int(numbers[2])) < OLDEST:
        return missing(name, asked, f"it is {snapshot.version}", "Upgrade Kubernetes.")
    return good(name, asked, f"it is {snapshot.version}")


def _policies(snapshot: Snapshot) -> Finding:
    name, asked = "ValidatingAdmissionPolicy", f"{CHART}, whose rules confine users and hub"
    if left := [each for each in POLICIES if each not in snapshot.admission]:
        told = f"admissionregistration.k8s.io/v1 has no {' and no '.join(left)}"
        todo = "Upgrade Kubernetes, or take the API out of the API server's --runtime-config."
        return missing(name, asked, told, todo)
    if "ValidatingAdmissionPolicy" in _disabled(snapshot):
        told = f"the API server runs with {WITHOUT} and names it"
        return missing(name, asked, told, f"Take it out of {WITHOUT}.")
    return good(name, asked, "it is served")


def _pod_security(snapshot: Snapshot) -> Finding:
    name, asked = "Pod Security admission", f"{CHART}: users' namespaces are `restricted`"
    if "PodSecurity" in _disabled(snapshot):
        told = f"the API server runs with {WITHOUT} and names PodSecurity"
        return missing(name, asked, told, f"Take PodSecurity out of {WITHOUT}.")
    if snapshot.lists.get(kinds.POD.name):
        return good(name, asked, f"the API server does not name it in {WITHOUT}")
    told = "it is on by default, and nothing tells of this API server's options"
    return unknown(name, asked, told, "`--probe` tries.")


def _disabled(snapshot: Snapshot) -> set[str]:
    """Return the admission plugins that an API server, where it runs as a pod, goes without."""
    words = [
        word
        for pod in snapshot.lists.get(kinds.POD.name, ())
        for container in pod["spec"]["containers"]
        for word in (*container.get("command", ()), *container.get("args", ()))
    ]
    listed = [word.partition("=")[2] for word in words if word.startswith(f"{WITHOUT}=")]
    return {name for text in listed for name in text.split(",")}


def _rights(snapshot: Snapshot) -> Iterator[Finding]:
    name, asked = "Your rights", f"installing {CHART}"
    refused = [each for each in snapshot.refused if each.verb not in LENDING]
    lending = [each for each in snapshot.refused if each.verb in LENDING]
    if refused:
        by_kind: dict[str, list[str]] = {}
        for right in refused:
            by_kind.setdefault(right.kind, []).append(right.verb)
        told = "; ".join(f"{', '.join(verbs)} {kind}" for kind, verbs in by_kind.items())
        todo = "Ask for them, or have who has them install: a cluster-admin does."
        yield missing(name, asked, f"you may not {told}", todo)
    elif lending:
        told = f"you may not {' and '.join(each.verb for each in lending)} ClusterRoles"
        todo = (
            "That is well where you have yourself each right that the chart's roles give; else "
            "have a cluster-admin install."
        )
        yield advice(name, asked, told, todo)
    else:
        yield good(name, asked, "you may make, change and delete all that it makes")


def _operator(snapshot: Snapshot, values: Values) -> Iterator[Finding]:
    name, there = "dask-kubernetes' kinds", OPERATOR_GROUP in snapshot.groups
    if not values.operator.enabled:
        asked = "operator.enabled: false"
        if there:
            yield good(name, asked, f"{OPERATOR_GROUP} is served")
            return
        told = f"the API group {OPERATOR_GROUP} is not served, so no operator of the site's is here"
        yield missing(
            name, asked, told, "Install dask-kubernetes' operator, or enable the chart's."
        )
    elif there:
        told = f"{OPERATOR_GROUP} is served already: there is an operator"
        todo = (
            "Well where it is this facility's, which is installed already; else two operators "
            "would make each scheduler twice: say operator.enabled: false."
        )
        yield advice(name, "operator.enabled: true", told, todo)


def _ingress(snapshot: Snapshot, values: Values) -> Iterator[Finding]:
    if not values.ingress.enabled:
        return
    yield _ingress_class(snapshot, values.ingress.ingress_class_name)
    for beginning, (group, who) in BY_ANNOTATION.items():
        keys = [key for key in values.ingress.annotations if key.startswith(beginning)]
        if not keys:
            continue
        asked = f"ingress.annotations, {keys[0]}"
        if group in snapshot.groups:
            yield good(who, asked, f"{group} is served")
        else:
            told = f"the API group {group} is not served, so nobody obeys the annotation"
            yield missing(who, asked, told, f"Install {who}, or take the annotation out.")


def _ingress_class(snapshot: Snapshot, wanted: str | None) -> Finding:
    kind = kinds.INGRESS_CLASS.name
    asked = "ingress.enabled" if wanted is None else f"ingress.ingressClassName: {wanted}"
    there = snapshot.names(kind)
    if there is None:
        return unknown(kind, asked, snapshot.why(kind), f"Ask for the right to list each {kind}.")
    told = f"there are {', '.join(sorted(there))}" if there else "there is none"
    todo = "Install a controller for Ingresses, or name one that is here."
    if wanted is not None:
        found = wanted in there
        return good(kind, asked, told) if found else missing(kind, asked, told, todo)
    by_default = "ingressclass.kubernetes.io/is-default-class"
    chosen = [
        each["metadata"]["name"]
        for each in snapshot.lists[kind]
        if each["metadata"].get("annotations", {}).get(by_default) == "true"
    ]
    if chosen:
        return good(kind, asked, f"{chosen[0]} is the default")
    return missing(kind, asked, f"{told}, and no default", f"Set ingress.ingressClassName. {todo}")


def _classes(snapshot: Snapshot, values: Values) -> Iterator[Finding]:
    """Look for the classes that pools, servers and schedulers name."""
    pools = values.config.pools
    named: Mapping[str, dict[str, str]] = {
        kinds.PRIORITY_CLASS.name: {
            each.priority_class: f"pools.{name}.priorityClass"
            for name, each in pools.items()
            if each.priority_class
        },
        kinds.RUNTIME_CLASS.name: {
            each.runtime_class: f"pools.{name}.runtimeClass"
            for name, each in pools.items()
            if each.runtime_class
        }
        | {
            section.runtime_class: f"{name}.runtimeClass"
            for name, section in (
                ("singleuser", values.singleuser),
                ("scheduler", values.scheduler),
            )
            if section.runtime_class
        },
    }
    for kind, wanted in named.items():
        there = snapshot.names(kind)
        for name, path in wanted.items():
            asked = f"{path}: {name}"
            if there is None:
                todo = f"Ask for the right to list each {kind}."
                yield unknown(kind, asked, snapshot.why(kind), todo)
            elif name in there:
                yield good(kind, asked, "it is there")
            else:
                told = f"there are {', '.join(sorted(there)) or 'none'}"
                yield missing(kind, asked, told, f"Make the {kind} {name}, or name another.")
