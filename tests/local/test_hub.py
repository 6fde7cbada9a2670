"""The real hub, started as a user does and driven over HTTP."""

import json
import os
import re
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import websocket
import zmq

from facility.hub.login_pauses import FREE
from facility.system.logs import LIMIT
from tests.local.hub_driver import COMMAND, ROOT, Hub, Visitor, wait_for

pytestmark = pytest.mark.timeout(400)


def guess_as_another_user(visitor: Visitor, times: int) -> list[int]:
    """Try passwords in a process of another user of the machine, who says not to be that one."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        # By a fork: what runs here may not be readable by others.
        try:
            os.close(reading)
            os.setgroups([])
            os.setuid(12345)
            for number in range(times):
                visitor.http.headers["X-Forwarded-For"] = f"192.0.2.{number}"
                visitor.http.headers["X-Facility-Machine-User"] = "0"
                answer = visitor.log_in(password="wrong")
                os.write(writing, f"{answer.status_code} ".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answers:
        found = [int(code) for code in answers.read().split()]
    os.waitpid(child, 0)
    return found


def run_to_end(data: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        env=os.environ | {"XDG_DATA_HOME": str(data), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture(scope="module")
def visitor(hub: Hub) -> Visitor:
    visitor = Visitor(hub)
    assert visitor.log_in().url.endswith("/hub/home")
    return visitor


@pytest.fixture(scope="module")
def server(visitor: Visitor) -> str:
    return visitor.open_server()


@pytest.mark.parametrize(
    ("user", "password"), [(None, "wrong"), (None, "wröng"), (None, ""), ("mallory", None)]
)
def test_wrong_name_or_password_is_refused(hub: Hub, user: str | None, password: str | None):
    answer = Visitor(hub).log_in(password=password, user=user)
    assert answer.status_code == 403
    assert "Invalid username or password" in answer.text


def test_passwords_cannot_be_tried_often_and_who_guesses_holds_up_nobody_else(tmp_path: Path):
    hub = Hub(tmp_path / "data", "--port", "18180").ready()
    try:
        guesser, seconds = Visitor(hub), 10.0
        end, answers, said = time.monotonic() + seconds, Counter[int](), ""
        while time.monotonic() < end:
            answer = guesser.log_in(password="wrong")
            answers[answer.status_code] += 1
            said = answer.text if answer.status_code == 429 else said
        # Four slips, then pauses of 1, 2, 4, 8 s: five more at most in these seconds.
        assert FREE < answers[403] <= FREE + 5, answers
        assert answers[429] > 10, answers
        assert set(answers) == {403, 429}
        assert re.search(r"Too many wrong passwords\. Wait \d+ seconds?, then log in again", said)

        # The right password has to wait as well, or guesses would tell.
        refused = Visitor(hub).log_in()
        assert refused.status_code == 429
        time.sleep(int(refused.headers["Retry-After"]) + 1)
        if os.geteuid() == 0:  # another user of this machine guesses, and the owner logs in
            found = guess_as_another_user(Visitor(hub), 20)
            assert found[: FREE + 1] == [403] * (FREE + 1), found
            assert found.count(429) > 10, found
        assert Visitor(hub).log_in().url.endswith("/hub/home")
    finally:
        hub.clean_up()


def test_password_is_kept_for_the_user_alone(hub: Hub):
    file = hub.folder / "password"
    assert file.read_text().strip() == hub.told("password")
    assert file.stat().st_mode & 0o777 == 0o600
    assert hub.folder.stat().st_mode & 0o777 == 0o700


def test_what_the_hub_keeps_is_for_the_user_alone(hub: Hub, server: str):
    kept = [path for path in hub.folder.rglob("*") if path.is_file()]
    assert {path.name for path in kept} >= {"jupyterhub.sqlite", "hub.log", "server.log"}
    assert [path for path in kept if path.stat().st_mode & 0o077] == []


def test_logs_have_an_end(hub: Hub, visitor: Visitor, server: str):
    log = hub.folder / "logs" / "server.log"
    with log.open("a") as held:
        held.write("a line of the test\n" * (LIMIT // 10))
    wait_for(lambda: log.stat().st_size <= LIMIT, "the log to be shortened")
    kernel = visitor.start_kernel(server)
    wait_for(lambda: kernel in log.read_text(), "the server to go on in its log")
    visitor.end_kernel(server, kernel)
    assert log.read_text().startswith("facility: the first ")


def test_everything_listens_on_loopback(hub: Hub, server: str):
    listening = [connection for process in hub.marked() for connection in listens(process)]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def listens(process: psutil.Process) -> list[Any]:
    try:
        found = process.net_connections(kind="inet")
    except psutil.NoSuchProcess:
        return []
    return [connection for connection in found if connection.status == psutil.CONN_LISTEN]


def test_kernel_computes(visitor: Visitor, server: str):
    kernel = visitor.start_kernel(server)
    assert visitor.execute(server, kernel, "print(6 * 7)") == "42\n"


def test_kernel_finds_certificates_and_dashboards(visitor: Visitor, server: str):
    code = """
import os
import dask.config, distributed
from distributed.utils import format_dashboard_link
print(format_dashboard_link("127.0.0.1", 8787))
print(all(os.path.exists(dask.config.get("distributed.comm.tls." + key))
          for key in ("ca-file", "client.cert", "client.key")))
