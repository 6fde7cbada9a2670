"""Datasets of ATLAS by their names in Rucio: which files are in them, and where the nearest are.

Rucio's own client asks its server, with the configuration and the credentials that it finds where
it always does.
"""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facility import names
from facility.analysis.files.rootfile import LONGEST_LIST
from facility.analysis.files.version import Version
from facility.security import credentials
from facility.wording import counted

PREFIX = "rucio://"
DID = re.compile(r"(?P<scope>[A-Za-z0-9][\w.-]*):(?P<name>[A-Za-z0-9][\w.+-]*)/?")
ATLAS = {
    "rucio_host": "https://voatlasrucio-server-prod.cern.ch:443",
    "auth_host": "https://atlas-rucio-auth.cern.ch:443",
}
"""Servers that are asked where there is no rucio.cfg."""


class RucioError(Exception):
    """A name that Rucio cannot resolve; the message is a sentence."""


def is_did(source: str) -> bool:
    """Whether a source is a name in Rucio: with ``rucio://``, or ``scope:name`` and no file."""
    if source.startswith(PREFIX):
        return True
    found = DID.fullmatch(source)
    # uproot's way to name a tree in a file looks like one.
    if found is None or re.search(r"\.root(\.\d+)?$", found["scope"]):
        return False
    return not Path(source).expanduser().exists()


def resolve(source: str, problems: list[str]) -> list[tuple[str, list[str], Version | None]]:
    """Ask for the files of a dataset, a container or a file.

    Parameters
    ----------
    problems
        Takes a sentence about files that nobody can read.

    Returns
    -------
    list of tuple
        Name of each file in Rucio, its addresses, the nearest first, and its version where Rucio
        knows a checksum.

    Raises
    ------
    RucioError
    """
    parts = DID.fullmatch(source.removeprefix(PREFIX))
    if parts is None:
        raise RucioError(f"{source} is no name in Rucio; the form is rucio://SCOPE:NAME.")
    did = parts.groupdict()
    try:
        files, replicas = _ask(did)
    except ImportError:
        text = f"{source} needs Rucio's client: pip install 'facility[rucio]'."
        raise RucioError(text) from None
    except Exception as error:
        told = " ".join(str(error).split()).rstrip(".")
        advice = _advice(type(error).__name__)
        raise RucioError(
            f"Rucio does not resolve {source} ({type(error).__name__}: {told}){advice}."
        ) from error
    if not files:
        problems.append(f"{source} holds no files.")
    found, away = [], []
    for name in files:
        replica = replicas.get(name, {})
        addresses = _sorted(replica.get("pfns") or {})
        if addresses:
            scope = replica.get("scope") or did["scope"]
            found.append((f"{scope}:{name}", addresses, _version(replica)))
        else:
            away.append(name)
    if away:
        first = ", ".join(away[:LONGEST_LIST]) + (", ..." if away[LONGEST_LIST:] else "")
        problems.append(
            f"{len(away):,} of {counted(len(files), 'file')} of {source} cannot be read from any "
            f"disk with root:// ({first}): ask for a copy with `rucio rule add`."
        )
    return found


def _ask(did: dict[str, str]) -> tuple[list[str], dict[str, Any]]:
    """Names of all files of a dataset, and the replicas that are known of them."""
    program = sys.argv[0]
    try:
        from rucio.client import Client
        from rucio.common.client import detect_client_location

        with _configuration():
            client = Client(logger=logging.getLogger("facility.rucio"))
            listed = client.list_files(did["scope"], did["name"])
            files = sorted({file["name"] for file in listed})
            replicas = client.list_replicas(
                [did],
                schemes=["root"],
                ignore_availability=False,
                client_location=detect_client_location(),
                sort="geoip",
                resolve_archives=False,
            )
            return files, {replica["name"]: replica for replica in replicas}
    finally:
        sys.argv[0] = program  # Rucio's client changes it


@contextmanager
def _configuration() -> Iterator[None]:
    """Give Rucio's client a configuration where there is none: it does not work without a file."""
    from rucio.common.config import clean_cached_config, get_config
    from rucio.common.exception import ConfigNotFound

    try:
        get_config()
    except ConfigNotFound:
        pass
    else:
        yield
        return
    kinds = {found.kind for found in credentials.find(os.environ)}
    only_token = credentials.TOKEN in kinds and credentials.PROXY not in kinds
    kind = os.environ.get("RUCIO_AUTH_TYPE") or ("oidc" if only_token else "x509_proxy")
    values = {**ATLAS, "auth_type": kind}
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        file.write("[client]\n" + "".join(f"{name} = {text}\n" for name, text in values.items()))
        file.flush()
        os.environ["RUCIO_CONFIG"] = file.name
        try:
            yield
        finally:
            del os.environ["RUCIO_CONFIG"]
            clean_cached_config()


def _version(replica: dict[str, Any]) -> Version | None:
    """Tell one version of a file from others by what Rucio knows of it."""
    for kind in ("adler32", "md5"):
        if replica.get(kind):
            stamp = f"{kind}:{replica[kind]}"
            return Version(f"{replica.get('bytes')}-{stamp}", stamp)
    return None


def _sorted(addresses: dict[str, dict[str, Any]]) -> list[str]:
    """Sort addresses on disks: sites of the user's, the own network, then as Rucio says."""
    sites = os.environ.get(names.SITES_VARIABLE, "").replace(",", " ").split()

    def distance(item: tuple[str, dict[str, Any]]) -> tuple[int, bool, int]:
        storage = str(item[1].get("rse", ""))
        site = next((n for n, name in enumerate(sites) if storage.startswith(name)), len(sites))
        return site, item[1].get("domain") != "lan", int(item[1].get("priority") or 0)

    on_disk = [item for item in addresses.items() if item[1].get("type", "DISK") == "DISK"]
    return [address for address, _ in sorted(on_disk, key=distance)]


def _advice(error: str) -> str:
    if error in ("CannotAuthenticate", "MissingClientParameter", "NoAuthInformation", "TypeError"):
        return f": a proxy is made with {credentials.RENEWAL[credentials.PROXY]}"
    if error == "DataIdentifierNotFound":
        return ": `rucio did list` finds the names that there are"
    return ""
