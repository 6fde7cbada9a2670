"""How many workers of each pool a namespace's quotas allow."""

from collections.abc import Iterable, Mapping
from typing import Any

from facility import names
from facility.config import Config, Pool
from facility.kubernetes.manifests import pod_resources
from facility.kubernetes.quota import shares, written
from facility.request.checked_request import Limit


def limits(config: Config, quotas: Iterable[Mapping[str, Any]]) -> dict[str, Limit]:
    """Return the limit of each pool: its own, or what the quotas allow if nothing else runs.

    What else runs changes, so that the API server's answer counts when a pod is posted.

    Parameters
    ----------
    quotas
        ResourceQuotas of the namespace.
    """
    quotas = list(quotas)
    return {pool.name: _limit(pool, quotas) for pool in config.pools.values()}


def _limit(pool: Pool, quotas: Iterable[Mapping[str, Any]]) -> Limit:
    found = Limit(pool.max_workers, f"pool {pool.name} allows no more")
    for share in shares(quotas, _pod(pool)):
        workers = int(share.hard / share.takes) * pool.processes
        if workers < found.workers:
            found = Limit(
                workers,
                f"the quota {share.quota} allows {written(share.resource, share.hard)} of "
                f"{share.resource}, and a pod takes {written(share.resource, share.takes)}",
            )
    return found


def _pod(pool: Pool) -> dict[str, Any]:
    """Return what quotas look at of a pod of a pool."""
    return {
        "spec": {
            # The hub writes it into the pools that it gives to users.
            "priorityClassName": pool.priority_class or names.pool_priority_class(pool.name),
            "containers": [{"resources": pod_resources(pool, pool.memory, pool.processes)}],
        }
    }
