"""`facility site check --probe`: tries what no API tells, in a namespace of its own.

Two pods, one of which asks the other and the API server again and again, tell whether
NetworkPolicies are enforced, and whether an address can be the API server's; a pod for each image,
whether nodes can fetch it; a pod that is to be refused, whether Pod Security is on.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from facility.errors import FacilityError, KubernetesError
from facility.kubernetes.client import kinds
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import Call, Object, deletion
from facility.kubernetes.client.kinds import kind_of
from facility.site.check import network, probe_manifests
from facility.site.check.finding import Finding, good, missing, unknown
from facility.site.check.images import NamedImage
from facility.wording import counted

SERVERS_LABEL = "kubernetes.io/service-name=kubernetes"
PATIENCE = 300.0
"""Seconds for nodes to fetch an image."""
ENFORCED_WITHIN = 60.0
"""Seconds after which a policy that closes nothing is taken to be enforced by nobody."""
ROUNDS = 6
"""Answers that have to agree, once a policy works, before they are believed."""
PAUSE = 0.5
UNFETCHED = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
Heard = Sequence[Mapping[str, bool]]


@dataclass
class Probe:
    """A try.

    Parameters
    ----------
    api
        Kubernetes.
    images
        Images that are to be fetched, by what names them; the first is that of the two pods, and
        has Python.
    release_namespace, pull_secrets
        Where the Secrets are with which images are fetched, and their names.
    tell
        Called with what is tried next.
    """

    api: Api
    images: Mapping[str, NamedImage]
    release_namespace: str
    pull_secrets: tuple[str, ...]
    tell: Callable[[str], None]
    name: str = field(default_factory=lambda: f"facility-site-check-{uuid.uuid4().hex[:8]}")

    def run(self) -> list[Finding]:
        """Try all of it, and take it away.

        Raises
        ------
        KubernetesError
            Where the namespace or its objects may not be made.
        """
        self._create(probe_manifests.namespace(self.name))
        try:
            self._create(probe_manifests.account())
            self._copy_secrets()
            found = [self._pod_security()]
            found += self._fetched()
            found += self._network()
        finally:
            self.api.now(deletion("", kinds.NAMESPACE, self.name))
        return found

    @property
    def inside(self) -> Api:
        """Kubernetes, in the namespace of the try."""
        return self.api.within(self.name)

    def _create(self, manifest: Object, **params: str) -> Object:
        call = Call("create", "POST", kind_of(manifest), self.name, params=params, body=manifest)
        return dict(self.api.now(call))

    def _copy_secrets(self) -> None:
        for name in self.pull_secrets:
            there = self.api.within(self.release_namespace)
            try:
                found = there.now(there.reading(kinds.SECRET, name))
            except KubernetesError as error:
                raise FacilityError(
                    f"images.pullSecrets names {name}, which cannot be read in the namespace "
                    f"{self.release_namespace}: {error.message or error}. Make it there first, or "
                    "name the release's namespace with --namespace."
                ) from None
            self._create(probe_manifests.pull_secret(found, name))

    def _pod_security(self) -> Finding:
        name, asked = "Pod Security admission", "a try: a pod that `restricted` refuses"
        self.tell("trying a pod that has to be refused")
        try:
            pod = probe_manifests.unconfined(next(iter(self.images.values())))
            self._create(pod, dryRun="All")
        except KubernetesError as error:
            if error.status == 403 and "PodSecurity" in error.message:
                return good(name, asked, "it was refused")
            told = f"the pod was refused for another reason: {error.message}"
            return unknown(name, asked, told, "Look at the admission webhooks of the site.")
        todo = "Take PodSecurity out of the API server's --disable-admission-plugins."
        return missing(name, asked, "it was let in", todo)

    # Images.

    def _fetched(self) -> Iterator[Finding]:
        pods = {f"image-{n}": path for n, path in enumerate(self.images)}
        for pod, path in pods.items():
            self._create(probe_manifests.fetching(pod, self.images[path], self.pull_secrets))
        waits = set(pods)
        ends = time.monotonic() + PATIENCE
        last: dict[str, Object] = {}
        while waits and time.monotonic() < ends:
            self.tell(f"waiting for nodes to fetch {counted(len(waits), 'image')}")
            last = {each["metadata"]["name"]: each for each in self._pods()}
            waits = {pod for pod in waits if pod not in last or verdict(last[pod]) is None}
            time.sleep(PAUSE)
        for pod, path in pods.items():
            asked = f"{path}, {self.images[path].name}"
            said = verdict(last[pod]) if pod in last else None
            if said == "":
                yield good("Registry", asked, "a node has fetched it")
            elif said is None:
                told = f"its pod waits after {PATIENCE:.0f} s: {_waits_for(last.get(pod))}"
                yield unknown("Registry", asked, told, "Look at the nodes; then try again.")
            else:
                todo = "Give nodes a way to the registry, put the image there, or name its Secret."
                yield missing("Registry", asked, said, todo)

    def _pods(self) -> list[Object]:
        return list(self.api.now(self.inside.reading(kinds.POD))["items"])

    # Network.

    def _network(self) -> Iterator[Finding]:
        image = next(iter(self.images.values()))
        self._create(probe_manifests.server(image, self.pull_secrets))
        address = self._address(probe_manifests.SERVER)
        servers = self._api_servers()
        if not address or not servers:
            told = "the pod that is to be asked did not start"
            if address:
                told = "the API server's addresses are not told by the EndpointSlice of default"
            yield unknown(network.ENFORCED, network.ASKED, told, "Look at the nodes.")
            return
        targets = {"server": (address, probe_manifests.PORT), "api": servers[0]}
        self._create(probe_manifests.client(image, self.pull_secrets, targets))
        self._address(probe_manifests.CLIENT)
        self.tell("waiting until one pod reaches the other")
        if not self._heard(lambda heard: settled(heard, "server") is True):
            told = "one pod did not reach another, without any policy"
            yield unknown(network.ENFORCED, network.ASKED, told, "Look at the network.")
            return
        before = settled(self._lines(), "api")
        self.tell("closing one pod with a NetworkPolicy")
        self._create(probe_manifests.closed())
        yield enforced(self._heard(lambda heard: settled(heard, "server") is False))
        self.api.now(deletion(self.name, kinds.NETWORK_POLICY, "closed"))
        if not self._heard(lambda heard: settled(heard, "server") is True):
            return
        self.tell("letting one pod reach nothing but the API server's addresses")
        self._create(probe_manifests.only(servers))
        if self._heard(lambda heard: settled(heard, "server") is False):
            yield matched(before, settled(self._lines(), "api"))

    def _address(self, pod: str) -> str:
        """Wait until a pod runs; its address, nothing where it does not."""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            found = self.api.now(self.inside.reading(kinds.POD, pod))["status"]
            if found["phase"] == "Running" and found.get("podIP"):
                return str(found["podIP"])
            if found["phase"] in ("Failed", "Succeeded"):
                return ""
            time.sleep(PAUSE)
        return ""

    def _api_servers(self) -> list[tuple[str, int]]:
        there = self.api.within("default")
        slices = there.now(there.reading(kinds.ENDPOINTS, labelSelector=SERVERS_LABEL))["items"]
        return [
            (address, port["port"])
            for each in slices
            for endpoint in each.get("endpoints", ())
            for address in endpoint["addresses"]
            for port in each.get("ports", ())
        ]

    def _lines(self) -> Heard:
        # Of the end alone: it prints two lines a second.
        asked = self.inside.reading(kinds.POD, probe_manifests.CLIENT, "log", tailLines=ROUNDS)
        text = str(self.api.now(asked))
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def _heard(self, enough: Callable[[Heard], bool]) -> bool:
        ends = time.monotonic() + ENFORCED_WITHIN
        while time.monotonic() < ends:
            if enough(self._lines()):
                return True
            time.sleep(PAUSE)
        return False


def verdict(pod: Object) -> str | None:
    """Say why a pod's image cannot be had; nothing where it can, None where that is not known."""
    for container in pod["status"].get("containerStatuses", ()):
        state = container["state"]
        if "running" in state or "terminated" in state:
            return ""
        waiting = state.get("waiting", {})
        if waiting.get("reason") in UNFETCHED:
            return f"{waiting['reason']}: {waiting.get('message', 'no message')}"
        if waiting.get("reason") in ("CreateContainerError", "RunContainerError"):
            return ""
    return None


