"""One object of each kind that the facility reads, written after those of a real API server."""

import copy
from typing import Any

from facility.kubernetes.client import kinds
from facility.kubernetes.client.kinds import Kind

Object = dict[str, Any]
EARLIER, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
UID = "0b7a2f0e-6f4c-4a57-9d5c-0c6a0a7e2f11"
SERVER_CLASS = "af-notebook"
MANAGED = [
    {
        "manager": "OpenAPI-Generator",
        "operation": "Update",
        "apiVersion": "v1",
        "time": EARLIER,
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:component": {}}}},
    }
]


def _metadata(name: str, labels: dict[str, str], **more: Any) -> Object:
    return {
        "name": name,
        "namespace": "af-ada",
        "uid": UID,
        "resourceVersion": "1234",
        "generation": 1,
        "creationTimestamp": EARLIER,
        "labels": labels,
        "annotations": {"facility/user": "ada"},
        "managedFields": copy.deepcopy(MANAGED),
        **more,
    }


def _condition(kind: str, status: str = "True", **more: Any) -> Object:
    probed = {"lastProbeTime": None, "lastTransitionTime": LATER}
    return {"type": kind, "status": status, **probed, **more}


def _pod(name: str, labels: dict[str, str], priority_class: str) -> Object:
    container = {
        "name": "notebook",
        "image": "registry.test/facility/analysis:1.2",
        "imagePullPolicy": "IfNotPresent",
        "args": ["python", "-m", "facility.hub.user_server.pod"],
        "env": [{"name": "JUPYTERHUB_USER", "value": "ada"}],
        "ports": [{"name": "notebook-port", "containerPort": 8888, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "2", "memory": "4Gi"}, "requests": {"cpu": "500m"}},
        "securityContext": {"allowPrivilegeEscalation": False, "runAsUser": 1000},
        "volumeMounts": [{"name": "home", "mountPath": "/home/jovyan"}],
    }
    return {
        "metadata": _metadata(name, labels),
        "spec": {
            "containers": [container],
            "nodeName": "node-1",
            "priorityClassName": priority_class,
            "imagePullSecrets": [{"name": "pull"}],
            "restartPolicy": "OnFailure",
            "securityContext": {"fsGroup": 100},
            "serviceAccountName": "notebook",
            "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.244.1.7",
            "qosClass": "Burstable",
            "startTime": EARLIER,
            "conditions": [_condition("PodScheduled"), _condition("Ready")],
            "containerStatuses": [
                {
                    "name": "notebook",
                    "image": container["image"],
                    "imageID": "registry.test/facility/analysis@sha256:" + 64 * "a",
                    "ready": True,
                    "restartCount": 0,
                    "started": True,
                    "state": {"running": {"startedAt": LATER}},
                    "lastState": {},
                }
            ],
        },
    }


