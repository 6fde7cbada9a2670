"""PriorityClasses: by which quotas and policies tell pods apart, and which pods displace others."""

from collections.abc import Mapping
from typing import Any, TypeVar

from facility import names
from facility.kubernetes.tenant.model import Release

Manifest = dict[str, Any]
Value = TypeVar("Value")
PRIORITIES = {"pool": 10, "job": 15, "scheduler": 20, "notebook": 30}
"""Which of several waiting pods gets a free place first: a user server, a scheduler, a job's
script, a worker."""
INTERACTIVE_PRIORITY = 0
"""Of all users' pods where there is batch: one value, so that none displaces another, and none
above that of pods without a PriorityClass, so that nothing else of the site is displaced."""
BATCH_PRIORITY = -10
"""Of the site's batch; cluster-autoscaler adds no node for a pod below it."""


def priority_classes(release: Release) -> list[Manifest]:
    """Return the PriorityClasses by which quotas and policies tell pods apart.

    Users' pods displace the site's batch where there is any, and never each other. A class that
    the configuration of a pool names is the site's own, and is not made.
    """
    kinds = {
        release.notebook_class: "notebook",
        release.scheduler_class: "scheduler",
        release.job_class: "job",
    }
    for pool in release.config.pools.values():
        if pool.priority_class is None:
            kinds[release.pool_class(pool)] = "pool"
    users = "Pods in the namespaces of an analysis facility's users."
    if not release.batch:
        return [
            _priority_class(release, name, PRIORITIES[kind], users) for name, kind in kinds.items()
        ]
    batch = names.batch_priority_class(release.name)
    return [
        *(
            _priority_class(release, name, INTERACTIVE_PRIORITY, users, "PreemptLowerPriority")
            for name in kinds
        ),
        *(
            _priority_class(release, old, PRIORITIES[kinds[name]], users)
            for name, old in earlier(release).items()
        ),
        _priority_class(
            release, batch, BATCH_PRIORITY, "The site's batch, which gives way to users' pods."
        ),
    ]


def _priority_class(
    release: Release, name: str, value: int, description: str, preemption: str = "Never"
) -> Manifest:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name, "labels": release.labels},
        "value": value,
        "preemptionPolicy": preemption,
        "globalDefault": False,
        "description": description,
    }


def earlier(release: Release) -> dict[str, str]:
    """Return what pods of a PriorityClass had before there was batch, where they still may."""
    if not (release.batch and release.earlier_classes):
        return {}
    pools = release.config.pools.values()
    before = [
        names.notebook_priority_class(release.name),
        names.scheduler_priority_class(release.name),
        names.job_priority_class(release.name),
        *(names.pool_priority_class(p.name, release.name) for p in pools if not p.priority_class),
    ]
    return {names.preempting_class(each, release.name): each for each in before}


def same_kind(release: Release, *classes: str) -> list[str]:
    """Return PriorityClasses, with those that the same pods had before there was batch."""
    known = earlier(release)
    return [*classes, *(known[each] for each in classes if each in known)]


def with_earlier(release: Release, of_class: Mapping[str, Value]) -> dict[str, Value]:
    """Let what holds for a PriorityClass hold for the one from before there was batch."""
    known = earlier(release)
    return {**of_class, **{known[k]: value for k, value in of_class.items() if k in known}}
