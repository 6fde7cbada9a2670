"""Whether what is in a user's namespace is still as it was made: pure."""

from collections.abc import Iterable, Mapping
from typing import Any

Object = Mapping[str, Any]


def is_as_made(manifest: Object, there: Iterable[Object]) -> bool:
    """Tell whether an object has all that its manifest says.

    What Kubernetes fills in, and what others have added, does not count: applying the manifest
    would leave it.

    Parameters
    ----------
    there
        Objects of the manifest's kind.
    """
    name = manifest["metadata"]["name"]
    found = next((each for each in there if each["metadata"]["name"] == name), None)
    # In a list its objects do not say of what kind they are.
    said = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind")}
    return found is not None and "deletionTimestamp" not in found["metadata"] and has(found, said)


def has(found: Any, wanted: Any) -> bool:
    """Tell whether a part of an object has all that is wanted of it."""
    if not wanted and isinstance(wanted, (Mapping, list)):
        # Kubernetes leaves out what is empty.
        return not found
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            has(found.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        same = isinstance(found, list) and len(found) == len(wanted)
        return same and all(map(has, found, wanted))
    return bool(found == wanted)
