"""Images and the chart put into a registry, which is a small one of our own without TLS."""

import base64
import hashlib
import json
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import release
from tools.building import BuildError
from tools.images import __main__ as program
from tools.images import catalog, engine, referrers

pytestmark = pytest.mark.images
ADA = base64.b64encode(b"ada:secret").decode()
REFERENCE = "localhost/facility-test/small:1"


class Registry(BaseHTTPRequestHandler):
    """The part of the distribution specification by which images are put into a registry."""

    protocol_version = "HTTP/1.1"
    blobs: dict[str, bytes]
    manifests: dict[str, bytes]
    refers = False
    """Whether it keeps itself which artifacts there are of an image."""
    token = ""
    """With which all has to be asked for."""

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        if self.path.startswith("/token?"):
            known = self.headers.get("Authorization") == f"Basic {ADA}"
            body = json.dumps({"token": self.token}).encode()
            self.answer(200 if known else 401, size=len(body))
            self.wfile.write(body)
            return False
        if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
            self.body()
            realm = f"http://{self.headers['Host']}/token"
            self.answer(401, **{"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'})
            return False
        return True

    def do_GET(self) -> None:
        if self.path == "/v2/":
            self.answer(200)
        else:
            self.wfile.write(self.tell())

    def do_HEAD(self) -> None:
        self.tell()

    def tell(self) -> bytes:
        """Answer with what a path holds, but for the content itself."""
        named = self.path.rpartition("/")[2]
        by_digest = {f"sha256:{hashlib.sha256(m).hexdigest()}": m for m in self.manifests.values()}
        found = ({**self.blobs, **by_digest}).get(named) or self.manifests.get(self.path)
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        self.answer(404 if found is None else 200, size=len(found or b""), **kind)
        return found or b""

    def do_POST(self) -> None:
        self.answer(202, Location=f"{self.path}upload")

    def do_PATCH(self) -> None:
        self.blobs["upload"] = self.body()
        self.answer(202, Location=self.path)

    def do_PUT(self) -> None:
        if "/manifests/" in self.path:
            body = self.manifests[self.path] = self.body()
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        else:
            digest = re.findall("digest=(.*)", self.path)[0].replace("%3A", ":")
            self.blobs[digest] = self.blobs.pop("upload", b"") + self.body()
        kept = {"OCI-Subject": digest} if self.refers else {}
        self.answer(201, **{"Docker-Content-Digest": digest}, **kept)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def answer(self, status: int, size: int = 0, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(size), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Registry.blobs, Registry.manifests = {}, {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A list of one image, of one file."""
    (tmp_path / "file").write_text("content")
    with tarfile.open(tmp_path / "root.tar", "w") as tar:
        tar.add(tmp_path / "file", "file")
    with engine.alone():
        engine.load(tmp_path / "root.tar", f"{REFERENCE}-amd64", "amd64")
        engine.join(REFERENCE, [f"{REFERENCE}-amd64"])
    image = SimpleNamespace(
        name="small",
        reference=REFERENCE,
        architectures=("amd64",),
        built=lambda _: f"{REFERENCE}-amd64",
    )
    monkeypatch.setattr(catalog, "read", lambda: {"small": image})
    monkeypatch.setattr(catalog, "choose", lambda names, images: list(images.values()))
    yield
    with engine.alone():
        engine.podman("manifest", "rm", REFERENCE)
        engine.podman("image", "rm", f"{REFERENCE}-amd64")


def test_a_registry_without_tls(
    address: str,
    small: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(program, "SBOM", "/file")
    assert program.main(["push", "--registry", f"http://{address}/team/"]) == 0
    path = f"/v2/team/small/manifests/{catalog.version()}"
    pushed = Registry.manifests[path]
    (inside,) = json.loads(pushed)["manifests"]
    assert inside["platform"]["architecture"] == "amd64"
    # The list of its packages lies beside it, and is found from the image.
    found = Registry.manifests[f"/v2/team/small/manifests/{inside['digest'].replace(':', '-')}"]
    (artifact,) = json.loads(found)["manifests"]
    beside = json.loads(Registry.manifests[f"/v2/team/small/manifests/{artifact['digest']}"])
    assert beside["artifactType"] == artifact["artifactType"] == "application/vnd.cyclonedx+json"
    assert beside["subject"]["digest"] == inside["digest"]
    assert beside["subject"]["size"] == inside["size"]
    assert Registry.blobs[beside["layers"][0]["digest"]] == b"content"
    assert Registry.blobs[beside["config"]["digest"]] == b"{}"
    # Pushed again, it is the same artifact, and is named once.
    assert program.main(["push", "--registry", f"http://{address}/team/"]) == 0
    named = Registry.manifests[f"/v2/team/small/manifests/{inside['digest'].replace(':', '-')}"]
    assert json.loads(named) == json.loads(found)
    digest = hashlib.sha256(pushed).hexdigest()
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "images:",
        f"  registry: {address}/team",
        f"# small: {address}/team/small@sha256:{digest}",
    ]


def test_one_that_is_thought_to_have_tls(
    address: str, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["push", "--registry", address]) == 1
    said = capsys.readouterr().err
    assert f"The registry {address} speaks no TLS: write http://{address} if it may be" in said
    assert not Registry.manifests


def test_a_registry_that_keeps_referrers_itself(
    address: str, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "SBOM", "/file")
    monkeypatch.setattr(Registry, "refers", True)
    assert program.main(["push", "--registry", f"http://{address}/team/"]) == 0
    assert not [path for path in Registry.manifests if "/sha256-" in path]
    kinds = [json.loads(each).get("artifactType") for each in Registry.manifests.values()]
    assert kinds.count("application/vnd.cyclonedx+json") == 1


def test_an_image_that_is_not_there_is_named(address: str, small: None) -> None:
    index = json.dumps({"manifests": []}).encode()
    digest = referrers.digest_of(index)
    Registry.blobs[digest] = index
    repository = referrers.Repository(f"{address}/team/small", plain=True)
    with pytest.raises(BuildError, match="team/small has no image for amd64, arm64"):
        referrers.attach(repository, digest, {"amd64": b"", "arm64": b""})
    with pytest.raises(BuildError, match="refuses GET: HTTP 404"):
        referrers.attach(repository, referrers.digest_of(b"x"), {})


def test_credentials_are_those_that_podman_wrote(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry names where a token is granted to them."""
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {address: {"auth": ADA}}}))
    monkeypatch.setattr(Registry, "token", "granted")
    repository = referrers.Repository(f"{address}/team/small", plain=True)
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none.json"))
    with pytest.raises(BuildError, match="podman login"):
        repository.put_blob(b"content")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    found = repository.put_blob(b"content")
    assert Registry.blobs[found["digest"]] == b"content"


def test_the_chart(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "DIST", tmp_path / "dist")
    release.dist()
    pushed = release.push(f"http://{address}/team/")
    version = catalog.version()
    assert pushed == f"{address}/team/charts/facility:{version}"
    manifest = json.loads(Registry.manifests[f"/v2/team/charts/facility/manifests/{version}"])
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"
    [layer] = manifest["layers"]
    assert (
        Registry.blobs[layer["digest"]] == (release.DIST / f"facility-{version}.tgz").read_bytes()
    )


def test_what_is_in_an_image(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "SBOM", "/file")
    assert program.main(["sbom", "--into", str(tmp_path / "dist")]) == 0
    path = tmp_path / "dist" / f"facility-small-{catalog.version()}-amd64.cdx.json"
    assert path.read_text() == "content"
    assert capsys.readouterr().out == f"{path}\n"
    monkeypatch.setattr(program, "SBOM", "/nothing")
    assert program.main(["sbom", "--into", str(tmp_path / "dist")]) == 1
    assert "/nothing" in capsys.readouterr().err
