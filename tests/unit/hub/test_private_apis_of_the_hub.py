"""What the hub relies on in JupyterHub, KubeSpawner and the proxy though nobody promises it.

Each test is named after one thing, so that an upgrade that takes it away fails by its name.
"""

import dis
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from configurable_http_proxy.configproxy import PythonProxy
from configurable_http_proxy.handlers import ProxyHandler
from jupyter_server.serverapp import ServerWebApplication
from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.crypto import CryptKeeper
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.log import log_request
from jupyterhub.proxy import ConfigurableHTTPProxy, Proxy
from jupyterhub.spawner import LocalProcessSpawner, Spawner
from kubespawner import KubeSpawner
from kubespawner.spawner import PodReflector
from tornado import web
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer, _HTTPRequestContext
from tornado.web import Application
from traitlets.config import Config

from facility.errors import HubError
from facility.hub.kubernetes import kubespawner_check
from facility.hub.kubernetes.configuration import configure
from facility.hub.kubernetes.kubespawner_check import REPLACED
from facility.hub.kubernetes.reflector import LastingPods
from facility.hub.kubernetes.release import read_values
from facility.hub.kubernetes.spawner import TenantSpawner
from facility.hub.kubernetes.values.tenant_model import Installation
from facility.hub.local.spawner import OwnSpawner
from facility.hub.proxy import NotebookTraffic
from facility.hub.user_server.extension import ACTIVITY_SETTING


def parameters(function: Callable[..., Any]) -> list[str]:
    return [str(each).partition(":")[0] for each in inspect.signature(function).parameters.values()]


def takes(function: Callable[..., Any], *expected: str, awaited: bool = True) -> bool:
    """Whether a function of a package has these parameters, and is asynchronous or not."""
    assert parameters(function) == list(expected)
    return inspect.iscoroutinefunction(function) is awaited


def names_of(function: Callable[..., Any]) -> set[Any]:
    """What a function names: constants, and keyword arguments."""
    found: set[Any] = set()
    for each in function.__code__.co_consts:
        found |= set(each) if isinstance(each, tuple) else {each}
    return found


def uses(function: Callable[..., Any], name: str) -> bool:
    return any(each.argval == name for each in dis.get_instructions(function))


# KubeSpawner: methods that are replaced. Without the first the hub would take over namespaces.


def test_kubespawner_ensure_namespace() -> None:
    assert takes(KubeSpawner._ensure_namespace, "self")
    assert uses(KubeSpawner._start, "_ensure_namespace")


def test_kubespawner_start() -> None:
    assert takes(KubeSpawner._start, "self")
    assert uses(KubeSpawner.start, "_start")


def test_kubespawner_start_watching_pods() -> None:
    assert takes(KubeSpawner._start_watching_pods, "self", "replace=False")
    assert parameters(TenantSpawner._start_watching_pods)[1].startswith("replace")
    assert uses(KubeSpawner._start, "_start_watching_pods")


def test_the_check_knows_every_private_method_that_is_replaced() -> None:
    ours = {name for name, each in vars(TenantSpawner).items() if inspect.isfunction(each)}
    private = {name for name in ours if name.startswith("_") and name != "__init__"}
    assert {name for name in private if hasattr(KubeSpawner, name)} == REPLACED.keys()


