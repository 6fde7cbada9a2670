"""Lists of kernels and starts of kernels that race in a real Jupyter server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from facility.hub.user_server.environment import jupyter
from tests.local.hub_driver import ROOT, wait_for

CONFIGURATION = """
import asyncio
from pathlib import Path

from jupyter_client.ioloop import AsyncIOLoopKernelManager
from tornado.web import Application

HERE = Path(__file__).parent
find_handler = Application.find_handler
pre_start = AsyncIOLoopKernelManager._async_pre_start_kernel


def note(name):
    with (HERE / name).open("a") as file:
        file.write(name + "\\n")


async def pre_start_slowly(kernel, **named):
    note("began")
    while (HERE / "hold").exists():
        await asyncio.sleep(0.02)
    if (HERE / "fail").exists():
        raise RuntimeError("no kernel today")
    return await pre_start(kernel, **named)


def find_and_note(application, request, **named):
    if request.method == "GET" and request.path in ("/api/kernels", "/api/sessions"):
        note("asked")
    return find_handler(application, request, **named)


Application.find_handler = find_and_note
AsyncIOLoopKernelManager._async_pre_start_kernel = pre_start_slowly
c.ServerApp.jpserver_extensions = {
    name: False for name in ("dask_labextension", "jupyter_lsp", "jupyterlab", "notebook_shim")
}
"""
"""Kernels start when the file `hold` is not there; what begins is told in files."""
LISTS = ("api/kernels", "api/sessions")


class Server:
    """A user's Jupyter server, without a hub, whose kernels start when they are allowed to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hold = folder / "hold"
        self.fail = folder / "fail"
        (folder / "jupyter_server_config.py").write_text(CONFIGURATION)
        environment = os.environ | {
            **jupyter(os.environ),
            "JUPYTER_CONFIG_DIR": str(folder),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "jupyter_server", "--port=0", "--ip=127.0.0.1"]
        if os.geteuid() == 0:
            command.append("--allow-root")
        self.log = folder / "log.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--IdentityProvider.token=secret", f"--ServerApp.root_dir={folder}"],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.address = wait_for(self._address, "Jupyter's server")

    def _address(self) -> str | None:
        assert self.process.poll() is None, self.log.read_text()
        found = re.search(r"http://127\.0\.0\.1:\d+/", self.log.read_text())
        return found and found[0]

    def ask(
        self, method: str, path: str, token: str = "secret", timeout: Any = 60, **named: Any
    ) -> requests.Response:
        with requests.Session() as http:
            http.trust_env = False
            headers = {"Authorization": f"token {token}"}
            return http.request(
                method, self.address + path, headers=headers, timeout=timeout, **named
            )

    def start_session(self, path: str, timeout: Any = 60) -> requests.Response:
        model = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        return self.ask("POST", "api/sessions", json=model, timeout=timeout)

    def began(self) -> int:
        """How many kernels have begun to start."""
        return self._lines("began")

    def asked_for_lists(self) -> int:
        """How many lists have been asked for."""
        return self._lines("asked")

    def _lines(self, name: str) -> int:
        path = self.folder / name
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(60)
        print(running.log.read_text())


@pytest.fixture
def threads(server: Server) -> Iterator[ThreadPoolExecutor]:
    """Threads for what is answered later; in the end nothing holds up answers, or is left."""
    with ThreadPoolExecutor(16) as threads:
        yield threads
        server.hold.unlink(missing_ok=True)
    server.fail.unlink(missing_ok=True)
    for kernel in server.ask("GET", "api/kernels").json():
        server.ask("DELETE", f"api/kernels/{kernel['id']}")


def ask_for_lists(server: Server, threads: ThreadPoolExecutor) -> list[Future[Any]]:
    """Ask for both lists, and return when the server has been asked."""
    before = server.asked_for_lists()
    asked = [threads.submit(lambda path=path: server.ask("GET", path).json()) for path in LISTS]
    wait_for(lambda: server.asked_for_lists() == before + len(LISTS), "the lists to be asked for")
    return asked


def known(lists: list[Future[Any]]) -> list[set[str]]:
    """Kernels of both lists."""
    kernels, sessions = (each.result() for each in lists)
    return [{each["id"] for each in kernels}, {each["kernel"]["id"] for each in sessions}]


def test_a_list_asked_for_during_starts_has_all_their_kernels(
    server: Server, threads: ThreadPoolExecutor
):
    server.hold.touch()
    before = server.began()
    starting = [threads.submit(server.start_session, f"{n}.ipynb") for n in range(2)]
    starting.append(threads.submit(server.ask, "POST", "api/kernels", json={"name": "python3"}))
    wait_for(lambda: server.began() == before + 3, "three kernels to begin")
    lists = ask_for_lists(server, threads)
    # All else is answered meanwhile.
    for path in ("api/contents", "api/kernelspecs", "api/terminals", "api/status"):
        assert server.ask("GET", path).ok
    assert not any(each.done() for each in (*starting, *lists))
    server.hold.unlink()
    *sessions, alone = (each.result().json() for each in starting)
    of_sessions = {each["kernel"]["id"] for each in sessions}
    assert known(lists) == [of_sessions | {alone["id"]}, of_sessions]


def test_a_list_asked_for_while_a_kernel_is_changed_has_the_new_one(
    server: Server, threads: ThreadPoolExecutor
):
    session = server.start_session("changed.ipynb").json()
    server.hold.touch()
    before = server.began()
    change = {"kernel": {"name": "python3"}}
    changing = threads.submit(server.ask, "PATCH", f"api/sessions/{session['id']}", json=change)
    wait_for(lambda: server.began() == before + 1, "the other kernel to begin")
    lists = ask_for_lists(server, threads)
    assert not any(each.done() for each in lists)
    server.hold.unlink()
    new = changing.result().json()["kernel"]["id"]
    assert new != session["kernel"]["id"]
    assert known(lists) == [{new}, {new}]


def test_a_start_that_fails_or_is_refused_holds_up_no_list(
    server: Server, threads: ThreadPoolExecutor
):
    server.fail.touch()
    server.hold.touch()
    before = server.began()
    starting = threads.submit(server.start_session, "failing.ipynb")
    wait_for(lambda: server.began() == before + 1, "the kernel to begin")
    lists = ask_for_lists(server, threads)
    server.hold.unlink()
    assert starting.result().status_code == 500
    assert known(lists) == [set(), set()]
    server.hold.touch()
    for path in LISTS:
        assert server.ask("POST", path, token="wrong", json={"name": "python3"}).status_code == 403
    assert known(ask_for_lists(server, threads)) == [set(), set()]


def test_whoever_starts_a_kernel_may_go_away_meanwhile(server: Server, threads: ThreadPoolExecutor):
    server.hold.touch()
    before = server.began()
    with pytest.raises(requests.ReadTimeout):
        server.start_session("left.ipynb", timeout=(10, 0.5))
    wait_for(lambda: server.began() == before + 1, "the kernel to begin")
    lists = ask_for_lists(server, threads)
    server.hold.unlink()
    kernels, with_session = known(lists)
    assert len(kernels) == 1
    assert with_session == kernels
