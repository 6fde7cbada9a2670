"""Proxies and tokens: found where tools look for them, sent to workers, taken over there."""

import base64
import datetime
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from facility.config import Pool
from facility.kubernetes.mounted_secret import MountedSecret
from facility.kubernetes.secret_sync import belongings
from facility.security import credentials
from facility.security.credentials import PROXY, TOKEN, Credential, find

NOON = 1_800_000_000.0


def proxy(*ends: float) -> bytes:
    """A chain of certificates that end then."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ada")])
    found = b""
    for end in ends:
        until = datetime.datetime.fromtimestamp(end, datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
        builder = builder.public_key(key.public_key()).serial_number(1)
        builder = builder.not_valid_before(until - datetime.timedelta(days=1))
        made = builder.not_valid_after(until).sign(key, hashes.SHA256())
        found += made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return found + secret


def token(end: float) -> bytes:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": end}).encode()).rstrip(b"=")
    return b"e30." + claims + b".c2ln"


def test_a_proxy_ends_with_its_first_certificate(tmp_path: Path) -> None:
    file = tmp_path / "x509up"
    file.write_bytes(proxy(NOON + 9000, NOON + 100))
    (found,) = [each for each in find({"X509_USER_PROXY": str(file)}) if each.source == str(file)]
    assert found.kind == PROXY
    assert found.expires == NOON + 100
    assert found.data == file.read_bytes()


@pytest.mark.parametrize("variable", ["BEARER_TOKEN", "BEARER_TOKEN_FILE", "XDG_RUNTIME_DIR"])
def test_a_token_is_found_where_tools_look_for_it(tmp_path: Path, variable: str) -> None:
    file = tmp_path / f"bt_u{os.getuid()}"
    file.write_bytes(token(NOON) + b"\n")
    value = {
        "BEARER_TOKEN": token(NOON).decode(),
        "BEARER_TOKEN_FILE": str(file),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }[variable]
    (found,) = [each for each in find({variable: value}) if each.kind == TOKEN]
    assert found == Credential(
        TOKEN, token(NOON), "BEARER_TOKEN" if variable == "BEARER_TOKEN" else str(file), NOON
    )


@pytest.mark.parametrize("data", [b"not a certificate", b"", b"-----BEGIN CERTIFICATE-----\nx"])
def test_what_is_no_proxy_has_no_end(data: bytes) -> None:
    assert credentials.proxy_end(data) is None


@pytest.mark.parametrize("data", [b"opaque", b"a.b.c", b"e30.e30.e30", b"a.W10.c"])
def test_what_says_no_end_has_none(data: bytes) -> None:
    assert credentials.token_end(data) is None


def test_the_end_is_told_before_and_after(tmp_path: Path) -> None:
    def said(end: float | None) -> list[str]:
        return credentials.remarks([Credential(PROXY, b"", "/tmp/x", end)], NOON)

    assert said(None) == said(NOON + 4000) == []
    (soon,) = said(NOON + 600)
    assert "X.509 proxy of /tmp/x expires in 10 min (2027-01-15 08:10 UTC)" in soon
    assert "voms-proxy-init" in soon
    (over,) = said(NOON - 1)
    assert "has expired" in over


def test_only_what_a_pool_lets_pass_is_sent() -> None:
    pools = [
        Pool(name=name, cpu=1, memory=2**30, max_workers=1, pass_env=allowed)
        for name, allowed in {"cpu": ("RUCIO_ACCOUNT", "ATLAS_*"), "gpu": ()}.items()
    ]
    environ = {"RUCIO_ACCOUNT": "ada", "ATLAS_X": "1", "ATLAS": "2", "SECRET": "no"}
    sent = belongings([Credential(PROXY, b"data", "/tmp/x", None)], pools, environ)
    assert sent == {
        "x509up": b"data",
        "variables-cpu.json": b'{"ATLAS_X": "1", "RUCIO_ACCOUNT": "ada"}',
    }


def test_a_worker_takes_over_and_forgets(tmp_path: Path) -> None:
    mounted, own = tmp_path / "mounted", tmp_path / "own"
    mounted.mkdir()
    environ = {"KEPT": "the pool's", "X509_USER_PROXY": "of the image"}
    received = MountedSecret(mounted, own, "cpu", environ)
    received.take()
    assert environ == {"KEPT": "the pool's", "X509_USER_PROXY": "of the image"}
    (mounted / "x509up").write_bytes(b"first")
    (mounted / "variables-cpu.json").write_text('{"KEPT": "the user\'s", "MORE": "1"}')
    received.take()
    copy = Path(environ["X509_USER_PROXY"])
    assert (copy.read_bytes(), stat.S_IMODE(copy.stat().st_mode)) == (b"first", 0o600)
    assert (environ["KEPT"], environ["MORE"]) == ("the pool's", "1")
    (mounted / "x509up").write_bytes(b"second")
    received.take()
    assert copy.read_bytes() == b"second"
    (mounted / "x509up").unlink()
    (mounted / "variables-cpu.json").unlink()
    received.take()
    assert not copy.exists()
    assert environ == {"KEPT": "the pool's"}


@pytest.mark.parametrize("name", ["x509up_u{}", "bt_u{}"])
def test_what_another_user_has_put_where_everybody_looks_is_not_taken(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = 1_000_000_000 + os.getpid()
    file = Path("/tmp", name.format(other))
    content = proxy(NOON) if name.startswith("x509") else token(NOON)
    variable = "X509_USER_PROXY" if name.startswith("x509") else "BEARER_TOKEN_FILE"
    file.write_bytes(content)
    try:
        assert [each.data for each in find({variable: str(file)})] == [content]
        with monkeypatch.context() as as_other:
            as_other.setattr(os, "getuid", lambda: other)
            assert not find({})
            assert [each.data for each in find({variable: str(file)})] == [content]
            if os.geteuid() == 0:
                os.chown(file, other, other)
                assert [each.data for each in find({})] == [content]
    finally:
        file.unlink()
