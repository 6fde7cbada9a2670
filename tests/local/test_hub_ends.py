"""How the hub, its servers and what they start come to an end, and what survives."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import websocket

from facility.errors import HubError
from facility.hub.local import launcher, settings
from facility.hub.local.settings import HubSettings
from facility.hub.local.stopping import StopRequest
from tests.local.conftest import PORT
from tests.local.hub_driver import Hub, Visitor, wait_for
from tests.local.leaks import command, ended

pytestmark = pytest.mark.timeout(400)
StartHub = Callable[..., Hub]


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
    assert visitor.panel(server, "PUT", "/").status_code == 200
    running = hub.marked()
    assert orphan in {process.pid for process in running}
    # Hub, proxy, culler, server, kernel, what it started, and the panel's scheduler.
    assert len(running) >= 7
    assert hub.press_ctrl_c() == 0
    assert hub.output.rstrip().endswith("Stopped.")
    assert hub.marked() == []
    assert all(ended(process) for process in running)


@pytest.mark.parametrize("how", [pytest.param("stopped", marks=pytest.mark.long), "killed"])
def test_a_server_takes_along_what_it_started(start_hub: StartHub, how: str):
    hub = start_hub().ready()
    visitor = Visitor(hub)
    visitor.log_in()
    server = visitor.open_server()
    connection = visitor.connect(server, visitor.start_kernel(server))
    assert visitor.panel(server, "PUT", "/").status_code == 200
    own = {process.pid for process in hub.marked()} - hub_alone(hub)
    assert len(own) >= 3  # server, kernel, scheduler
    if how == "stopped":
        visitor.stop_server()
    else:
        visitor.server_process().kill()
    wait_for(
        lambda: {process.pid for process in hub.marked()} == hub_alone(hub), "nothing but the hub"
    )
    assert hub.process.poll() is None
    # Otherwise JupyterLab would look connected to a kernel that is gone.
    wait_for(lambda: is_closed(connection), "the kernel's WebSocket to be closed")


def is_closed(connection: websocket.WebSocket) -> bool:
    try:
        return connection.recv() == ""
    except websocket.WebSocketConnectionClosedException:
        return True
    finally:
        if not connection.connected:
            connection.shutdown()


def hub_alone(hub: Hub) -> set[int]:
    """Tell the processes of JupyterHub, its proxy and its culler from those of servers."""
    servers = {process.pid for process in hub.marked("JUPYTERHUB_USER")}
    return {process.pid for process in hub.marked()} - servers


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
    process = visitor.server_process()

    first.hub_process.kill()
    assert first.process.wait(60) == 1
    assert "killed by signal 9" in first.output
    assert "Traceback" not in first.output.split("The end of its log")[0]
    assert not ended(process)

    second = start_hub().ready()
    assert second.address == first.address
    assert "not stopped properly" in second.output
    assert visitor.open_server() == server
    assert visitor.server_process() == process
    assert visitor.execute(server, kernel, "print(remembered)") == "still here\n"
    assert len([p for p in second.marked() if "facility.hub.culler" in command(p)]) == 1

    assert second.press_ctrl_c() == 0
    assert second.marked() == []
    assert ended(process)


def test_a_killed_launcher_is_taken_over(start_hub: StartHub):
    first = start_hub().ready()
    visitor = Visitor(first)
    visitor.log_in()
    visitor.open_server()
    process = visitor.server_process()
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()

    second = start_hub().ready()
    visitor.open_server()
    assert visitor.server_process() == process
    assert second.press_ctrl_c() == 0
    assert second.marked() == []


def test_a_taken_port_is_named_and_another_used(start_hub: StartHub):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", PORT))
        taken.listen()
        hub = start_hub().ready()
        assert f"Port {PORT} is taken, using {PORT + 1}." in hub.output
        assert hub.address == f"http://127.0.0.1:{PORT + 1}/"


def test_a_port_that_is_lost_while_the_hub_starts(start_hub: StartHub):
    hub = start_hub()
    settings_file = hub.folder / "settings.json"
    wait_for(settings_file.exists, "the hub to choose its ports", 60)
    port = json.loads(settings_file.read_text())["port"]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # JupyterHub needs a second or more before its proxy asks for the port.
        taken.bind(("127.0.0.1", port))
        taken.listen()
        hub.ready()
    assert "trying again" in hub.output
    assert hub.address == f"http://127.0.0.1:{port + 1}/"


def test_idle_servers_are_stopped_and_busy_ones_are_not(start_hub: StartHub, tmp_path: Path):
    hub = start_hub("--idle-timeout", "6s").ready()
    visitor = Visitor(hub)
    visitor.log_in()
    server = visitor.open_server()
    kernel = visitor.start_kernel(server)
    finished = tmp_path / "finished"
    process = visitor.server_process()
    # Silent for three times as long as an idle server may live.
    code = f"import time\ntime.sleep(18)\nopen({str(finished)!r}, 'w').close()"
    visitor.execute(server, kernel, code, wait=False)
    wait_for(lambda: ended(process), "the idle server to be stopped", 120)
    assert finished.exists()
    assert hub.process.poll() is None


def test_a_server_that_dies_while_it_starts_says_why(
    start_hub: StartHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    configuration = tmp_path / "jupyter"
    configuration.mkdir()
    (configuration / "jupyter_server_config.py").write_text(
        "import os; print('my own <mistake>', flush=True); os._exit(3)"
    )
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(configuration))
    hub = start_hub().ready()
    visitor = Visitor(hub)
    visitor.log_in()
    progress = visitor.spawn_and_watch()
    assert '"failed": true' in progress
    assert "ended with exit code 3" in progress
    assert "my own &lt;mistake&gt;" in progress
    # Mended, it starts; and a notebook folder that was moved away is made again.
    (configuration / "jupyter_server_config.py").unlink()
    folder = Path(hub.told("notebooks"))
    folder.rename(tmp_path / "moved")
    visitor.open_server()
    assert {path.name for path in folder.glob("*.ipynb")} == {
        path.name for path in (tmp_path / "moved").glob("*.ipynb")
    }


def test_a_server_that_knows_another_hub_is_stopped(start_hub: StartHub):
    first = start_hub().ready()
    visitor = Visitor(first)
    visitor.log_in()
    visitor.open_server()
    process = visitor.server_process()
    first.hub_process.kill()
    first.process.wait(60)
    port = json.loads((first.folder / "settings.json").read_text())["hub_port"]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        start_hub().ready()
        wait_for(lambda: ended(process), "the old server to be stopped")
        visitor.open_server()
        assert visitor.server_process() != process


def test_stop_from_elsewhere(start_hub: StartHub):
    hub = start_hub().ready()
    second = start_hub("--stop")
    assert second.process.wait(90) == 0
    assert second.output.rstrip().endswith("Stopped.")
    assert hub.process.wait(60) == 0
    assert hub.marked() == []
    third = start_hub("--stop")
    assert third.process.wait(90) == 0
    assert third.output.strip() == "Nothing of your hub runs."


def test_stop_what_a_killed_hub_left(start_hub: StartHub):
    hub = start_hub().ready()
    visitor = Visitor(hub)
    visitor.log_in()
    visitor.open_server()
    hub.hub_process.kill()
    assert hub.process.wait(60) == 1
    assert "facility hub --stop" in hub.output
    assert hub.marked()
    assert start_hub("--stop").process.wait(90) == 0
    assert hub.marked() == []


def test_a_hub_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launcher, "START_TIMEOUT", 0.5)
    chosen = HubSettings(tmp_path, tmp_path, "ada", settings.free_port(18900), 1, 2)
    stop = StopRequest.__new__(StopRequest)
    stop.first = None
    silent = subprocess.Popen(["sleep", "100"])
    try:
        with pytest.raises(HubError, match="does not answer"):
            launcher._wait_until_ready(silent, chosen, stop)
    finally:
        silent.kill()
        silent.wait()
