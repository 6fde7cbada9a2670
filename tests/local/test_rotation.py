"""A real JupyterHub that takes new keys into use while it runs."""

import asyncio
import base64
import datetime
import os
import secrets
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from facility import names
from facility.errors import FacilityError, KubernetesError
from facility.hub.kubernetes.revocation import Hub
from facility.hub.kubernetes.rotation import rotate
from facility.hub.kubernetes.rotation.rotate import Rotation, renew_authorities
from facility.kubernetes.client.account import Account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import NAMESPACE, POD, SECRET
from tests.api_server import Objects, serving
from tests.local.test_revocation import holds, logged_in, made_token, with_token

pytestmark = pytest.mark.timeout(300)
CONFIG = """
from pathlib import Path
from jupyterhub.auth import DummyAuthenticator
from jupyterhub.proxy import Proxy
from traitlets import Bool, Unicode
from facility.hub.kubernetes import revocation
from facility.hub.kubernetes.release import crypt_keys, read_secrets
from facility.hub.kubernetes.rotation import in_use

FOLDER = Path("HERE")
found = read_secrets(FOLDER)
in_use.KeyInUse.folder = FOLDER
TOKENS = FOLDER / "tokens"

class NoProxy(Proxy):
    should_start = Bool(False)
    auth_token = Unicode(found["proxy-token"])
    async def add_route(self, *_): pass
    async def delete_route(self, *_): pass
    async def get_all_routes(self):
        with TOKENS.open("a") as file: file.write(self.auth_token + "\\n")
        return {}

class Keeping(DummyAuthenticator):
    async def authenticate(self, handler, data):
        return {"name": data["username"], "auth_state": {"token": "of " + data["username"]}}

c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.hub_bind_url = "http://127.0.0.1:PORT"
c.JupyterHub.last_activity_interval = 3600
c.JupyterHub.authenticator_class = Keeping
c.Authenticator.allow_all = True
c.Authenticator.enable_auth_state = True
c.Authenticator.admin_users = {"boss"}
c.CryptKeeper.keys = crypt_keys(found["crypt-key"])
c.JupyterHub.db_url = "sqlite:///DATABASE"
c.JupyterHub.cookie_secret = bytes.fromhex(found["cookie-secret"])
c.JupyterHub.services = [
    {"name": revocation.SERVICE, "api_token": revocation.token(found["cookie-secret"])}
]
c.JupyterHub.custom_scopes = revocation.SCOPES
c.JupyterHub.load_roles = [
    revocation.ROLE,
    {"name": "looks", "scopes": ["admin:users", "admin:auth_state"], "users": ["boss"]},
]
c.JupyterHub.extra_handlers.extend([*revocation.HANDLERS, *in_use.HANDLERS])
"""


class Cluster(Objects):
    """An API server that changes a Secret and starts a proxy, and the kubelet that mounts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounts = True
        files = {path.name: path.read_text() for path in folder.glob("*-*")}
        data = {key: base64.b64encode(text.encode()).decode() for key, text in files.items()}
        metadata = {"name": names.HUB_SECRET, "namespace": "hub", "resourceVersion": "1"}
        space = {"name": "af-ada", "namespace": "", "annotations": {}}
        super().__init__(
            [
                (SECRET, {"metadata": metadata, "data": data}),
                (NAMESPACE, {"metadata": space}),
                (POD, proxy("old")),
                (POD, named("operator", names.HUB_COMPONENT)),
            ]
        )

    async def answer(self, request: Any) -> Any:
        answer = await super().answer(request)
        if answer.status < 300 and request.method == "PATCH" and "/secrets/" in request.path:
            self.secret["data"].update(self.asked[-1][2]["data"])
            if self.mounts:
                self.mount()
        if answer.status < 300 and request.method == "DELETE" and "/pods/" in request.path:
            self.objects.append((POD, proxy("new")))
        return answer

    @property
    def secret(self) -> dict[str, Any]:
        return next(each for kind, each in self.objects if kind is SECRET)

    def holds(self, key: str) -> str:
        return base64.b64decode(self.secret["data"][key]).decode()

    def mount(self) -> None:
        for key in self.secret["data"]:
            (self.folder / key).write_text(self.holds(key))


def named(name: str, component: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/instance": "af", names.APP_COMPONENT_LABEL: component}
    return {"metadata": {"name": name, "namespace": "hub", "uid": name, "labels": labels}}


def proxy(name: str) -> dict[str, Any]:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {**named(name, names.PROXY_COMPONENT), "status": ready}


def mounted(base: Path) -> Path:
    """What the hub's Secret is mounted as."""
    found = base / "secrets"
    found.mkdir()
    for key in rotate.KEYS.values():
        (found / key).write_text(secrets.token_hex(32))
    return found


