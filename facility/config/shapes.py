"""Shapes that a pool is made of: checked text, quantities, and parts of a pod.

What Kubernetes would refuse only when a pod is made is refused here, when the
file is read.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from facility.quantity import parse_cores, parse_memory

OF_THE_WHOLE = "of_the_whole"
"""Type of an error that a key's check raises about the mapping around it."""

_ONE_SOURCE = "must have exactly one source: persistentVolumeClaim, configMap, secret or emptyDir"
NUMBER = {"type": "number", "exclusiveMinimum": 0}
_DIGITS = r"^([0-9]+\.?[0-9]*|\.[0-9]+)"
QUANTITY = [
    {"type": "string", "pattern": _DIGITS + "([eE][+-]?[0-9]+|([KMGTP]i|[kMGTP])?)$"},
    NUMBER,
]
"""JSON schema of an amount of memory or disk: one of these."""
_QUALIFIED_NAME = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PASSED_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_VOLUME_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Strict(BaseModel):
    """Base of the models: frozen, no unknown keys, no silent conversion."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        defer_build=True,
    )


def _matching(pattern: re.Pattern[str], valid: str) -> AfterValidator:
    """Make a check of a text's whole form, with `valid` in its message."""

    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"must be {valid}")
        return text

    return AfterValidator(check)


def keys_matching(pattern: re.Pattern[str], valid: str) -> AfterValidator:
    """Make a check of the form of a mapping's keys."""

    def check(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
        wrong = sorted(key for key in mapping if not pattern.fullmatch(key))
        if wrong:
            raise ValueError(f"has the key {wrong[0]!r}, and a key must be {valid}")
        return mapping

    return AfterValidator(check)


def _one_line(text: str) -> str:
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError("must be text on one line, without spaces around it")
    return text


def _no_space(text: str) -> str:
    if not text or not text.isprintable() or " " in text:
        raise ValueError("must be the name of an image, without spaces")
    if "://" in text:
        raise ValueError("must be the name of an image, without http:// or the like before it")
    return text


def _absolute(path: str) -> str:
    if not path.startswith("/") or ":" in path or ".." in path.split("/"):
        raise ValueError("must be an absolute path without '..' and ':', such as /data")
    return path


Memory = Annotated[int, BeforeValidator(parse_memory), WithJsonSchema({"anyOf": QUANTITY})]
Cores = Annotated[
    float,
    BeforeValidator(parse_cores),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": _DIGITS + "([eE][+-]?[0-9]+|m?)$"}, NUMBER]}
    ),
]
ObjectName = Annotated[
    str, _matching(_OBJECT_NAME, "a Kubernetes name: lower-case letters, digits, '-' and '.'")
]
ResourceName = Annotated[
    str, _matching(_QUALIFIED_NAME, "a name of an extended resource such as nvidia.com/gpu")
]
LABEL_KEYS = keys_matching(_QUALIFIED_NAME, "a label such as example.org/name")
OneLine = Annotated[str, AfterValidator(_one_line)]
ImageName = Annotated[str, AfterValidator(_no_space)]
PassedName = Annotated[
    str, _matching(_PASSED_NAME, "a variable's name, or the beginning of names with a * after it")
]
LabelValue = Annotated[
    str, _matching(_LABEL_VALUE, "a label's value: letters, digits, '-', '_' and '.', at most 63")
]


