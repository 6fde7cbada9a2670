"""dask-kubernetes' operator as it is in its image: when a handler ends, and when it tries again."""

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import httpx
import kopf
import kr8s
import pytest

SOURCE = Path(__file__).parents[3] / "images/operator/daskcluster_operator.py"


@pytest.fixture(scope="module")
def operator() -> Any:
    """The module that kopf runs, which registers its handlers."""
    before = kopf.get_default_registry()
    spec = importlib.util.spec_from_file_location("daskcluster_operator", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.registry = kopf.get_default_registry()  # type: ignore[attr-defined]
    kopf.set_default_registry(before)
    return module


async def test_ten_thousand_of_one_user_ask_once_whether_it_may_work_there(
    operator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def may_work_in(namespace: str) -> bool:
        asked.append(namespace)
        await asyncio.sleep(0)
        return namespace == "af-ada"

    monkeypatch.setattr(operator, "_may_work_in", may_work_in)
    monkeypatch.setattr(operator, "answers", {})
    monkeypatch.setattr(operator, "asking", {})
    for namespace in ("af-ada", "other"):
        found = await asyncio.gather(*(operator.ours(namespace=namespace) for _ in range(10_000)))
        assert all((each is not None) == (namespace == "af-ada") for each in found)
    assert asked == ["af-ada", "other"]


def refusal(status: int) -> kr8s.ServerError:
    response = httpx.Response(status, request=httpx.Request("POST", "http://x"))
    return kr8s.ServerError("exceeded quota", response=response)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refusal(422), "Kubernetes refuses it: exceeded quota"),
        (refusal(400), "Kubernetes refuses it"),
        (KeyError("spec"), "This object is not as the operator needs it: KeyError"),
        (AttributeError("x" * 10**6), "This object is not"),
        (RecursionError(), "This object is not"),
        (kr8s.NotFoundError("mine"), "The DaskCluster that it belongs to is not there: mine"),
        (kopf.PermanentError("as it is"), "as it is"),
    ],
)
async def test_what_cannot_be_mended_ends_with_a_sentence(
    operator: Any, error: Exception, words: str
) -> None:
    async def handler(**_: Any) -> None:
        raise error

    with pytest.raises(kopf.PermanentError) as told:
        await operator.guarded(handler)(retry=0)
    assert str(told.value).startswith(words)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize(
    "error", [refusal(403), refusal(503), httpx.ConnectError("x"), kr8s.APITimeoutError("x")]
)
async def test_what_may_be_mended_is_tried_ever_more_rarely(
    operator: Any, error: Exception
) -> None:
    async def handler(**_: Any) -> None:
        raise error

    pauses = []
    for retry in (0, 1, 2, 10, 10**6):
        with pytest.raises(kopf.TemporaryError) as told:
            await operator.guarded(handler)(retry=retry)
        pauses.append(told.value.delay)
    assert pauses == [1.0, 2.0, 4.0, 60.0, 60.0]
    assert all(each.timeout == 3600 for each in operator.registry._changing.get_all_handlers())
