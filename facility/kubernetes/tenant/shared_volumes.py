"""What a shared volume is, of which each user's namespace has a claim: frozen, and checked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from facility.errors import ProblemsError

PLACEHOLDER = "{namespace}"
"""What stands in a source for the user's namespace."""
SOURCES = ("nfs", "csi")
"""Kinds of sources; none of them is a folder of a node."""
SECRETS = ("nodeStageSecretRef", "nodePublishSecretRef")


@dataclass(frozen=True)
class SharedVolume:
    """A folder that all users share.

    Parameters
    ----------
    name
        Name of the claim in each user's namespace.
    capacity
        Bytes that the claim asks for.
    access_modes
        Of the claim, as in Kubernetes.
    storage_class
        What makes the claim's volume; None for the default of the Kubernetes cluster.
    source
        Template of a PersistentVolume's source as Kubernetes writes it, ``nfs`` or ``csi``, from
        which the hub makes the claim's volume instead.
    mount_options
        Of a volume made from the template.
    read_only
        Whether nobody may write it.

    Raises
    ------
    ProblemsError
        With all that is wrong.
    """

    name: str
    capacity: int
    access_modes: tuple[str, ...]
    storage_class: str | None = None
    source: Mapping[str, Any] | None = None
    mount_options: tuple[str, ...] = ()
    read_only: bool = False

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ProblemsError(f"The shared volume {self.name!r} cannot be made", problems)

    @property
    def terms(self) -> list[str]:
        """The source as the admission policy compares it, but for attributes and options."""
        assert self.source is not None
        ((kind, found),) = self.source.items()
        read_only = str(found.get("readOnly", False)).lower()
        if kind == "nfs":
            return [kind, found["server"], found["path"], read_only]
        secrets = [found.get(key) or {} for key in SECRETS]
        named = [f"{each.get('namespace', '')}/{each.get('name', '')}" for each in secrets]
        return [kind, found["driver"], found["volumeHandle"], read_only, *named]

    @property
    def options(self) -> list[str]:
        """Options of the mount; what is read-only is mounted so on the node."""
        read_only = ["ro"] if self.read_only and "ro" not in self.mount_options else []
        return [*self.mount_options, *read_only]

    @property
    def attributes(self) -> dict[str, str]:
        """What the driver of the source is told."""
        assert self.source is not None
        return dict(self.source.get("csi", {}).get("volumeAttributes") or {})

    def _problems(self) -> Iterator[str]:
        if self.source is None:
            return
        if self.storage_class is not None:
            yield "it has a storageClass and a volume, and needs one of the two"
        if len(self.source) != 1 or next(iter(self.source)) not in SOURCES:
            kinds = ", ".join(self.source) or "none"
            yield f"its volume has the sources {kinds}, and needs exactly one: nfs or csi"
        elif PLACEHOLDER not in self.source.get("csi", {}).get("volumeHandle", PLACEHOLDER):
            # Drivers take two volumes of one handle for one volume.
            yield f"its volumeHandle must differ between users; write {PLACEHOLDER} in it"


def filled(value: Any, namespace: str) -> Any:
    """Write a user's namespace into a source."""
    if isinstance(value, Mapping):
        return {key: filled(item, namespace) for key, item in value.items()}
    return value.replace(PLACEHOLDER, namespace) if isinstance(value, str) else value
