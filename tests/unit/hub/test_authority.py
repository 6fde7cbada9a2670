"""An API server whose authority names no key of its own, as that of many a Kubernetes."""

import datetime
import http.server
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from facility import names

ASK = """
import asyncio
from kubespawner.clients import shared_client
from kubespawner.spawner import KubeSpawner
from facility.hub.kubernetes.spawner import trust_the_authority

async def ask():
    {trust}
    KubeSpawner(_mock=True)
    print(len((await shared_client("CoreV1Api").list_namespaced_pod("af-ada")).items), "pods")

asyncio.run(ask())
"""


def issued(name: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate without the extensions that identify keys."""
    by = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=name == "authority", path_length=None), True)
    )
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address(names.LOOPBACK))])
    if name != "authority":
        builder = builder.add_extension(address, critical=False)
    made = builder.sign(signer, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


class Pods(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        said = json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, *_: object) -> None:
        pass


class Quiet(http.server.HTTPServer):
    def handle_error(self, *_: object) -> None:
        """Whoever does not trust the certificate hangs up."""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    (tmp_path / "ca.crt").write_bytes(issued("authority", authority, authority))
    key = own.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "server.pem").write_bytes(key + issued("server", own, authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server = Quiet((names.LOOPBACK, 0), Pods)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"https://{names.LOOPBACK}:{server.server_port}"
    cluster = {"server": address, "certificate-authority": str(tmp_path / "ca.crt")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": {"token": "t"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    yield path
    server.shutdown()
    thread.join()
    server.server_close()


def said(kubeconfig: Path, trust: str) -> str:
    environ = {"KUBECONFIG": str(kubeconfig), "PATH": "/usr/bin:/bin"}
    script = ASK.format(trust=trust)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_the_hub_trusts_it_too(kubeconfig: Path) -> None:
    assert "0 pods" in said(kubeconfig, "trust_the_authority()")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="older Pythons are not as strict")
def test_kubespawner_by_itself_does_not(kubeconfig: Path) -> None:
    """Without this the test above could not fail."""
    assert "CERTIFICATE_VERIFY_FAILED" in said(kubeconfig, "pass")
