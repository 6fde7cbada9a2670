"""`facility hub`: start JupyterHub on this machine, watch over it, stop all of it."""

import argparse
import math
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from facility import names
from facility.errors import HubError
from facility.hub.local import hub_processes, settings
from facility.hub.local.lock import only_one
from facility.hub.local.settings import FOLDER_VARIABLE, HubSettings
from facility.hub.local.stopping import PROGRESS_INTERVAL, StopRequest, stop_everything, stop_other
from facility.hub.user_server import notebooks
from facility.quantity import parse_seconds
from facility.system.logs import shorten
from facility.system.private_files import open_private, trouble
from facility.system.processes import end
from facility.wording import counted

LOG_LOOK = 5.0
"""Seconds between two looks at how long the logs are."""
CONFIG_FILE = Path(__file__).with_name("jupyterhub_config.py")
START_TIMEOUT = 180.0
"""Seconds until the login page has to answer; a slow machine takes some 20."""
ATTEMPTS = 3
"""How often a start is tried where another program takes a port at that moment."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `facility hub`."""
    parser.add_argument(
        "--port",
        type=int,
        default=settings.DEFAULT_PORT,
        help="port of the address to open, the next free one if it is taken (default %(default)s)",
    )
    parser.add_argument(
        "--idle-timeout",
        default="1h",
        metavar="TIME",
        help="stop a notebook server that nobody uses and that computes nothing after this time, "
        "like 90s, 30min or 1h; 0 for never (default %(default)s)",
    )
    parser.add_argument(
        "--notebooks",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="folder on which JupyterLab opens (default: notebooks in the facility's data folder)",
    )
    parser.add_argument(
        "--stop",
        action="store_true",
        help="stop your hub instead, or what a hub that was killed has left running",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the hub until Ctrl-C.

    Parameters
    ----------
    arguments
        What `add_arguments` describes.

    Returns
    -------
    int
        0, after Ctrl-C or `--stop`.

    Raises
    ------
    HubError
        Where the hub cannot start, or dies.
    """
    idle_timeout = seconds(arguments.idle_timeout)
    folder = settings.hub_folder()
    if arguments.stop:
        return stop_other(folder)
    settings.prepare_folder(folder)
    with only_one(folder) as name_holder:
        stop = StopRequest()
        if _clear_remains(folder):
            print("The last hub was not stopped properly; took over from it.", flush=True)
        for attempt in range(ATTEMPTS):
            chosen = _settings(folder, arguments, idle_timeout)
            chosen.save()
            name_holder(chosen.address)
            copied = notebooks.copy_notebooks(chosen.notebooks, print)
            if copied:
                number = counted(len(copied), "notebook")
                print(f"Copied {number} to {chosen.notebooks}", flush=True)
            hub = _start(chosen)
            ready = _watch(hub, chosen, stop)
            if stop:
                break
            # After a crash the proxy still leads to the notebook servers; leave it.
            if ready:
                raise HubError(_death_notice(hub, chosen))
            _clear_remains(folder)
            if attempt == ATTEMPTS - 1 or not _lost_a_port(chosen):
                raise HubError(_death_notice(hub, chosen))
            print("Another program took a port meanwhile; trying again.", flush=True)
    return 0


def _watch(hub: "subprocess.Popen[bytes]", chosen: HubSettings, stop: StopRequest) -> bool:
    """See a hub through until it ends; return whether it ever was ready."""
    ready = False
    try:
        ready = _wait_until_ready(hub, chosen, stop)
        if ready:
            _introduce(chosen, settings.password(chosen.folder))
        looked = 0.0
        while hub.poll() is None and not stop:
            time.sleep(0.2)
            if time.monotonic() - looked > LOG_LOOK:
                looked = time.monotonic()
                for log in (chosen.hub_log, chosen.server_log):
                    shorten(log)
    finally:
        if stop:
            stop_everything(hub, chosen.folder, stop)
        elif hub.poll() is None:
            # It hangs. Notebook servers are left to the next one, as after a crash.
            hub.kill()
            hub.wait()
    return ready


def _lost_a_port(chosen: HubSettings) -> bool:
    """Whether somebody else listens by now where this hub was to."""
    ports = (chosen.port, chosen.hub_port, chosen.proxy_port)
    return any(settings.free_port(port) != port for port in ports)


def seconds(text: str) -> int:
    """Read a time like ``90s``, ``30min`` or ``1h``.

    Raises
    ------
    HubError
        Where it is none, or negative.
    """
    try:
        # Rounded up, so that a short time does not become never.
        return math.ceil(parse_seconds(text))
    except (ValueError, OverflowError) as error:
        raise HubError(
            f"--idle-timeout {text}: a time is a number with a unit, like 90s, 30min or 1h, "
            "and 0 means never."
        ) from error


def _clear_remains(folder: Path) -> bool:
    """End what a hub that died has left, all but notebook servers; say if there was any.

    JupyterHub would end its old proxy too, but only after the port was chosen,
    and it ends whatever has the number in its pid file by now.
    """
    left = hub_processes.running(folder, CONFIG_FILE.name)
    for process in left:
        # Without its launcher; asked to end, it would stop the servers as well.
        process.kill()
    left += hub_processes.running(folder, "facility.hub.proxy")
    left += hub_processes.running(folder, "facility.hub.culler")
    end(left, grace=5.0)
    (folder / "jupyterhub-proxy.pid").unlink(missing_ok=True)
    return bool(left)


def _settings(folder: Path, arguments: argparse.Namespace, idle_timeout: int) -> HubSettings:
    port = settings.free_port(arguments.port)
    if port != arguments.port:
        print(f"Port {arguments.port} is taken, using {port}.", flush=True)
    hub_port = settings.free_port(settings.remembered_hub_port(folder), avoid={port})
    own = arguments.notebooks or names.data_folder() / "notebooks"
    return HubSettings(
        folder=folder,
        notebooks=own.expanduser().absolute(),
        user=settings.user_name(),
        port=port,
        hub_port=hub_port,
        proxy_port=settings.free_port(settings.unusual_port(), avoid={port, hub_port}),
        idle_timeout=idle_timeout,
        umask=_umask(),
    )


def _umask() -> int:
    found = os.umask(0o077)
    os.umask(found)
    return found


def _start(chosen: HubSettings) -> "subprocess.Popen[bytes]":
    own = f"{names.LOOPBACK},localhost"
    environment = os.environ | {
        FOLDER_VARIABLE: str(chosen.folder),
        # A proxy of the institute has nothing to do with what stays on this machine.
        "no_proxy": ",".join(filter(None, (os.environ.get("no_proxy"), own))),
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), own))),
    }
    with os.fdopen(open_private(chosen.hub_log, os.O_WRONLY | os.O_APPEND), "ab") as log:
        log.write(f"--- start at {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        log.flush()
        return subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(CONFIG_FILE)],
            cwd=chosen.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C is ours to hand on, once.
            start_new_session=True,
            umask=0o077,
        )


def _wait_until_ready(
    hub: "subprocess.Popen[bytes]", chosen: HubSettings, stop: StopRequest
) -> bool:
    """Wait for the login page; False if the hub is to stop or has died."""
    begun = told = time.monotonic()
    print("Starting the hub ...", flush=True)
    while hub.poll() is None and not stop:
        if _answers(chosen.address + "hub/login"):
            return True
        now = time.monotonic()
        if now - begun > START_TIMEOUT:
            raise HubError(_no_answer(chosen))
        if now - told > PROGRESS_INTERVAL:
            told = now
            print(f"Starting the hub ... {now - begun:.0f} s", flush=True)
        time.sleep(0.2)
    return False


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as page:
            return bool(page.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _introduce(chosen: HubSettings, secret: str) -> None:
    idle = f"after {chosen.idle_timeout} s" if chosen.idle_timeout else "never"
    print(
        "\n"
        f"  address    {chosen.address}\n"
        f"  user       {chosen.user}\n"
        f"  password   {secret}\n\n"
        f"  notebooks  {chosen.notebooks}\n"
        f"  logs       {chosen.hub_log.parent}\n"
        f"  idle servers are stopped {idle}\n\n"
        "Ctrl-C stops the hub with all its notebooks and Dask clusters.",
        flush=True,
    )


def _death_notice(hub: "subprocess.Popen[bytes]", chosen: HubSettings) -> str:
    code = hub.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return (
        f"The hub {how}. Notebook servers that it started go on: the next start finds them "
        f"again, and `facility hub --stop` ends them.\n{_log_end(chosen)}"
    )


def _no_answer(chosen: HubSettings) -> str:
    return (
        f"The hub does not answer at {chosen.address} after {START_TIMEOUT:.0f} s.\n"
        f"{_log_end(chosen)}"
    )


def _log_end(chosen: HubSettings) -> str:
    lines = "\n".join(f"  {line}" for line in hub_processes.last_lines(chosen.hub_log))
    full = trouble(chosen.folder)
    return (
        f"{full + chr(10) if full else ''}The end of its log {chosen.hub_log}:\n{lines}\n"
        "Start it again; if that fails in the same way, move the state out of the way with\n"
        f"  mv {chosen.folder} {chosen.folder}.old\n"
        "(a new password is made then; notebooks are kept elsewhere)."
    )
