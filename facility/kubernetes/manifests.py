"""The objects of a Dask cluster on Kubernetes: pure functions from a request to dictionaries."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from facility import names
from facility.config import Pool
from facility.kubernetes import volumes as mounts
from facility.kubernetes.mounted_secret import BELONGINGS_FOLDER
from facility.kubernetes.pod_template import PodTemplate
from facility.quantity import format_cores, format_memory
from facility.request.checked_request import PoolRequest
from facility.worker.settings import library_settings, resources, spilling

TLS_FOLDER = "/etc/facility/tls"
SCRATCH = "/tmp"  # of a container whose other folders are read-only
PYTHON = ["python", "-P", "-m"]
"""``-P``: a random.py in the working directory must not stand in for the library's."""
SCHEDULER_RESOURCES = {
    "requests": {"cpu": "250m", "memory": "1Gi", "ephemeral-storage": names.DISK_REQUEST},
    "limits": {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "10Gi"},
}
NODE_GONE_SECONDS = 30
"""Seconds after which the pods of a node that does not answer are given up."""
CONNECT_SECONDS = 120.0
"""Seconds after which a worker that reaches no scheduler ends by itself."""

Manifest = dict[str, Any]


@dataclass(frozen=True)
class DaskCluster:
    """What the objects of one Dask cluster have in common."""

    name: str
    template: PodTemplate
    client: Mapping[str, Any]
    """What runs in the notebook, which workers compare themselves with."""

    @property
    def address(self) -> str:
        """Where workers and clients find the scheduler."""
        return names.scheduler_address(self.name, self.template.namespace)

    @property
    def selector(self) -> str:
        """Selector of everything that belongs to it."""
        return f"{names.CLUSTER_LABEL}={self.name}"

    @property
    def workers(self) -> str:
        """Selector of its workers."""
        return f"{self.selector},{names.COMPONENT_LABEL}={names.WORKER_COMPONENT}"

    def secret_name(self, role: str) -> str:
        """Name of the Secret with the certificate of its scheduler or its workers."""
        return f"{self.name}-{role}-tls"

    @property
    def belongings_name(self) -> str:
        """Name of the Secret with what workers get of the notebook's own."""
        return f"{self.name}-belongings"

    def metadata(self, name: str, component: str, **labels: str) -> Manifest:
        """Return the metadata of an object that ends with the notebook's pod."""
        found: Manifest = {"name": name, "labels": self.labels(component, **labels)}
        if self.template.owner:
            found["ownerReferences"] = [dict(self.template.owner)]
        return found

    def labels(self, component: str, **labels: str) -> dict[str, str]:
        """Return the labels by which dask-kubernetes' tools and the library find an object."""
        return {
            names.CLUSTER_LABEL: self.name,
            names.COMPONENT_LABEL: component,
            "app.kubernetes.io/managed-by": "facility",
            **labels,
        }


# Secrets.


def tls_secret(cluster: DaskCluster, role: str, files: Mapping[str, bytes]) -> Manifest:
    """Return the Secret with a role's certificate, its key and the authority's certificate.

    Parameters
    ----------
    files
        ``ca.crt``, ``tls.crt`` and ``tls.key``.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": cluster.metadata(cluster.secret_name(role), role),
        "data": {name: base64.b64encode(data).decode() for name, data in files.items()},
    }


def belongings_secret(cluster: DaskCluster, files: Mapping[str, bytes]) -> Manifest:
    """Return the Secret with the user's credentials, and variables of the notebook.

    Parameters
    ----------
    files
        As `facility.kubernetes.secret_sync` has found them.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": cluster.metadata(cluster.belongings_name, names.WORKER_COMPONENT),
        "data": {name: base64.b64encode(data).decode() for name, data in files.items()},
    }


# The scheduler.


