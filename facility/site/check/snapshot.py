"""What is read of a Kubernetes cluster before anybody judges it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Objects = tuple[Object, ...]


@dataclass(frozen=True)
class Right:
    """Something that may be done, or may not.

    Parameters
    ----------
    verb
        What is done.
    group, resource
        To which kind.
    everywhere
        Whether the kind is in no namespace; else the release's is meant.
    """

    verb: str
    group: str
    resource: str
    everywhere: bool = False

    @property
    def kind(self) -> str:
        """The kind as kubectl takes it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


@dataclass(frozen=True)
class Snapshot:
    """A Kubernetes cluster at one moment.

    Parameters
    ----------
    version
        What it says of its version, such as v1.35.4.
    groups
        Names of the API groups that it serves.
    admission
        Resources of ``admissionregistration.k8s.io/v1``.
    lists
        Objects of each kind, by the kind's name; a kind that may not be read, or is not served, is
        not among them.
    settings
        Data of the ConfigMaps that tell the network's settings, by their name.
    refused
        What the caller may not do.
    unread
        Why something was not read, by its name.
    """

    version: str
    groups: frozenset[str] = frozenset()
    admission: frozenset[str] = frozenset()
    lists: Mapping[str, Objects] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    refused: tuple[Right, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)

    def names(self, kind: str) -> frozenset[str] | None:
        """Return the names of a kind's objects, None where they could not be read."""
        if kind not in self.lists:
            return None
        return frozenset(each["metadata"]["name"] for each in self.lists[kind])

    def why(self, kind: str) -> str:
        """Say why a kind could not be read."""
        return f"{kind} could not be read: {self.unread.get(kind, 'it was not asked for')}"

    @property
    def autoscaled(self) -> str:
        """What makes nodes when pods wait for them; nothing where nothing does."""
        if "karpenter.sh" in self.groups:
            return "Karpenter"
        return "the cluster autoscaler" if "cluster-autoscaler-status" in self.settings else ""