@pytest.mark.parametrize("name", [*REPLACED])
def test_a_hub_whose_kubespawner_lacks_one_does_not_start(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delattr(KubeSpawner, name)
    with pytest.raises(HubError, match=f"does not start.*it has no method {name}.*Install"):
        configured()


@pytest.mark.parametrize(("name", "caller"), REPLACED.items())
def test_a_hub_whose_kubespawner_calls_another_does_not_start(
    monkeypatch: pytest.MonkeyPatch, name: str, caller: str
) -> None:
    async def other(self: Any) -> None:
        await self._make_namespace()

    monkeypatch.setattr(KubeSpawner, caller, other)
    with pytest.raises(HubError, match=f"does not start.*{caller} does not call {name}"):
        configured()


def test_a_hub_whose_kubespawner_lacks_the_setting_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(KubeSpawner, "class_trait_names", lambda: ["namespace"])
    with pytest.raises(HubError, match="it has no setting enable_user_namespaces"):
        configured()


def test_a_hub_whose_kubespawner_is_as_it_was_starts() -> None:
    assert kubespawner_check.problems() == []
    assert configured().JupyterHub.spawner_class is TenantSpawner


def configured() -> Any:
    found = Config()
    pools = {"cpu": {"default": True, "cpu": 1, "memory": "4Gi", "maxWorkers": 2}}
    secrets = {
        "proxy-token": "t",
        "cookie-secret": "ab" * 32,
        "crypt-key": "cd" * 32,
        "password": "only for tests",
    }
    images = {"registry": "registry.example/facility"}
    hub = {"domain": "af.example.org"}
    values = read_values({"pools": pools, "images": images, "hub": hub})
    configure(found, Installation(values, "af", "hub", "1.2"), secrets)
    return found


# KubeSpawner: what is called and read.


def test_kubespawner_start_reflector() -> None:
    expected = ("self", "kind", "reflector_class", "replace", "**kwargs")
    found = [each.partition("=")[0] for each in parameters(KubeSpawner._start_reflector)]
    assert found == list(expected)
    assert inspect.iscoroutinefunction(KubeSpawner._start_reflector)


def test_kubespawner_start_future() -> None:
    assert uses(KubeSpawner.__init__, "_start_future")
    assert uses(KubeSpawner.start, "_start_future")


def test_kubespawner_pod_reflector() -> None:
    assert isinstance(inspect.getattr_static(KubeSpawner, "pod_reflector"), property)
    assert isinstance(inspect.getattr_static(PodReflector, "pods"), property)


def test_kubespawner_reflector_watch_and_update() -> None:
    assert takes(PodReflector._watch_and_update, "self")
    # Else nobody would begin to follow pods.
    assert uses(PodReflector.start, "_watch_and_update")
    assert uses(PodReflector.start, "watch_task")
    assert takes(PodReflector.start, "self")
    assert parameters(LastingPods.start) == ["self"]


def test_kubespawner_reflector_list_and_update() -> None:
    """Without it whole lists of what users have made would be decoded at once."""
    assert takes(PodReflector._list_and_update, "self", "resource_version=None")
    assert uses(PodReflector._watch_and_update, "_list_and_update")
    assert takes(LastingPods._list_and_update, "self", "resource_version", awaited=True)


def test_kubespawner_reflector_resources() -> None:
    """What is put into it is cut down: by the list as a whole, by a watch one at a time."""
    assert "resources" in PodReflector.class_trait_names()
    assert uses(PodReflector._watch_and_update, "resources")


def test_kubespawner_reflector_api() -> None:
    selectors = {"label_selector", "field_selector", "request_timeout", "api"}
    assert all(uses(PodReflector._list_and_update, each) for each in selectors)
    times = {"timeout_seconds", "restart_seconds"}
    assert all(uses(PodReflector._watch_and_update, each) for each in times)


def test_kubespawner_reflector_stopping() -> None:
    assert "_stopping" in PodReflector.class_trait_names()
    assert uses(PodReflector.stop, "_stopping")
    assert uses(PodReflector.stop, "watch_task")


def test_kubespawner_reflector_first_load_future() -> None:
    assert uses(PodReflector.__init__, "first_load_future")
    assert uses(KubeSpawner._start_reflector, "first_load_future")


# JupyterHub: sessions and tokens.


def test_jupyterhub_knows_sessions_by_the_cookie_id() -> None:
    assert uses(BaseHandler._user_for_cookie, "cookie_id")
    assert {"cookie_id", "api_tokens", "oauth_codes"} <= {*vars(orm.User)}
    assert len(orm.new_token()) > 20


def test_jupyterhub_scopes_of_who_asks() -> None:
    assert uses(BaseHandler._resolve_roles_and_scopes, "expanded_scopes")
    assert takes(BaseHandler.find_user, "self", "name", awaited=False)


def test_jupyterhub_calls_the_log_function_of_the_settings() -> None:
    """Tornado calls it after each answer, and JupyterHub's settings outweigh its own."""
    assert parameters(log_request) == ["handler"]
    assert uses(JupyterHub.init_tornado_settings, "tornado_settings")


def test_jupyterhub_event_log() -> None:
    assert takes(JupyterHub.init_eventlog, "self", awaited=False)
    assert uses(JupyterHub.init_eventlog, "EventLogger")


# JupyterHub.


def test_jupyterhub_make_preexec_fn() -> None:
    """Else a server would be started as another user, which only root may."""
    assert takes(LocalProcessSpawner.make_preexec_fn, "self", "name", awaited=False)
    assert uses(LocalProcessSpawner.start, "make_preexec_fn")
    assert parameters(OwnSpawner.make_preexec_fn) == ["self", "name"]


def test_jupyterhub_user_env() -> None:
    assert takes(LocalProcessSpawner.user_env, "self", "env", awaited=False)
    assert uses(LocalProcessSpawner.get_env, "user_env")
    assert parameters(OwnSpawner.user_env) == ["self", "env"]


def test_jupyterhub_process_of_a_server() -> None:
    assert uses(LocalProcessSpawner.start, "proc")
    assert {"pid", "popen_kwargs"} <= {*LocalProcessSpawner.class_trait_names()}
    assert uses(LocalProcessSpawner.start, "popen_kwargs")


def test_jupyterhub_state_of_a_server() -> None:
    assert takes(Spawner.load_state, "self", "state", awaited=False)
    assert takes(Spawner.get_state, "self", awaited=False)
    assert takes(Spawner.clear_state, "self", awaited=False)


# The proxy.


def test_proxy_get_proxy_request() -> None:
    assert takes(ProxyHandler._get_proxy_request, "self", "url", awaited=False)


def test_proxy_websockets() -> None:
    assert takes(ProxyHandler.start_ws_client, "self", "path=None")
    assert takes(ProxyHandler.on_message, "self", "message", awaited=False)
    assert takes(ProxyHandler.get_target_url, "self", "path")
    assert takes(ProxyHandler.handle_proxy_error, "self", "code", "err")
    assert uses(ProxyHandler.initialize, "ws_client")
    assert parameters(NotebookTraffic.start_ws_client)[1].startswith("path")


def test_proxy_api_and_activity() -> None:
    proxy = PythonProxy({})
    assert proxy.api_app is not None
    assert takes(PythonProxy.update_last_activity, "self", "prefix", awaited=False)


# JupyterHub: keys that it reads when it starts, and that a rotation puts into its own process.


def test_jupyterhub_settings_cookie_secret() -> None:
    """Each request asks the settings for it."""
    assert "cookie_secret" in names_of(JupyterHub.init_tornado_settings)
    assert uses(web.RequestHandler.require_setting, "settings")
    assert uses(web.RequestHandler.create_signed_value, "require_setting")
    assert uses(web.RequestHandler.get_secure_cookie, "require_setting")


def test_jupyterhub_crypto_keeper_fernet() -> None:
    """It follows the keys."""
    keeper = CryptKeeper()
    keeper.keys = [b"1" * 32]
    written = keeper.fernet.encrypt(b"kept")
    keeper.keys = [b"2" * 32, b"1" * 32]
    anew = keeper.fernet.rotate(written)
    keeper.keys = [b"2" * 32]
    assert keeper.fernet.decrypt(anew) == b"kept"
    assert all(uses(each, "fernet") for each in (CryptKeeper._encrypt, CryptKeeper._decrypt))


def test_jupyterhub_orm_tokens_of_sessions() -> None:
    assert {"session_id", "service"} <= set(orm.APIToken.__mapper__.attrs.keys())
    assert "api_tokens" in orm.Service.__mapper__.attrs
    assert parameters(orm.Service.new_api_token)[:2] == ["self", "token=None"]
    assert orm.OAuthCode.__mapper__.attrs
    assert orm.User.encrypted_auth_state


def test_jupyterhub_app_http_server() -> None:
    """What is read of a body is in the parameters of each connection, which begins later."""
    assert "http_server" in inspect.getsource(JupyterHub.start)
    server = HTTPServer(Application())
    server.conn_params.max_body_size = 7
    stored = {each.argval for each in dis.get_instructions(HTTP1Connection.__init__)}
    assert {"params", "max_body_size"} <= stored
    assert uses(HTTPServer.handle_stream, "conn_params")


def test_jupyterhub_orm_api_token_new() -> None:
    assert {"user=None", "note=''"} <= set(parameters(orm.APIToken.new))
    assert callable(orm.APIToken.purge_expired)
    created = inspect.getsource(orm.User.new_api_token)
    assert "APIToken.new(" in created
    assert "user=self" in created


def test_jupyterhub_proxy_auth_token() -> None:
    """Each call of the proxy's API asks for it."""
    assert "auth_token" in ConfigurableHTTPProxy.class_trait_names()
    assert "auth_token" in inspect.getsource(ConfigurableHTTPProxy.api_request)
    assert takes(Proxy.check_routes, "self", "user_dict", "service_dict", "routes=None")


# The user's server.


def test_jupyter_server_counts_settings_of_an_ending_as_activity() -> None:
    ending = "_last_activity"
    assert ACTIVITY_SETTING.endswith(ending)
    counted = ServerWebApplication.last_activity
    constants = [
        each
        for code in (counted.__code__, *filter(inspect.iscode, counted.__code__.co_consts))
        for each in code.co_consts
    ]
    assert ending in constants


# Tornado: where a request comes from, before it believes what headers say.


def test_tornado_httpserver_HTTPRequestContext_address() -> None:
    stored = {each.argval for each in dis.get_instructions(_HTTPRequestContext.__init__)}
    assert "address" in stored
    assert not uses(_HTTPRequestContext._apply_xheaders, "address")


def test_configurable_http_proxy_get_proxy_request() -> None:
    assert takes(ProxyHandler._get_proxy_request, "self", "url", awaited=False)
    assert uses(ProxyHandler.call_proxy, "_get_proxy_request")
