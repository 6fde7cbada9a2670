"""Kinds of objects in Kubernetes, and where each is found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A kind of object, and where it is found."""

    name: str
    plural: str
    base: str = "/api/v1"
    namespaced: bool = True

    @property
    def version(self) -> str:
        """What manifests give as their `apiVersion`."""
        return self.base.removeprefix("/apis/").removeprefix("/api/")


POD = Kind("Pod", "pods")
CONFIG_MAP = Kind("ConfigMap", "configmaps")
SECRET = Kind("Secret", "secrets")
SERVICE = Kind("Service", "services")
ACCOUNT = Kind("ServiceAccount", "serviceaccounts")
EVENT = Kind("Event", "events")
QUOTA = Kind("ResourceQuota", "resourcequotas")
LIMIT_RANGE = Kind("LimitRange", "limitranges")
CLAIM = Kind("PersistentVolumeClaim", "persistentvolumeclaims")
VOLUME = Kind("PersistentVolume", "persistentvolumes", namespaced=False)
NAMESPACE = Kind("Namespace", "namespaces", namespaced=False)
NODE = Kind("Node", "nodes", namespaced=False)
DEPLOYMENT = Kind("Deployment", "deployments", "/apis/apps/v1")
JOB = Kind("Job", "jobs", "/apis/batch/v1")
LEASE = Kind("Lease", "leases", "/apis/coordination.k8s.io/v1")
ROLE_BINDING = Kind("RoleBinding", "rolebindings", "/apis/rbac.authorization.k8s.io/v1")
NETWORK_POLICY = Kind("NetworkPolicy", "networkpolicies", "/apis/networking.k8s.io/v1")
CILIUM_POLICY = Kind("CiliumNetworkPolicy", "ciliumnetworkpolicies", "/apis/cilium.io/v2")
ENDPOINTS = Kind("EndpointSlice", "endpointslices", "/apis/discovery.k8s.io/v1")
DASK_CLUSTER = Kind("DaskCluster", "daskclusters", "/apis/kubernetes.dask.org/v1")
DASK_GROUP = Kind("DaskWorkerGroup", "daskworkergroups", "/apis/kubernetes.dask.org/v1")
DEFINITION = Kind(
    "CustomResourceDefinition",
    "customresourcedefinitions",
    "/apis/apiextensions.k8s.io/v1",
    namespaced=False,
)
_ALL = {
    (kind.version, kind.name): kind for kind in tuple(globals().values()) if isinstance(kind, Kind)
}


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """Return the kind of a manifest.

    Raises
    ------
    KeyError
        Where it is none of those that the facility makes.
    """
    return _ALL[manifest["apiVersion"], manifest["kind"]]
