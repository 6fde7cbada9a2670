"""The certificates of a Kubernetes, and the kubeconfigs that use them."""

import datetime
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.kube.bringup import site
from tests.kube.bringup.places import Places

DAYS = 30


@dataclass(frozen=True)
class Identity:
    """One certificate: its file's name, whom it names, and the names and addresses it is for."""

    file: str
    user: str
    group: str | None = None
    hosts: tuple[str, ...] = ()
    kubeconfig: bool = True


IDENTITIES = (
    Identity(
        "apiserver",
        "kube-apiserver",
        hosts=(
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "127.0.0.1",
            site.FIRST.address,
            site.API_SERVICE,
        ),
        kubeconfig=False,
    ),
    Identity("admin", "admin", "system:masters"),
    Identity("controllers", "system:kube-controller-manager"),
    Identity("scheduler", "system:kube-scheduler"),
    Identity("proxy", "system:kube-proxy"),
    Identity("front-proxy", "front-proxy", kubeconfig=False),
    Identity("apiserver-kubelet", "apiserver-kubelet", "system:masters", kubeconfig=False),
    *(
        Identity(
            f"kubelet-{node.name}",
            f"system:node:{node.name}",
            "system:nodes",
            (node.name, node.address),
        )
        for node in site.NODES
    ),
)


def kubeconfig(ca: Path, certificate: Path, key: Path) -> dict[str, Any]:
    """A kubeconfig that names files."""
    server = f"https://{site.FIRST.address}:{site.API_PORT}"
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "test", "cluster": {"server": server, "certificate-authority": str(ca)}}
        ],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner reads."""
    path.touch(mode=0o600)
    path.write_bytes(data)


def write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a key and write it."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(
        path,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    return key


def name_of(user: str, group: str | None = None) -> x509.Name:
    """Whom a certificate names."""
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)


def alternatives(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    """Names and addresses of a certificate."""
    general: list[x509.GeneralName] = []
    for host in hosts:
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            general.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(general)


def usage(*, authority: bool) -> x509.KeyUsage:
    """What a key may be used for."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    """A certificate that names its key and its signer's, as kubeadm's do; without the rest."""
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )


def write_all(where: Places) -> None:
    """Make an authority, every certificate, the key of service accounts, and kubeconfigs."""
    folder = where.keys
    folder.mkdir(parents=True, mode=0o700)
    ca_key, ca_name = write_key(folder / "ca.key"), name_of("test-ca")
    authority = (
        builder(ca_name, ca_name, ca_key, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage(authority=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    accounts = write_key(folder / "accounts.key").public_key()
    (folder / "accounts.pub").write_bytes(
        accounts.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    roles = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    for identity in IDENTITIES:
        file, private = folder / f"{identity.file}.crt", folder / f"{identity.file}.key"
        key = write_key(private)
        request = (
            builder(name_of(identity.user, identity.group), ca_name, key, ca_key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(roles), critical=False)
        )
        if identity.hosts:
            request = request.add_extension(alternatives(identity.hosts), critical=False)
        certificate = request.sign(ca_key, hashes.SHA256())
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        if identity.kubeconfig:
            config = kubeconfig(folder / "ca.crt", file, private)
            target = where.run / f"{identity.file}.json"
            write_private(target, json.dumps(config, indent=1).encode())
