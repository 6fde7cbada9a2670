"""The objects of a job on Kubernetes, from the notebook's own pod: pure functions."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from facility import names
from facility.jobs.request import Submission
from facility.jobs.script import GRACE, environment
from facility.kubernetes.manifests import PYTHON
from facility.kubernetes.pod_template import PodTemplate
from facility.request import worker_counts

Manifest = dict[str, Any]
FOLDER = "/etc/facility/job"
"""Where a job finds its Secret."""
SCRIPT = "script.py"
KEEP_SECONDS = 7 * 86_400
"""Seconds after its end for which a job and its log can be looked at."""
SERVER_VARIABLES = ("JUPYTER", "JPY_", "CPU_", "MEM_")
"""Beginnings of the names of variables that are about the server in the notebook's pod."""
SIZES = ("cpu", "memory", "ephemeral-storage")
LARGEST = 900_000
"""Bytes that fit into a Secret, with room for what Kubernetes adds."""


def is_kept(submission: Submission, template: PodTemplate) -> bool:
    """Whether the script stands in a folder that the job's pod has too."""
    mounts = (*template.shared, *template.unshared)
    return any(submission.script.is_relative_to(each.path) for each in mounts)


def job_secret(
    submission: Submission, template: PodTemplate, files: Mapping[str, bytes]
) -> Manifest:
    """Return the Secret of what the job's pod does not have otherwise.

    Parameters
    ----------
    files
        The user's credentials, and the script where it is to be sent.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": secret_name(submission.name),
            "namespace": template.namespace,
            "labels": _labels(submission.name),
        },
        "data": {name: base64.b64encode(data).decode() for name, data in files.items()},
    }


def job(
    submission: Submission, pod: Mapping[str, Any], template: PodTemplate, files: Iterable[str] = ()
) -> Manifest:
    """Return the Job: the same image, account, folders and size as the notebook's pod.

    It runs a script that stands in the user's lasting folders where it stands, others from the
    Secret; a pod that lost its node counts as no failure.

    Parameters
    ----------
    pod
        The notebook's own.
    files
        Names of what is in the Secret.
    """
    spec = pod["spec"]
    own = _own(spec)
    files = set(files)
    sent = f"{FOLDER}/{SCRIPT}"
    kept = is_kept(submission, template)
    home = _variables(own).get("HOME", "/tmp")
    settings = {
        "script": str(submission.script) if kept else sent,
        "arguments": list(submission.arguments),
        "folder": str(submission.folder) if kept else home,
    }
    variables = {
        **_variables(own),
        **environment(submission.name, worker_counts.text(submission.pools)),
        **_credentials(files),
        names.JOB_SETTINGS_VARIABLE: json.dumps(settings),
    }
    address = {"fieldRef": {"fieldPath": "status.podIP"}}
    pod_name = {"fieldRef": {"fieldPath": "metadata.name"}}
    volumes, mounts = _volumes(spec, own)
    if files:
        secret = {"secretName": secret_name(submission.name)}
        volumes.append({"name": "job", "secret": secret})
        mounts.append({"name": "job", "mountPath": FOLDER, "readOnly": True})
    container = {
        "name": "script",
        "image": template.image,
        "imagePullPolicy": template.pull_policy,
        "command": [*PYTHON, "facility.jobs.pod"],
        "env": [
            {"name": "FACILITY_POD", "valueFrom": pod_name},
            {"name": names.POD_ADDRESS_VARIABLE, "valueFrom": address},
            *({"name": name, "value": value} for name, value in variables.items()),
        ],
        "resources": _size(own),
        "volumeMounts": mounts,
        "workingDir": "/tmp",
        "securityContext": own.get("securityContext", {}),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod_body = {
        "metadata": {"labels": _labels(submission.name)},
        "spec": {
            "containers": [container],
            "restartPolicy": "Never",
            "serviceAccountName": names.NOTEBOOK_ACCOUNT,
            "automountServiceAccountToken": True,
            "enableServiceLinks": False,
            "priorityClassName": template.job_class,
            "terminationGracePeriodSeconds": round(GRACE) + 10,
            "affinity": _beside(),
            "volumes": volumes,
            **{
                key: spec[key]
                for key in ("securityContext", "nodeSelector", "tolerations", "imagePullSecrets")
                if spec.get(key)
            },
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": submission.name,
            "namespace": template.namespace,
            "labels": _labels(submission.name),
            "annotations": {names.SCRIPT_ANNOTATION: str(submission.script)},
        },
        "spec": {
            "backoffLimit": submission.retries,
            "ttlSecondsAfterFinished": KEEP_SECONDS,
            # One try at a time: they write the same checkpoint and the same results.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    }
                ]
            },
            "template": pod_body,
        },
    }


def secret_name(job: str) -> str:
    """Name of a job's Secret."""
    return f"{job}-job"


def _labels(job: str) -> dict[str, str]:
    return {names.JOB_LABEL: job, "app.kubernetes.io/managed-by": "facility"}


def _own(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    named = (each for each in spec["containers"] if each["name"] in ("notebook", "script"))
    found: Mapping[str, Any] = next(named, spec["containers"][0])
    return found


def _variables(container: Mapping[str, Any]) -> dict[str, str]:
    """Return the notebook's own variables, but for those that are about its server."""
    return {
        each["name"]: each.get("value", "")
        for each in container.get("env", ())
        if "valueFrom" not in each and not each["name"].startswith(SERVER_VARIABLES)
    }


def _size(container: Mapping[str, Any]) -> Manifest:
    """Return the notebook's size; its devices are not for a script that waits."""
    return {
        kind: {name: value for name, value in amounts.items() if name in SIZES}
        for kind, amounts in container.get("resources", {}).items()
        if kind in ("limits", "requests")
    }


def _credentials(files: Iterable[str]) -> dict[str, str]:
    """Say to the tools of the grid where the user's credentials are."""
    told = {"X.509 proxy": "X509_USER_PROXY", "bearer token": "BEARER_TOKEN_FILE"}
    return {
        variable: f"{FOLDER}/{names.BELONGINGS[kind]}"
        for kind, variable in told.items()
        if names.BELONGINGS[kind] in files
    }


def _volumes(
    spec: Mapping[str, Any], container: Mapping[str, Any]
) -> tuple[list[Manifest], list[Manifest]]:
    """Return the notebook's volumes and mounts, but for the token that each pod gets anew."""
    volumes = [dict(each) for each in spec.get("volumes", ()) if "projected" not in each]
    known = {each["name"] for each in volumes}
    mounts = [dict(each) for each in container.get("volumeMounts", ()) if each["name"] in known]
    return volumes, mounts


def _beside() -> Manifest:
    """Return the wish for the notebook's node, the only one that may have its home mounted."""
    servers = {names.APP_COMPONENT_LABEL: names.USER_SERVER_COMPONENT}
    term = {
        "labelSelector": {"matchLabels": servers},
        "topologyKey": "kubernetes.io/hostname",
    }
    preferred = {"weight": 100, "podAffinityTerm": term}
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}