class Started:
    """A hub that runs."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.folder = folder
        base = folder.parent
        text = CONFIG.replace("PORT", str(self.port)).replace("HERE", str(base))
        config = base / "config.py"
        config.write_text(text.replace("DATABASE", str(base / "hub.sqlite")))
        self.log = base / "log"
        words = [sys.executable, "-m", "jupyterhub", "-f", str(config)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                words, cwd=base, stdout=log, stderr=log, env=dict(os.environ)
            )
        try:
            self._wait()
        except BaseException:
            self.end()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + 90
        while True:
            try:
                if requests.get(f"http://127.0.0.1:{self.port}/hub/health", timeout=5).ok:
                    return
            except requests.RequestException:
                pass
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()

    def hub(self) -> Hub:
        """Asked with what is mounted now."""
        return Hub((self.folder / "cookie-secret").read_text(), "/", self.port)

    def kept_of(self, user: str, token: str) -> Any:
        """What the authenticator keeps of a user, as the hub can read it."""
        headers = {"Authorization": f"token {token}"}
        address = f"http://127.0.0.1:{self.port}/hub/api/users/{user}"
        return requests.get(address, headers=headers, timeout=20).json()["auth_state"]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """The hub of all tests that leave it running, with keys that it can use."""
    found = Started(mounted(tmp_path_factory.mktemp("hub")))
    yield found
    found.end()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Started]:
    """A hub that nobody has been at yet, and that the test may end."""
    found = Started(mounted(tmp_path))
    yield found
    found.end()


def site(existing: str | None = None) -> Any:
    """What a rotation asks of the release's values."""
    hub = SimpleNamespace(existing_secret=existing)
    return SimpleNamespace(
        namespace="hub", release=SimpleNamespace(name="af"), values=SimpleNamespace(hub=hub)
    )


@asynccontextmanager
async def rotation(
    started: Started, existing: str | None = None
) -> AsyncIterator[tuple[Rotation, Cluster]]:
    cluster = Cluster(started.folder)
    async with serving(cluster):
        api = Api(Account(cluster.url, "hub", ssl.create_default_context()))
        yield Rotation(api, site(existing), started.hub(), started.folder), cluster
        await api.aclose()


async def test_a_new_cookie_secret_logs_everybody_out_and_their_tokens_stay(
    started: Started,
) -> None:
    port = started.port
    ada = await asyncio.to_thread(logged_in, port, "ada")
    token = await asyncio.to_thread(made_token, port, "ada", ada)
    old = started.hub()
    async with rotation(started) as (found, cluster):
        rotated = await found.run(["cookie"])
        assert cluster.holds("cookie-secret") == (started.folder / "cookie-secret").read_text()
        # A change by somebody else in between is not undone.
        assert cluster.asked[0][2]["metadata"] == {"resourceVersion": "1"}
    assert rotated.left == []
    assert rotated.done[0].startswith("cookie: everybody is logged out")
    assert not await asyncio.to_thread(holds, port, ada)
    assert await asyncio.to_thread(with_token, port, token) == 200
    # What follows from the old secret opens nothing, and the new does.
    with pytest.raises(FacilityError, match="The hub answers 403"):
        await asyncio.to_thread(old.take, "ada")
    assert await asyncio.to_thread(started.hub().take, "ada")
    assert await asyncio.to_thread(holds, port, await asyncio.to_thread(logged_in, port, "ada"))


