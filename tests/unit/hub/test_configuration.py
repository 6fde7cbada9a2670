"""The parts of the hub that need no process."""

import datetime
import errno
import fcntl
import json
import os
import socket
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelspec import KERNEL_NAME, get_kernel_dict
from traitlets.config import Config

from facility import names
from facility.errors import HubError
from facility.hub.local import hub_processes, launcher, settings
from facility.hub.local import jupyterhub_config as hub_config
from facility.hub.local.authenticator import OwnerPassword
from facility.hub.local.lock import holder, only_one
from facility.hub.local.settings import HubSettings
from facility.hub.user_server import extension, notebooks
from facility.local import registry


@pytest.fixture
def chosen(tmp_path: Path) -> HubSettings:
    return HubSettings(
        folder=tmp_path / "hub",
        notebooks=tmp_path / "notebooks",
        user="ada",
        port=8000,
        hub_port=8081,
        proxy_port=8082,
        idle_timeout=3600,
    )


def configured(chosen: HubSettings, environ: dict[str, str] | None = None) -> Config:
    config = Config()
    hub_config.configure(config, chosen, "secret", environ or {})
    return config


# --- configuration ---------------------------------------------------------------------------


def test_every_address_is_loopback(chosen: HubSettings):
    config = configured(chosen)
    for url in (
        config.JupyterHub.bind_url,
        config.JupyterHub.hub_bind_url,
        config.ConfigurableHTTPProxy.api_url,
    ):
        assert url.startswith("http://127.0.0.1:")


def test_one_user_may_log_in(chosen: HubSettings):
    config = configured(chosen)
    assert config.OwnerAuthenticator.allowed_users == {"ada"}
    assert config.OwnerAuthenticator.owner == "ada"
    assert config.OwnerAuthenticator.password == "secret"


@pytest.mark.parametrize(("uid", "expected"), [(0, ["--allow-root"]), (1000, [])])
def test_only_root_is_told_that_root_is_fine(
    chosen: HubSettings, monkeypatch: pytest.MonkeyPatch, uid: int, expected: list[str]
):
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert configured(chosen).OwnSpawner.args == expected


def test_servers_inherit_the_environment_without_what_is_the_hubs(chosen: HubSettings):
    environ = {
        "HOME": "/home/user",
        "X509_USER_PROXY": "/tmp/x509",
        "DASK_TEMPORARY_DIRECTORY": "/scratch",
        "CONFIGPROXY_AUTH_TOKEN": "t",
        "JUPYTERHUB_CRYPT_KEY": "k",
        "MAKEFLAGS": "-j",
    }
    kept = configured(chosen, environ).OwnSpawner.env_keep
    assert kept == ["DASK_TEMPORARY_DIRECTORY", "HOME", "X509_USER_PROXY"]


def test_servers_know_the_panels_factory_and_no_password(chosen: HubSettings):
    environment = configured(chosen).OwnSpawner.environment
    assert environment["DASK_LABEXTENSION__FACTORY__MODULE"] == "facility"
    assert environment["DASK_LABEXTENSION__FACTORY__CLASS"] == "cluster"
    assert "secret" not in str(environment)
    link = environment["DASK_DISTRIBUTED__DASHBOARD__LINK"]
    assert link.format(JUPYTERHUB_SERVICE_PREFIX="/user/ada/", port=1) == "/user/ada/proxy/1/status"


def test_a_users_own_jupyter_configuration_stays(chosen: HubSettings):
    owned = {"JUPYTER_CONFIG_PATH": "/own", "JUPYTER_PATH": "/data"}
    environment = hub_config.server_environment(chosen, owned)
    paths = {name: environment[name].split(os.pathsep) for name in owned}
    ours = paths["JUPYTER_PATH"][0]
    assert paths == {name: [ours, own] for name, own in owned.items()}
    names = {str(path.relative_to(ours)) for path in Path(ours).rglob("*.js*")}
    assert names == {
        "jupyter_server_config.d/facility.json",
        "jupyter_server_config.json",
        "labconfig/default_setting_overrides.json",
        "labconfig/page_config.json",
        "labextensions/@facility/documentation/package.json",
        "labextensions/@facility/documentation/static/documentation.js",
        "labextensions/@facility/lists-in-order/package.json",
        "labextensions/@facility/lists-in-order/static/lists-in-order.js",
    }
    for path in Path(ours).rglob("*.json"):
        json.loads(path.read_text())


