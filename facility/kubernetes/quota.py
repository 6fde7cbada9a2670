"""How many workers of each pool a namespace's quotas allow."""

from collections.abc import Iterable, Mapping
from typing import Any

from facility import names
from facility.config import Config, Pool
from facility.kubernetes.manifests import pod_resources
from facility.quantity import format_memory, parse_cores, parse_memory
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
    asked = pod_resources(pool, pool.memory, pool.processes)
    needs = {"pods": "1", "count/pods": "1"}
    for side, values in asked.items():
        needs |= {f"{side}.{resource}": value for resource, value in values.items()}
    needs |= {"cpu": asked["requests"]["cpu"], "memory": asked["requests"]["memory"]}
    # The hub writes it into the pools that it gives to users.
    priority = pool.priority_class or names.pool_priority_class(pool.name)
    for quota in quotas:
        if not _concerns(quota, priority):
            continue
        for resource, limit in quota["spec"].get("hard", {}).items():
            if resource not in needs:
                continue
            room = _number(resource, limit) / max(_number(resource, needs[resource]), 1e-9)
            workers = int(room + 1e-6) * pool.processes
            if workers < found.workers:
                found = Limit(
                    workers,
                    f"the quota {quota['metadata']['name']} allows {_shown(resource, limit)} of "
                    f"{resource}, and a pod takes {_shown(resource, needs[resource])}",
                )
    return found


def _concerns(quota: Mapping[str, Any], priority: str) -> bool:
    """Tell whether a quota counts the pods of a PriorityClass."""
    spec = quota["spec"]
    if "BestEffort" in spec.get("scopes", ()) or "Terminating" in spec.get("scopes", ()):
        return False
    for rule in spec.get("scopeSelector", {}).get("matchExpressions", ()):
        if rule["scopeName"] != "PriorityClass":
            continue
        among = priority in rule.get("values", ())
        if (rule["operator"] == "In" and not among) or (rule["operator"] == "NotIn" and among):
            return False
        if rule["operator"] == "DoesNotExist":
            return False
    return True


def _number(resource: str, quantity: str) -> float:
    if quantity == "0":
        return 0.0
    if resource.endswith("memory"):
        return float(parse_memory(quantity))
    return parse_cores(quantity) if resource.endswith("cpu") else float(quantity)


def _shown(resource: str, quantity: str) -> str:
    if resource.endswith("memory") and quantity != "0":
        return format_memory(parse_memory(quantity))
    return quantity