async def test_a_new_crypt_key_ends_nothing_and_the_old_one_is_not_needed(own: Started) -> None:
    port, folder = own.port, own.folder
    boss = await asyncio.to_thread(logged_in, port, "boss")
    await asyncio.to_thread(logged_in, port, "ada")
    token = await asyncio.to_thread(made_token, port, "boss", boss)
    old = (folder / "crypt-key").read_text()
    async with rotation(own) as (found, cluster):
        rotated = await found.run(["crypt"])
        writes = [body["data"]["crypt-key"] for method, _, body in cluster.asked]
        first, last = (base64.b64decode(each).decode() for each in writes)
    assert rotated.left == []
    assert rotated.done == ["crypt: what is kept of 2 users is encrypted anew; nothing ends"]
    # A hub that starts in between can read everything.
    assert first == f"{last};{old}"
    assert old != last
    assert await asyncio.to_thread(holds, port, boss)
    assert await asyncio.to_thread(own.kept_of, "ada", token) == {"token": "of ada"}
    await asyncio.to_thread(own.end)
    again = await asyncio.to_thread(Started, folder)
    try:
        assert await asyncio.to_thread(again.kept_of, "ada", token) == {"token": "of ada"}
    finally:
        await asyncio.to_thread(again.end)


async def test_what_cannot_be_read_is_told_and_the_rest_is_written(own: Started) -> None:
    await asyncio.to_thread(logged_in, own.port, "ada")
    await asyncio.to_thread(logged_in, own.port, "bob")
    await asyncio.to_thread(own.end)
    words = "UPDATE users SET encrypted_auth_state = x'00' WHERE name = 'bob'"
    with sqlite3.connect(own.folder.parent / "hub.sqlite") as database:
        database.execute(words)
    database.close()
    again = await asyncio.to_thread(Started, own.folder)
    try:
        async with rotation(again) as (found, _):
            rotated = await found.run(["crypt"])
    finally:
        await asyncio.to_thread(again.end)
    (said,) = rotated.left
    assert said.startswith("what the authenticator keeps of bob is encrypted with a key that is")
    assert rotated.done == ["crypt: what is kept of 1 user is encrypted anew; nothing ends"]


async def test_proxy_and_hub_have_a_new_token_and_the_hub_stays(started: Started) -> None:
    ada = await asyncio.to_thread(logged_in, started.port, "ada")
    async with rotation(started) as (found, cluster):
        rotated = await found.run(["proxy"])
        pods = {each["metadata"]["name"] for kind, each in cluster.objects if kind is POD}
    assert rotated.left == []
    assert pods == {"operator", "new"}
    used = (started.folder.parent / "tokens").read_text().split()
    assert used[-1] == (started.folder / "proxy-token").read_text() != used[0]
    assert await asyncio.to_thread(holds, started.port, ada)


async def test_all_keys_at_once(started: Started) -> None:
    async with rotation(started) as (found, cluster):
        rotated = await found.run(["cookie", "crypt", "proxy"])
        assert rotated.left == []
        assert [said.partition(":")[0] for said in rotated.done] == ["crypt", "proxy", "cookie"]
        secret_writes = [path for method, path, _ in cluster.asked if "/secrets/" in path]
        assert len(secret_writes) == 2


async def test_a_proxy_that_may_not_be_ended_is_told_and_other_keys_go_on(
    started: Started,
) -> None:
    async with rotation(started) as (found, cluster):
        cluster.refuses = lambda method, path: 403 if method == "DELETE" else None
        rotated = await found.run(["proxy", "cookie"])
    (said,) = rotated.left
    assert said.startswith("the proxy key: Kubernetes could not delete Pod")
    assert "kubectl -n hub rollout restart deployment/hub deployment/proxy" in said
    assert rotated.done[0].startswith("cookie: ")


