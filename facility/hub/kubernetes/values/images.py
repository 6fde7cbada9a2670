"""Values about images: how one is written, where the facility's own lie, what users may run."""

import re
from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from facility.config.shapes import Strict

_NAME = "[^ @:]+(:[0-9]+/[^ @:]+)?"
_TAG = "[A-Za-z0-9_][-A-Za-z0-9_.]*"
_DIGEST = "sha256:[0-9a-f]{64}"
_WHOLE = f"(?P<name>{_NAME})(:(?P<tag>{_TAG}))?(@(?P<digest>{_DIGEST}))?"
_HOST = re.compile(r"([^/@ ]*[.:][^/@ ]*|localhost)/")


def names_registry(image: str) -> bool:
    """Tell whether the name of an image begins with its registry.

    Of one that does not, nodes take ``docker.io``'s, whoever put it there.
    """
    return _HOST.match(image) is not None


class OwnImage(Strict):
    """An image, by default the facility's own; as one text, or in parts."""

    name: str | None = Field(
        None,
        pattern=f"^{_NAME}$",
        description="Registry and repository, without a tag; by default below images.registry.",
    )
    tag: str | None = Field(None, description="Tag; by default the chart's version.")
    digest: str | None = Field(
        None,
        pattern=f"^{_DIGEST}$",
        description="Digest, which counts more than the tag.",
    )
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        "IfNotPresent", description="When nodes fetch it, as in Kubernetes."
    )

    @model_validator(mode="before")
    @classmethod
    def _parts(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        found = re.fullmatch(_WHOLE, given)
        if found is None:
            raise ValueError(
                "must be the name of an image, such as registry.example/facility/hub:1.0 or "
                "registry.example/facility/hub@sha256: and the 64 digits of its digest"
            )
        return {key: part for key, part in found.groupdict().items() if part}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        parts = handler.resolve_ref_schema(handler(core_schema))
        # A JSON schema's regular expressions name no groups.
        pattern = re.sub(r"\?P<\w+>", "", f"^{_WHOLE}$")
        text = {"type": "string", "pattern": pattern}
        return {"description": parts["description"], "anyOf": [text, parts]}

    def of(self, repository: str) -> "Image":
        """Return it with a repository, where it has none."""
        return Image(**{**self.model_dump(), "name": self.name or repository})


class Image(OwnImage):
    """An image of containers; as one text, or in parts."""

    name: str = Field(pattern=f"^{_NAME}$", description="Registry and repository, without a tag.")

    def reference(self, version: str) -> str:
        """Write it as Kubernetes takes it.

        Parameters
        ----------
        version
            Tag where it has none.
        """
        if self.digest:
            return f"{self.name}@{self.digest}"
        return f"{self.name}:{self.tag or version}"


class Images(Strict):
    """Where images come from, and what users' pods may run."""

    registry: str | None = Field(
        None,
        pattern="^[^ @/]+(/[^ @/:]+)*$",
        description="Where nodes fetch the facility's own images, hub, operator and analysis: a "
        "registry, maybe with folders. To be given unless each of them is given by itself.",
        examples=["registry.example/facility"],
    )
    permitted: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Images that users' pods may run beside those of servers and pools: "
        "repositories, or registries that end in /.",
        examples=[["registry.example/analysis/"]],
    )
    pull_secrets: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Names of Secrets in the release's namespace with which images are fetched; "
        "each user's namespace gets a copy, which the user can read: with credentials that can "
        "only pull.",
    )

    def own(self, name: str, given: OwnImage | None) -> Image | None:
        """Return one of the facility's images; None where nothing says where it lies.

        Parameters
        ----------
        name
            What it is called below the registry.
        given
            What the values say of it.
        """
        chosen = given or OwnImage()
        if chosen.name is None and self.registry is None:
            return None
        return chosen.of(f"{self.registry}/{name}")
