"""Container images written into the local registry, without a builder: a layer is a tar file."""

import gzip
import hashlib
import http.client
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tools.building import BuildError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def sha256(path: Path) -> str:
    """Digest of a file's content, as registries write it."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(data: bytes) -> str:
    """Digest of some bytes, as registries write it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_of(program: Path, into: Path) -> Path:
    """A layer that holds one program, at the root and under its own name."""
    with tarfile.open(into, "w") as tar:
        info = tarfile.TarInfo(program.name)
        info.mode, info.size = 0o755, program.stat().st_size
        with program.open("rb") as file:
            tar.addfile(info, file)
    return into


def config_of(architecture: str, layer: str, command: list[str]) -> dict[str, Any]:
    """What an image of one layer says of itself; `layer` is the digest of its bare tar."""
    return {
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Cmd": command,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    }


def descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    """How one part of an image refers to another; `size` in bytes."""
    return {"mediaType": kind, "digest": digest, "size": size}


@dataclass(frozen=True)
class Registry:
    """A registry, as `http://address:port`."""

    url: str

    def ask(
        self, method: str, path: str, body: Any = None, kind: str = "application/octet-stream"
    ) -> tuple[int, http.client.HTTPMessage]:
        """One request; its status and headers."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            headers = {"Content-Type": kind, "Accept": f"{INDEX}, {MANIFEST}"}
            if hasattr(body, "fileno"):
                headers["Content-Length"] = str(os.fstat(body.fileno()).st_size)
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            said = response.read()
            if response.status >= 400 and method != "HEAD":
                raise BuildError(
                    f"The local registry refused {method} {path} with {response.status}: "
                    f"{said[:200].decode(errors='replace')}"
                )
            return response.status, response.headers
        finally:
            connection.close()

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return self.ask("GET", "/v2/")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def holds(self, repository: str, digest: str) -> bool:
        """Whether it holds a manifest."""
        return self.ask("HEAD", f"/v2/{repository}/manifests/{digest}")[0] == 200

    def put_blob(self, repository: str, digest: str, body: Any) -> None:
        """Upload bytes, or an open file, unless they are there."""
        if self.ask("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
            return
        _, headers = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        target = urlsplit(headers["Location"])
        query = f"{target.query}&" if target.query else ""
        self.ask("PUT", f"{target.path}?{query}digest={digest}", body)

    def put_manifest(self, repository: str, manifest: Mapping[str, Any]) -> tuple[str, int]:
        """Upload a manifest or a list of them; its digest and size in bytes."""
        data = json.dumps(manifest, sort_keys=True).encode()
        digest = digest_of(data)
        path = f"/v2/{repository}/manifests/{digest}"
        self.ask("PUT", path, data, kind=str(manifest["mediaType"]))
        return digest, len(data)

    def put_image(self, repository: str, layers: Mapping[str, Path], command: list[str]) -> str:
        """Upload an image of one layer for each architecture; the digest of the list of them.

        Parameters
        ----------
        repository
            Its name.
        layers
            A bare tar file for each architecture.
        command
            What it runs when it is told nothing else.
        """
        parts = []
        for architecture, tar in layers.items():
            with tempfile.TemporaryDirectory(dir=tar.parent) as folder:
                packed = Path(folder) / "layer"
                with (
                    tar.open("rb") as source,
                    packed.open("wb") as out,
                    gzip.GzipFile("", "wb", 1, out, mtime=0) as into,
                ):
                    shutil.copyfileobj(source, into, 1 << 20)
                layer = descriptor(LAYER, sha256(packed), packed.stat().st_size)
                with packed.open("rb") as body:
                    self.put_blob(repository, layer["digest"], body)
            config = json.dumps(config_of(architecture, sha256(tar), command)).encode()
            self.put_blob(repository, digest_of(config), config)
            manifest = {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": descriptor(CONFIG, digest_of(config), len(config)),
                "layers": [layer],
            }
            part = descriptor(MANIFEST, *self.put_manifest(repository, manifest))
            parts.append(part | {"platform": {"architecture": architecture, "os": "linux"}})
        whole = {"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}
        return self.put_manifest(repository, whole)[0]
