"""One call of the API server: what is asked of which object, and what its refusal means."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facility.errors import FacilityError, KubernetesError
from facility.kubernetes.client.kinds import Kind
from facility.kubernetes.client.shapes import LONGEST_MESSAGE, is_name

OVERLOADED = frozenset({429, 500, 502, 503, 504})
Object = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One call: what is asked of which object."""

    operation: str
    method: str
    kind: Kind
    namespace: str
    name: str = ""
    part: str = ""
    params: Mapping[str, str | int] | None = None
    body: Object | list[Object] | None = None
    content_type: str = "application/json"

    def __post_init__(self) -> None:
        # In a path it would be another object, of another user maybe.
        if self.name and not is_name(self.name):
            raise FacilityError(
                f"{self.name[:100]!r} is no name of a {self.kind.name}: it may have letters, "
                "digits, and between them the signs - . : alone"
            )

    @property
    def path(self) -> str:
        """Path of the object or the collection."""
        within = f"namespaces/{self.namespace}" if self.kind.namespaced and self.namespace else ""
        parts = (self.kind.base, within, self.kind.plural, self.name, self.part)
        return "/".join(part for part in parts if part)

    def failed(self, status: int | None, text: str) -> KubernetesError:
        """Make the error of an answer."""
        reason, message = "", text.strip()[:2000]
        try:
            answer = json.loads(text)
            reason = str(answer.get("reason", ""))
            message = str(answer.get("message", message))[:LONGEST_MESSAGE]
        except (ValueError, AttributeError):
            pass
        name = self.name or ""
        if not name and isinstance(self.body, dict):
            name = self.body.get("metadata", {}).get("name", "")
        within = self.namespace if self.kind.namespaced else ""
        where = f"{within}/{name or '*'}" if within else name or "*"
        return KubernetesError(self.operation, self.kind.name, where, status, reason, message)


def worth_repeating(error: KubernetesError) -> bool:
    """Tell whether the same call may succeed a moment later.

    Creates that race for a quota answer 409 "Conflict", and a new quota answers 403 "status
    unknown" until it has been counted; a quota that is used up stays so.
    """
    if error.status is None or error.status in OVERLOADED:
        return True
    if error.status == 409:
        return error.reason == "Conflict"
    return error.status == 403 and "status unknown for quota" in error.message


def deletion(
    namespace: str, kind: Kind, name: str = "", *, selector: str = "", grace: int | None = None
) -> Call:
    """Return the call that ends one object, or all that fit a selector."""
    assert bool(name) != bool(selector), "one object, or those of a selector, and never all"
    body: Object = {"propagationPolicy": "Background"}
    if grace is not None:
        body["gracePeriodSeconds"] = grace
    params = {"labelSelector": selector} if selector else None
    return Call("delete", "DELETE", kind, namespace, name, params=params, body=body)