@pytest.mark.parametrize(("timeout", "interval"), [(3600, 300), (600, 150), (6, 1), (1, 1)])
def test_idleness_is_looked_at_several_times_within_the_timeout(
    chosen: HubSettings, timeout: int, interval: int
):
    short = HubSettings(**{**vars(chosen), "idle_timeout": timeout})
    (culler,) = configured(short).JupyterHub.services
    assert f"--timeout={timeout}" in culler["command"]
    assert f"--cull-every={interval}" in culler["command"]


def test_no_idle_timeout_means_no_culler(chosen: HubSettings):
    config = configured(HubSettings(**{**vars(chosen), "idle_timeout": 0}))
    assert config.JupyterHub.services == []
    assert config.JupyterHub.load_roles == []


def test_the_culler_may_only_cull(chosen: HubSettings):
    (role,) = configured(chosen).JupyterHub.load_roles
    assert role["services"] == ["idle-culler"]
    assert set(role["scopes"]) == {
        "list:users",
        "read:users:activity",
        "read:servers",
        "delete:servers",
    }


# --- login -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "password", "answer"),
    [
        ("ada", "grüße", "ada"),
        ("Ada", "grüße", "ada"),
        ("ada", "grusse", None),
        ("ada", "", None),
        ("bob", "grüße", None),
    ],
)
async def test_login(name: str, password: str, answer: str | None):
    authenticator = OwnerPassword(owner="ada", password="grüße")
    data = {"username": name, "password": password}
    assert await authenticator.authenticate(None, data) == answer


async def test_no_password_lets_nobody_in():
    authenticator = OwnerPassword(owner="ada")
    assert await authenticator.authenticate(None, {"username": "ada", "password": ""}) is None


# --- what is kept on disk --------------------------------------------------------------------


def test_settings_are_read_as_written(chosen: HubSettings):
    settings.prepare_folder(chosen.folder)
    chosen.save()
    assert HubSettings.load(chosen.folder) == chosen
    assert settings.remembered_hub_port(chosen.folder) == 8081


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"folder": 3}'])
def test_broken_settings_are_forgotten(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "settings.json").write_text(content)
    assert settings.remembered_hub_port(tmp_path) in settings.INNER_PORTS


def test_the_password_is_kept_and_private(tmp_path: Path):
    first = settings.password(tmp_path)
    assert len(first) >= 16
    file = tmp_path / "password"
    file.chmod(0o644)
    assert settings.password(tmp_path) == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("\n")
    assert settings.password(tmp_path) not in ("", first)


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HubError, match="XDG_DATA_HOME"):
        settings.prepare_folder(tmp_path / "file" / "hub")


@pytest.mark.parametrize(
    ("own", "name"),
    [("ada", "ada"), ("Ada.Lovelace", "ada.lovelace"), ("CERN\\ada", "cern-ada"), ("ф", "user")],
)
def test_names_that_jupyterhub_can_take(monkeypatch: pytest.MonkeyPatch, own: str, name: str):
    monkeypatch.setattr(settings.getpass, "getuser", lambda: own)
    assert settings.user_name() == name


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch):
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    assert settings.user_name() == "user"


def test_the_next_free_port_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = settings.free_port(port)
        assert found > port
        assert settings.free_port(port, avoid={found}) > found


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_impossible_ports(port: int):
    with pytest.raises(HubError, match="from 1 to 65535"):
        settings.free_port(port)


def test_two_hubs_in_one_folder(tmp_path: Path):
    with only_one(tmp_path) as name_holder:
        with pytest.raises(HubError, match="being started"), only_one(tmp_path):
            pass
        name_holder("http://127.0.0.1:8000/")
        with (
            pytest.raises(HubError, match=rf"8000/ \(process {os.getpid()}\).*--stop"),
            only_one(tmp_path),
        ):
            pass
        assert holder(tmp_path) == os.getpid()
    assert holder(tmp_path) is None
    with only_one(tmp_path):
        pass


def test_nobody_holds_what_is_not_there(tmp_path: Path):
    assert holder(tmp_path / "none") is None


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(HubError, match="local disk"), only_one(tmp_path):
        pass


def test_a_port_that_needs_root(monkeypatch: pytest.MonkeyPatch):
    def refuse(self: socket.socket, address: tuple[str, int]) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(HubError, match="from 1024"):
        settings.free_port(80)


def test_no_port_is_free(monkeypatch: pytest.MonkeyPatch):
    def refuse(self: socket.socket, address: tuple[str, int]) -> None:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(HubError, match="--port"):
        settings.free_port(8000)