print(os.getcwd())
"""
    link, certificates, folder = visitor.execute(
        server, visitor.start_kernel(server), code
    ).splitlines()
    assert link == f"/user/{visitor.user}/proxy/8787/status"
    assert certificates == "True"
    assert folder == visitor.hub.told("notebooks")


def test_websockets_keep_their_subprotocol(visitor: Visitor, server: str):
    """A browser drops a WebSocket that answers without the one it asked for."""
    asked = "v1.kernel.websocket.jupyter.org"
    connection = visitor.connect(server, visitor.start_kernel(server), [asked])
    try:
        assert connection.getsubprotocol() == asked
    finally:
        connection.close()


def test_large_outputs_get_through(visitor: Visitor, server: str):
    code = "display({'text/plain': 'x' * 20_000_000}, raw=True)\nprint('shown')"
    assert visitor.execute(server, visitor.start_kernel(server), code) == "shown\n"


def test_other_users_of_the_machine_do_not_hear_what_a_kernel_prints(
    hub: Hub, visitor: Visitor, server: str
):
    kernel = visitor.start_kernel(server)
    (file,) = hub.data.rglob(f"kernel-{kernel}.json")
    assert file.stat().st_mode & 0o077 == 0
    # All that another user can find out: the ports.
    told = json.loads(file.read_text())
    with zmq.Context() as context, context.socket(zmq.SUB) as listening:
        listening.linger = 0
        listening.subscribe(b"")
        listening.connect(f"tcp://127.0.0.1:{told['iopub_port']}")
        time.sleep(1)
        assert visitor.execute(server, kernel, "print('a secret')") == "a secret\n"
        assert not listening.poll(2000)


def test_the_panel_starts_a_dask_cluster_that_a_kernel_can_use(visitor: Visitor, server: str):
    started = visitor.panel(server, "PUT", "/").json()
    try:
        assert started["scheduler_address"].startswith("tls://127.0.0.1:")
        assert started["name"].startswith("dask-")
        most = started["adapt"]["maximum"]
        assert started["adapt"] == {"minimum": 0, "maximum": most}
        path = f"/{started['id']}"
        refused = visitor.panel(server, "PATCH", path, {"adapt": {"minimum": 3, "maximum": 2}})
        assert refused.status_code == 400
        assert "the minimum is above the maximum" in refused.json()["message"]
        less = visitor.panel(server, "PATCH", path, {"workers": most + 1})
        assert less.status_code == 400
        assert f"{most} workers" in less.json()["message"]
        assert "adapt" not in visitor.panel(server, "GET", path).json()
        link = started["dashboard_link"]
        assert link.startswith(f"/user/{visitor.user}/proxy/")
        # The scheduler adds its dashboard after it has said that it is up.
        page = wait_for(
            lambda: (answer := visitor.http.get(visitor.base + link, timeout=60)).ok and answer,
            "the dashboard",
        )
        assert "Dask Diagnostic UI" in page.text
        # What the panel itself asks, and the websocket of a page in it.
        root = visitor.base + link.removesuffix("status")
        plots = visitor.http.get(f"{root}individual-plots.json", timeout=60)
        assert "/individual-task-stream" in plots.json().values()
        assert "ACK" in visitor.bokeh_says(link, page.text, visitor.base)
        with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
            visitor.bokeh_says(link, page.text, "http://evil.example")
        # Other users of the machine see nothing at the port.
        port = link.split("/proxy/")[1].partition("/")[0]
        assert requests.get(f"http://127.0.0.1:{port}/status", timeout=60).status_code == 401
        code = f"""
from dask.distributed import Client
client = Client("{started["scheduler_address"]}")
print(client.submit(sum, [1, 2, 3]).result())
client.close()
"""
        kernel = visitor.start_kernel(server)
        assert visitor.execute(server, kernel, code) == "6\n"
    finally:
        assert visitor.panel(server, "DELETE", f"/{started['id']}").status_code == 204


def test_lab_asks_nothing(visitor: Visitor, server: str):
    page = visitor.http.get(server + "lab", timeout=60).text
    assert '"buildCheck": false' in page
    setting = "@jupyterlab/apputils-extension:notification"
    answer = visitor.http.get(server + f"lab/api/settings/{setting}", timeout=60).json()
    assert answer["schema"]["properties"]["fetchNews"]["default"] == "false"


def test_a_second_run_is_refused(hub: Hub):
    second = run_to_end(hub.data, "--port", "18200")
    assert second.returncode == 1
    assert hub.address in second.stderr
    assert f"process {hub.process.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert hub.process.poll() is None


def test_an_unwritable_data_folder(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    result = run_to_end(file / "data")
    assert result.returncode == 1
    assert str(file / "data") in result.stderr
    assert "XDG_DATA_HOME" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_broken_database_is_told(tmp_path: Path):
    folder = tmp_path / "data" / "facility" / "hub"
    folder.mkdir(parents=True)
    (folder / "jupyterhub.sqlite").write_text("this is no database, " * 100)
    result = run_to_end(tmp_path / "data", "--port", "18300")
    assert result.returncode == 1
    assert "exit code" in result.stderr
    assert str(folder / "logs" / "hub.log") in result.stderr
    assert "file is not a database" in result.stderr
    assert f"mv {folder}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--port", "99999"], "from 1 to 65535"),
        (["--idle-timeout", "soon"], "like 90s, 30min or 1h"),
        (["--idle-timeout=-5"], "like 90s, 30min or 1h"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: list[str], expected: str):
    result = run_to_end(tmp_path / "data", *arguments)
    assert result.returncode == 1
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
