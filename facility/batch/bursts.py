"""A burst: one template many times, as Indexed Jobs of Kubernetes. Pure functions."""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from facility.errors import RequestError
from facility.quantity import format_cores, parse_cores, parse_memory

Manifest = dict[str, Any]
LABEL = "facility/burst"
"""Label of the Jobs and pods of a burst: its name."""
OFFSET = "facility/burst-offset"
"""Annotation of a Job: what its first index is in the whole burst."""
LARGEST = 1_000
"""Indices of a Job, at most: Kubernetes writes those that are done or failed into its status."""
MOST = 100_000
RETRIES = 2
KEEP_SECONDS = 7 * 86_400
"""Seconds after its end for which a Job and its pods can be looked at."""
NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
OFFSET_VARIABLE, COUNT_VARIABLE = "BURST_OFFSET", "BURST_COUNT"
"""What a payload adds to JOB_COMPLETION_INDEX to know its number, and how many there are."""


@dataclass(frozen=True)
class Burst:
    """What is asked for, checked.

    Parameters
    ----------
    name
        Of the burst; its Jobs are called so, with a number.
    namespace
        Of batch.
    template
        Metadata and spec of its pods, as they will be.
    count
        How often it runs.
    retries
        How often an index is tried again after a failure of its own.
    """

    name: str
    namespace: str
    template: Manifest
    count: int
    retries: int = RETRIES

    @property
    def cores(self) -> float:
        """Cores that each of its pods requests."""
        return cores_of(self.template.get("spec", {}))


def cores_of(spec: Mapping[str, Any]) -> float:
    """Cores that the containers of a pod request together."""
    return sum(_cores(container) for container in spec.get("containers", ()))


def _cores(container: Mapping[str, Any]) -> float:
    resources = container.get("resources", {})
    asked = (resources.get("requests") or {}).get("cpu", (resources.get("limits") or {}).get("cpu"))
    try:
        return 0.0 if asked is None else parse_cores(asked)
    except ValueError:
        return 0.0


def burst(
    path: Path,
    namespace: str,
    *,
    count: int,
    name: str,
    cores: float | None = None,
    retries: int = RETRIES,
    priority_class: str | None = None,
) -> Burst:
    """Read a template, and check everything that is asked.

    Parameters
    ----------
    path
        YAML of one Job, Pod or PodTemplate.
    cores
        Of each pod's first container, requested and at most, as Harvester sets them; by default
        what the template says.

    Raises
    ------
    RequestError
        With everything that is wrong.
    """
    problems = []
    if not 1 <= count <= MOST:
        problems.append(f"--count {count} is not from 1 to {MOST:,}")
    if not 0 <= retries <= 100:
        problems.append(f"--retries {retries} is not from 0 to 100")
    if cores is not None and not cores > 0:
        problems.append(f"--cores {cores:g} is not more than 0")
    if not NAME.fullmatch(name):
        problems.append(
            f"the name {name!r} has to be up to 40 lower-case letters, digits and '-', with a "
            "letter first"
        )
    template = _template(path, problems)
    if template is not None:
        template = _sized(template, cores)
        problems += _mistakes(template, namespace)
        if priority_class:
            template["spec"]["priorityClassName"] = priority_class
    if problems or template is None:
        raise RequestError(f"The burst of {path} cannot begin", problems)
    return Burst(name, namespace, template, count, retries)


def _template(path: Path, problems: list[str]) -> Manifest | None:
    """Find the pod in a file; None, with a sentence, where there is none."""
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text("utf-8")) if each]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(getattr(error, "strerror", None) or error).split())
        problems.append(f"the template cannot be read: {told}")
        return None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        problems.append(f"the template holds {len(documents)} objects; one Job or Pod is needed")
        return None
    body: Manifest = documents[0]
    kind = body.get("kind")
    pod: Any = None
    if kind == "Job":
        pod = (body.get("spec") or {}).get("template")
    elif kind == "PodTemplate":
        pod = body.get("template")
    elif kind == "Pod":
        pod = body
    if not isinstance(pod, dict) or not isinstance(pod.get("spec"), dict):
        problems.append(
            f"the template is a {kind}; a Job, Pod or PodTemplate with a spec is needed"
        )
        return None
    metadata = pod.get("metadata") or {}
    kept = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    spaces = {(each.get("metadata") or {}).get("namespace") for each in (body, pod)} - {None}
    if spaces:
        kept["namespace"] = next(iter(spaces))
    return {"metadata": kept, "spec": copy.deepcopy(pod["spec"])}


def _sized(template: Manifest, cores: float | None) -> Manifest:
    containers = template["spec"].get("containers")
    if cores is not None and isinstance(containers, list) and containers:
        resources = containers[0].setdefault("resources", {})
        for part in ("requests", "limits"):
            resources[part] = {**(resources.get(part) or {}), "cpu": format_cores(cores)}
    return template


def _mistakes(template: Manifest, namespace: str) -> Iterator[str]:
    spec, own = template["spec"], template["metadata"].pop("namespace", namespace)
    if own != namespace:
        yield f"metadata.namespace: it is for {own}, and {namespace} is asked for"
    if spec.get("restartPolicy", "Never") != "Never":
        yield (
            f"spec.restartPolicy: {spec['restartPolicy']} hides failures from the account; leave "
            "it out, or write Never"
        )
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers:
        yield "spec.containers: there is none"
        return
    for number, container in enumerate(containers):
        where = f"spec.containers[{number}]"
        if not container.get("image"):
            yield f"{where}.image: there is none"
        requests = (container.get("resources") or {}).get("requests") or {}
        for what, read, option in (
            ("cpu", parse_cores, " (or give --cores)" if number == 0 else ""),
            ("memory", parse_memory, ""),
        ):
            if what not in requests:
                yield (
                    f"{where}.resources.requests.{what}: there is none, and without it nobody "
                    f"knows how many fit on a node{option}"
                )
                continue
            try:
                read(requests[what])
            except ValueError as error:
                yield f"{where}.resources.requests.{what}: {error}"


def jobs(wanted: Burst) -> list[Manifest]:
    """Make the Jobs of a burst, as few and as equal as they can be."""
    number = -(-wanted.count // LARGEST)
    cuts = [round(part * wanted.count / number) for part in range(number + 1)]
    return [
        _job(wanted, f"{wanted.name}-{part:03d}", start, stop - start)
        for part, (start, stop) in enumerate(pairwise(cuts))
    ]


def _job(wanted: Burst, name: str, offset: int, completions: int) -> Manifest:
    labels = {LABEL: wanted.name, "app.kubernetes.io/managed-by": "facility"}
    template = copy.deepcopy(wanted.template)
    template["metadata"]["labels"] = {**template["metadata"].get("labels", {}), **labels}
    template["spec"]["restartPolicy"] = "Never"
    for container in template["spec"]["containers"]:
        container["env"] = [
            *(container.get("env") or ()),
            {"name": OFFSET_VARIABLE, "value": str(offset)},
            {"name": COUNT_VARIABLE, "value": str(wanted.count)},
        ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": wanted.namespace,
            "labels": labels,
            "annotations": {OFFSET: str(offset)},
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": completions,
            # The scheduler and quotas say how many run at once.
            "parallelism": completions,
            "backoffLimitPerIndex": wanted.retries,
            # One that fails ends no other.
            "maxFailedIndexes": completions,
            "ttlSecondsAfterFinished": KEEP_SECONDS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    # Preempted, drained, evicted, its node gone: no failure of the payload.
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    }
                ]
            },
            "template": template,
        },
    }
