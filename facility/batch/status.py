"""What runs of batch, by PanDA queue, and whether anybody serves a queue."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from facility.batch.namespace import BatchNamespace
from facility.errors import FacilityError, KubernetesError, nearest
from facility.kubernetes.client.kinds import CONFIG_MAP, POD
from facility.table import Table

STARTER = "pilots-starter"
"""ConfigMap that Harvester's submitter makes when it begins."""
QUEUE_LABEL = "pq"
"""Label in which Harvester writes a pod's PanDA queue."""
PHASES = {"Pending": "waiting", "Running": "running", "Succeeded": "done", "Failed": "failed"}
OTHER = "no queue"

Object = Mapping[str, Any]


def table(batch: BatchNamespace, queue: str | None = None) -> Table:
    """Count the pods of batch by queue and by what became of them.

    Parameters
    ----------
    queue
        The only one to look at.

    Raises
    ------
    FacilityError
        Where no pod of that queue is there, since nobody serves it.
    """
    api = batch.api
    pods = api.now(api.reading(POD))["items"]
    found = count(pods)
    if queue is not None:
        if queue not in found:
            raise FacilityError(unserved(queue, found, begun=_has_begun(batch)))
        found = {queue: found[queue]}
    return Table(
        ("queue", *PHASES.values()),
        tuple((name, *(found[name][each] for each in PHASES.values())) for name in sorted(found)),
        empty=f"no pod is in the namespace {batch.namespace}",
    )


def count(pods: Iterable[Object]) -> dict[str, Counter[str]]:
    """Count pods by queue and phase."""
    found: dict[str, Counter[str]] = {}
    for pod in pods:
        queue = (pod["metadata"].get("labels") or {}).get(QUEUE_LABEL) or OTHER
        phase = PHASES.get(pod.get("status", {}).get("phase", ""), "waiting")
        found.setdefault(queue, Counter())[phase] += 1
    return found


def unserved(queue: str, found: Iterable[str], *, begun: bool) -> str:
    """Say that no pod of a queue is there, and where to look.

    Parameters
    ----------
    begun
        Whether a Harvester has ever begun to submit here.
    """
    if not begun:
        return (
            f"Nobody serves the queue {queue}: no Harvester has begun here, since the namespace "
            f"has no ConfigMap {STARTER}. Give Harvester what `facility batch queue {queue}` and "
            "`facility batch kubeconfig` write, and see its log of the submitter."
        )
    known = [each for each in found if each != OTHER]
    others = f" Queues with pods here are {', '.join(sorted(known))}." if known else ""
    return (
        f"Nobody serves the queue {queue}: no pod here is of it{nearest(queue, known)}, and a "
        f"Harvester has begun here.{others} See whether it is online in CRIC and in Harvester's "
        "queue configuration, and whether PanDA has jobs for it."
    )


def _has_begun(batch: BatchNamespace) -> bool:
    try:
        batch.api.now(batch.api.reading(CONFIG_MAP, STARTER))
    except KubernetesError as error:
        if error.status != 404:
            raise
        return False
    return True