def dask_cluster(cluster: DaskCluster, settings: Mapping[str, Any]) -> Manifest:
    """Return the DaskCluster, from which the operator makes scheduler and Service.

    The schema of dask-kubernetes knows ports as text only, so they are named.

    Parameters
    ----------
    settings
        Of `facility.scheduler.pooled`.
    """
    labels = cluster.labels(names.SCHEDULER_COMPONENT)
    container = {
        "name": "scheduler",
        "image": cluster.template.image,
        "imagePullPolicy": cluster.template.pull_policy,
        "command": [*PYTHON, "facility.kubernetes.scheduler"],
        "env": _environment(
            {
                **_tls_environment("scheduler"),
                names.SCHEDULER_VARIABLE: json.dumps(settings, sort_keys=True),
            }
        ),
        "ports": [
            {"name": "tcp-comm", "containerPort": names.SCHEDULER_PORT, "protocol": "TCP"},
            {"name": "http-dashboard", "containerPort": names.DASHBOARD_PORT, "protocol": "TCP"},
        ],
        "resources": cluster.template.scheduler.get("resources", SCHEDULER_RESOURCES),
        **_confined(),
    }
    shared, mounted = mounts.shared(cluster.template, [SCRATCH, TLS_FOLDER])
    container["volumeMounts"] += mounted
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": cluster.metadata(cluster.name, "cluster"),
        "spec": {
            "scheduler": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [container],
                    "serviceAccountName": names.SCHEDULER_ACCOUNT,
                    "priorityClassName": cluster.template.scheduler_class,
                    "terminationGracePeriodSeconds": 5,
                    "tolerations": [
                        *_node_gone(),
                        *cluster.template.scheduler.get("tolerations", ()),
                    ],
                    "nodeSelector": dict(cluster.template.scheduler.get("nodeSelector", {})),
                    **_pod_settings(cluster, "scheduler", _scheduler_disk(container), shared),
                },
                "service": {
                    "type": "ClusterIP",
                    "selector": {
                        names.CLUSTER_LABEL: cluster.name,
                        names.COMPONENT_LABEL: names.SCHEDULER_COMPONENT,
                    },
                    "ports": [
                        _port("tcp-comm", names.SCHEDULER_PORT),
                        _port("http-dashboard", names.DASHBOARD_PORT),
                    ],
                },
            },
            # Required by the schema, and never run: the library makes the workers' pods.
            "worker": {
                "replicas": 0,
                "spec": {"containers": [{"name": "worker", "image": cluster.template.image}]},
            },
        },
    }


def _port(name: str, port: int) -> Manifest:
    return {"name": name, "port": port, "protocol": "TCP", "targetPort": name}


# Workers.


def worker_pod(
    cluster: DaskCluster, name: str, members: Iterable[str], request: PoolRequest
) -> Manifest:
    """Return the pod of a group of worker processes.

    Parameters
    ----------
    name
        Name of the group.
    members
        Names of its worker processes.
    """
    pool = request.pool
    members = list(members)
    # It may come, and go, while the worker runs.
    belongings = {"secretName": cluster.belongings_name, "optional": True}
    volumes = [{"name": "belongings", "secret": belongings}]
    disk = pool.disk * len(members)
    volumes += [mounts.volume_of(volume, disk) for volume in pool.volumes]
    own = (volume.mount_path for volume in pool.volumes)
    shared, mounted = mounts.shared(
        cluster.template, [SCRATCH, TLS_FOLDER, BELONGINGS_FOLDER, *own]
    )
    grace = max(5, round(pool.grace))
    settings = {
        "scheduler": cluster.address,
        "members": members,
        "pool": pool.name,
        "threads": pool.threads,
        "memory": request.memory,
        "resources": resources(pool),
        "folder": f"{SCRATCH}/dask",
        "death_timeout": CONNECT_SECONDS,
        "dask": spilling(pool, pool.disk),
        "client": dict(cluster.client),
        "grace": grace,
    }
    confined = _confined()
    mount = {"name": "belongings", "mountPath": BELONGINGS_FOLDER, "readOnly": True}
    confined["volumeMounts"] += [mount, *map(mounts.mount_of, pool.volumes), *mounted]
    container = {
        "name": "worker",
        "image": pool.image or cluster.template.image,
        "imagePullPolicy": cluster.template.pull_policy,
        "command": [*PYTHON, "facility.kubernetes.worker"],
        "env": _environment(
            {
                **library_settings(request.memory, pool.threads),
                **pool.env,
                **_tls_environment("worker"),
                names.WORKER_VARIABLE: json.dumps(settings, sort_keys=True),
            }
        ),
        "ports": [
            {
                "name": f"{names.WORKER_DASHBOARD}-{number}",
                "containerPort": names.WORKER_DASHBOARD_PORT + number,
                "protocol": "TCP",
            }
            for number in range(len(members))
        ],
        "resources": pod_resources(pool, request.memory, len(members)),
        **confined,
    }
    metadata = cluster.metadata(
        f"{cluster.name}-{name}",
        names.WORKER_COMPONENT,
        **{names.POOL_LABEL: pool.name, names.GROUP_LABEL: name},
    )
    if pool.annotations:
        metadata["annotations"] = dict(pool.annotations)
    spec: Manifest = {
        "containers": [container],
        "restartPolicy": "Never",
        "serviceAccountName": names.WORKER_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace,
        "priorityClassName": pool.priority_class
        or names.pool_priority_class(pool.name, cluster.template.release),
        "tolerations": _node_gone() + [_plain(toleration) for toleration in pool.tolerations],
        **_pod_settings(cluster, "worker", format_memory(disk), [*volumes, *shared]),
    }
    if pool.runtime_class:
        spec["runtimeClassName"] = pool.runtime_class
    selector = dict(pool.node_selector)
    if pool.architecture:
        selector["kubernetes.io/arch"] = pool.architecture
    if selector:
        spec["nodeSelector"] = selector
    if pool.affinity:
        spec["affinity"] = _plain(pool.affinity)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def pod_resources(pool: Pool, memory: int, processes: int) -> Manifest:
    """Return what a pod of a pool asks for and may take at most.

    Parameters
    ----------
    memory
        Bytes of each worker process.
    """
    asked = {
        "cpu": format_cores(pool.cpu * processes),
        "memory": format_memory(memory * processes),
    }
    if pool.gpus:
        asked[pool.gpu_resource] = str(pool.gpus * processes)
    disk = {"ephemeral-storage": format_memory(pool.disk * processes)}
    return {
        "requests": {**asked, "ephemeral-storage": names.DISK_REQUEST},
        "limits": {**asked, **disk},
    }


