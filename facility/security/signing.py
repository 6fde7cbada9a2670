"""A key of the user's own, which says of a file that the user's own processes have written it.

What is unpickled can do anything that the user can. A folder that others may write, on a shared
disk for example, may hold a file of theirs under a name of ours.
"""

import contextlib
import hmac
import os
import secrets
from pathlib import Path

from facility import names
from facility.system.private_files import make_private

KEY_FILE = "signing.key"
KEY_BYTES = 32
SIZE = 32
"""Bytes of a signature: HMAC with SHA-256 (RFC 2104)."""
ALGORITHM = "sha256"


class Signer:
    """Signs what the user's processes write, and tells it from what others have written.

    The key is in the user's data folder (`XDG_DATA_HOME`), made when it is first needed.

    Raises
    ------
    OSError
        The key cannot be read or made.
    """

    def __init__(self) -> None:
        self._key = _key(names.data_folder() / KEY_FILE)

    def signed(self, content: bytes, name: str) -> bytes:
        """Put the signature before the content.

        Parameters
        ----------
        name
            What the content is kept as: under another name the signature does not hold.
        """
        return self._of(content, name) + content

    def opened(self, signed: bytes, name: str) -> bytes | None:
        """Return the content, or None where the signature is not ours, or of another name."""
        content = signed[SIZE:]
        return content if hmac.compare_digest(self._of(content, name), signed[:SIZE]) else None

    def _of(self, content: bytes, name: str) -> bytes:
        named = hmac.digest(self._key, name.encode(), ALGORITHM)
        return hmac.digest(named, content, ALGORITHM)


def _key(path: Path) -> bytes:
    """Read the key; make it where there is none, the same one for all that ask at once."""
    with contextlib.suppress(FileNotFoundError):
        return _whole(path)
    make_private(path.parent)
    partial = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        # Unlike a rename, a link takes the place of no key that somebody was quicker to make.
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink()
    return _whole(path)


def _whole(path: Path) -> bytes:
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise OSError(
            f"{path} does not hold a key ({len(key)} of {KEY_BYTES} B): remove it, and one is made"
        )
    return key
