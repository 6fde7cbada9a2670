"""The real hub, started as a user does and driven over HTTP."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.local.hub_driver import COMMAND, ROOT, Hub, Visitor, wait_for

pytestmark = pytest.mark.timeout(400)
StartHub = Callable[..., Hub]


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


def test_password_is_kept_for_the_user_alone(hub: Hub):
    file = hub.folder / "password"
    assert file.read_text().strip() == hub.told("password")
    assert file.stat().st_mode & 0o777 == 0o600
    assert hub.folder.stat().st_mode & 0o777 == 0o700


def test_everything_listens_on_loopback(hub: Hub, server: str):
    listening = {
        connection.laddr.ip
        for process in hub.marked()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


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


def test_ctrl_c_leaves_nothing(start_hub: StartHub):
    hub = start_hub().ready()
    visitor = Visitor(hub)
    visitor.log_in()
    server = visitor.open_server()
    kernel = visitor.start_kernel(server)
    code = """
import subprocess
started = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print(started.pid)
"""
    orphan = int(visitor.execute(server, kernel, code))
    running = hub.marked()
    assert orphan in {process.pid for process in running}
    assert len(running) >= 6  # hub, proxy, culler, server, kernel, and what it started
    assert hub.press_ctrl_c() == 0
    assert hub.output.rstrip().endswith("Stopped.")
    assert hub.marked() == []
    assert not any(process.is_running() for process in running)


def test_ctrl_c_while_starting(start_hub: StartHub):
    hub = start_hub()
    wait_for(lambda: len(hub.marked()) > 0, "JupyterHub's process")
    assert hub.press_ctrl_c() == 0
    assert hub.marked() == []


def test_a_killed_hub_is_taken_over(start_hub: StartHub):
    first = start_hub().ready()
    visitor = Visitor(first)
    visitor.log_in()
    server = visitor.open_server()
    kernel = visitor.start_kernel(server)
    visitor.execute(server, kernel, "remembered = 'still here'")
    pid = visitor.server_pid()

    first.hub_process.kill()
    assert first.process.wait(60) == 1
    assert "killed by signal 9" in first.output
    assert "Traceback" not in first.output.split("The end of its log")[0]
    assert psutil.pid_exists(pid)

    second = start_hub().ready()
    assert second.address == first.address
    assert "not stopped properly" in second.output
    assert visitor.open_server() == server
    assert visitor.server_pid() == pid
    assert visitor.execute(server, kernel, "print(remembered)") == "still here\n"
    assert len([p for p in second.marked() if "facility.hub.culler" in p.cmdline()]) == 1

    assert second.press_ctrl_c() == 0
    assert second.marked() == []
    assert not psutil.pid_exists(pid)


def test_a_killed_launcher_is_taken_over(start_hub: StartHub):
    first = start_hub().ready()
    visitor = Visitor(first)
    visitor.log_in()
    visitor.open_server()
    pid = visitor.server_pid()
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()

    second = start_hub().ready()
    visitor.open_server()
    assert visitor.server_pid() == pid
    assert second.press_ctrl_c() == 0
    assert second.marked() == []


def test_a_taken_port_is_named_and_another_used(start_hub: StartHub):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 18000))
        taken.listen()
        hub = start_hub().ready()
        assert "Port 18000 is taken, using 18001." in hub.output
        assert hub.address == "http://127.0.0.1:18001/"


def test_idle_servers_are_stopped_and_busy_ones_are_not(start_hub: StartHub, tmp_path: Path):
    hub = start_hub("--idle-timeout", "6s").ready()
    visitor = Visitor(hub)
    visitor.log_in()
    server = visitor.open_server()
    kernel = visitor.start_kernel(server)
    finished = tmp_path / "finished"
    pid = visitor.server_pid()
    # Silent for three times as long as an idle server may live.
    code = f"import time\ntime.sleep(18)\nopen({str(finished)!r}, 'w').close()"
    visitor.execute(server, kernel, code, wait=False)
    wait_for(lambda: not psutil.pid_exists(pid), "the idle server to be stopped", 120)
    assert finished.exists()
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
