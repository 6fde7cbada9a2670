"""How a scheduler in a pod ends its Dask cluster by itself, with its own service account.

Nobody else may be there: the kernel that started it is gone, and the operator may be away.
"""

import http.client
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from facility.system.tls import trusting

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PAUSE = 5.0
"""Seconds between attempts, which do not end before the pod does."""

logger = logging.getLogger("facility")


def end(everything: list[Mapping[str, Any]]) -> None:
    """Delete what belongs to the Dask cluster, this scheduler last.

    Parameters
    ----------
    everything
        ``path`` of each object, or of each collection with the ``selector`` of those in it, in
        the order in which they are deleted.
    """
    for entry in everything:
        while (problem := _delete(entry)) is not None:
            logger.error("could not delete %s: %s", entry["path"], problem)
            time.sleep(PAUSE)


def _delete(entry: Mapping[str, Any]) -> str | None:
    """Delete objects; what is wrong, None where they are gone or will be."""
    try:
        status, text = _ask(entry)
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    if status < 300 or status == 404:
        return None
    if status == 403:
        # Not ours to delete: it has an owner with which it ends.
        logger.error("may not delete %s: %s", entry["path"], text)
        return None
    return f"HTTP {status}: {text}"


def _ask(entry: Mapping[str, Any]) -> tuple[int, str]:
    path = entry["path"]
    if "selector" in entry:
        path += f"?labelSelector={quote(entry['selector'])}"
    connection = http.client.HTTPSConnection(
        os.environ["KUBERNETES_SERVICE_HOST"],
        int(os.environ["KUBERNETES_SERVICE_PORT"]),
        timeout=20,
        context=trusting(cafile=str(ACCOUNT / "ca.crt")),
    )
    body: dict[str, Any] = {"propagationPolicy": "Background"}
    if "grace" in entry:
        body["gracePeriodSeconds"] = entry["grace"]
    headers = {
        "Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}",
        "Content-Type": "application/json",
    }
    try:
        connection.request("DELETE", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")[:1000]
    finally:
        connection.close()
