"""How this process looks at the certificate of an API server."""

import ssl


def trusting(cafile: str | None = None, cadata: str | None = None) -> ssl.SSLContext:
    """Trust an authority as kubectl does, on every Python.

    From 3.13 on Python holds certificates to all of RFC 5280, which the authorities of many a
    Kubernetes do not keep to: they name no key of theirs, for example.

    Parameters
    ----------
    cafile, cadata
        As of `ssl.create_default_context`; without both, what the system trusts.
    """
    context = ssl.create_default_context(cafile=cafile, cadata=cadata)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
