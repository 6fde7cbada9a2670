"""With which account a process outside of Kubernetes speaks to it: what a kubeconfig says."""

import base64
import binascii
import json
import os
import ssl
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from facility.errors import FacilityError, nearest
from facility.kubernetes.client.account import Account
from facility.system.private_files import write_private
from facility.system.tls import trusting

PLUGIN_SECONDS = 120
"""Seconds for a credential plugin, which may ask its user to log in."""
EARLY = 30.0
"""Seconds before its end at which a plugin's token is asked for anew."""
_CLUSTER_KEYS = ("server", "certificate-authority", "insecure-skip-tls-verify", "extensions")
_USER_KEYS = ("token", "tokenFile", "client-certificate", "client-key", "exec", "extensions")


@dataclass(frozen=True)
class Part:
    """One entry of a kubeconfig; paths in it are relative to the file's folder."""

    name: str
    content: Mapping[str, Any]
    file: Path

    def refuse(self, valid: tuple[str, ...]) -> None:
        """Refuse what would have to be obeyed and is not known.

        Raises
        ------
        FacilityError
            Naming it.
        """
        unknown = {key.removesuffix("-data") for key, set_ in self.content.items() if set_}
        if foreign := sorted(unknown - set(valid)):
            raise FacilityError(
                f"{self.name} of {self.file} has {', '.join(foreign)}, which is not known here; "
                f"known are {', '.join(valid[:-1])}"
            )

    def data(self, key: str) -> bytes | None:
        """Return what an entry holds, or the file that it names.

        Raises
        ------
        FacilityError
            Where the file cannot be read, or the text is not base64.
        """
        if text := self.content.get(f"{key}-data"):
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, TypeError, ValueError) as error:
                raise FacilityError(
                    f"{key}-data of {self.name} in {self.file} is not base64: {error}"
                ) from None
        if named := self.content.get(key):
            return _read(self.file.parent / named, f"the {key} of {self.name} in {self.file}")
        return None


