"""The user's own key, and what it tells."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from facility import names
from facility.security.signing import KEY_FILE, Signer


def test_what_is_signed_is_opened_under_its_name_only(home: Path) -> None:
    signed = Signer().signed(b"content", "a")
    assert Signer().opened(signed, "a") == b"content"
    assert Signer().opened(signed, "b") is None
    assert Signer().opened(signed[:-1], "a") is None
    assert Signer().opened(b"\0" + signed[1:], "a") is None
    assert Signer().opened(b"", "a") is None


def test_the_key_is_for_the_user_alone(home: Path) -> None:
    Signer()
    key = names.data_folder() / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in key.parent.iterdir()] == [KEY_FILE]
    key.write_bytes(b"short")
    with pytest.raises(OSError, match=r"does not hold a key \(5 of 32 B\): remove it"):
        Signer()


def _sign(_: int) -> bytes:
    return Signer().signed(b"content", "a")


def test_all_that_begin_at_once_have_one_key(home: Path) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        assert len(set(pool.map(_sign, range(32)))) == 1
