"""Keys and tokens in files, whatever they are called: these never leave the notebook."""

import re

KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY( BLOCK)?-----")
"""Private keys as text: of SSH, of X.509 and its proxies, of PGP, of a certificate authority."""
TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")
"""A JSON Web Token: two objects of JSON and a signature."""
PKCS12 = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
"""What the first bytes of a PKCS #12 hold, in which browsers export certificates with keys."""
PREFIXES = re.compile(
    rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|glpat-[A-Za-z0-9_-]{20}|AKIA[0-9A-Z]{16}\b)"
)
"""Tokens of GitHub and GitLab, and keys of S3."""


def credential_in(content: bytes) -> str | None:
    """Say what secret a file holds; None where none is seen.

    Parameters
    ----------
    content
        Of the whole file.
    """
    if b"PRIVATE KEY" in content and KEY.search(content):
        return "it holds a private key"
    if content[:1] == b"\x30" and PKCS12 in content[:64]:
        return "it holds a certificate with its key (PKCS #12)"
    if b"eyJ" in content and TOKEN.search(content):
        return "it holds a token (JWT)"
    if PREFIXES.search(content):
        return "it holds an access token"
    return None
