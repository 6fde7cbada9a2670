"""Hubs that benchmarks drive: the chart's, and one with KubeSpawner as it comes.

Both run the same image, have the same kinds of servers to choose from, and know one service, with
whose token users are made and servers started.
"""

import json
import math
import re
import subprocess
import textwrap
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import requests

from facility import names
from tests.kube.charts import Facility
from tests.kube.conftest import Kubernetes
from tests.kube.tenancy import dask_kinds

START_TIMEOUT = 120
"""Seconds that a start may take, by either hub's configuration."""
LONGEST = START_TIMEOUT + 60.0
"""Seconds without a word after which a start counts as failed."""
WHOLE, TINY = "whole", "tiny"
"""Kinds of servers: JupyterLab, and a program that only answers."""
ANSWER = f"""
import http.server, os, signal
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *told):
        pass
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.ThreadingHTTPServer(("0.0.0.0", {names.USER_SERVER_PORT}), Answer).serve_forever()
"""
COMMON = """
c.JupyterHub.services.append({{"name": "benchmark", "api_token": "{token}"}})
c.JupyterHub.load_roles.append(
    {{"name": "benchmark", "services": ["benchmark"], "scopes": ["admin:users", "admin:servers"]}}
)
c.KubeSpawner.start_timeout = {timeout}
c.KubeSpawner.profile_list = [
    {{"slug": "{whole}", "display_name": "JupyterLab", "default": True}},
    {{
        "slug": "{tiny}",
        "display_name": "a program that answers",
        "kubespawner_override": {{
            "cmd": ["python", "-I", "-S", "-c", {answer!r}],
            "cpu_guarantee": 0.01,
            "cpu_limit": 1.0,
            "mem_guarantee": 2**25,
            "mem_limit": 2**28,
            "storage_pvc_ensure": False,
            "volumes": [],
            "volume_mounts": [],
        }},
    }},
]
"""
STOCK = """
import os
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.JupyterHub.bind_url = "http://:8000"
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = "http://" + os.environ["POD_IP"] + ":8081"
c.JupyterHub.db_url = "sqlite:////tmp/hub.sqlite"
c.JupyterHub.cookie_secret_file = "/tmp/cookie-secret"
c.ConfigurableHTTPProxy.command = ["nodejs", "/opt/facility/bin/chp"]
c.ConfigurableHTTPProxy.pid_file = "/tmp/proxy.pid"
c.JupyterHub.authenticator_class = "null"
c.KubeSpawner.enable_user_namespaces = True
c.KubeSpawner.user_namespace_template = "{prefix}{{username}}"
c.KubeSpawner.image = "{image}"
c.KubeSpawner.node_selector = {{"kubernetes.io/arch": "amd64"}}
c.JupyterHub.concurrent_spawn_limit = 64
"""
LOOK = """
import json, os
tick, began, seconds = os.sysconf("SC_CLK_TCK"), 0, {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        continue
    if int(pid) != os.getpid():
        seconds[pid] = (int(fields[11]) + int(fields[12])) / tick
        began = int(fields[19]) if pid == "1" else began
with open("/proc/1/status") as file:
    memory = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
found = {"hub": seconds["1"], "pod": sum(seconds.values()), "mib": memory / 1024}
print(json.dumps(found | {"began": began}))
"""
"""What is asked inside a hub's pod, whose first process is the hub itself."""


class Used(NamedTuple):
    """What a hub has used: seconds of processor, its own and its pod's, and MiB of memory.

    `began` tells one process from another: when it began, as the kernel counts.
    """

    hub: float
    pod: float
    mib: float
    began: int


class Start(NamedTuple):
    """How one start ended: seconds until the server was ready, or why it failed."""

    seconds: float
    problem: str | None


class Batch(NamedTuple):
    """Several starts at once.

    Parameters
    ----------
    starts
        How each ended.
    cpu
        Milliseconds of the hub's processor for each of them; not a number if the hub ended.
    pod_cpu
        The same of all processes of its pod.
    mib
        The hub's memory afterwards.
    """

    starts: tuple[Start, ...]
    cpu: float
    pod_cpu: float
    mib: float

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(start.problem is not None for start in self.starts)

    @property
    def ready(self) -> list[float]:
        """Seconds until each that did not fail was ready, in order."""
        return sorted(start.seconds for start in self.starts if start.problem is None)


