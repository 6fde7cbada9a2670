"""Judges whether nodes can fetch the images that the values name. Pure.

What a node has fetched already it could fetch; of the rest only a try tells, which is
`facility.site.check.probe`.
"""

from collections.abc import Iterator

from facility.hub.kubernetes.values.model import Values
from facility.site.check.finding import Finding, good, unknown
from facility.site.check.snapshot import Snapshot


def named(values: Values, version: str) -> dict[str, str]:
    """Return each image that the values name, by what names it.

    Parameters
    ----------
    version
        Tag where an image has none.
    """
    own = {"hub": values.hub.image, "analysis": values.singleuser.image}
    if values.operator.enabled:
        own["operator"] = values.operator.image
    found = {
        f"image {name}": image.reference(version)
        for name, given in own.items()
        if (image := values.images.own(name, given)) is not None
    }
    for name, profile in values.singleuser.profiles.items():
        if profile.image is not None:
            path = f"singleuser.profiles.{name}.image"
            found[path] = profile.image.reference(version)
    for name, pool in values.config.pools.items():
        if pool.image:
            found[f"pools.{name}.image"] = pool.image
    return found


def judge(snapshot: Snapshot, values: Values | None, version: str) -> Iterator[Finding]:
    """Look at the images."""
    if values is None:
        return
    had = {
        _repository(name)
        for node in snapshot.lists.get("Node", ())
        for image in node["status"]["images"]
        for name in image["names"]
    }
    for path, image in named(values, version).items():
        if _repository(image) in had:
            yield good("Registry", f"{path}, {image}", "a node has fetched an image of that name")
        else:
            told = "no node has an image of that name, so that nothing tells"
            yield unknown("Registry", f"{path}, {image}", told, "`--probe` has a node fetch it.")


def _repository(image: str) -> str:
    """Return an image's name without tag and digest."""
    name = image.partition("@")[0]
    before, slash, last = name.rpartition("/")
    return f"{before}{slash}{last.partition(':')[0]}"
