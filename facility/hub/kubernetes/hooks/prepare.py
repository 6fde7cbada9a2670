"""Before an installation and each upgrade: the kinds of dask-kubernetes, and missing secrets.

A Job of the chart runs it. What it makes is no part of the Helm release, so that it outlives it,
and a secret stays what it is however the chart is rendered.
"""

import argparse
import asyncio
import secrets
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import yaml

from facility.errors import FacilityError, KubernetesError
from facility.kubernetes.client.account import pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import DEFINITION, QUOTA, SECRET
from facility.kubernetes.tenant import is_counted

MANAGER = "facility-prepare"
ESTABLISHED_SECONDS = 60.0
COUNTED_SECONDS = 90.0
"""Seconds until quotas must count DaskClusters: Kubernetes looks for new kinds twice a minute."""
PROBE_SECONDS = 5.0
DASK_CLUSTERS = "count/daskclusters.kubernetes.dask.org"


def made_secrets() -> dict[str, str]:
    """Return new secrets of a hub, each under its key."""
    return {
        "proxy-token": secrets.token_hex(32),
        "cookie-secret": secrets.token_hex(32),
        "crypt-key": secrets.token_hex(32),
        "password": secrets.token_urlsafe(12),
    }


async def make_secret(api: Api, name: str) -> bool:
    """Make the hub's Secret unless it is there; whether it was made."""
    if await api.get(SECRET, name) is not None:
        return False
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "annotations": {"helm.sh/resource-policy": "keep"}},
        "stringData": made_secrets(),
    }
    await api.create(SECRET, body)
    return True


def read_definitions(folder: Path) -> list[dict[str, Any]]:
    """Read the kinds of dask-kubernetes.

    Raises
    ------
    FacilityError
        Where there is none in the folder.
    """
    files = sorted(folder.glob("*.yaml"))
    found = [each for file in files for each in yaml.safe_load_all(file.read_text()) if each]
    if not found:
        raise FacilityError(f"No definition of dask-kubernetes is in {folder}.")
    return found


async def define(api: Api, found: list[dict[str, Any]]) -> list[str]:
    """Define kinds, or bring them up to date; return their names.

    Raises
    ------
    FacilityError
        Where one is not established in time.
    """
    for definition in found:
        await api.apply(definition, MANAGER)
    names = [definition["metadata"]["name"] for definition in found]
    started = time.monotonic()
    for name in names:
        while not _established(await api.get(DEFINITION, name)):
            if time.monotonic() - started > ESTABLISHED_SECONDS:
                raise FacilityError(f"Kubernetes has not established {name} yet.")
            await asyncio.sleep(0.2)
    return names


def _established(definition: dict[str, Any] | None) -> bool:
    conditions = (definition or {}).get("status", {}).get("conditions", ())
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


async def wait_until_counted(api: Api) -> bool:
    """Wait until quotas count DaskClusters; whether they do.

    A quota that is older than Kubernetes' look at new kinds is counted only minutes later, so
    that a user's first spawn would wait for it.
    """
    started = time.monotonic()
    while time.monotonic() - started < COUNTED_SECONDS:
        name = f"probe-{uuid.uuid4().hex[:8]}"
        body = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": name},
            "spec": {"hard": {DASK_CLUSTERS: "1000000"}},
        }
        await api.create(QUOTA, body)
        try:
            began = time.monotonic()
            while time.monotonic() - began < PROBE_SECONDS:
                if is_counted(await api.get(QUOTA, name) or body):
                    return True
                await asyncio.sleep(0.2)
        finally:
            await api.delete(QUOTA, name)
    return False


async def prepare(api: Api, definitions: list[dict[str, Any]], secret: str) -> None:
    """Do all of it."""
    if secret:
        made = await make_secret(api, secret)
        print(f"The Secret {secret} {'is made' if made else 'is there'}.")
    if definitions:
        print(f"Defined: {', '.join(await define(api, definitions))}.")
        if await wait_until_counted(api):
            print("Quotas count Dask clusters.")
        else:
            print("Quotas do not count Dask clusters yet; first servers may wait for minutes.")
    await api.aclose()


def main() -> None:
    """Prepare with the Job's account."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--definitions", default="", help="folder with the kinds; none for none")
    parser.add_argument("--secret", default="", help="name of the Secret; none for none")
    given = parser.parse_args()
    try:
        definitions = read_definitions(Path(given.definitions)) if given.definitions else []
        asyncio.run(prepare(Api(pod_account()), definitions, given.secret))
    except (FacilityError, KubernetesError) as error:
        sys.exit(f"The installation cannot be prepared: {error}")


if __name__ == "__main__":
    main()
