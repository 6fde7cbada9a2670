"""Why a server does not fit into its user's quotas: pure."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from facility.kubernetes.quota import Share, is_bytes, shares, written
from facility.wording import counted

PODS = ("pods", "count/pods")
NOUNS = {
    "limits.cpu": "core",
    "limits.memory": "memory",
    "limits.ephemeral-storage": "disk",
    **dict.fromkeys(("cpu", "requests.cpu"), "guaranteed core"),
    **dict.fromkeys(("memory", "requests.memory"), "guaranteed memory"),
    **dict.fromkeys(("ephemeral-storage", "requests.ephemeral-storage"), "guaranteed disk"),
}
"""What a user is told of resources; others have a name of their own."""
Object = Mapping[str, Any]


def shortage(quotas: Iterable[Object], pod: Object) -> str | None:
    """Say why a server would be refused, None if it would not.

    Parameters
    ----------
    quotas
        ResourceQuotas of the namespace as Kubernetes has them.
    pod
        What quotas look at of the server's pod.
    """
    quotas = list(quotas)
    scoped = {quota["metadata"]["name"] for quota in quotas if quota["spec"].get("scopeSelector")}
    problems = [
        f"{_asked(share, 'server' if share.quota in scoped else 'pod')} asked, "
        f"{_number(share, share.used)} of {_number(share, share.hard)} in use"
        for share in shares(quotas, pod)
        if not share.fits
    ]
    if not problems:
        return None
    listed = "; ".join(dict.fromkeys(problems))
    return (
        f"Your quota has no room for this server: {listed}. End a server or a Dask cluster of "
        "yours, choose a smaller server, or ask the administrators for more."
    )


def _asked(share: Share, pod: str) -> str:
    """Write what a server asks for.

    Parameters
    ----------
    pod
        What a pod is called that the quota counts.
    """
    nouns = dict.fromkeys(PODS, pod) | NOUNS
    noun = nouns.get(share.resource, share.resource.removeprefix("requests."))
    if share.resource in PODS or share.resource.endswith("cpu"):
        return counted(_plain(share.takes), noun)
    return f"{_number(share, share.takes)} {noun}"


def _number(share: Share, amount: Decimal) -> str:
    return written(share.resource, amount) if is_bytes(share.resource) else f"{_plain(amount):g}"


def _plain(amount: Decimal) -> float:
    return int(amount) if amount == int(amount) else float(amount)