# --- notebooks -------------------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    folder = tmp_path / "shipped"
    folder.mkdir()
    for name in ("01_first.ipynb", "02_second.ipynb"):
        content = {"cells": [f"first edition of {name}"], "metadata": {}}
        (folder / name).write_text(json.dumps(content))
    return folder


def test_notebooks_are_copied_once(tmp_path: Path, shipped: Path):
    own = tmp_path / "own"
    assert notebooks.copy_notebooks(own, print, shipped) == ["01_first.ipynb", "02_second.ipynb"]
    assert notebooks.copy_notebooks(own, print, shipped) == []
    assert notebooks.first_page(own) == "/lab/tree/01_first.ipynb"


def test_what_the_user_changed_is_kept_and_the_rest_is_renewed(tmp_path: Path, shipped: Path):
    own = tmp_path / "own"
    notebooks.copy_notebooks(own, print, shipped)
    (own / "01_first.ipynb").write_text("my own work")
    (own / "mine.ipynb").write_text("mine")
    for file in shipped.iterdir():
        file.write_text(json.dumps({"cells": ["second edition"], "metadata": {}}))
    assert notebooks.copy_notebooks(own, print, shipped) == ["02_second.ipynb"]
    assert (own / "01_first.ipynb").read_text() == "my own work"
    assert json.loads((own / "02_second.ipynb").read_text())["cells"] == ["second edition"]
    assert (own / "mine.ipynb").read_text() == "mine"


def test_a_copy_says_of_its_kernel_what_the_kernel_says_itself(tmp_path: Path, shipped: Path):
    notebooks.copy_notebooks(tmp_path / "own", print, shipped)
    found = json.loads((tmp_path / "own" / "01_first.ipynb").read_text())["metadata"]
    assert found["language_info"] == IPythonKernel.language_info
    assert found["kernelspec"]["display_name"] == get_kernel_dict()["display_name"]
    assert found["kernelspec"]["name"] == KERNEL_NAME


def test_own_files_of_the_same_name_are_kept(tmp_path: Path, shipped: Path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "01_first.ipynb").write_text("was here before")
    (own / notebooks.RECORD).write_text("no JSON")
    assert notebooks.copy_notebooks(own, print, shipped) == ["02_second.ipynb"]
    assert (own / "01_first.ipynb").read_text() == "was here before"


def test_a_notebook_folder_that_is_a_file(tmp_path: Path, shipped: Path):
    own = tmp_path / "own"
    own.write_text("")
    with pytest.raises(HubError, match="--notebooks"):
        notebooks.copy_notebooks(own, print, shipped)


def test_an_empty_folder_opens_the_launcher(tmp_path: Path):
    assert notebooks.first_page(tmp_path) == "/lab"


# --- the rest --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("30min", 1800), ("1h", 3600), ("45", 45), ("0", 0), ("0.5 s", 1)],
)
def test_times(text: str, expected: int):
    assert launcher.seconds(text) == expected


@pytest.mark.parametrize("text", ["soon", "", "-1s", "1 parsec", "nan"])
def test_wrong_times(text: str):
    with pytest.raises(HubError, match="30min"):
        launcher.seconds(text)


def test_a_process_is_known_by_its_start_too():
    start = hub_processes.started(os.getpid())
    assert hub_processes.same(os.getpid(), start)
    assert not hub_processes.same(os.getpid(), start - 60)
    assert not hub_processes.same(0, 0.0)


@pytest.mark.parametrize(
    ("states", "noted"), [([], False), (["idle"], False), (["idle", "busy"], True), ([None], False)]
)
def test_a_busy_kernel_is_activity(states: list[str | None], noted: bool):
    kernels = SimpleNamespace(list_kernels=lambda: [{"execution_state": s} for s in states])
    found: dict[str, datetime.datetime] = {}
    extension.note_work(kernels, found, within=30.0)
    assert (extension.ACTIVITY_SETTING in found) is noted
    # The ending by which Jupyter finds it.
    assert extension.ACTIVITY_SETTING.endswith("_last_activity")


def test_a_dask_cluster_that_works_is_activity():
    folder = names.clusters_folder() / "mine"
    folder.mkdir(parents=True)
    kernels = SimpleNamespace(list_kernels=list)
    found: dict[str, datetime.datetime] = {}
    extension.note_work(kernels, found, within=30.0)
    assert not found
    registry.note_work(folder)
    extension.note_work(kernels, found, within=-30.0)
    assert not found
    extension.note_work(kernels, found, within=30.0)
    assert extension.ACTIVITY_SETTING in found