SERVER = _pod(
    "notebook",
    {
        "app.kubernetes.io/component": "user-server",
        "component": "user-server",
        "facility/hub": "af",
    },
    SERVER_CLASS,
)
WORKER = _pod(
    "mine-cpu-0",
    {
        "dask.org/cluster-name": "mine",
        "dask.org/component": "worker",
        "facility/pool": "cpu",
        "facility/group": "cpu-0",
        "facility/job": "fit",
    },
    "af-pool-cpu",
)
ENDED = copy.deepcopy(WORKER)
ENDED["status"] |= {"phase": "Failed", "reason": "Evicted", "message": "The node was low on disk."}
ENDED["status"]["conditions"] += [_condition("DisruptionTarget", reason="DeletionByPodGC")]
ENDED["status"]["containerStatuses"][0]["state"] = {
    "terminated": {
        "exitCode": 137,
        "reason": "OOMKilled",
        "message": "killed\n",
        "startedAt": LATER,
    }
}
WAITING = copy.deepcopy(SERVER)
WAITING["status"] |= {"phase": "Pending", "podIP": None}
WAITING["status"]["conditions"] = [
    _condition("PodScheduled", "False", message="0/2 nodes are available: 2 Insufficient cpu.")
]
WAITING["status"]["containerStatuses"][0]["state"] = {
    "waiting": {"reason": "ErrImagePull", "message": "no such host"}
}
LEASE = {
    "metadata": _metadata("mine-0a1b2c", {"dask.org/cluster-name": "mine"}),
    "spec": {
        "holderIdentity": "ada@lxplus",
        "leaseDurationSeconds": 300,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
    },
}
DASK_CLUSTER = {
    "apiVersion": "kubernetes.dask.org/v1",
    "kind": "DaskCluster",
    "metadata": _metadata(
        "mine",
        {"dask.org/cluster-name": "mine"},
        finalizers=["kopf.zalando.org/KopfFinalizerMarker"],
        deletionTimestamp=EARLIER,
        ownerReferences=[
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "name": "mine-0a1b2c",
                "uid": UID,
            }
        ],
    ),
    "spec": {"worker": {"replicas": 0}, "scheduler": {"spec": {}}},
    "status": {"phase": "Running"},
}
JOB = {
    "metadata": _metadata("fit", {"facility/job": "fit"}),
    "spec": {"backoffLimit": 2, "suspend": False, "template": {"spec": {}}},
    "status": {
        "active": 1,
        "failed": 1,
        "startTime": EARLIER,
        "conditions": [_condition("Failed", message="BackoffLimitExceeded")],
    },
}
EVENT = {
    "metadata": _metadata("notebook.17", {}),
    "involvedObject": {"kind": "Pod", "name": "notebook", "namespace": "af-ada", "uid": UID},
    "reason": "FailedCreate",
    "message": "Error creating: exceeded quota: all, requested: pods=1, used: pods=9, limited: 9",
    "type": "Warning",
    "lastTimestamp": LATER,
    "eventTime": None,
}
QUOTA = {
    "metadata": _metadata("all", {"facility/hub": "af"}),
    "spec": {
        "hard": {"limits.cpu": "8", "limits.memory": "32Gi", "pods": "20"},
        "scopes": ["NotTerminating"],
        "scopeSelector": {
            "matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In", "values": [SERVER_CLASS]}
            ]
        },
    },
    "status": {
        "hard": {"limits.cpu": "8", "limits.memory": "32Gi", "pods": "20"},
        "used": {"limits.cpu": "7500m", "limits.memory": "31Gi", "pods": "19"},
    },
}
CLAIM = {
    "metadata": _metadata("home", {}),
    "spec": {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "10Gi"}},
        "storageClassName": "standard",
        "volumeName": "pvc-1",
    },
    "status": {"phase": "Bound"},
}
VOLUME = {
    "metadata": _metadata("pvc-1", {"facility/hub": "af", "facility/tenant": "ada"}),
    "spec": {
        "capacity": {"storage": "10Gi"},
        "claimRef": {"kind": "PersistentVolumeClaim", "name": "home", "namespace": "af-ada"},
    },
}
NAMESPACE = {
    "metadata": {
        **_metadata("af-ada", {"facility/hub": "af", "facility/tenant": "ada"}),
        "annotations": {
            "facility/user": "ada",
            "facility/groups": '["atlas"]',
            "facility/used": EARLIER,
            "facility/uid": "1000",
            "facility/gid": "1000",
            "facility/gids": "1000 2000",
        },
    },
    "status": {"phase": "Active"},
}
SECRET = {
    "metadata": _metadata("mine-belongings", {"dask.org/cluster-name": "mine"}),
    "type": "kubernetes.io/dockerconfigjson",
    "data": {".dockerconfigjson": "e30="},
}
POOLS = {
    "metadata": _metadata("facility-pools", {}),
    "data": {"pools.yaml": "pools: {}", "release": "af", "scheduler.json": "{}"},
}
SERVICE = {"metadata": _metadata("mine-scheduler", {}), "spec": {"clusterIP": "10.96.0.7"}}
ENDPOINTS = {
    "metadata": {"name": "kubernetes", "namespace": "default", "uid": UID},
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.0.0.5"], "conditions": {"ready": True}}],
    "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
}
DEFINITION = {
    "metadata": {"name": "daskclusters.kubernetes.dask.org", "uid": UID},
    "status": {"conditions": [_condition("Established")]},
}
OF_EACH_KIND: list[tuple[Kind, Object]] = [
    (kinds.POD, SERVER),
    (kinds.POD, WORKER),
    (kinds.POD, ENDED),
    (kinds.POD, WAITING),
    (kinds.LEASE, LEASE),
    (kinds.DASK_CLUSTER, DASK_CLUSTER),
    (kinds.JOB, JOB),
    (kinds.EVENT, EVENT),
    (kinds.QUOTA, QUOTA),
    (kinds.CLAIM, CLAIM),
    (kinds.VOLUME, VOLUME),
    (kinds.NAMESPACE, NAMESPACE),
    (kinds.SECRET, SECRET),
    (kinds.CONFIG_MAP, POOLS),
    (kinds.SERVICE, SERVICE),
    (kinds.ENDPOINTS, ENDPOINTS),
    (kinds.DEFINITION, DEFINITION),
]
