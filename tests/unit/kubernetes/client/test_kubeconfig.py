"""What a kubeconfig says, with real files, certificates and a real credential plugin."""

import base64
import datetime
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from facility.errors import FacilityError
from facility.kubernetes.client.kubeconfig import PluginAccount, kubeconfig_account
from facility.kubernetes.lease import holder
from facility.security.certificates import authority
from facility.system.tls import trusting

PLUGIN = """#!{python}
import json, os, pathlib, sys
asked = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert asked["kind"] == "ExecCredential"
count = pathlib.Path(os.environ["COUNT"])
count.write_text(str(int(count.read_text() or 0) + 1 if count.exists() else 1))
print(json.dumps({{"apiVersion": asked["apiVersion"], "kind": "ExecCredential", "status": {{
    "token": f"token-{{count.read_text()}}-{{sys.argv[1]}}", {more}}}}}))
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with an authority's certificate and a client's."""
    authority(tmp_path / "tls")
    return tmp_path


def content(**user: Any) -> dict[str, Any]:
    return {
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "af-ada"}},
            {"name": "there", "context": {"cluster": "c", "user": "u"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": "https://192.0.2.1:6443/", "extensions": []}}
        ],
        "users": [{"name": "u", "user": user}],
    }


def written(folder: Path, found: dict[str, Any], name: str = "config") -> dict[str, str]:
    (folder / name).write_text(yaml.safe_dump(found))
    return {"KUBECONFIG": str(folder / name)}


def test_a_token(files: Path) -> None:
    account = kubeconfig_account(written(files, content(token="secret")))
    assert account.server == "https://192.0.2.1:6443"
    assert account.namespace == "af-ada"
    assert account.headers() == {"Authorization": "Bearer secret"}
    assert account.verify.verify_mode == ssl.CERT_REQUIRED


def test_a_file_with_a_token_is_relative_and_read_again(files: Path) -> None:
    (files / "token").write_text("first\n")
    account = kubeconfig_account(written(files, content(tokenFile="token")))
    assert account.headers() == {"Authorization": "Bearer first"}
    (files / "token").write_text("second\n")
    assert account.headers(renew=True) == {"Authorization": "Bearer second"}


@pytest.mark.parametrize("inline", [True, False])
def test_certificates_of_the_server_and_of_the_user(files: Path, inline: bool) -> None:
    def said(key: str, path: str) -> dict[str, str]:
        data = base64.b64encode((files / path).read_bytes()).decode()
        return {f"{key}-data": data} if inline else {key: path}

    client = {
        **said("client-certificate", "tls/client.pem"),
        **said("client-key", "tls/client.key"),
    }
    found = content(**client)
    found["clusters"][0]["cluster"] |= said("certificate-authority", "tls/ca.pem")
    account = kubeconfig_account(written(files, found))
    assert account.headers() == {}
    (known,) = account.verify.get_ca_certs()
    assert known["subject"] == ((("commonName", "facility user CA"),),)


def test_who_asks_not_to_look_is_not_looked_for(files: Path) -> None:
    found = content(token="x")
    found["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    assert kubeconfig_account(written(files, found)).verify.verify_mode == ssl.CERT_NONE


def plugin(folder: Path, more: str = "") -> dict[str, Any]:
    path = folder / "plugin"
    path.write_text(PLUGIN.format(python=sys.executable, more=more))
    path.chmod(0o755)
    variables = [{"name": "COUNT", "value": str(folder / "count")}]
    version = "client.authentication.k8s.io/v1"
    return {"command": "./plugin", "args": ["ada"], "env": variables, "apiVersion": version}


def test_a_plugin_is_asked_once_and_again_before_its_token_ends(files: Path) -> None:
    account = kubeconfig_account(written(files, content(exec=plugin(files))))
    assert isinstance(account, PluginAccount)
    for _ in range(2):
        assert account.headers() == {"Authorization": "Bearer token-1-ada"}
    assert account.headers(renew=True) == {"Authorization": "Bearer token-2-ada"}
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=10)).isoformat()
    short = kubeconfig_account(
        written(files, content(exec=plugin(files, f'"expirationTimestamp": "{soon}"')))
    )
    assert short.headers() == {"Authorization": "Bearer token-3-ada"}
    assert short.headers() == {"Authorization": "Bearer token-4-ada"}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo you are not logged in >&2; exit 3", "exit code 3.*you are not logged in"),
        ("echo '{}'", "gave no credential"),
        ("true", "it said nothing"),
    ],
)
def test_a_plugin_that_fails_is_told(files: Path, script: str, words: str) -> None:
    named = plugin(files)
    (files / "plugin").write_text(f"#!/bin/sh\n{script}\n")
    account = kubeconfig_account(written(files, content(exec=named)))
    with pytest.raises(FacilityError, match=f"(?s){words}"):
        account.headers()
    (files / "plugin").unlink()
    with pytest.raises(FacilityError, match="cannot be run"):
        account.headers()