@dataclass(frozen=True)
class Hub:
    """A hub that runs.

    Parameters
    ----------
    address
        Where it answers, up to ``/hub/``.
    token
        Of the service.
    kube, pod
        Where it runs, as kubectl names it.
    """

    address: str
    token: str
    kube: Kubernetes
    pod: str

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """Ask as the service."""
        headers = {"Authorization": f"token {self.token}"}
        with requests.Session() as session:
            session.trust_env = False
            more.setdefault("timeout", LONGEST)
            url = f"{self.address}hub/api/{path}"
            return session.request(method, url, headers=headers, **more)

    def used(self) -> Used:
        """What it has used so far."""
        said = self.kube.run("exec", self.pod, "-c", "hub", "--", "python", "-I", "-c", LOOK)
        return Used(**json.loads(said))

    def make_users(self, users: Sequence[str]) -> None:
        """Make users that never log in."""
        self.ask("POST", "users", json={"usernames": list(users)}).raise_for_status()

    def start(self, user: str) -> Start:
        """Start a tiny server and follow its progress as the page does, until the end."""
        began = time.perf_counter()
        try:
            asked = self.ask("POST", f"users/{user}/server", json={"profile": TINY})
            problem = None if asked.ok else asked.text
            if problem is None:
                problem = self._progress(user)
        except requests.RequestException as error:
            problem = f"{type(error).__name__}: {error}"
        return Start(time.perf_counter() - began, problem)

    def _progress(self, user: str) -> str | None:
        with self.ask("GET", f"users/{user}/server/progress", stream=True) as answer:
            if not answer.ok:
                return answer.text
            for line in answer.iter_lines(decode_unicode=True):
                found = re.match(r"data: ?(.*)", str(line or ""))
                told = json.loads(found[1]) if found else {}
                if told.get("ready"):
                    return None
                if told.get("failed"):
                    return str(told["message"])
        return "the hub told no end"

    def start_all(self, users: Sequence[str]) -> Batch:
        """Start servers at once, and measure what they cost the hub."""
        before = self.used()
        with ThreadPoolExecutor(len(users)) as threads:
            starts = tuple(threads.map(self.start, users))
        after = self.used()
        # One that ended meanwhile has taken what it used with it.
        each = 1000 / len(users) if after.began == before.began else math.nan
        cpu, pod = (after.hub - before.hub) * each, (after.pod - before.pod) * each
        return Batch(starts, cpu, pod, after.mib)

    def stop_all(self, users: Sequence[str]) -> None:
        """Stop servers, and wait until the hub has none of them left."""
        with ThreadPoolExecutor(len(users)) as threads:
            list(threads.map(self._stop, users))

    def _stop(self, user: str) -> None:
        deadline = time.monotonic() + LONGEST
        while self._has_server(user):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server of {user} does not end")
            time.sleep(0.5)

    def _has_server(self, user: str) -> bool:
        """Whether a user has a server, or nobody answers; it is asked to end."""
        try:
            if not self.ask("GET", f"users/{user}").json()["servers"]:
                return False
            self.ask("DELETE", f"users/{user}/server")
        except (requests.RequestException, KeyError):
            # The proxy answers while the hub starts anew.
            pass
        return True


def common(token: str) -> str:
    """Configuration that both hubs have."""
    return COMMON.format(
        token=token, timeout=START_TIMEOUT, whole=WHOLE, tiny=TINY, answer=ANSWER.strip()
    )


@contextmanager
def of_the_chart(state: dict[str, Any], folder: Path, helm: str) -> Iterator[tuple[Facility, Hub]]:
    """The chart, installed, and its hub; without an operator, since no Dask cluster is made."""
    token = uuid.uuid4().hex
    dask_kinds(state)
    found = Facility(state, folder, helm, {})
    found.values["operator"] |= {"enabled": False}
    found.values["hub"] |= {"extraConfig": {"benchmark": common(token)}}
    try:
        found.install()
        found.open()
        yield found, Hub(found.address, token, found.kube, "deployment/hub")
    finally:
        found.clean_up()


@contextmanager
def stock_space(state: dict[str, Any]) -> Iterator[Kubernetes]:
    """A namespace for hubs of KubeSpawner, whose account has all rights, as its users grant it."""
    kube = Kubernetes(state, f"stock-{uuid.uuid4().hex[:8]}")
    kube.run("create", "namespace", kube.namespace)
    account = f"--serviceaccount={kube.namespace}:default"
    kube.run("create", "clusterrolebinding", kube.namespace, "--clusterrole=cluster-admin", account)
    try:
        yield kube
    finally:
        kube.run("delete", "clusterrolebinding", kube.namespace)
        kube.run("delete", "namespace", kube.namespace, "--wait=false")


@contextmanager
def stock(kube: Kubernetes, prefix: str) -> Iterator[Hub]:
    """KubeSpawner as it comes, in a hub of its own that follows all pods and their events.

    Parameters
    ----------
    prefix
        Of its users' namespaces.
    """
    token = uuid.uuid4().hex
    text = STOCK.format(prefix=prefix, image=kube.images["analysis"])
    config = {"jupyterhub_config.py": textwrap.dedent(text) + common(token)}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hub"}}
    with ExitStack() as stack:
        stack.callback(kube.run, "delete", "pod/hub", "configmap/hub", "--grace-period=1")
        kube.apply({**settings, "data": config}, pod(kube))
        kube.run("wait", "--for=condition=Ready", "pod/hub", "--timeout=180s")
        yield Hub(stack.enter_context(forwarded(kube, "pod/hub", 8000)), token, kube, "hub")


def pod(kube: Kubernetes) -> dict[str, Any]:
    """The pod of such a hub, which starts its proxy itself."""
    found = kube.pod("hub", "", automountServiceAccountToken=True, restartPolicy="Always")
    (container,) = found["spec"]["containers"]
    container |= {
        "name": "hub",
        "image": kube.images["hub"],
        "command": ["jupyterhub", "--config", "/etc/hub/jupyterhub_config.py"],
        "workingDir": "/tmp",
        "env": [
            {"name": "HOME", "value": "/tmp"},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "readinessProbe": {"httpGet": {"path": "/hub/health", "port": 8081}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "hub", "mountPath": "/etc/hub"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    found["spec"]["volumes"] = [
        {"name": "hub", "configMap": {"name": "hub"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    return found


@contextmanager
def forwarded(kube: Kubernetes, target: str, port: int) -> Iterator[str]:
    """A port of a pod on this machine, as an address that ends in a slash."""
    command = [kube.state["kubectl"], f"--kubeconfig={kube.state['kubeconfig']}"]
    command += [f"--namespace={kube.namespace}", "port-forward", target, f":{port}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        told = re.search(rf"{names.LOOPBACK}:(\d+)", process.stdout.readline())
        if told is None:
            raise RuntimeError(f"{target} cannot be reached")
        yield f"http://{names.LOOPBACK}:{told[1]}/"
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.stdout.close()
