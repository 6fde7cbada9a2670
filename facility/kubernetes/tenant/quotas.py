"""How much a user's namespace may hold, in total and of each kind of pod."""

from collections.abc import Iterable, Mapping
from typing import Any

from facility import names
from facility.kubernetes.tenant.model import Release, Tenant
from facility.kubernetes.tenant.priorities import same_kind
from facility.quantity import format_cores, format_memory

Manifest = dict[str, Any]
SCHEDULERS_PER_CLUSTER = 2
"""Scheduler pods that a Dask cluster may have at a time: the next one while one still ends."""
SECRETS = 100
SERVICES = 50
CLAIMS = 20
JOBS = 50
"""Jobs that there may be, those that have ended included."""
LEASES = 50
ENDED_PODS = 100
"""Pods that may have ended and still be there, beside those that run."""
DEFAULT_LIMITS = {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}
"""Of a container that states no limits; quotas on limits would refuse it."""
DEFAULT_REQUESTS = {**DEFAULT_LIMITS, "ephemeral-storage": names.DISK_REQUEST}


def is_counted(quota: Mapping[str, Any]) -> bool:
    """Tell whether Kubernetes counts all that a ResourceQuota is about.

    Before that it refuses whatever the quota limits ("status unknown for quota"). Kinds that have
    just been defined are found twice a minute; a quota that was there before is counted when all
    are looked at again, every five minutes by default.
    """
    hard, status = quota["spec"]["hard"], quota.get("status", {})
    return bool(status.get("hard") == hard and status.get("used", {}).keys() >= hard.keys())


def quotas(tenant: Tenant) -> list[Manifest]:
    """Return the ResourceQuotas: of everything, of each kind of pod, and none of foreign kinds."""
    release, quota = tenant.release, tenant.quota
    found = [
        _quota(
            tenant,
            "all",
            {
                "limits.cpu": format_cores(quota.cpu),
                "limits.memory": _bytes(quota.memory),
                "limits.ephemeral-storage": _bytes(quota.disk),
                "pods": str(quota.pods),
                "count/pods": str(quota.pods + ENDED_PODS),
                **{f"requests.{name}": str(quota.gpus) for name in gpu_resources(release)},
                "requests.storage": _bytes(quota.storage),
                "persistentvolumeclaims": str(CLAIMS),
                "count/daskclusters.kubernetes.dask.org": str(quota.clusters),
                "count/secrets": str(SECRETS),
                "count/jobs.batch": str(JOBS),
                "count/leases.coordination.k8s.io": str(LEASES),
                "services": str(SERVICES),
                "services.nodeports": "0",
                "services.loadbalancers": "0",
            },
        ),
        _quota(
            tenant,
            "notebooks",
            {"pods": str(quota.servers)},
            same_kind(release, release.notebook_class),
        ),
        _quota(
            tenant,
            "schedulers",
            {"pods": str(quota.clusters * SCHEDULERS_PER_CLUSTER)},
            same_kind(release, release.scheduler_class),
        ),
    ]
    # Each has a Dask cluster of its own.
    jobs = same_kind(release, release.job_class)
    found.append(_quota(tenant, "jobs", {"pods": str(quota.clusters)}, jobs))
    for name, workers in quota.pools.items():
        pool = release.config.pools[name]
        # A pod that is not full counts as one too.
        pods = str(-(-workers // pool.processes))
        classes = same_kind(release, release.pool_class(pool))
        found.append(_quota(tenant, f"pool-{name}", {"pods": pods}, classes))
    known = same_kind(release, *release.classes)
    found.append(_quota(tenant, "no-others", {"pods": "0"}, known, operator="NotIn"))
    # A pod that keeps others away from its node would do so to those of other users too.
    others = _quota(tenant, "no-affinity-to-others", {"pods": "0"})
    others["spec"]["scopes"] = ["CrossNamespacePodAffinity"]
    return [*found, others]


def limit_range(tenant: Tenant) -> Manifest:
    """Return what a container gets that states no limits."""
    default = {"default": dict(DEFAULT_LIMITS), "defaultRequest": dict(DEFAULT_REQUESTS)}
    return {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {
            "name": "defaults",
            "namespace": tenant.namespace,
            "labels": tenant.labels,
        },
        "spec": {"limits": [{"type": "Container", **default}]},
    }


def gpu_resources(release: Release) -> list[str]:
    """Return the names of all GPU resources that pools have."""
    return sorted({pool.gpu_resource for pool in release.config.pools.values()})


def _quota(
    tenant: Tenant,
    name: str,
    hard: Manifest,
    classes: Iterable[str] = (),
    operator: str = "In",
) -> Manifest:
    spec: Manifest = {"hard": hard}
    if classes:
        only = {"scopeName": "PriorityClass", "operator": operator, "values": list(classes)}
        spec["scopeSelector"] = {"matchExpressions": [only]}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": name, "namespace": tenant.namespace, "labels": tenant.labels},
        "spec": spec,
    }


def _bytes(count: int) -> str:
    return format_memory(count) if count else "0"
