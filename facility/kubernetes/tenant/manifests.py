"""The two sets of manifests, each in the order in which it is to be made."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from facility import names
from facility.kubernetes.tenant import accounts, admission, network, priorities, quotas
from facility.kubernetes.tenant.model import Release, Shape, Tenant

Manifest = dict[str, Any]


def release_set(release: Release) -> list[Manifest]:
    """Return the objects of a release that are in no namespace.

    Admission policies come last, and users' namespaces after them: what is made in between
    would obey no rule.
    """
    return [
        *accounts.cluster_roles(release),
        *priorities.priority_classes(release),
        *admission.policies(release),
    ]


def tenant_set(tenant: Tenant) -> list[Manifest]:
    """Return a user's namespace and all that is in it.

    The hub's own binding comes first, since with it the hub makes the rest; limits and policies
    come before the accounts that they limit.
    """
    hub, *others = accounts.role_bindings(tenant)
    return [
        _namespace(tenant),
        hub,
        *quotas.quotas(tenant),
        quotas.limit_range(tenant),
        *network.policies(tenant),
        _pools(tenant),
        *_pull_secrets(tenant),
        *accounts.service_accounts(tenant),
        *others,
    ]


def refusal(tenant: Tenant, found: Mapping[str, Any]) -> str | None:
    """Say why an existing namespace is not this user's; None if it is.

    Parameters
    ----------
    found
        The namespace of that name, as Kubernetes has it.
    """
    metadata = found.get("metadata", {})
    labels, notes = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if names.HUB_LABEL not in labels or names.TENANT_LABEL not in labels:
        return (
            f"The namespace {tenant.namespace} exists and is no user's of a facility: it lacks the "
            f"labels {names.HUB_LABEL} and {names.TENANT_LABEL}. It is not taken over; rename it, "
            "or give users' namespaces another prefix."
        )
    if labels[names.HUB_LABEL] != tenant.release.name:
        return (
            f"The namespace {tenant.namespace} belongs to the release "
            f"{labels[names.HUB_LABEL]!r}, and not to {tenant.release.name!r}. Give one of the two "
            "another prefix of users' namespaces."
        )
    owner = notes.get(names.USER_ANNOTATION, "")
    if owner != tenant.user:
        return f"The namespace {tenant.namespace} belongs to the user {owner!r}."
    if metadata.get("deletionTimestamp"):
        return f"The namespace {tenant.namespace} is being deleted; wait until it is gone."
    return None


def _namespace(tenant: Tenant) -> Manifest:
    security = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": tenant.namespace,
            "labels": {**tenant.labels, **security},
            "annotations": {names.USER_ANNOTATION: tenant.user},
        },
    }


def _pools(tenant: Tenant) -> Manifest:
    """Return the pools as the library reads them, each with its PriorityClass."""
    release = tenant.release
    pools = {
        name: pool.model_dump(
            mode="json", by_alias=True, exclude_unset=True, exclude_none=True, exclude={"name"}
        )
        | {"priorityClass": release.pool_class(pool)}
        for name, pool in release.config.pools.items()
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.POOLS_CONFIG_MAP,
            "namespace": tenant.namespace,
            "labels": tenant.labels,
        },
        "data": {
            names.POOLS_KEY: yaml.safe_dump({"pools": pools}, sort_keys=False),
            names.RELEASE_KEY: release.name,
            names.SCHEDULER_KEY: json.dumps(_schedulers(release)),
        },
    }


def _nodes(shape: Shape) -> Manifest:
    """Write which nodes pods may run on, as a pod's specification does."""
    tolerations = [
        each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in shape.tolerations
    ]
    return {"nodeSelector": dict(shape.node_selector), "tolerations": tolerations}


def _schedulers(release: Release) -> Manifest:
    """Write where schedulers run and what they get, as the library reads it."""
    found = _nodes(release.scheduler)
    if release.batch:
        # Where there is none, the library knows it by the release's name.
        found["priorityClass"] = release.scheduler_class
        found["jobPriorityClass"] = release.job_class
    if release.scheduler_resources is not None:
        found["resources"] = {key: dict(each) for key, each in release.scheduler_resources.items()}
    return found


def _pull_secrets(tenant: Tenant) -> list[Manifest]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": tenant.namespace, "labels": tenant.labels},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": content},
        }
        for name, content in tenant.pull_secrets.items()
    ]