# Parts.


def _environment(values: Mapping[str, str]) -> list[Manifest]:
    found: list[Manifest] = [{"name": name, "value": value} for name, value in values.items()]
    address = {"fieldRef": {"fieldPath": "status.podIP"}}
    return [{"name": names.POD_ADDRESS_VARIABLE, "valueFrom": address}, *found]


def _tls_environment(role: str) -> dict[str, str]:
    """Return Dask's configuration of TLS; what a worker's tasks connect to it is a client of."""
    prefix = "DASK_DISTRIBUTED__COMM__"
    found = {
        "HOME": SCRATCH,
        "DASK_TEMPORARY_DIRECTORY": SCRATCH,
        f"{prefix}REQUIRE_ENCRYPTION": "True",
        f"{prefix}TLS__CA_FILE": f"{TLS_FOLDER}/ca.crt",
    }
    for used in (role, "client"):
        found[f"{prefix}TLS__{used.upper()}__CERT"] = f"{TLS_FOLDER}/tls.crt"
        found[f"{prefix}TLS__{used.upper()}__KEY"] = f"{TLS_FOLDER}/tls.key"
    return found


def _confined() -> Manifest:
    """Return what every container of a Dask cluster has; Pod Security asks for most of it."""
    return {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "scratch", "mountPath": SCRATCH},
            {"name": "tls", "mountPath": TLS_FOLDER, "readOnly": True},
        ],
        "workingDir": SCRATCH,
    }


def _scheduler_disk(container: Mapping[str, Any]) -> str:
    """Return what a scheduler may have on its node's disk, whoever says its size."""
    limits: Mapping[str, str] = container["resources"].get("limits", {})
    return limits.get("ephemeral-storage", SCHEDULER_RESOURCES["limits"]["ephemeral-storage"])


def _pod_settings(
    cluster: DaskCluster, role: str, disk: str, volumes: Iterable[Manifest] = ()
) -> Manifest:
    found: Manifest = {
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            **cluster.template.identity,
        },
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": disk}},
            {"name": "tls", "secret": {"secretName": cluster.secret_name(role)}},
            *volumes,
        ],
    }
    if cluster.template.pull_secrets:
        found["imagePullSecrets"] = [{"name": name} for name in cluster.template.pull_secrets]
    return found


def _node_gone() -> list[Manifest]:
    return [
        {
            "key": f"node.kubernetes.io/{state}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": NODE_GONE_SECONDS,
        }
        for state in ("not-ready", "unreachable")
    ]


def _plain(model: Any) -> Manifest:
    """Write a part of pools.yaml as Kubernetes does."""
    return dict(model.model_dump(by_alias=True, exclude_none=True, mode="json"))
