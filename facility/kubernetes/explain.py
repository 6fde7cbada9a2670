"""Why a pod does not run, or has ended: pure functions of pods and events as dictionaries."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from facility.wording import counted
from facility.worker.software import OTHER_SOFTWARE

Object = Mapping[str, Any]

TAIL = 12
"""Lines of a log that a message shows."""
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_DISRUPTIONS = {
    "DeletionByTaintManager": "lost its node, which does not answer or is being drained",
    "EvictionByEvictionAPI": "was evicted: its node is being drained",
    "PreemptionByScheduler": "made room for a pod of higher priority",
    "PreemptionByKubeScheduler": "made room for a pod of higher priority",
    "DeletionByPodGC": "lost its node",
    "TerminationByKubelet": "was ended by its node, which is short of memory or shutting down",
}


# Pods that have ended.


def ending(pod: Object) -> tuple[str, str, int | None] | None:
    """Say how a pod ended, or is ending.

    Returns
    -------
    tuple or None
        A clause such as "was killed", the last lines of its log, and the exit code where there
        is one; None while it runs or waits.
    """
    status = pod.get("status", {})
    disruption = next(
        (
            condition
            for condition in status.get("conditions", ())
            if condition["type"] == "DisruptionTarget" and condition["status"] == "True"
        ),
        None,
    )
    terminated = _terminated(status)
    if terminated is None and status.get("phase") not in ("Failed", "Succeeded"):
        if "deletionTimestamp" not in pod["metadata"]:
            return None
        return (_disrupted(disruption) or "was deleted by somebody else"), "", None
    if status.get("reason") == "Evicted":
        return f"was evicted by its node: {_sentence(status.get('message', ''))}", "", None
    terminated = terminated or {}
    code = terminated.get("exitCode")
    tail = "\n".join(terminated.get("message", "").splitlines()[-TAIL:])
    if terminated.get("reason") == "OOMKilled":
        return "needed more memory than it has and was killed (OOMKilled)", tail, code
    if disruption:
        return str(_disrupted(disruption)), tail, code
    if code == OTHER_SOFTWARE:
        return f"cannot work for this notebook: {tail}", "", code
    if code in (137, 143):
        return f"was killed (exit code {code})", tail, code
    if code is None:
        text = status.get("message") or status.get("reason") or "its node says no more"
        return f"ended: {_sentence(text)}", "", None
    if "exec format error" in tail:
        return "cannot start: its image is for another processor architecture", tail, code
    if terminated.get("reason") in ("StartError", "ContainerCannotRun"):
        return f"cannot start: {_sentence(terminated.get('message', ''))}", "", code
    return ("closed" if code == 0 else f"ended with exit code {code}"), tail, code


def _terminated(status: Object) -> Object | None:
    for container in status.get("containerStatuses", ()):
        state = container.get("state", {})
        if "terminated" in state:
            return dict(state["terminated"])
    return None


def _disrupted(condition: Object | None) -> str | None:
    if condition is None:
        return None
    reason = condition.get("reason", "")
    return _DISRUPTIONS.get(reason, f"was taken away ({reason}: {condition.get('message', '')})")


# Pods that do not run yet.


def is_scheduled(pod: Object) -> bool:
    """Tell whether a pod's container has been started."""
    return any(
        "running" in container.get("state", {}) or "terminated" in container.get("state", {})
        for container in pod.get("status", {}).get("containerStatuses", ())
    )


def hindrance(pod: Object, events: Iterable[Object]) -> str:
    """Say why a pod does not run yet, and what to do.

    Parameters
    ----------
    events
        Events of that pod, oldest first.
    """
    status = pod.get("status", {})
    last = {event.get("reason", ""): event.get("message", "") for event in events}
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting", {})
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _IMAGE:
            return _image(container.get("image", ""), reason, message or last.get("Failed", ""))
        if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
            return f"its container cannot be made: {_sentence(message)}"
        if reason == "CrashLoopBackOff":
            return f"it ends again and again: {_sentence(message)}"
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return unschedulable(condition.get("message", ""), last)
    for reason in ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"):
        if reason in last:
            return f"its node cannot prepare it: {_sentence(last[reason])}"
    if last and list(last)[-1] == "Pulling":
        return "its node is pulling the image; the first time takes minutes"
    if any(c["type"] == "PodScheduled" for c in status.get("conditions", ())):
        return "its node is starting it"
    return "it waits for the scheduler of Kubernetes"


# A number's first digit alone begins a match: from each digit it would take for ever.
_SHORT = re.compile(r"(?<!\d)(\d+) Insufficient ([^\s,]+)")
_UNTOLERATED = re.compile(r"had untolerated taint(?:\(s\)| \{([^}]*)\})?")
_SELECTOR = "didn't match Pod's node affinity/selector"


