"""A kubeconfig for Harvester: a token of its own account that ends, and can be ended before.

The token is bound to a Secret that holds nothing. Kubernetes refuses the token as soon as that
Secret is deleted, which the next run does.
"""

import base64
import datetime
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from facility import names
from facility.batch.namespace import BatchNamespace
from facility.errors import FacilityError, KubernetesError
from facility.kubernetes.client.account import Account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.calls import Call, deletion
from facility.kubernetes.client.kinds import ACCOUNT, CONFIG_MAP, JOB, SECRET
from facility.kubernetes.client.kubeconfig import kubeconfig_account
from facility.system.private_files import write_private

HARVESTER = "harvester"
"""ServiceAccount with which Harvester asks."""
SHORTEST = datetime.timedelta(minutes=10)
"""Kubernetes gives no token for less."""
AUTHORITY = "kube-root-ca.crt"
"""ConfigMap of every namespace with the certificate of the API server's authority."""
UNITS = {"m": "minutes", "h": "hours", "d": "days"}
NEXT = "make another one with `facility batch kubeconfig`"

Object = dict[str, Any]


@dataclass(frozen=True)
class Issued:
    """A kubeconfig that was made.

    Parameters
    ----------
    kubeconfig
        Its content.
    ends
        When its token ends, as Kubernetes writes it.
    asked
        Whether that is when it was asked for; an API server may allow less.
    earlier
        Names of Secrets of tokens from before, which go on until these are deleted.
    """

    kubeconfig: Object
    ends: str
    asked: bool
    earlier: tuple[str, ...]


def lifetime(text: str) -> datetime.timedelta:
    """Read for how long a token is to last: ``90d``, ``12h``, ``30m``.

    Raises
    ------
    ValueError
        Where it is none of these, or too short.
    """
    read = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if read is None:
        raise ValueError(f"{text!r} is no time; write 90d, 12h or 30m")
    found = datetime.timedelta(**{UNITS[read[2]]: int(read[1])})
    if found < SHORTEST:
        raise ValueError(f"{text!r} is too short: Kubernetes gives no token for less than 10m")
    return found


def issue(batch: BatchNamespace, lasting: datetime.timedelta, server: str | None = None) -> Issued:
    """Make a token, and the kubeconfig that holds it.

    Parameters
    ----------
    server
        URL by which Harvester reaches the API server; by default the administrator's.

    Raises
    ------
    KubernetesError
        Where it is refused; no token is left then.
    """
    api, space = batch.api, batch.namespace
    listed = api.now(api.reading(SECRET, labelSelector=names.BATCH_TOKEN_LABEL))["items"]
    authority = api.now(api.reading(CONFIG_MAP, AUTHORITY))["data"]["ca.crt"]
    body = token_secret(batch, f"harvester-token-{secrets.token_hex(4)}")
    made = api.now(Call("create", "POST", SECRET, space, body=body))
    request = token_request(made, lasting)
    try:
        call = Call("create", "POST", ACCOUNT, space, HARVESTER, "token", body=request)
        status = api.now(call)["status"]
    except BaseException:
        api.now(deletion(space, SECRET, body["metadata"]["name"]))
        raise
    now = datetime.datetime.now(datetime.UTC)
    ends = datetime.datetime.fromisoformat(status["expirationTimestamp"])
    return Issued(
        kubeconfig(batch, server or api.account.server, authority, status["token"]),
        status["expirationTimestamp"],
        asked=ends > now + lasting * 0.9,
        earlier=tuple(each["metadata"]["name"] for each in listed),
    )


def end_earlier(batch: BatchNamespace, issued: Issued) -> None:
    """End the tokens from before."""
    for name in issued.earlier:
        try:
            batch.api.now(deletion(batch.namespace, SECRET, name))
        except KubernetesError as error:
            if error.status != 404:
                raise


def write(path: Path, issued: Issued) -> None:
    """Write it where only its owner may read it."""
    write_private(path, yaml.safe_dump(issued.kubeconfig, sort_keys=False).encode())


def check(path: Path, batch: BatchNamespace) -> None:
    """Ask with a kubeconfig as Harvester will.

    Raises
    ------
    FacilityError
        Where it cannot be used, its token has ended, or it is for another namespace.
    """
    if not path.exists():
        raise FacilityError(f"There is no kubeconfig at {path}: {NEXT}.")
    account = kubeconfig_account({"KUBECONFIG": str(path)})
    if account.namespace != batch.namespace:
        raise FacilityError(
            f"The kubeconfig {path} is for the namespace {account.namespace}, and batch is in "
            f"{batch.namespace}: {NEXT}."
        )
    _ask(path, account)


def _ask(path: Path, account: Account) -> None:
    api = Api(account)
    try:
        api.now(api.reading(JOB, limit=1))
    except KubernetesError as error:
        if error.status == 401:
            raise FacilityError(
                f"The token in {path} has ended: its time is over, or a later run of `facility "
                f"batch kubeconfig` has ended it. Give Harvester that run's file, or {NEXT}."
            ) from None
        raise


# What is sent and written: pure.


def token_secret(batch: BatchNamespace, name: str) -> Object:
    """Return the Secret with which a token ends."""
    labels = {"app.kubernetes.io/managed-by": "facility", names.BATCH_TOKEN_LABEL: batch.release}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name, "namespace": batch.namespace, "labels": labels},
    }


def token_request(secret: Mapping[str, Any], lasting: datetime.timedelta) -> Object:
    """Return the request of a token that is bound to a Secret."""
    metadata = secret["metadata"]
    bound = {
        "apiVersion": "v1",
        "kind": "Secret",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    spec = {"expirationSeconds": round(lasting.total_seconds()), "boundObjectRef": bound}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}


def kubeconfig(batch: BatchNamespace, server: str, authority: str, token: str) -> Object:
    """Return a kubeconfig with one context."""
    cluster = {
        "server": server,
        "certificate-authority-data": base64.b64encode(authority.encode()).decode(),
    }
    context = {"cluster": batch.release, "user": HARVESTER, "namespace": batch.namespace}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": batch.release, "cluster": cluster}],
        "users": [{"name": HARVESTER, "user": {"token": token}}],
        "contexts": [{"name": batch.namespace, "context": context}],
        "current-context": batch.namespace,
    }