def test_several_files_are_one_and_the_first_counts(files: Path) -> None:
    first, second = content(token="first"), content(token="second")
    first["current-context"] = ""
    second["current-context"] = "there"
    second["contexts"][1]["context"]["namespace"] = "other"
    del first["contexts"][1]
    names = [
        written(files, each, name)["KUBECONFIG"] for each, name in ((first, "a"), (second, "b"))
    ]
    account = kubeconfig_account({"KUBECONFIG": f"{names[0]}:{files / 'none'}:{names[1]}"})
    assert account.namespace == "other"
    assert account.headers() == {"Authorization": "Bearer first"}


def changed(**changes: Any) -> dict[str, Any]:
    return content(token="x") | changes


def of_cluster(**more: Any) -> dict[str, Any]:
    return changed(clusters=[{"name": "c", "cluster": {"server": "https://x", **more}}])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (changed(**{"current-context": ""}), "No context is chosen.*kubectl config use-context"),
        (changed(**{"current-context": "heer"}), "no context 'heer'.*did you mean 'here'"),
        (changed(users=[]), "no user 'u'.*there are none"),
        (changed(clusters=[{"name": "c"}]), "has no server with https"),
        (of_cluster(**{"proxy-url": "http://x"}), "has proxy-url, which is not known here"),
        (
            of_cluster(**{"certificate-authority-data": "eHg="}),
            "certificate-authority of .* is none",
        ),
        (of_cluster(**{"certificate-authority-data": "?"}), "is not base64"),
        (of_cluster(**{"certificate-authority": "no.pem"}), "no.pem.*cannot be read"),
        (content(**{"auth-provider": {"name": "gcp"}}), "has auth-provider, which is not known"),
        (content(username="u", password="p"), "has password, username"),
    ],
)
def test_what_cannot_be_used_is_told(files: Path, found: dict[str, Any], words: str) -> None:
    with pytest.raises(FacilityError, match=f"(?s){words}"):
        kubeconfig_account(written(files, found))


def test_a_key_of_another_certificate_is_told(files: Path) -> None:
    keys = {"client-certificate": "tls/client.pem", "client-key": "tls/ca.key"}
    with pytest.raises(FacilityError, match="does not fit its key"):
        kubeconfig_account(written(files, content(**keys)))


@pytest.mark.parametrize(("text", "words"), [("a: [", "is not YAML"), ("- a", "holds no mapping")])
def test_a_file_that_is_none(files: Path, text: str, words: str) -> None:
    (files / "config").write_text(text)
    with pytest.raises(FacilityError, match=words):
        kubeconfig_account({"KUBECONFIG": str(files / "config")})


def test_without_one_it_says_where_it_looked(files: Path, home: Path) -> None:
    with pytest.raises(FacilityError, match="no kubeconfig at .*/.kube/config: .*set KUBECONFIG"):
        kubeconfig_account({})


def test_who_holds_a_lease_and_for_how_long_nobody_was_seen() -> None:
    now = datetime.datetime(2026, 1, 1, 12, 0, 0, tzinfo=datetime.UTC)
    spec = {"holderIdentity": "ada@laptop", "renewTime": "2026-01-01T11:40:00.000000Z"}
    assert holder({"spec": {**spec, "leaseDurationSeconds": 1200}}, now) == "ada@laptop"
    unseen = holder({"spec": {**spec, "leaseDurationSeconds": 300}}, now)
    assert unseen == "ada@laptop, unseen for 20 min"


def test_an_authority_that_names_no_key_of_its_own_is_trusted_on_every_python() -> None:
    """Many a Kubernetes has one, and Python 3.13 would refuse what it has signed."""
    assert not trusting().verify_flags & ssl.VERIFY_X509_STRICT
    assert trusting().verify_mode == ssl.CERT_REQUIRED
    assert trusting().check_hostname
