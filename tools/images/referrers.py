"""Lists of packages beside the images that they are of, in a registry.

Each is an artifact of the Open Container Initiative (image specification 1.1) whose `subject` is
the image of one architecture. podman 4 cannot push such a thing, so it is done here by the
distribution specification's calls.
"""

import base64
import hashlib
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.building import BuildError

CYCLONEDX = "application/vnd.cyclonedx+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json"}
"""Of a configuration that is `{}`."""
SECONDS = 60.0
"""For which a registry may be silent."""


class Repository:
    """A repository of a registry, such as `registry.example/facility/hub`.

    Parameters
    ----------
    name
        Its host and path.
    plain
        Whether the registry speaks HTTP.
    """

    def __init__(self, name: str, *, plain: bool) -> None:
        self.host, _, self.path = name.partition("/")
        self.base = f"{'http' if plain else 'https'}://{self.host}/v2/{self.path}/"
        self._authorization = ""

    def ask(
        self, method: str, where: str, body: bytes | None = None, **headers: str
    ) -> tuple[Mapping[str, str], bytes]:
        """Make a call, with the credentials that `podman login` has written where it needs some.

        Raises
        ------
        BuildError
            It is refused, or there is no answer.
        """
        address = urllib.parse.urljoin(self.base, where)
        for last in (False, True):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            # Not to another host, where an upload may go.
            if self._authorization and urllib.parse.urlsplit(address).netloc == self.host:
                named["Authorization"] = self._authorization
            request = urllib.request.Request(address, body, named, method=method)
            try:
                with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                    return answer.headers, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    said = error.read(500).decode(errors="replace")
                wanted = error.headers.get("WWW-Authenticate", "")
                if error.code != 401 or last:
                    raise RefusedError(
                        f"{self.host}/{self.path}", method, error.code, said
                    ) from None
                self._authorization = self._granted(wanted)
            except OSError as error:
                raise BuildError(f"The registry {self.host} does not answer: {error}.") from error
        raise AssertionError("the last try raises")

    def _granted(self, wanted: str) -> str:
        """Return what to authorize with, as a registry asks for it."""
        credentials = credentials_of(self.host)
        basic = f"Basic {credentials}" if credentials else ""
        kind, _, rest = wanted.partition(" ")
        if kind.lower() != "bearer":
            return basic
        parts = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        asked = {"scope": f"repository:{self.path}:pull,push"}
        asked |= {"service": parts["service"]} if "service" in parts else {}
        address = f"{parts.get('realm', '')}?{urllib.parse.urlencode(asked)}"
        request = urllib.request.Request(address, headers={"Authorization": basic} if basic else {})
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                granted = json.loads(answer.read())
        except (OSError, ValueError) as error:
            raise BuildError(
                f"{self.host} gives no leave to push: {error}; run `podman login {self.host}`."
            ) from error
        return f"Bearer {granted.get('token') or granted.get('access_token')}"

    def put_blob(self, content: bytes) -> dict[str, Any]:
        """Put a blob into the registry; its digest and size."""
        digest = digest_of(content)
        headers, _ = self.ask("POST", "blobs/uploads/", b"")
        where = urllib.parse.urljoin(self.base, headers["Location"])
        where += f"{'&' if '?' in where else '?'}digest={urllib.parse.quote(digest)}"
        self.ask("PUT", where, content, Content_Type="application/octet-stream")
        return {"digest": digest, "size": len(content)}


class RefusedError(BuildError):
    """A registry has refused a call.

    Parameters
    ----------
    repository, method, status, said
        Which was asked how, and what it answered.
    """

    def __init__(self, repository: str, method: str, status: int, said: str) -> None:
        super().__init__(f"{repository} refuses {method}: HTTP {status} {said.strip()}")
        self.status = status


def digest_of(content: bytes) -> str:
    """Name a content as registries do."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def credentials_of(host: str) -> str:
    """Return what `podman login` or `docker login` wrote of a registry; nothing without."""
    home = Path.home()
    named = os.environ.get("REGISTRY_AUTH_FILE")
    running = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    places = [Path(named)] if named else []
    places += [Path("/run/containers/0/auth.json"), running / "containers/auth.json"]
    places += [home / ".config/containers/auth.json", home / ".docker/config.json"]
    for place in places:
        if os.access(place, os.R_OK):
            found = json.loads(place.read_text()).get("auths", {}).get(host, {}).get("auth", "")
            if found:
                base64.b64decode(found, validate=True)
                return str(found)
    return ""


def attach(repository: Repository, digest: str, lists: Mapping[str, bytes]) -> list[str]:
    """Put a list of packages beside the image of each architecture; return the architectures.

    Parameters
    ----------
    digest
        Of the manifest list of the images, which is in the registry.
    lists
        By architecture.

    Raises
    ------
    BuildError
        The registry does not take it, or has no image of such an architecture.
    """
    _, said = repository.ask("GET", f"manifests/{digest}", Accept=INDEX)
    images = {each["platform"]["architecture"]: each for each in json.loads(said)["manifests"]}
    absent = sorted(set(lists) - set(images))
    if absent:
        raise BuildError(f"{repository.path} has no image for {', '.join(absent)}")
    for architecture, content in lists.items():
        image = images[architecture]
        title = {"org.opencontainers.image.title": f"sbom-{architecture}.cdx.json"}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": CYCLONEDX,
            "config": EMPTY | repository.put_blob(b"{}"),
            "layers": [
                {"mediaType": CYCLONEDX, **repository.put_blob(content), "annotations": title}
            ],
            "subject": {key: image[key] for key in ("mediaType", "digest", "size")},
        }
        body = json.dumps(manifest).encode()
        answer, _ = repository.ask(
            "PUT", f"manifests/{digest_of(body)}", body, Content_Type=MANIFEST
        )
        if "OCI-Subject" not in answer:
            _list(repository, image["digest"], body)
    return list(lists)


def _list(repository: Repository, subject: str, manifest: bytes) -> None:
    """Name an artifact where clients look in a registry that does not do so by itself."""
    where = f"manifests/{subject.replace(':', '-')}"
    try:
        named = json.loads(repository.ask("GET", where, Accept=INDEX)[1])["manifests"]
    except RefusedError as error:
        if error.status != 404:
            raise
        named = []
    own = {
        "mediaType": MANIFEST,
        "artifactType": CYCLONEDX,
        "digest": digest_of(manifest),
        "size": len(manifest),
    }
    if any(each["digest"] == own["digest"] for each in named):
        return
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*named, own]}
    repository.ask("PUT", where, json.dumps(index).encode(), Content_Type=INDEX)
