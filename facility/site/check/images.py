"""Judges whether nodes can fetch the images that the values name. Pure.

What a node has fetched already it could fetch; of the rest only a try tells, which is
`facility.site.check.probe`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from facility.config.shapes import Toleration
from facility.hub.kubernetes.values.images import OwnImage
from facility.hub.kubernetes.values.model import Values
from facility.hub.kubernetes.values.shapes import NodePlacement
from facility.site.check.finding import Finding, good, unknown
from facility.site.check.snapshot import Snapshot

ARCHITECTURE = "kubernetes.io/arch"


@dataclass(frozen=True)
class NamedImage:
    """An image that the values name.

    Parameters
    ----------
    name
        With its registry, and a tag or a digest.
    placement
        On which nodes it is to run: the keys of a pod's spec that say so.
    """

    name: str
    placement: Mapping[str, Any] = field(default_factory=dict)


def named(values: Values, version: str) -> dict[str, NamedImage]:
    """Return each image that the values name, by what names it.

    Parameters
    ----------
    version
        Tag where an image has none.
    """
    servers = values.singleuser
    own: dict[str, tuple[OwnImage | None, NodePlacement]] = {
        "hub": (values.hub.image, values.hub),
        "analysis": (servers.image, servers),
    }
    if values.operator.enabled:
        own["operator"] = values.operator.image, values.operator
    found = {
        f"image {name}": NamedImage(
            image.reference(version), _placement(where.node_selector, where.tolerations)
        )
        for name, (given, where) in own.items()
        if (image := values.images.own(name, given)) is not None
    }
    for name, profile in servers.profiles.items():
        if profile.image is not None:
            found[f"singleuser.profiles.{name}.image"] = NamedImage(
                profile.image.reference(version),
                _placement(
                    {**servers.node_selector, **profile.node_selector},
                    (*servers.tolerations, *profile.tolerations),
                ),
            )
    for name, pool in values.config.pools.items():
        if pool.image:
            selector = dict(pool.node_selector)
            if pool.architecture:
                selector[ARCHITECTURE] = pool.architecture
            found[f"pools.{name}.image"] = NamedImage(
                pool.image, _placement(selector, pool.tolerations)
            )
    return found


def _placement(selector: Mapping[str, str], tolerations: Iterable[Toleration]) -> dict[str, Any]:
    told = [each.model_dump(by_alias=True, exclude_none=True, mode="json") for each in tolerations]
    return {"nodeSelector": dict(selector), "tolerations": told}


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
    for path, each in named(values, version).items():
        image = each.name
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
