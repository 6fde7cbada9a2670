"""The API server, asked as the library asks it: with the token of a user's server, from outside."""

import asyncio
import base64
import copy
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from facility.errors import KubernetesError
from facility.kubernetes.client import api as asking
from facility.kubernetes.client import watch
from facility.kubernetes.client.account import Account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import deletion
from facility.kubernetes.client.kinds import DEPLOYMENT, POD, SECRET
from facility.kubernetes.client.kubeconfig import kubeconfig_account
from facility.kubernetes.client.watch import follow
from facility.kubernetes.explain import refused
from tests.kube.conftest import Kubernetes
from tests.kube.tenancy import Space, tenant_space

__all__ = ["tenant_space"]
pytestmark = [pytest.mark.kube, pytest.mark.timeout(180)]


def account(found: Space, folder: Path) -> Account:
    """The notebook's account, its token in a file as in a pod."""
    config = json.loads(found.kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    if "certificate-authority-data" in cluster:
        data = base64.b64decode(cluster["certificate-authority-data"]).decode()
    else:
        data = Path(cluster["certificate-authority"]).read_text()
    (folder / "token").write_text(config["users"][0]["user"]["token"])
    verify = ssl.create_default_context(cadata=data)
    return Account(cluster["server"], found.namespace, verify, folder / "token")


@pytest.fixture
async def api(tenant_space: Space, tmp_path: Path) -> AsyncIterator[Api]:
    found = Api(account(tenant_space, tmp_path))
    yield found
    await found.aclose()


def secret(name: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"own": "yes"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}


async def test_objects_are_made_read_changed_and_ended(api: Api) -> None:
    await asyncio.gather(*(api.create(SECRET, secret(f"s{i}")) for i in range(60)))
    assert len((await api.list(SECRET, "own=yes"))["items"]) == 60
    changed = await api.patch(SECRET, "s1", {"stringData": {"a": "b"}})
    assert changed["data"]["a"] == base64.b64encode(b"b").decode()
    assert await api.delete(SECRET, "s1")
    assert not await api.delete(SECRET, "s1")
    assert await api.get(SECRET, "s1") is None
    api.now(deletion(api.namespace, SECRET, "s2"))
    await api.delete_all(SECRET, "own=yes")
    assert not (await api.list(SECRET, "own=yes"))["items"]


async def test_what_is_refused_says_of_what(api: Api) -> None:
    await api.create(SECRET, secret("twice"))
    with pytest.raises(KubernetesError) as twice:
        await api.create(SECRET, secret("twice"))
    assert (twice.value.status, twice.value.reason) == (409, "AlreadyExists")
    assert f"create Secret {api.namespace}/twice: HTTP 409 AlreadyExists" in str(twice.value)
    with pytest.raises(KubernetesError, match="HTTP 403 Forbidden.*cannot create"):
        await api.create(DEPLOYMENT, {"metadata": {"name": "x"}})
    with pytest.raises(KubernetesError, match="HTTP 403"):
        api.now(api.reading(DEPLOYMENT, "x", "scale"))


async def test_a_quota_that_is_not_counted_yet_is_waited_for(api: Api, tenant_space: Space) -> None:
    """As when the quota, or the kind that it is about, is new."""
    kube = tenant_space.admin
    quota = kube.get("resourcequota", "all")
    patch = ("patch", "resourcequota", "all", "--subresource=status", "--type=json", "-p")

    def count(used: dict[str, str]) -> None:
        kube.run(*patch, json.dumps([{"op": "replace", "path": "/status/used", "value": used}]))

    count({})
    made = asyncio.create_task(api.create(SECRET, secret("waits")))
    while api.delayed is None:
        assert not made.done()
        await asyncio.sleep(0.05)
    assert "has not counted the quota all yet" in refused(api.delayed.message)
    count(quota["status"]["used"])
    assert (await made)["metadata"]["name"] == "waits"
    assert api.delayed is None


async def test_a_full_quota_is_told_at_once(api: Api, tenant_space: Space) -> None:
    """The quota on Secrets: those above it are refused, and not asked for again."""
    calls = api.calls
    results = await asyncio.gather(
        *(api.create(SECRET, secret(f"s{i}")) for i in range(130)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, KubernetesError)]
    assert 0 < len(refused) < 130
    assert all(error.over_quota for error in refused), refused[0]
    made = len(results) - len(refused)
    assert made == len((await api.list(SECRET, "own=yes"))["items"])
    # Conflicts of creates that race for the quota were repeated; refusals were not.
    assert api.calls - calls >= 130
    assert tenant_space.namespace == api.namespace


async def test_changes_are_followed_also_after_a_break(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watches of one second, so that several follow each other."""
    monkeypatch.setattr(watch, "WATCH_SECONDS", 1)
    seen: list[tuple[str, str]] = []

    async def changes_of_pods() -> None:
        async with aclosing(follow(api, POD, "own=yes")) as changes:
            async for change, body in changes:
                seen.append((change, body["metadata"].get("name", "")))

    following = asyncio.ensure_future(changes_of_pods())
    for index in range(3):
        metadata = {"name": f"p{index}", "labels": {"own": "yes"}}
        await api.create(POD, {**POD_BODY, "metadata": metadata})
        await asyncio.sleep(1.5)
        await api.delete(POD, f"p{index}", 0)
    await asyncio.sleep(1)
    following.cancel()
    kinds = [change for change, _ in seen]
    assert kinds[0] == "LISTED"
    for index in range(3):
        assert ("DELETED", f"p{index}") in seen
        assert ("ADDED", f"p{index}") in seen or index == 0
    assert kinds.count("LISTED") == 1, "watches go on where the last one ended"


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_change_of_megabytes_ends_nothing(
    kube: Kubernetes, state: dict[str, Any], caplog: Any
) -> None:
    """Of 9 MB on the wire, each ``<`` as six letters; Kubernetes takes it, and others follow.

    In a namespace that is no user's: there so large a pod is refused.
    """
    everywhere = Api(kubeconfig_account({"KUBECONFIG": state["kubeconfig"]}))
    api = everywhere.within(kube.namespace)
    seen: list[tuple[str, str]] = []

    async def changes_of_pods() -> None:
        async with aclosing(follow(api, POD, "own=yes")) as changes:
            async for change, body in changes:
                seen.append((change, body["metadata"].get("name", "")))

    async def until(change: str, name: str) -> None:
        async with asyncio.timeout(60):
            while (change, name) not in seen:
                await asyncio.sleep(0.05)

    following = asyncio.ensure_future(changes_of_pods())
    await until("LISTED", "")
    metadata = {"name": "huge", "labels": {"own": "yes"}}
    body = copy.deepcopy({**POD_BODY, "metadata": metadata})
    body["spec"]["containers"][0]["args"] = ["<" * 1_400_000]
    # kubectl would send the six letters itself, which are more than the API server takes.
    await api.create(POD, body)
    small = {**POD_BODY, "metadata": {**metadata, "name": "small"}}
    await api.create(POD, small)
    await until("ADDED", "small")
    await api.delete(POD, "huge", 0)
    await until("DELETED", "huge")
    following.cancel()
    await everywhere.aclose()
    assert ("ADDED", "huge") not in seen
    assert [change for change, _ in seen].count("LISTED") == 1
    assert sum("is left out" in each.message for each in caplog.records) == 1


POD_BODY: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def pod_body(tenant_space: Space) -> None:
    POD_BODY.clear()
    POD_BODY.update(tenant_space.pod("any", schedulingGates=[{"name": "facility.test/never"}]))


async def test_a_new_token_is_read_when_the_old_one_is_refused(
    api: Api, tenant_space: Space, tmp_path: Path
) -> None:
    good = (tmp_path / "token").read_text()
    (tmp_path / "token").write_text("stale")
    assert api.account.headers()
    (tmp_path / "token").write_text(good)
    assert (await api.list(SECRET))["kind"] == "SecretList"
    api.account.token, api.account.token_file = "stale", None
    with pytest.raises(KubernetesError, match="HTTP 401"):
        await api.list(SECRET)
    assert tenant_space.namespace == api.namespace


async def test_without_an_answer_it_is_told_for_how_long(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 1.0)
    api.account.server = "https://127.0.0.1:1"
    with pytest.raises(KubernetesError, match="there was no answer") as error:
        await api.list(SECRET)
    assert error.value.status is None
    assert api.silent_since is not None
