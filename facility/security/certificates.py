"""The user's certificate authority and the certificates of each Dask cluster.

One authority belongs to one user (on Kubernetes: to one user server). Its key
never leaves the folder it is made in; schedulers, workers and clients get a
certificate that it signed and speak with nobody who has none. distributed
checks who signed a certificate, not the host in it, so no host names are in
them.
"""

import datetime
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facility import names
from facility.errors import FacilityError
from facility.system.private_files import make_private, open_private, refusal, write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate
    from distributed.security import Security

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 397
RENEW_DAYS = 60
"""A client certificate with less time left is made anew."""


@dataclass(frozen=True)
class Authority:
    """A user's certificate authority, as files in one folder of mode 0700."""

    folder: Path

    @property
    def ca_file(self) -> Path:
        """The authority's own certificate."""
        return self.folder / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """The authority's key, readable by the user alone."""
        return self.folder / "ca.key"

    @property
    def client_cert(self) -> Path:
        """Certificate of the user's clients."""
        return self.folder / "client.pem"

    @property
    def client_key(self) -> Path:
        """Key of the user's clients."""
        return self.folder / "client.key"

    def configuration(self) -> dict[str, str]:
        """Dask configuration with which ``Client("tls://...")`` works as it stands."""
        return {
            "distributed.comm.tls.ca-file": str(self.ca_file),
            "distributed.comm.tls.client.cert": str(self.client_cert),
            "distributed.comm.tls.client.key": str(self.client_key),
        }

    def environment(self) -> dict[str, str]:
        """Return the same configuration as environment variables."""
        return {
            f"DASK_{key.replace('.', '__').replace('-', '_').upper()}": value
            for key, value in self.configuration().items()
        }

    def security(self, folder: Path | None = None) -> "Security":
        """Security that allows TLS alone.

        Parameters
        ----------
        folder
            Where `issue` put the certificates of one Dask cluster; without it
            the security is a client's.
        """
        from distributed.security import Security

        server = {} if folder is None else server_files(folder)
        return Security(
            require_encryption=True,
            tls_ca_file=str(self.ca_file),
            tls_client_cert=str(self.client_cert),
            tls_client_key=str(self.client_key),
            **server,
        )

    def issue(self, folder: Path) -> None:
        """Write certificates for the scheduler and the workers of one Dask cluster.

        Raises
        ------
        FacilityError
            Where the folder cannot be written.
        """
        try:
            for role in ("scheduler", "worker"):
                self._issue(role, folder / f"{role}.pem", folder / f"{role}.key")
        except OSError as error:
            raise _not_kept(error, folder) from error

    def _issue(self, role: str, cert_file: Path, key_file: Path) -> None:
        certificate, key = self._sign(role)
        write_private(key_file, key)
        write_private(cert_file, certificate)

    def signed(self, role: str) -> dict[str, bytes]:
        """Make a certificate for a scheduler or for workers, as the files of a Secret."""
        certificate, key = self._sign(role)
        return {"ca.crt": self.ca_file.read_bytes(), "tls.crt": certificate, "tls.key": key}

    def _sign(self, role: str) -> tuple[bytes, bytes]:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization

        signer = serialization.load_pem_private_key(self.ca_key.read_bytes(), password=None)
        issuer = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        certificate, key = _certificate(f"facility {role}", CERTIFICATE_DAYS, (issuer, signer))  # type: ignore[arg-type]
        return _certificate_pem(certificate), _key_pem(key)


def server_files(folder: Path) -> dict[str, str]:
    """Arguments of `distributed.Security` for what `Authority.issue` wrote."""
    return {
        f"tls_{role}_{kind}": str(folder / f"{role}.{suffix}")
        for role in ("scheduler", "worker")
        for kind, suffix in (("cert", "pem"), ("key", "key"))
    }


def authority(folder: Path | None = None, after: datetime.datetime | None = None) -> Authority:
    """Return the user's certificate authority, made at the first call.

    Parameters
    ----------
    after
        One that was made earlier is made anew. Dask clusters with certificates of the old one
        cannot be reached any more.

    Raises
    ------
    FacilityError
        Where the folder cannot be written.
    """
    folder = folder or names.certificates_folder()
    found = Authority(folder)
    try:
        with _locked(folder):
            made = found.ca_key.stat().st_mtime if found.ca_key.exists() else 0.0
            if after is not None and made < after.timestamp():
                found.ca_file.unlink(missing_ok=True)
            if not (found.ca_file.exists() and found.ca_key.exists()):
                certificate, key = _certificate("facility user CA", AUTHORITY_DAYS, None)
                write_private(found.ca_key, _key_pem(key))
                if after is not None and time.time() < after.timestamp():
                    # The clock of who asks is ahead of this machine's.
                    os.utime(found.ca_key, (after.timestamp(), after.timestamp()))
                write_private(found.ca_file, _certificate_pem(certificate))
                found.client_cert.unlink(missing_ok=True)
            if _days_left(found.client_cert) < RENEW_DAYS:
                found._issue("client", found.client_cert, found.client_key)
    except OSError as error:
        raise _not_kept(error, folder) from error
    return found


def _not_kept(error: OSError, folder: Path) -> FacilityError:
    return FacilityError(
        f"The certificates of your Dask clusters cannot be kept in {folder}: "
        f"{refusal(error, folder)}"
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    make_private(folder)
    with os.fdopen(open_private(folder / "lock", os.O_RDWR), "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _days_left(cert_file: Path) -> float:
    if not cert_file.exists():
        return 0.0
    # An OpenSSL date check without importing cryptography would be our own
    # parser; the age of the file says the same about what we wrote ourselves.
    age = time.time() - cert_file.stat().st_mtime
    return CERTIFICATE_DAYS - age / 86400


def _key_pem(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate_pem(certificate: "Certificate") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)


def _certificate(
    common_name: str,
    days: int,
    issuer: "tuple[Certificate, EllipticCurvePrivateKey] | None",
) -> "tuple[Certificate, EllipticCurvePrivateKey]":
    """Make a key and its certificate, signed by `issuer` or, as a CA, by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of other machines may be behind.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key