async def test_without_the_right_to_write_the_secret_nothing_changes(started: Started) -> None:
    ada = await asyncio.to_thread(logged_in, started.port, "ada")
    before = (started.folder / "cookie-secret").read_text()
    async with rotation(started) as (found, cluster):
        cluster.refuses = lambda method, path: 403 if method == "PATCH" else None
        with pytest.raises(KubernetesError, match="could not patch Secret hub/hub-secrets"):
            await found.run(["cookie"])
    assert (started.folder / "cookie-secret").read_text() == before
    assert await asyncio.to_thread(holds, started.port, ada)


async def test_keys_that_do_not_arrive_are_not_used(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotate, "MOUNTED_SECONDS", 1.5)
    ada = await asyncio.to_thread(logged_in, started.port, "ada")
    async with rotation(started) as (found, cluster):
        cluster.mounts = False
        with pytest.raises(FacilityError, match="did not reach the hub's pod in [12] s"):
            await found.run(["cookie"])
    assert await asyncio.to_thread(holds, started.port, ada)


async def test_a_secret_of_the_site_is_used_and_never_written(own: Started) -> None:
    folder, port = own.folder, own.port
    boss = await asyncio.to_thread(logged_in, port, "boss")
    token = await asyncio.to_thread(made_token, port, "boss", boss)
    async with rotation(own, "theirs") as (found, cluster):
        unchanged = await found.run(["crypt", "proxy"])
    assert [said.partition(", which")[0] for said in unchanged.left] == [
        "the crypt key: the hub uses what stands in theirs already",
        "the proxy key: the hub uses what stands in theirs already",
    ]
    old = (folder / "crypt-key").read_text()
    (folder / "crypt-key").write_text(secrets.token_hex(32))
    async with rotation(own, "theirs") as (found, cluster):
        without_old = await found.run(["crypt"])
    assert "write NEW;OLD" in without_old.left[0]
    (folder / "crypt-key").write_text(f"{secrets.token_hex(32)};{old}")
    async with rotation(own, "theirs") as (found, cluster):
        rotated = await found.run(["crypt"])
        assert [each for each in cluster.asked if "/secrets/" in each[1]] == []
    assert rotated.left == []
    assert rotated.done[0].endswith("leave only the first key in theirs")
    assert await asyncio.to_thread(own.kept_of, "boss", token) == {"token": "of boss"}


async def test_a_key_that_is_none_is_told(started: Started) -> None:
    hub, file = started.hub(), started.folder / "cookie-secret"
    before = file.read_text()
    file.write_text("not hexadecimal")
    try:
        with pytest.raises(FacilityError, match="The hub answers 400"):
            await asyncio.to_thread(hub.ask, "POST", "keys/cookie")
    finally:
        file.write_text(before)


async def test_nobody_else_may_do_it(started: Started) -> None:
    ada = await asyncio.to_thread(logged_in, started.port, "ada")
    token = await asyncio.to_thread(made_token, started.port, "ada", ada)
    for path in ("keys/cookie", "keys/crypt", "keys/proxy", "users/ada/authority"):
        assert await asyncio.to_thread(with_token, started.port, token, "POST", path) == 403


async def test_a_users_authority_is_marked_for_the_next_server(started: Started) -> None:
    await asyncio.to_thread(logged_in, started.port, "ada")
    now = datetime.datetime(2026, 12, 1, tzinfo=datetime.UTC)
    async with rotation(started) as (found, cluster):
        spaces = {"ada": "af-ada"}
        rotated = await renew_authorities(found.api, spaces, started.hub(), now)
        (patch,) = (body for method, _, body in cluster.asked if method == "PATCH")
    assert rotated.left == []
    assert rotated.done == ["ada: the next server that starts makes a new authority"]
    assert patch == {"metadata": {"annotations": {names.AUTHORITY_ANNOTATION: now.isoformat()}}}


def test_words_that_are_no_keys_are_told_together() -> None:
    with pytest.raises(FacilityError) as caught:
        rotate.asked_keys(["cooki", "crypt", "x"])
    assert "'cooki' is no key of the hub (did you mean 'cookie'?)" in str(caught.value)
    assert "'x' is no key of the hub" in str(caught.value)
    assert rotate.asked_keys(["cookie", "crypt", "cookie"]) == ["crypt", "cookie"]
