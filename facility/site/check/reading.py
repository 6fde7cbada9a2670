"""Asks a Kubernetes cluster for all that is judged of it, and changes nothing."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from facility.errors import KubernetesError
from facility.kubernetes.client import kinds
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import Call
from facility.kubernetes.client.kinds import Kind
from facility.site.check.snapshot import Object, Right, Snapshot

VERSION = Kind("Version", "", "/version", namespaced=False)
GROUPS = Kind("APIGroupList", "", "/apis", namespaced=False)
ADMISSION = Kind("APIResourceList", "", "/apis/admissionregistration.k8s.io/v1", namespaced=False)
SYSTEM = "kube-system"
LISTED = (
    kinds.NODE,
    kinds.DAEMON_SET,
    kinds.STORAGE_CLASS,
    kinds.CSI_DRIVER,
    kinds.INGRESS_CLASS,
    kinds.PRIORITY_CLASS,
    kinds.RUNTIME_CLASS,
)
SETTINGS = ("cilium-config", "antrea-config", "cluster-autoscaler-status")
"""ConfigMaps of `SYSTEM` that tell something."""
VERBS = ("create", "get", "list", "patch", "delete")
"""What Helm does to each object of a release."""
MADE = (
    *(("", each) for each in ("configmaps", "persistentvolumeclaims", "secrets", "services")),
    ("", "serviceaccounts"),
    ("apps", "deployments"),
    ("batch", "jobs"),
    ("networking.k8s.io", "networkpolicies"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
)
"""Kinds that the chart makes in the release's namespace."""
MADE_FOR_ALL = (
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("scheduling.k8s.io", "priorityclasses"),
)
"""Kinds that the chart makes and that are in no namespace."""
ROLES = ("rbac.authorization.k8s.io", "clusterroles")
LENDING = ("escalate", "bind")


def needed_rights(*, ingress: bool = False, cilium: bool = False) -> tuple[Right, ...]:
    """Return what who installs the chart has to be allowed.

    Parameters
    ----------
    ingress, cilium
        Whether the values ask for an Ingress, and for policies of Cilium.
    """
    made = list(MADE)
    if ingress:
        made.append(("networking.k8s.io", "ingresses"))
    if cilium:
        made.append(("cilium.io", "ciliumnetworkpolicies"))
    found = [Right(verb, group, resource) for group, resource in made for verb in VERBS]
    for group, resource in MADE_FOR_ALL:
        found += [Right(verb, group, resource, everywhere=True) for verb in VERBS]
    # To make a role one has to have what is in it, or these.
    found += [Right(verb, *ROLES, everywhere=True) for verb in LENDING]
    return (*found, Right("create", "", "namespaces", everywhere=True))


def read(
    api: Api, namespace: str, rights: Iterable[Right], tell: Callable[[str], None]
) -> Snapshot:
    """Read a Kubernetes cluster.

    Parameters
    ----------
    namespace
        That of the release, in which rights are asked for.
    rights
        What the caller should be allowed.
    tell
        Called with what is read next.

    Raises
    ------
    KubernetesError
        Where it does not answer, or not even tell its version.
    """
    tell("asking for the version")
    version = api.now(api.within("").reading(VERSION))
    unread: dict[str, str] = {}
    lists: dict[str, tuple[Object, ...]] = {}
    everywhere = api.within("")
    for kind in LISTED:
        tell(f"reading each {kind.name}")
        found = _try(everywhere, everywhere.reading(kind), kind.name, unread)
        if found is not None:
            lists[kind.name] = tuple(found["items"])
    tell("reading settings of the API server and of the network")
    system = api.within(SYSTEM)
    servers = system.reading(kinds.POD, labelSelector="component=kube-apiserver")
    if (found := _try(system, servers, kinds.POD.name, unread)) is not None:
        lists[kinds.POD.name] = tuple(found["items"])
    if (found := _try(everywhere, everywhere.reading(kinds.FELIX), "Felix", {})) is not None:
        lists[kinds.FELIX.name] = tuple(found["items"])
    settings = {}
    for name in SETTINGS:
        held = _try(system, system.reading(kinds.CONFIG_MAP, name), name, unread)
        if held is not None:
            settings[name] = held["data"]
    tell("asking what you may do")
    return Snapshot(
        version=str(version.get("gitVersion", "")),
        groups=_groups(_try(everywhere, everywhere.reading(GROUPS), "API groups", unread)),
        admission=_resources(_try(everywhere, everywhere.reading(ADMISSION), "admission", unread)),
        lists=lists,
        settings=settings,
        refused=tuple(each for each in rights if not _may(api, namespace, each)),
        unread=unread,
    )


def _try(api: Api, call: Call, name: str, unread: dict[str, str]) -> Any:
    """Ask, and note why there was no answer; None then."""
    try:
        return api.now(call)
    except KubernetesError as error:
        if error.status not in (403, 404):
            raise
        if error.status == 403:
            unread[name] = error.message
        return None


def _may(api: Api, namespace: str, right: Right) -> bool:
    attributes = {"verb": right.verb, "group": right.group, "resource": right.resource}
    if not right.everywhere:
        attributes["namespace"] = namespace
    body = {
        "apiVersion": kinds.ACCESS_REVIEW.version,
        "kind": kinds.ACCESS_REVIEW.name,
        "spec": {"resourceAttributes": attributes},
    }
    answer = api.now(Call("ask for", "POST", kinds.ACCESS_REVIEW, "", body=body))
    return bool(answer["status"]["allowed"])


def _groups(found: Mapping[str, Any] | None) -> frozenset[str]:
    listed = (found or {}).get("groups") or ()
    return frozenset(str(each["name"]) for each in listed if isinstance(each, dict))


def _resources(found: Mapping[str, Any] | None) -> frozenset[str]:
    listed = (found or {}).get("resources") or ()
    return frozenset(str(each["name"]) for each in listed if isinstance(each, dict))
