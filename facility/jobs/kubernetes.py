"""Jobs as Kubernetes Jobs in the user's namespace."""

import asyncio
import datetime
import os
import re
import time
from collections.abc import Iterator

from facility import names
from facility.errors import FacilityError, KubernetesError, RequestError, nearest
from facility.jobs.manifests import LARGEST, SCRIPT, is_kept, job, job_secret
from facility.jobs.request import Submission
from facility.kubernetes import explain
from facility.kubernetes.client import pod_logs
from facility.kubernetes.client.account import pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import Call, Object, deletion
from facility.kubernetes.client.kinds import EVENT, JOB, POD, SECRET, Kind
from facility.kubernetes.pod_template import own_pod, read_own_pod
from facility.security import credentials
from facility.system.logs import LIMIT
from facility.table import Table
from facility.wording import counted

OWN = "facility: "
"""Beginning of lines that are not the pod's."""
LINES = 50_000
"""Lines that are shown at first."""
LOOK = 1.0
"""Seconds between two looks at a log that is followed."""


class KubernetesJobs:
    """The user's jobs, from within a pod of the user's namespace.

    Raises
    ------
    FacilityError
        Where this process runs in no pod: a job takes image and folders from one.
    """

    def __init__(self) -> None:
        self.api = Api(pod_account())

    def submit(self, submission: Submission) -> None:
        """Make the Job, and the Secret with what it does not have otherwise.

        Raises
        ------
        RequestError
            There is a job of that name, or its files are too large.
        KubernetesError
            Where it is refused.
        """
        pod, template = read_own_pod(self.api), own_pod(self.api)
        found = credentials.find(os.environ)
        files = {names.BELONGINGS[each.kind]: each.data for each in found}
        if not is_kept(submission, template):
            files[SCRIPT] = submission.script.read_bytes()
        size = sum(map(len, files.values()))
        problem = f"script and credentials hold {counted(size, 'byte')}; {LARGEST:,} can be sent"
        if size <= LARGEST:
            body = job(submission, pod, template, files)
            secret = job_secret(submission, template, files) if files else None
            try:
                asyncio.run(self._make(body, secret))
                return
            except KubernetesError as error:
                if error.reason != "AlreadyExists" or error.kind != JOB.name:
                    raise
            name = submission.name
            problem = (
                f"there is a job {name!r}; choose another name, or forget it with "
                f"`facility jobs remove {name}`"
            )
        raise RequestError(f"{submission.script} cannot be submitted", [problem])

    async def _make(self, body: Object, secret: Object | None) -> None:
        name = body["metadata"]["name"]
        try:
            # Its pod comes once the Secret has an owner, with which it goes.
            made = await self.api.create(JOB, {**body, "spec": {**body["spec"], "suspend": True}})
            try:
                if secret is not None:
                    owner = {"apiVersion": JOB.version, "kind": JOB.name, "name": name}
                    owner["uid"] = made["metadata"]["uid"]
                    secret["metadata"]["ownerReferences"] = [owner]
                    await self.api.create(SECRET, secret)
                await self.api.patch(JOB, name, {"spec": {"suspend": False}})
            except KubernetesError:
                await self.api.delete(JOB, name)
                raise
        finally:
            await self.api.aclose()

    def table(self) -> Table:
        """List the jobs, the oldest first."""
        jobs = self._list(JOB, names.JOB_LABEL)
        pods = self._list(POD, names.JOB_LABEL)
        jobs.sort(key=lambda each: each["metadata"]["creationTimestamp"])
        rows = tuple(self._row(each, [pod for pod in pods if _is_of(pod, each)]) for each in jobs)
        columns = ("name", "state", "started", "took", "try", "script")
        return Table(columns, rows, empty="there is no job in this namespace")

    def _row(self, body: Object, pods: list[Object]) -> tuple[object, ...]:
        metadata, status = body["metadata"], body.get("status", {})
        began = datetime.datetime.fromisoformat(metadata["creationTimestamp"])
        over = [each["lastTransitionTime"] for each in _conditions(body) if each["type"] in ENDS]
        ended = datetime.datetime.fromisoformat(over[0]) if over else _now()
        tries = status.get("failed", 0) + status.get("succeeded", 0) + status.get("active", 0)
        return (
            metadata["name"],
            self._state(body, pods),
            began.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            f"{(ended - began).total_seconds():.0f} s",
            f"{tries} of {body['spec']['backoffLimit'] + 1}",
            metadata.get("annotations", {}).get(names.SCRIPT_ANNOTATION, ""),
        )

    def _state(self, body: Object, pods: list[Object]) -> str:
        kinds = {each["type"]: each for each in _conditions(body)}
        if "Complete" in kinds:
            return "done"
        if "Failed" in kinds:
            ending = explain.ending(pods[-1]) if pods else None
            return f"failed ({ending[0] if ending else kinds['Failed'].get('message', '')})"
        if body["spec"].get("suspend"):
            return "stopped"
        running = [pod for pod in pods if explain.ending(pod) is None]
        if running and explain.is_scheduled(running[-1]):
            return "runs"
        about = running[-1] if running else body
        fields = f"involvedObject.uid={about['metadata']['uid']}"
        events = self._list(EVENT, fields=fields)
        if running:
            return f"waits: {explain.hindrance(running[-1], events)}"
        refused = [each["message"] for each in events if each.get("reason") == "FailedCreate"]
        return f"waits: {explain.refused(refused[-1])}" if refused else "waits for its next try"

    def log(self, name: str, *, follow: bool) -> Iterator[str]:
        """Give what the pods of a job have printed, in their order; with `follow` until it ends."""
        shown: dict[str, _Tail] = {}
        while True:
            body = self._find(name)
            # Looked at first: what is printed before the end is read after it.
            over = _is_over(body)
            for pod in self._pods(name):
                uid = pod["metadata"]["uid"]
                if uid not in shown and shown:
                    yield f"facility: try {len(shown) + 1} of {body['spec']['backoffLimit'] + 1}\n"
                tail = shown.setdefault(uid, _Tail())
                if explain.is_scheduled(pod) and not tail.ended:
                    tail.ended = explain.ending(pod) is not None
                    yield from tail.new(*self._log(pod["metadata"]["name"], tail.since))
            if over or not follow:
                return
            time.sleep(LOOK)

    def succeeded(self, name: str) -> bool | None:
        """Whether a job ended well; None while it has not ended."""
        body = self._find(name)
        if not _is_over(body):
            return None
        return any(each["type"] == "Complete" for each in _conditions(body))

    def stop(self, name: str) -> None:
        """Interrupt a job as Ctrl-C does; its pod goes, the Job stays as one that is stopped."""
        if _is_over(self._find(name)):
            return
        body = {"spec": {"suspend": True}}
        kind = "application/merge-patch+json"
        namespace = self.api.namespace
        self.api.now(Call("patch", "PATCH", JOB, namespace, name, body=body, content_type=kind))

    def remove(self, name: str) -> None:
        """Forget a job that has ended, with its pods and its Secret.

        Raises
        ------
        FacilityError
            It runs.
        """
        if not _is_over(self._find(name)):
            raise FacilityError(f"The job {name!r} runs; stop it first: facility jobs stop {name}")
        self.api.now(deletion(self.api.namespace, JOB, name))

    def _find(self, name: str) -> Object:
        jobs = {each["metadata"]["name"]: each for each in self._list(JOB, names.JOB_LABEL)}
        if name not in jobs:
            listed = f"; there are {', '.join(jobs)}" if jobs else "; there is none"
            raise FacilityError(
                f"There is no job {name!r} in namespace {self.api.namespace}"
                f"{nearest(name, jobs)}{listed}."
            )
        return jobs[name]

    def _pods(self, name: str) -> list[Object]:
        pods = self._list(POD, f"{names.JOB_LABEL}={name}")
        return sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def _list(self, kind: Kind, selector: str = "", fields: str = "") -> list[Object]:
        asked = {"labelSelector": selector, "fieldSelector": fields}
        params = {key: value for key, value in asked.items() if value}
        return list(self.api.now(self.api.reading(kind, **params))["items"])

    def _log(self, pod: str, since: str) -> tuple[str, bool]:
        """Return a pod's log from a moment on, at first its end, and whether it is cut off."""
        params: dict[str, str | int] = {"timestamps": "true"}
        try:
            if not since:
                return pod_logs.end(self.api, pod, LIMIT, LINES, **params), False
            params |= {"sinceTime": since, "limitBytes": LIMIT}
            text = str(self.api.now(self.api.reading(POD, pod, "log", **params)))
            return text, len(text.encode()) >= LIMIT
        except KubernetesError as error:
            # Its pod, or its container, went meanwhile.
            if error.status in (400, 404):
                return "", False
            raise