def _waits_for(pod: Object | None) -> str:
    conditions = (pod or {}).get("status", {}).get("conditions", ())
    said = [each.get("message", "") for each in conditions if each["status"] == "False"]
    return "; ".join(filter(None, said)) or "nobody says why"


def settled(heard: Heard, name: str) -> bool | None:
    """Tell whether someone answers; None while the last answers differ or are too few."""
    last = {each.get(name) for each in heard[-ROUNDS:]}
    return last.pop() if len(heard) >= ROUNDS and len(last) == 1 else None


def enforced(closed: bool) -> Finding:
    """Say whether a policy that should close a pod has closed it."""
    if closed:
        return good(network.ENFORCED, "a try: two pods and a policy", "the policy closed the pod")
    told = f"{ENFORCED_WITHIN:.0f} s after a policy had closed a pod it was still reached"
    todo = "Use a network that enforces NetworkPolicies, such as Cilium or Calico."
    return missing(network.ENFORCED, "a try: two pods and a policy", told, todo)


def matched(before: bool | None, after: bool | None) -> Finding:
    """Say whether a policy's addresses can be those of the API server.

    Parameters
    ----------
    before, after
        Whether the API server answered before that policy, and with it.
    """
    asked = "a try: a policy with the API server's addresses"
    if not before or after is None:
        told = "the API server did not answer a pod at its own address, or not always"
        return unknown(network.ADDRESSES, asked, told, "Look at the network.")
    if after:
        return good(network.ADDRESSES, asked, "the API server was reached")
    told = "the API server was not reached: no address is its own"
    todo = "Say networkPolicy.flavor: cilium, or set policy-cidr-match-mode: nodes in Cilium."
    return missing(network.ADDRESSES, asked, told, todo)
