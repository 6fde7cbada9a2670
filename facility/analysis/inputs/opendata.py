"""ATLAS Open Data: a key of a dataset stands for its files, cross-section and the like.

The files and what is known of them come from atlasopenmagic, which asks ATLAS' metadata server.
"""

import threading
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PREFIX = "opendata://"
FORM = "opendata://KEY, opendata://RELEASE/KEY or opendata://KEY?skim=NAME&protocol=https"
OPTIONS = {"skim": "noskim", "protocol": "root"}
TOLD = (
    "cross_section_pb", "genFiltEff", "kFactor", "nEvents", "sumOfWeights",
    "sumOfWeightsSquared", "dataset_number", "physics_short", "process", "generator",
)  # fmt: skip
"""What of a dataset's metadata a processor sees."""
NORMALISATION, COUNTS = TOLD[:3], TOLD[3:6]

_lock = threading.Lock()


class OpenDataError(Exception):
    """A key that cannot be used; the message is a sentence."""


def is_key(source: str) -> bool:
    """Whether a source is a key of ATLAS Open Data."""
    return source.startswith(PREFIX)


def resolve(source: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Ask for the files of a key, and for what is known of them.

    Parameters
    ----------
    source
        ``opendata://301204``; a release of ATLAS Open Data may stand before the key, and a skim
        and a protocol behind it, as in ``opendata://2025e-13tev-beta/301204?skim=exactly4lep``.

    Returns
    -------
    addresses : dict
        By the name of each file: release, key, skim and how it is called in these.
    metadata : dict
        Of `TOLD` what is known: cross-section in pb, number of events, sum of weights.

    Raises
    ------
    OpenDataError
    """
    release, key, options = _parts(source)
    try:
        import atlasopenmagic
    except ImportError:
        text = f"{source} needs atlasopenmagic: pip install 'facility[analysis]'."
        raise OpenDataError(text) from None
    with _lock:  # its release is one for the whole process
        try:
            if release and release != atlasopenmagic.get_current_release():
                atlasopenmagic.set_release(release)
            addresses = atlasopenmagic.get_urls(key, **options, cache=False)
            known = atlasopenmagic.get_metadata(key)
            release = atlasopenmagic.get_current_release()
        except Exception as error:
            told = " ".join(str(error).split()).rstrip(".")
            raise OpenDataError(f"{source} gives no files ({told}).") from error
    called = [address.rpartition("/")[2] for address in addresses]
    if len(set(called)) < len(called):  # in several folders
        called = [address.rpartition("://")[2].partition("/")[2] for address in addresses]
    begin = f"{PREFIX}{release}/{key}/{options['skim']}"
    named = {f"{begin}/{name}": at for name, at in zip(called, addresses, strict=True)}
    return named, {name: known[name] for name in TOLD if known.get(name) is not None}


def together(known: dict[str, dict[str, Any]], problems: list[str]) -> dict[str, Any]:
    """Metadata of a dataset of several keys: counts added up, of the rest what is the same.

    Parameters
    ----------
    known
        Metadata by source.
    problems
        Takes a sentence where one normalisation would be wrong for all of them.
    """
    if len(known) < 2:
        return next(iter(known.values()), {})
    different = {
        name for name in TOLD if len({repr(found.get(name)) for found in known.values()}) > 1
    }
    if different.intersection(NORMALISATION):
        problems.append(
            f"{' and '.join(known)} have different cross-sections: give each of them a dataset of "
            "its own."
        )
    first = next(iter(known.values()))
    result = {name: value for name, value in first.items() if name not in different}
    for name in COUNTS:
        if all(name in found for found in known.values()):
            result[name] = sum(found[name] for found in known.values())
        else:
            result.pop(name, None)
    return result


def _parts(source: str) -> tuple[str | None, str, dict[str, str]]:
    parts = urlsplit(source)
    inside = [part for part in (parts.netloc + parts.path).split("/") if part]
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not 1 <= len(inside) <= 2 or given.keys() - OPTIONS.keys():
        raise OpenDataError(f"{source} is no key of ATLAS Open Data; the form is {FORM}.")
    release, key = (inside[0] if inside[1:] else None), inside[-1]
    return release, key, {**OPTIONS, **given}
