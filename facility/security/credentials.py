"""The user's X.509 proxy and bearer token, found where the tools of the grid look for them.

A proxy is looked for as XRootD and voms-proxy-init do, a token as the WLCG Bearer Token Discovery
says (https://github.com/WLCG-AuthZ-WG/bearer-token-discovery). Neither is ever printed.
"""

import base64
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

SOON = 3600.0
"""Seconds before its end from which on a credential is said to end."""
PROXY, TOKEN = "X.509 proxy", "bearer token"
RENEWAL = {PROXY: "voms-proxy-init -voms atlas", TOKEN: "htgettoken or oidc-token"}
"""What users renew them with."""


@dataclass(frozen=True)
class Credential:
    """What shows a storage service who its user is."""

    kind: str
    data: bytes
    source: str
    """File or variable that it was found in."""
    expires: float | None
    """When it ends, in seconds since 1970; None where it does not say."""


def find(environ: Mapping[str, str]) -> list[Credential]:
    """Return the proxy and the token that there are.

    Parameters
    ----------
    environ
        Variables, of which tools know where they are.
    """
    found = []
    user = os.getuid()
    named = environ.get("X509_USER_PROXY", "")
    proxy = _read([named] if named else [f"/tmp/x509up_u{user}"], anyones=bool(named))
    if proxy is not None:
        found.append(Credential(PROXY, proxy[0], proxy[1], proxy_end(proxy[0])))
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    places = [environ["BEARER_TOKEN_FILE"]] if environ.get("BEARER_TOKEN_FILE") else []
    if not places:
        places = [f"{runtime}/bt_u{user}"] if runtime else []
        places.append(f"/tmp/bt_u{user}")
    token = _read(places, anyones=bool(environ.get("BEARER_TOKEN_FILE")))
    if environ.get("BEARER_TOKEN"):
        token = environ["BEARER_TOKEN"].encode(), "BEARER_TOKEN"
    if token is not None:
        data = token[0].strip()
        found.append(Credential(TOKEN, data, token[1], token_end(data)))
    return found


def _read(places: Iterable[str], *, anyones: bool) -> tuple[bytes, str] | None:
    """Read the first file that there is.

    Parameters
    ----------
    anyones
        Whether it may be another user's. In a folder where everybody may write, under a name that
        everybody knows, somebody else may have put a credential of theirs: what is done with it,
        and where it is sent, would be done in their name.
    """
    for place in places:
        try:
            with Path(place).open("rb") as file:
                if not anyones and os.fstat(file.fileno()).st_uid != os.getuid():
                    continue
                data = file.read()
        except OSError:
            continue
        if data.strip():
            return data, place
    return None


def proxy_end(data: bytes) -> float | None:
    """Return when the first certificate of a chain ends, in seconds since 1970."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        chain = load_pem_x509_certificates(data)
    except ValueError:
        return None
    return min(each.not_valid_after_utc for each in chain).timestamp()


def token_end(data: bytes) -> float | None:
    """Return when a JSON Web Token ends, in seconds since 1970 (`exp` of RFC 7519)."""
    parts = data.split(b".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, TypeError, KeyError):
        return None


def remarks(found: Iterable[Credential], now: float) -> list[str]:
    """Say which credentials have ended, or do so soon, and what to do.

    Parameters
    ----------
    now
        Seconds since 1970.
    """
    said = []
    for each in found:
        if each.expires is None or each.expires - now > SOON:
            continue
        moment = datetime.fromtimestamp(each.expires, UTC).strftime("%Y-%m-%d %H:%M UTC")
        if each.expires <= now:
            what = f"has expired ({moment}), so that workers cannot open what asks for it"
        else:
            what = f"expires in {max(1, round((each.expires - now) / 60))} min ({moment})"
        said.append(
            f"The {each.kind} of {each.source} {what}: renew it with {RENEWAL[each.kind]}; "
            "running workers get the new one."
        )
    return said
