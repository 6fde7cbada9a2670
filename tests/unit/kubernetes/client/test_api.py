"""What an answer of Kubernetes means: whether to ask again, and what the user is told."""

import json
import ssl

import pytest

from facility.config import Config, Pool
from facility.errors import ClusterFailedError, FacilityError, KubernetesError, RequestError
from facility.kubernetes.backend import KubernetesBackend
from facility.kubernetes.client.account import Account, pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import Call, worth_repeating
from facility.kubernetes.client.kinds import DASK_CLUSTER, POD, SECRET, Kind
from facility.kubernetes.pod_template import PodTemplate

FULL = '"x" is forbidden: exceeded quota: all, requested: pods=1, used: pods=4, limited: pods=4'
UNKNOWN = 'pods "x" is forbidden: status unknown for quota: all, resources: pods'
RACE = "Operation cannot be fulfilled on resourcequotas: the object has been modified"


def failed(
    status: int | None, reason: str = "", message: str = "", kind: Kind = POD
) -> KubernetesError:
    call = Call("create", "POST", kind, "af-ada", body={"metadata": {"name": "x"}})
    return call.failed(status, json.dumps({"reason": reason, "message": message}))


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (failed(None), True),
        (failed(429, "TooManyRequests"), True),
        (failed(500, "InternalError"), True),
        (failed(503), True),
        (failed(409, "Conflict", RACE), True),
        (failed(409, "AlreadyExists"), False),
        (failed(403, "Forbidden", UNKNOWN), True),
        (failed(403, "Forbidden", FULL), False),
        (failed(422, "Invalid"), False),
        (failed(404, "NotFound"), False),
    ],
)
def test_what_is_asked_again(error: KubernetesError, again: bool) -> None:
    assert worth_repeating(error) is again


def test_an_error_says_of_what_it_is() -> None:
    error = failed(403, "Forbidden", FULL)
    assert str(error).startswith("Kubernetes could not create Pod af-ada/x: HTTP 403 Forbidden: ")
    assert error.over_quota
    call = Call("list", "GET", POD, "af-ada")
    assert str(call.failed(502, "<html>Bad gateway</html>")) == (
        "Kubernetes could not list Pod af-ada/*: HTTP 502: <html>Bad gateway</html>"
    )
    assert "there was no answer: refused" in str(call.failed(None, "refused"))


CONFIG = Config(
    pools={"cpu": Pool(name="cpu", default=True, cpu=1, memory=2**30, max_workers=2)}, source="here"
)


def backend() -> KubernetesBackend:
    account = Account("https://127.0.0.1:1", "af-ada", ssl.create_default_context())
    return KubernetesBackend("mine", Api(account), PodTemplate("af-ada", "image"), CONFIG)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (failed(409, "AlreadyExists", kind=DASK_CLUSTER), RequestError, "facility clusters stop"),
        (failed(404, kind=DASK_CLUSTER), ClusterFailedError, "CustomResourceDefinitions"),
        (
            failed(403, "Forbidden", 'x is forbidden: User "u" cannot create', SECRET),
            ClusterFailedError,
            "this pod's service account may not",
        ),
        (failed(403, "Forbidden", FULL), ClusterFailedError, "the quota all is used up"),
        (failed(500, "InternalError", "no"), ClusterFailedError, "HTTP 500 InternalError: no"),
    ],
)
def test_what_cannot_be_started_is_told(
    error: KubernetesError, kind: type[Exception], words: str
) -> None:
    told = backend()._not_made(error)
    assert isinstance(told, kind)
    assert words in str(told)


def test_one_that_is_not_ours_is_not_ended() -> None:
    """No call is made, or it would fail: nothing listens there."""
    found = backend()
    found._not_made(failed(409, "AlreadyExists", kind=DASK_CLUSTER))
    found.close_now()


def test_without_a_service_account_it_says_what_to_do(tmp_path) -> None:
    with pytest.raises(FacilityError, match="no service account.*FACILITY_BACKEND=local"):
        pod_account(tmp_path)
