"""The facility as its chart installs it, and what its users and administrators do with it."""

import base64
import contextlib
import json
import re
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import yaml

from facility import names
from facility.kubernetes.tenant import slug
from facility.kubernetes.tenant.model import NAME_LENGTH
from tests.kube.bringup import site
from tests.kube.conftest import Kubernetes, until
from tests.kube.tenancy import SCOPED, with_token
from tests.local.hub_driver import Visitor

CHART = Path(__file__).resolve().parents[2] / "helm" / "facility"
SMALL = {"cpu": 0.15, "memory": "512Mi", "maxWorkers": 20, "grace": 5}
LITTLE = {"requests": {"cpu": "50m", "memory": "256Mi"}}
"""So that two releases and their users' pods fit on a node of two cores."""
ARM = {"key": "kubernetes.io/arch", "value": "arm64", "effect": "NoSchedule"}
POOLS: dict[str, Any] = {
    "cpu": {**SMALL, "default": True, "nodeSelector": {"facility.test/pool": "cpu"}},
    "arm": {**SMALL, "cpu": 0.3, "architecture": "arm64", "tolerations": [ARM]},
}


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Values and changes to them, as Helm merges files of values."""
    found = {**first, **second}
    for key, value in second.items():
        if isinstance(value, dict) and isinstance(first.get(key), dict):
            found[key] = merged(first[key], value)
    return found


class Facility:
    """An installed release.

    Parameters
    ----------
    state
        Of the bring-up.
    folder
        For values.
    helm
        Version of Helm that does everything.
    values
        Beside those that every test needs.
    """

    def __init__(self, state: dict[str, Any], folder: Path, helm: str, values: dict[str, Any]):
        self.state = state
        self.folder = folder
        self.helm_program = state["helm"][helm]
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.namespace = f"hub-{self.name}"
        self.prefix = f"{self.name}-"
        self.values = merged(self.common(), values)
        self.visitors: list[Visitor] = []
        self.forward: subprocess.Popen[str] | None = None

    def common(self) -> dict[str, Any]:
        # As `make images-push` prints them.
        images: dict[str, str] = self.state["images"]
        return {
            "pools": POOLS,
            "images": {
                "registry": images["hub"].partition("@")[0].rpartition("/")[0],
                "permitted": [f"{site.REGISTRY}/"],
            },
            "hub": {
                # Tests reach it by the number of this machine, below which there are no names.
                "usersTrustEachOther": True,
                "image": images["hub"],
                "nodeSelector": {"kubernetes.io/arch": "amd64"},
                "resources": LITTLE,
            },
            "proxy": {"nodeSelector": {"kubernetes.io/arch": "amd64"}, "resources": LITTLE},
            "operator": {
                "image": images["operator"],
                "nodeSelector": {"kubernetes.io/arch": "amd64"},
            },
            "singleuser": {
                "image": images["analysis"],
                "nodeSelector": {"kubernetes.io/arch": "amd64"},
                "memoryGuarantee": "256Mi",
            },
            "scheduler": {
                "nodeSelector": {"kubernetes.io/arch": "amd64"},
                "cpuGuarantee": 0.1,
                "memoryGuarantee": "512Mi",
            },
            "tenants": {"prefix": self.prefix},
        }

    @property
    def kube(self) -> Kubernetes:
        """With all rights, in the namespace of the hub."""
        return Kubernetes(self.state, self.namespace)

    def space(self, user: str) -> Kubernetes:
        """With all rights, in a user's namespace."""
        return Kubernetes(self.state, self.prefix + slug(user, NAME_LENGTH - len(self.prefix)))

    def with_token(self, token: str, namespace: str) -> Kubernetes:
        """With somebody's token alone."""
        path = self.folder / f"{uuid.uuid4().hex}.json"
        return with_token(self.state, path, token, namespace)

    def account(self, name: str) -> Kubernetes:
        """With the token of a ServiceAccount beside the hub."""
        return self.with_token(self.kube.run("create", "token", name).strip(), self.namespace)

    def helm(self, *words: str, fail: bool = False) -> str:
        kubeconfig = f"--kubeconfig={self.state['kubeconfig']}"
        command = [self.helm_program, *words, kubeconfig, f"--namespace={self.namespace}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == fail, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stderr if fail else done.stdout

    def write_values(self) -> str:
        """Write them where Helm can read them; return the path."""
        path = self.folder / "values.yaml"
        path.write_text(yaml.safe_dump(self.values))
        return str(path)

    def install(self, *, fail: bool = False) -> str:
        words = ("install", self.name, str(CHART), "-f", self.write_values(), "--create-namespace")
        return self.helm(*words, "--wait", "--timeout=8m", fail=fail)

    def upgrade(self, **values: Any) -> str:
        self.values |= values
        words = ("upgrade", self.name, str(CHART), "-f", self.write_values())
        return self.helm(*words, "--wait", "--timeout=8m")

    def uninstall(self) -> str:
        return self.helm("uninstall", self.name, "--wait", "--timeout=5m")

    # What browsers see.

    def open(self) -> None:
        """Reach it as the notes of the installation say."""
        with socket.socket() as probe:
            probe.bind((names.LOOPBACK, 0))
            port = probe.getsockname()[1]
        self.address = f"http://{names.LOOPBACK}:{port}/"
        self.port = port
        self._forward()

    def open_shortly(self) -> None:
        """Reach it by the shortest way, which many may go at once."""
        if "registry" in self.state:
            self.open_inside()
        elif self.forward is None:
            self.open()
        else:
            self.wait_until_it_answers()

    def open_inside(self) -> None:
        """Reach it past the API server, as from the nodes' network."""
        self._end_forward()
        service = self.kube.get("service", "proxy-public")["spec"]
        self.address = f"http://{service['clusterIP']}:{service['ports'][0]['port']}/"
        self.wait_until_it_answers()

    def _forward(self) -> None:
        command = [self.state["kubectl"], f"--kubeconfig={self.state['kubeconfig']}"]
        command += [f"--namespace={self.namespace}", "port-forward", "service/proxy-public"]
        self.forward = subprocess.Popen(
            [*command, f"{self.port}:http"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.wait_until_it_answers()

    def _end_forward(self) -> None:
        if self.forward is not None:
            self.forward.terminate()
            self.forward.wait()
            self.forward = None

    def wait_until_it_answers(self) -> None:
        """After what has the hub begin anew."""
        until(self._answers, 120)

    def _answers(self) -> bool:
        if self.forward is not None and self.forward.poll() is not None:
            self._forward()
        try:
            answer = requests.get(f"{self.address}hub/login", timeout=5)
        except requests.RequestException:
            return False
        return answer.status_code == 200

    def password(self) -> str:
        name = self.values["hub"].get("existingSecret") or "hub-secrets"
        secret = self.kube.get("secret", name)
        return base64.b64decode(secret["data"]["password"]).decode()

    def visitor(self, user: str) -> "User":
        found = User(self, user)
        assert found.log_in().ok
        return found

    def told(self, what: str) -> str:
        """What a launcher on one machine prints."""
        return {"user": "nobody", "password": self.password()}[what]

    def hub(self, *words: str, fail: bool = False) -> str:
        """What a command says in the hub's pod."""
        return self.kube.run("exec", "deployment/hub", "--", *words, fail=fail)

    def clean_up(self) -> None:
        """Leave nothing, also after a test that failed in the middle."""
        for visitor in self.visitors:
            visitor.http.close()
        self._end_forward()
        admin = Kubernetes(self.state)
        label = f"{names.HUB_LABEL}={self.name}"
        # An operator still has to let Dask clusters go; a release that comes next is refused while
        # it is there.
        for space in admin.run("get", "namespaces", "-l", label, "-o", "name").split():
            inside = Kubernetes(self.state, space.partition("/")[2])
            inside.say("delete", "daskclusters", "--all", "--timeout=20s")
        self.kube.run("delete", "deployment", "operator", "--ignore-not-found")
        admin.run("delete", "namespace", "-l", label, "--wait=false")
        admin.run("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")
        admin.run("delete", SCOPED, "-l", label, "--wait=false")
        admin.run("delete", SCOPED, "-l", f"app.kubernetes.io/instance={self.name}", "--wait=false")


class User(Visitor):
    """A user's browser, without a screen."""

    def __init__(self, hub: Facility, user: str) -> None:
        super().__init__(hub)  # type: ignore[arg-type]
        self.user = user
        self.facility = hub

    @property
    def space(self) -> Kubernetes:
        return self.facility.space(self.user)

    def api(self, method: str, path: str, **more: Any) -> requests.Response:
        """What the hub's own page asks the hub."""
        return self.http.request(
            method,
            f"{self.base}/hub/api/{path}",
            params={"_xsrf": self.http.cookies.get("_xsrf", path="/hub/")},
            headers={"Referer": f"{self.base}/hub/home"},
            **{"timeout": 120, **more},
        )

    def server(self) -> dict[str, Any] | None:
        """What the hub knows of the user's server."""
        answer = self.api("GET", f"users/{self.user}")
        assert answer.ok, answer.text
        found: dict[str, Any] | None = answer.json()["servers"].get("")
        return found

    def begin(self, **options: str) -> str:
        """Start the server as the page does; return why it is refused at once."""
        asked = self.api("POST", f"users/{self.user}/server", json=options)
        return "" if asked.ok else str(asked.json()["message"])

    def progress(self) -> Iterator[str]:
        """What the progress page says."""
        path = f"users/{self.user}/server/progress"
        with self.api("GET", path, stream=True, timeout=300) as answer:
            for line in answer.iter_lines(decode_unicode=True):
                found = re.match(r"data: ?(.*)", line or "")
                if found:
                    yield json.loads(found[1])["message"]

    def spawn(self, **options: str) -> list[str]:
        """Start the server as the page does; return all that the progress page says."""
        refused = self.begin(**options)
        return [refused] if refused else list(self.progress())

    def python(self, code: str, *, keep: bool = False) -> str:
        """What code prints in a new kernel of the user's server; with `keep` the kernel stays."""
        server = self.open_server(200)
        kernel = self.start_kernel(server)
        try:
            return self.execute(server, kernel, code)
        finally:
            if not keep:
                self.end_kernel(server, kernel)


@contextlib.contextmanager
def installed_chart(
    state: dict[str, Any], folder: Path, helm: str = "3", **values: Any
) -> Iterator[Facility]:
    """A release of the chart, taken away at the end."""
    found = Facility(state, folder, helm, values)
    try:
        found.install()
        found.open()
        yield found
    finally:
        found.clean_up()
