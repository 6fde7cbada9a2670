"""With which account this process speaks to which API server."""

import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from facility.errors import FacilityError
from facility.system.tls import trusting

FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REREAD = 60.0
"""Seconds after which a token is read again: the kubelet replaces it before it expires."""


@dataclass
class Account:
    """An API server and what shows it who asks.

    Parameters
    ----------
    server
        Its URL.
    namespace
        Where the account works.
    verify
        How to know the API server, and the certificate of the account if it has one.
    token_file
        File with the account's token; where there is none, `token` stays as it is.
    """

    server: str
    namespace: str
    verify: ssl.SSLContext
    token_file: Path | None = None
    token: str = ""
    _read: float = float("-inf")

    def headers(self, *, renew: bool = False) -> dict[str, str]:
        """Return the header that names the account.

        Parameters
        ----------
        renew
            Whether to read the token again now, since it was refused.
        """
        now = time.monotonic()
        if self.token_file and (renew or now - self._read > REREAD):
            try:
                self.token = self.token_file.read_text().strip()
            except OSError as error:
                raise FacilityError(
                    f"The token of this pod's service account cannot be read from "
                    f"{self.token_file}: {error.strerror or error}"
                ) from error
            self._read = now
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def pod_account(folder: Path = FOLDER) -> Account:
    """Return the service account of the pod that this process runs in.

    Raises
    ------
    FacilityError
        Where there is none.
    """
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
    try:
        namespace = (folder / "namespace").read_text().strip()
        verify = trusting(cafile=str(folder / "ca.crt"))
    except OSError as error:
        raise FacilityError(
            f"This process has no service account of Kubernetes ({folder}: "
            f"{error.strerror or error}): run in a pod with one, or set FACILITY_BACKEND=local"
        ) from error
    host = f"[{host}]" if ":" in host else host
    return Account(f"https://{host}:{port or 443}", namespace, verify, folder / "token")