def unschedulable(message: str, last: Mapping[str, str]) -> str:
    """Say why no node takes a pod, from what the scheduler of Kubernetes says.

    Parameters
    ----------
    last
        Last message of each reason among the pod's events.
    """
    if "TriggeredScaleUp" in last:
        return "no node has room, and the autoscaler is adding one; that takes minutes"
    found = []
    short = [resource.rstrip(".") for _, resource in _SHORT.findall(message)]
    if short:
        found.append(f"no node has enough {_and(dict.fromkeys(short))} left")
    if _SELECTOR in message:
        found.append("some nodes lack the labels that the pool asks for")
    taints = [taint.strip(": ") for taint in _UNTOLERATED.findall(message)]
    if taints:
        named = _and(dict.fromkeys(filter(None, taints)))
        found.append(
            f"some nodes have a taint{f' ({named})' if named else ''} that the pool "
            "does not tolerate"
        )
    if "unschedulable" in message:
        found.append("some nodes take no new pods")
    if "volume" in message and not found:
        found.append(_sentence(message))
    text = "; ".join(found) or _sentence(message) or "no node takes it"
    if not short and not any("volume" in one for one in found):
        text += "; an administrator has to change the pool or add a node"
    elif "NotTriggerScaleUp" in last:
        text += "; the autoscaler cannot add one: wait for others to end, or ask for less"
    else:
        text += "; wait for others to end, or ask for fewer or smaller workers"
    return text


def _image(image: str, reason: str, message: str) -> str:
    text = f"the image {image} cannot be pulled ({reason}"
    text += f": {_sentence(message)})" if message else ")"
    if "no match for platform" in message or "no matching manifest" in message:
        return f"the image {image} does not exist for this pool's processor architecture"
    return f"{text}; check its name, or ask an administrator"


# A pool's pods together.


def pool_reasons(
    pods: Iterable[Object], events: Iterable[Object], waits: Mapping[str, str]
) -> list[str]:
    """Say why started pods of a pool do not run yet: each reason once, the most frequent first.

    Parameters
    ----------
    pods
        Of that pool.
    events
        Of its namespace, oldest first.
    waits
        Why pods have not even been created, by name.
    """
    by_pod: dict[str, list[Object]] = {}
    for event in events:
        by_pod.setdefault(event.get("involvedObject", {}).get("name", ""), []).append(event)
    found: Counter[str] = Counter(waits.values())
    for pod in pods:
        if not is_scheduled(pod) and ending(pod) is None:
            found[hindrance(pod, by_pod.get(pod["metadata"]["name"], ()))] += 1
    return [
        f"{counted(count, 'pod waits', 'pods wait')}: {reason}"
        for reason, count in found.most_common()
    ]


# What the API server and the operator say.

_QUOTA = re.compile(r"exceeded quota: ([^,]+), requested: (\S+), used: (\S+), limited: (\S+)")


def refused(message: str) -> str:
    """Say why the API server refused a pod."""
    quota = _QUOTA.search(message)
    if quota:
        name, asked, used, limit = quota.groups()
        return (
            f"the quota {name} is used up (one more asks for {asked}; {used.rstrip(',')} of "
            f"{limit} are used)"
        )
    uncounted = re.search(r"status unknown for quota: ([^,]+)", message)
    if uncounted:
        return (
            f"Kubernetes has not counted the quota {uncounted[1]} yet, which it does within five "
            "minutes of what is new; if it stays so, an administrator has to look at the "
            "status of this quota"
        )
    policy = re.search(
        r"ValidatingAdmissionPolicy '([^']*)'.* denied request: (.*)", message, re.DOTALL
    )
    if policy:
        return f"the policy {policy[1]} refuses it: {_sentence(policy[2])}"
    if "violates PodSecurity" in message:
        return f"Pod Security refuses it: {_sentence(message.split('violates PodSecurity')[1])}"
    if "no PriorityClass with name" in message:
        return f"{_sentence(message)}; an administrator has to make it"
    return _sentence(message)


def scheduler_hindrance(
    cluster: Object | None, pods: Iterable[Object], events: Iterable[Object], seconds: float
) -> str:
    """Say why a scheduler does not run yet.

    Parameters
    ----------
    cluster
        The DaskCluster.
    events
        Of its namespace, oldest first.
    seconds
        Since the DaskCluster was created.
    """
    if cluster is None:
        return "its DaskCluster is gone: somebody has deleted it"
    if not cluster.get("status", {}).get("phase"):
        return (
            f"the operator of dask-kubernetes has done nothing in {seconds:.0f} s: it is not "
            "running or may not work in this namespace; tell an administrator"
        )
    events = list(events)
    pods = list(pods)
    for pod in pods:
        ended = ending(pod)
        if ended is not None:
            return f"its pod {ended[0]}{_quoted(ended[1])}"
        if not is_scheduled(pod):
            own = [
                event
                for event in events
                if event.get("involvedObject", {}).get("name") == pod["metadata"]["name"]
            ]
            return f"its pod waits: {hindrance(pod, own)}"
    name = f"{cluster['metadata']['name']}-scheduler"
    for event in reversed(events):
        about = event.get("involvedObject", {})
        if event.get("reason") == "FailedCreate" and about.get("name", "").startswith(name):
            return f"its pod is refused: {refused(event.get('message', ''))}"
    return "the scheduler is starting" if pods else "its pod has not been made yet"


def _quoted(tail: str) -> str:
    return f". Its log ends with:\n{tail}" if tail else ""


def _sentence(text: str) -> str:
    """Put a message of Kubernetes on one line, without a final stop."""
    return " ".join(text.split()).rstrip(".")[:400]


def _and(words: Iterable[str]) -> str:
    listed = list(words)
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