ENDS = ("Complete", "Failed")


class _Tail:
    """How much has been shown of one pod's log, whose lines begin with their time."""

    def __init__(self) -> None:
        self.since = ""
        """Second of the last line, in which the next part begins."""
        self.ended = False
        self._seen = 0
        """Lines of that second which have been shown."""

    def new(self, text: str, cut: bool = False) -> Iterator[str]:
        """Give the lines that are new, without their times.

        Parameters
        ----------
        text
            The log from `since` on.
        cut
            Whether there is more of it, which then begins in a later second: one that prints
            so much has to be left behind.
        """
        lines = text.splitlines(keepends=True)
        if lines and lines[0].startswith(OWN):
            yield lines.pop(0)
        for line in lines[self._seen : len(lines) - cut]:
            moment, _, content = line.partition(" ")
            second = re.sub(r"\.\d+", "", moment)
            self.since, self._seen = second, self._seen + 1 if second == self.since else 1
            yield content
        if cut:
            later = datetime.datetime.fromisoformat(self.since) + datetime.timedelta(seconds=1)
            self.since, self._seen = later.isoformat().replace("+00:00", "Z"), 0
            yield f"{OWN}what follows is left out up to {self.since}\n"


def _conditions(body: Object) -> list[Object]:
    found = body.get("status", {}).get("conditions", ())
    return [each for each in found if each["status"] == "True"]


def _is_over(body: Object) -> bool:
    if any(each["type"] in ENDS for each in _conditions(body)):
        return True
    return bool(body["spec"].get("suspend")) and not body.get("status", {}).get("active")


def _is_of(pod: Object, body: Object) -> bool:
    return bool(pod["metadata"]["labels"].get(names.JOB_LABEL) == body["metadata"]["name"])


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
