"""Drive the real hub: start it as a user does, log in, run code, stop or kill it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import requests
import websocket

from tests.local.leaks import command

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
COMMAND = [sys.executable, "-m", "facility", "hub"]


def wait_for(condition: Callable[[], T], what: str, timeout: float = 60) -> T:
    """Call until the answer is true; everything on a busy machine may be slow."""
    end = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < end, f"waited {timeout} s for {what}"
        time.sleep(0.1)
    return answer


class Hub:
    """`facility hub` with a data folder of its own, and what it printed."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.visitors: list[Visitor] = []
        self.folder = data / "facility" / "hub"
        self.output_file = data.parent / f"hub-output-{uuid.uuid4().hex[:8]}.txt"
        environment = os.environ | {"XDG_DATA_HOME": str(data), "PYTHONPATH": str(ROOT)}
        with self.output_file.open("wb") as output:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def ready(self) -> "Hub":
        wait_for(
            lambda: "Ctrl-C stops" in self.output or self.process.poll() is not None,
            "the hub to be ready",
            180,
        )
        assert self.process.poll() is None, self.output
        return self

    def told(self, what: str) -> str:
        found = re.search(rf"^ +{what} +(\S+)$", self.output, re.MULTILINE)
        assert found, self.output
        return found[1]

    @property
    def address(self) -> str:
        return self.told("address")

    @property
    def hub_process(self) -> psutil.Process:
        """JupyterHub itself, the launcher's only child."""
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def marked(self, variable: str | None = None) -> list[psutil.Process]:
        """All processes of this hub, found by the mark in their environment.

        With `variable`, those that have this environment variable too.
        """
        found = []
        for process in psutil.process_iter():
            try:
                environment = process.environ()
            except psutil.Error:
                # Ended meanwhile, or another user's: either way not ours.
                continue
            if environment.get("FACILITY_HUB") != str(self.folder):
                continue
            if variable is None or environment.get(variable):
                found.append(process)
        return found

    def press_ctrl_c(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(120)

    def clean_up(self) -> None:
        """Leave nothing, also after a test that failed in the middle."""
        for visitor in self.visitors:
            visitor.http.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        left = self.marked()
        for process in left:
            process.kill()
        psutil.wait_procs(left, 10)

    def logs(self) -> str:
        return "\n".join(
            f"--- {path}\n{path.read_text(errors='replace')[-4000:]}"
            for path in sorted((self.folder / "logs").glob("*.log"))
        )


class Visitor:
    """A browser without a screen: cookies, forms and websockets of one user."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        hub.visitors.append(self)
        self.http = requests.Session()
        self.http.trust_env = False
        self.user = hub.told("user")
        self.base = hub.address.rstrip("/")

    def log_in(self, password: str | None = None, user: str | None = None) -> requests.Response:
        self.http.get(f"{self.base}/hub/login", timeout=60)
        return self.http.post(
            f"{self.base}/hub/login",
            params={"next": "/hub/home"},
            data={
                "username": user or self.user,
                "password": self.hub.told("password") if password is None else password,
                "_xsrf": self.http.cookies.get("_xsrf", path="/hub/"),
            },
            timeout=60,
        )

    def open_server(self, timeout: float = 150) -> str:
        """Spawn as the home page's button does, wait for the server, return its address."""
        server = f"{self.base}/user/{self.user}/"
        self.http.get(f"{self.base}/hub/spawn", timeout=60)

        def up() -> bool:
            page = self.http.get(server + "api/status", timeout=60, allow_redirects=True)
            if page.status_code == 200 and page.url.startswith(server):
                return "started" in page.json()
            # The first visit of the server's own page logs in to it by OAuth.
            self.http.get(server + "lab", timeout=60)
            return False

        wait_for(up, "the notebook server", timeout)
        return server

    def spawn_and_watch(self) -> str:
        """Start the server and return what the page's progress bar is told until the end."""
        self.http.get(f"{self.base}/hub/spawn", timeout=60)
        return self.http.get(
            f"{self.base}/hub/api/users/{self.user}/server/progress",
            params={"_xsrf": self.http.cookies.get("_xsrf", path="/hub/")},
            headers={"Referer": f"{self.base}/hub/home"},
            timeout=120,
        ).text

    def server_process(self) -> psutil.Process:
        """Process of the notebook server, as its kernels see it."""
        found = [
            process for process in self.hub.marked() if "jupyterhub.singleuser" in command(process)
        ]
        assert len(found) == 1, found
        return found[0]

    def _headers(self, server: str) -> dict[str, str]:
        path = "/" + server.split("/", 3)[3]
        token = self.http.cookies.get("_xsrf", path=path)
        return {"X-XSRFToken": token or ""}

    def start_kernel(self, server: str) -> str:
        answer = self.http.post(
            server + "api/kernels",
            json={"name": "python3"},
            headers=self._headers(server),
            timeout=60,
        )
        assert answer.status_code == 201, (answer.status_code, answer.text[:500])
        return str(answer.json()["id"])

    def end_kernel(self, server: str, kernel: str) -> None:
        path = f"api/kernels/{kernel}"
        self.http.delete(server + path, headers=self._headers(server), timeout=60)

    def panel(
        self, server: str, method: str, path: str = "", model: object = None
    ) -> requests.Response:
        """Send what the Dask panel sends."""
        return self.http.request(
            method,
            server + "dask/clusters" + path,
            headers=self._headers(server),
            json=model,
            timeout=120,
        )

    def stop_server(self) -> None:
        """Press Stop My Server on the hub's own page."""
        token = self.http.cookies.get("_xsrf", path="/hub/")
        answer = self.http.delete(
            f"{self.base}/hub/api/users/{self.user}/server",
            params={"_xsrf": token},
            headers={"Referer": f"{self.base}/hub/home"},
            timeout=120,
        )
        assert answer.status_code in (202, 204), (answer.status_code, answer.text)

    def connect(
        self, server: str, kernel: str, subprotocols: list[str] | None = None
    ) -> websocket.WebSocket:
        cookies = requests.utils.dict_from_cookiejar(self.http.cookies)
        return websocket.create_connection(
            server.replace("http", "ws", 1) + f"api/kernels/{kernel}/channels",
            cookie="; ".join(f"{key}={value}" for key, value in cookies.items()),
            timeout=120,
            subprotocols=subprotocols,
        )

    def bokeh_says(self, path: str, page: str, origin: str) -> str:
        """Open the websocket of a dashboard's page, and return what comes first."""
        cookies = requests.utils.dict_from_cookiejar(self.http.cookies)
        session = json.loads(re.findall(r'"token":("[^"]+")', page)[0])
        connection = websocket.create_connection(
            f"{self.base.replace('http', 'ws', 1)}{path}/ws",
            cookie="; ".join(f"{key}={value}" for key, value in cookies.items()),
            subprotocols=["bokeh", session],
            origin=origin,
            timeout=60,
        )
        try:
            return "".join(str(connection.recv()) for _ in range(3))
        finally:
            connection.close()

    def execute(self, server: str, kernel: str, code: str, wait: bool = True) -> str:
        """Run code in a kernel and return what it printed."""
        connection = self.connect(server, kernel)
        try:
            identity = uuid.uuid4().hex
            connection.send(
                json.dumps(
                    {
                        "channel": "shell",
                        "header": {
                            "msg_id": identity,
                            "msg_type": "execute_request",
                            "session": uuid.uuid4().hex,
                            "username": "",
                            "version": "5.3",
                        },
                        "parent_header": {},
                        "metadata": {},
                        "content": {"code": code, "silent": False, "store_history": False},
                    }
                )
            )
            printed = ""
            while True:
                message = json.loads(connection.recv())
                if message["parent_header"].get("msg_id") != identity:
                    continue
                kind, content = message["msg_type"], message["content"]
                if kind == "stream":
                    printed += content["text"]
                assert kind != "error", "\n".join(content.get("traceback", []))
                state = content.get("execution_state")
                if state == "idle" or (state == "busy" and not wait):
                    return printed
        finally:
            connection.close()
