"""The site's batch as the chart has made it: its namespace, and what a job there may be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from facility import names
from facility.backend import runs_in_pod
from facility.errors import FacilityError, KubernetesError
from facility.kubernetes.client.account import pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import CONFIG_MAP, NAMESPACE, NODE
from facility.kubernetes.client.kubeconfig import kubeconfig_account
from facility.quantity import parse_quantity

CONFIG = "facility-batch"
"""ConfigMap in which the chart says it."""
BATCH_KEY, TEMPLATE_KEY = "batch.json", "job.yaml"
ENABLE = "set batch.enabled: true in the chart's values"


@dataclass(frozen=True)
class Node:
    """What a node gives to pods.

    Parameters
    ----------
    name
        Its name.
    cpu, memory
        Cores and bytes of it.
    """

    name: str
    cpu: float
    memory: float


@dataclass(frozen=True)
class BatchNamespace:
    """The batch of a release.

    Parameters
    ----------
    api
        Asks within its namespace, with the administrator's account.
    release, namespace
        Of the chart, and of batch.
    priority_class
        That every batch pod has.
    grace
        Seconds in which a pod has to end.
    cpu, memory
        Cores and bytes of the largest job; None for any.
    selector
        Labels of the nodes on which batch runs.
    template
        The Job from which Harvester makes each worker's, as YAML.
    """

    api: Api
    release: str
    namespace: str
    priority_class: str
    grace: int
    cpu: float | None
    memory: float | None
    template: str
    selector: Mapping[str, str] = field(default_factory=dict)

    def nodes(self) -> list[Node]:
        """Return the nodes on which batch may run; none before an autoscaler has made one.

        Raises
        ------
        KubernetesError
            Where Kubernetes does not say it.
        """
        labels = ",".join(f"{key}={value}" for key, value in sorted(self.selector.items()))
        wanted = {"labelSelector": labels} if labels else {}
        return [
            Node(each["metadata"]["name"], _amount(each, "cpu"), _amount(each, "memory"))
            for each in self.api.now(self.api.reading(NODE, **wanted))["items"]
        ]


def _amount(node: Mapping[str, Any], what: str) -> float:
    found = node.get("status", {}).get("allocatable", {}).get(what, "0")
    return float(parse_quantity(str(found)))


def administrator() -> Api:
    """Return what asks with the administrator's account: a kubeconfig's, or this pod's."""
    return Api(pod_account() if runs_in_pod() else kubeconfig_account())


def find(api: Api, namespace: str | None = None) -> BatchNamespace:
    """Read what the chart says of batch.

    Parameters
    ----------
    namespace
        Of batch; needed where the Kubernetes cluster has more than one.

    Raises
    ------
    FacilityError
        Where there is none, or more than one and none is named.
    """
    namespace = namespace or _the_only(api)
    inside = api.within(namespace)
    try:
        data = inside.now(inside.reading(CONFIG_MAP, CONFIG))["data"]
    except KubernetesError as error:
        if error.status != 404:
            raise
        raise FacilityError(
            f"The namespace {namespace} is no batch of a facility: it has no ConfigMap {CONFIG}. "
            f"Name the one that has it, or {ENABLE}."
        ) from None
    try:
        said = json.loads(data[BATCH_KEY])
        largest = said["largestJob"]
        return BatchNamespace(
            api=inside,
            release=said["release"],
            namespace=namespace,
            priority_class=said["priorityClass"],
            grace=int(said["grace"]),
            cpu=_bound(largest.get("cpu")),
            memory=_bound(largest.get("memory")),
            template=data[TEMPLATE_KEY],
            selector=said["nodeSelector"],
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FacilityError(
            f"The ConfigMap {CONFIG} of {namespace} is not as the chart writes it; `helm upgrade` "
            "writes it anew."
        ) from None


def _bound(value: Any) -> float | None:
    return None if value is None else float(parse_quantity(str(value)))


def _the_only(api: Api) -> str:
    listed = api.now(api.reading(NAMESPACE, labelSelector=names.BATCH_LABEL))["items"]
    found = sorted(each["metadata"]["name"] for each in listed)
    if len(found) == 1:
        return str(found[0])
    if not found:
        raise FacilityError(f"This Kubernetes has no batch of a facility: {ENABLE}.")
    raise FacilityError(
        f"There are {len(found)} namespaces of batch, {', '.join(found)}: say which with "
        "--namespace."
    )
