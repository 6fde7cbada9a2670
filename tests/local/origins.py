"""A hub for several users on this machine, behind TLS, with the proxy of the chart's image."""

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from facility.hub.local.settings import free_port
from facility.names import LOOPBACK
from tests.kube.bringup import keys
from tests.local.hub_driver import ROOT, wait_for
from tools.images import catalog, packages

HOST = "hub.localhost"
"""Browsers know every name below `localhost` as this machine's."""
PASSWORD = "only for the tests"
POOL = {"default": True, "cpu": 1, "memory": "1Gi", "maxWorkers": 1}
SECRETS = {
    "proxy-token": "of-the-tests",
    "cookie-secret": "ab" * 32,
    "crypt-key": "cd" * 32,
    "password": PASSWORD,
}
READY = "JupyterHub is now running"


def write_certificates(folder: Path) -> str:
    """Make an authority and a certificate of `HOST` and all names below it.

    Returns
    -------
    str
        What Chromium knows the certificate's key by.
    """
    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    us, them = keys.name_of("tests"), keys.name_of(HOST)
    root = (
        keys.builder(us, us, authority, authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(keys.usage(authority=True), critical=True)
        .sign(authority, hashes.SHA256())
    )
    leaf = (
        keys.builder(them, us, own, authority)
        .add_extension(keys.alternatives((HOST, f"*.{HOST}", LOOPBACK)), critical=False)
        .sign(authority, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "hub.pem").write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
    key = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "hub.key").write_bytes(key)
    public = own.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(public).digest()).decode()


def proxy_command() -> list[str]:
    """The proxy of the image `hub`, by npm."""
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None and os.geteuid() != 0:
        pytest.skip("no Node: apt-get install npm")
    modules = packages.node_modules(catalog.read()["hub"])
    assert modules is not None
    program = modules / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    return [node or str(shutil.which("node")), str(program)]


class Origins:
    """The hub, and where it is.

    Parameters
    ----------
    folder
        Of everything that it keeps.
    values
        Of the chart, about the hub.
    """

    def __init__(self, folder: Path, values: dict[str, Any]) -> None:
        self.folder = folder
        self.key = write_certificates(folder)
        self.port = free_port(18600)
        inner, proxy = free_port(self.port + 1), free_port(self.port + 50)
        if values.get("domain"):
            values = {**values, "domain": f"{values['domain']}:{self.port}"}
        settings = {
            "values": {
                "pools": {"cpu": POOL},
                "images": {"registry": "registry.example/facility"},
                "hub": {"db": {"type": "sqlite-memory"}, **values},
            },
            "secrets": SECRETS,
            "bind": f"https://{LOOPBACK}:{self.port}",
            "hub": f"http://{LOOPBACK}:{inner}",
            "proxy": f"http://{LOOPBACK}:{proxy}",
            "command": proxy_command(),
        }
        (folder / "hub.json").write_text(json.dumps(settings))
        self.log = folder / "hub.log"
        config = Path(__file__).with_name("origins_config.py")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", f"--config={config}"],
                env=os.environ | {"ORIGINS_FOLDER": str(folder), "PYTHONPATH": str(ROOT)},
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ready(self) -> None:
        """Return when browsers may come."""
        wait_for(
            lambda: READY in self.log.read_text() or self.process.poll() is not None,
            "the hub of several users",
            180,
        )
        assert self.process.poll() is None, self.log.read_text()

    def address(self, user: str = "") -> str:
        """Where the hub is, or a user's servers."""
        return f"https://{f'{user}.' if user else ''}{HOST}:{self.port}"

    def end(self) -> None:
        """Leave nothing."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def origins(folder: Path, **values: Any) -> Iterator[Origins]:
    """A hub that runs meanwhile."""
    found = Origins(folder, values)
    try:
        found.ready()
        yield found
    finally:
        found.end()