class Toleration(Strict):
    """A taint of nodes that the pool's pods tolerate, as in Kubernetes."""

    key: str | None = Field(None, description="Key of the taint; none tolerates every key.")
    operator: Literal["Equal", "Exists"] = Field(
        "Equal", validate_default=True, description="How value is compared."
    )
    value: str | None = Field(None, description="Value of the taint, with Equal only.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; none tolerates every effect."
    )
    toleration_seconds: int | None = Field(
        None, ge=0, description="How long a pod stays, with the effect NoExecute only."
    )

    @field_validator("operator")
    @classmethod
    def _key_or_exists(cls, operator: str, info: ValidationInfo) -> str:
        if operator == "Equal" and "key" in info.data and not info.data["key"]:
            raise ValueError("must be Exists where no key is given")
        return operator

    @field_validator("value")
    @classmethod
    def _value_with_equal(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("operator") == "Exists":
            raise ValueError("must be left out with the operator Exists")
        return value

    @field_validator("toleration_seconds")
    @classmethod
    def _seconds_with_eviction(cls, seconds: int | None, info: ValidationInfo) -> int | None:
        if seconds is not None and info.data.get("effect", "NoExecute") != "NoExecute":
            raise ValueError("must be left out unless the effect is NoExecute")
        return seconds


class ClaimSource(Strict):
    """A PersistentVolumeClaim of the user's namespace."""

    claim_name: ObjectName = Field(description="Its name.", examples=["shared-data"])


class ConfigMapSource(Strict):
    """A ConfigMap of the user's namespace."""

    name: ObjectName = Field(description="Its name.", examples=["settings"])


class SecretSource(Strict):
    """A Secret of the user's namespace."""

    secret_name: ObjectName = Field(description="Its name.", examples=["proxy"])


class EmptySource(Strict):
    """A folder that lives as long as the pod."""

    medium: Literal["", "Memory"] = Field("", description="Memory for a folder in memory.")
    size_limit: Memory | None = Field(None, description="Most that it may hold, such as 10Gi.")


DEFAULT_PROFILES: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
"""Of a pod's security context, where nobody says another."""


class SecurityProfile(Strict):
    """A profile of seccomp or AppArmor."""

    type: Literal["RuntimeDefault", "Localhost"] = Field(
        description="The container runtime's own profile, or one of the node."
    )
    localhost_profile: str | None = Field(
        None,
        validate_default=True,
        min_length=1,
        description="Name of a profile of the node, with Localhost alone.",
        examples=["profiles/analysis.json"],
    )

    @field_validator("localhost_profile")
    @classmethod
    def _named(cls, name: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("type")
        if kind == "Localhost" and name is None:
            raise ValueError("is needed with the type Localhost: the name of a profile of the node")
        if kind == "RuntimeDefault" and name is not None:
            raise ValueError("goes with the type Localhost alone; leave it out, or write that type")
        return name


class SeccompConfined(Strict):
    """Pods that have a seccomp profile."""

    seccomp_profile: SecurityProfile | None = Field(
        None, description="Seccomp profile of the pods; by default RuntimeDefault."
    )

    @property
    def profiles_of_pods(self) -> dict[str, Any]:
        """Profiles of a pod, as its security context has them."""
        said = self.model_dump(
            include={"seccomp_profile", "app_armor_profile"},
            by_alias=True,
            exclude_none=True,
            mode="json",
        )
        return DEFAULT_PROFILES | said


class Confined(SeccompConfined):
    """Pods that have profiles of seccomp and AppArmor."""

    app_armor_profile: SecurityProfile | None = Field(
        None, description="AppArmor profile of the pods; by default their node's."
    )


class Volume(Strict):
    """A folder mounted into the pool's workers, from exactly one source."""

    name: Annotated[
        str, _matching(_VOLUME_NAME, "lower-case letters, digits and '-', at most 63 characters")
    ] = Field(description="Name of the volume in the pod.", examples=["data"])
    mount_path: Annotated[str, AfterValidator(_absolute)] = Field(
        description="Where workers see it.", examples=["/data"]
    )
    sub_path: str | None = Field(None, description="Folder of the source that is mounted.")
    persistent_volume_claim: ClaimSource | None = Field(None, description="Source: a claim.")
    config_map: ConfigMapSource | None = Field(None, description="Source: a ConfigMap.")
    secret: SecretSource | None = Field(None, description="Source: a Secret.")
    empty_dir: EmptySource | None = Field(None, description="Source: an empty folder.")
    # Last, and checked when not given, so that its check sees every source.
    read_only: bool = Field(
        False, validate_default=True, description="Whether workers may only read."
    )

    @field_validator("read_only")
    @classmethod
    def _one_source(cls, read_only: bool, info: ValidationInfo) -> bool:
        sources = ("persistent_volume_claim", "config_map", "secret", "empty_dir")
        all_read = all(source in info.data for source in sources)
        if all_read and sum(info.data[source] is not None for source in sources) != 1:
            raise PydanticCustomError(OF_THE_WHOLE, _ONE_SOURCE)
        return read_only


class Affinity(Strict):
    """Kubernetes affinity rules, checked for their three kinds and passed on."""

    node_affinity: dict[str, Any] | None = Field(None, description="As in Kubernetes.")
    pod_affinity: dict[str, Any] | None = Field(None, description="As in Kubernetes.")
    pod_anti_affinity: dict[str, Any] | None = Field(None, description="As in Kubernetes.")
