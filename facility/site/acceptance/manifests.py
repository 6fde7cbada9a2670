"""A trial's jobs as Kubernetes takes them: pure."""

from typing import Any

from facility.quantity import format_cores
from facility.site.acceptance.plan import Fault, PlannedJob

Manifest = dict[str, Any]
LABEL = "facility/site-test"
NAME = "facility/site-test-job"
MEMORY = "128Mi"
TRIES = 3
"""Pods after the first one which a job may have, where what ended them is no fault of its own."""
ONCE = (Fault.MEMORY, Fault.IMAGE)
"""Faults of its own that no exit code tells: the kernel ends with 137 what takes too much memory,
and so does the kubelet what does not end by itself."""
IMAGE_SECONDS = 20
"""For which a pod waits for an image that is not there."""
OWN_FAULT = [1]
"""Exit codes after which a job is not tried again."""
WORK = """
import os, signal, sys, time
# Linux ends the first process of a container at a signal only where it has asked for that.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
ends = time.monotonic() + {seconds}
for _ in range({busy} - 1):
    if os.fork() == 0:
        break
while time.monotonic() < ends:
    {busy} or time.sleep(0.1)
{ending}
"""
ENDINGS = {
    Fault.EXIT: "sys.exit(1)",
    Fault.MEMORY: "held = []\nwhile True: held.append(bytearray(b'x' * 2**20))",
}


def job(
    planned: PlannedJob,
    run: str,
    image: str,
    priority_class: str | None = None,
    *,
    busy: bool = False,
) -> Manifest:
    """Return a Job.

    Parameters
    ----------
    planned
        What it is.
    run
        Name of the trial.
    image
        One that has Python.
    priority_class
        That of batch pods.
    busy
        Whether it calculates on its cores, instead of sleeping.
    """
    cores = format_cores(planned.cores)
    labels = {LABEL: run, NAME: planned.name}
    without = planned.fault is Fault.IMAGE
    name = image.partition("@")[0]
    container = {
        "name": "payload",
        "image": f"{_untagged(name)}:there-is-no-such-tag" if without else image,
        "command": [
            "python",
            "-c",
            WORK.format(
                seconds=planned.seconds,
                busy=max(1, int(planned.cores)) if busy else 0,
                ending=ENDINGS.get(planned.fault, ""),
            ),
        ],
        "resources": {
            "requests": {"cpu": cores, "memory": MEMORY},
            "limits": {"cpu": cores, "memory": MEMORY},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    if without:
        spec["activeDeadlineSeconds"] = IMAGE_SECONDS
    if priority_class:
        spec["priorityClassName"] = priority_class
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": planned.name, "labels": labels},
        "spec": {
            "backoffLimit": 0 if planned.fault in ONCE else TRIES,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                    {
                        "action": "FailJob",
                        "onExitCodes": {"operator": "In", "values": OWN_FAULT},
                    },
                ]
            },
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _untagged(image: str) -> str:
    before, slash, last = image.rpartition("/")
    return f"{before}{slash}{last.partition(':')[0]}"