@dataclass
class PluginAccount(Account):
    """An account whose token a program gives, as those of clouds and single sign-on do."""

    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    version: str = "client.authentication.k8s.io/v1"
    _ends: float = 0.0

    def headers(self, *, renew: bool = False) -> dict[str, str]:
        """Return the header that names the account, with a token of the plugin's."""
        if renew or time.time() > self._ends - EARLY:
            self._ask()
        return super().headers()

    def _ask(self) -> None:
        ask = {"apiVersion": self.version, "kind": "ExecCredential", "spec": {"interactive": False}}
        environment = {**os.environ, **self.environment, "KUBERNETES_EXEC_INFO": json.dumps(ask)}
        shown = " ".join(self.command)
        try:
            done = subprocess.run(
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PLUGIN_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FacilityError(
                f"The credential plugin of the kubeconfig cannot be run: {error}"
            ) from error
        try:
            status = json.loads(done.stdout)["status"]
            self.token = status.get("token") or ""
            until = status.get("expirationTimestamp")
            self._ends = datetime.fromisoformat(until).timestamp() if until else float("inf")
            certificate = status.get("clientCertificateData"), status.get("clientKeyData")
            if all(certificate):
                _present(self.verify, *(text.encode() for text in certificate))
        except (ValueError, KeyError, TypeError, AttributeError):
            said = (done.stderr.strip() or done.stdout.strip())[-500:] or "it said nothing"
            raise FacilityError(
                f"The credential plugin `{shown}` of the kubeconfig gave no credential "
                f"(exit code {done.returncode}): {said}"
            ) from None


def kubeconfig_account(environ: Mapping[str, str] = os.environ) -> Account:
    """Return the account of the current context.

    Parameters
    ----------
    environ
        Its `KUBECONFIG` names files; without it, it is ``~/.kube/config``.

    Raises
    ------
    FacilityError
        Where there is none, or one that cannot be used; it says why.
    """
    listed = [Path(name) for name in environ.get("KUBECONFIG", "").split(os.pathsep) if name]
    listed = listed or [Path.home() / ".kube" / "config"]
    files = {path: _parsed(path) for path in listed if path.exists()}
    if not files:
        raise FacilityError(
            "This process has no service account of Kubernetes, and there is no kubeconfig at "
            f"{', '.join(map(str, listed))}: run in a pod with an account, set KUBECONFIG to your "
            "kubeconfig, or set FACILITY_BACKEND=local to work on this machine."
        )
    current = next((each["current-context"] for each in files.values() if _chosen(each)), "")
    if not current:
        raise FacilityError(
            f"No context is chosen in {', '.join(map(str, files))}: "
            "`kubectl config use-context NAME` chooses one."
        )
    context = _part(files, "context", current)
    cluster = _part(files, "cluster", str(context.content.get("cluster", "")))
    user = _part(files, "user", str(context.content.get("user", "")))
    cluster.refuse(_CLUSTER_KEYS)
    user.refuse(_USER_KEYS)
    server = str(cluster.content.get("server", "")).rstrip("/")
    if not server.startswith("https://"):
        raise FacilityError(f"{cluster.name} of {cluster.file} has no server with https://")
    verify = _verify(cluster)
    certificate, key = user.data("client-certificate"), user.data("client-key")
    if certificate and key:
        _present(verify, certificate, key)
    namespace = str(context.content.get("namespace") or "default")
    if plugin := user.content.get("exec"):
        variables = {each["name"]: each["value"] for each in plugin.get("env") or ()}
        words = (_program(str(plugin["command"]), user.file), *(plugin.get("args") or ()))
        version = str(plugin.get("apiVersion", PluginAccount.version))
        return PluginAccount(
            server, namespace, verify, command=words, environment=variables, version=version
        )
    token_file = user.content.get("tokenFile")
    file = user.file.parent / token_file if token_file else None
    return Account(server, namespace, verify, file, str(user.content.get("token") or ""))


def _chosen(content: Mapping[str, Any]) -> bool:
    return bool(content.get("current-context"))


def _program(command: str, file: Path) -> str:
    """Return a plugin's program; one with a folder is relative to the kubeconfig's."""
    return str(file.parent / command) if os.sep in command else command


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FacilityError(f"{path}, {what}, cannot be read: {error.strerror or error}") from None


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(_read(path, "the kubeconfig"))
    except yaml.YAMLError as error:
        raise FacilityError(f"The kubeconfig {path} is not YAML: {error}") from None
    if not isinstance(content, Mapping):
        raise FacilityError(f"The kubeconfig {path} is none: it holds no mapping")
    return content


def _part(files: Mapping[Path, Mapping[str, Any]], kind: str, name: str) -> Part:
    """Find a context, cluster or user by its name; the first file that has it counts."""
    known: list[str] = []
    for path, content in files.items():
        for entry in content.get(f"{kind}s") or ():
            if entry.get("name") == name:
                return Part(f"the {kind} {name!r}", entry.get(kind) or {}, path)
            known.append(str(entry.get("name")))
    raise FacilityError(
        f"There is no {kind} {name!r} in {', '.join(map(str, files))}{nearest(name, known)}; "
        f"there are {', '.join(known) or 'none'}"
    )


def _verify(cluster: Part) -> ssl.SSLContext:
    authority = cluster.data("certificate-authority")
    try:
        found = trusting(cadata=authority.decode() if authority else None)
    except (ssl.SSLError, ValueError) as error:
        raise FacilityError(
            f"The certificate-authority of {cluster.name} in {cluster.file} is none: {error}"
        ) from None
    if cluster.content.get("insecure-skip-tls-verify"):
        found.check_hostname = False
        found.verify_mode = ssl.CERT_NONE
    return found


def _present(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Have a client certificate shown; ssl reads it from files alone."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "certificate"), Path(folder, "key")
        for path, data in zip(files, (certificate, key), strict=True):
            write_private(path, data)
        try:
            context.load_cert_chain(*files)
        except ssl.SSLError as error:
            raise FacilityError(
                f"The client certificate of the kubeconfig does not fit its key: {error}"
            ) from None
