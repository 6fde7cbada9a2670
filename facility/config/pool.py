"""What a pool is: the frozen model of one entry under `pools:`.

Descriptions here become the JSON schema and the documentation, so that each
key is explained once. Attributes are in snake_case, keys of files in camelCase
as in Helm values.
"""

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema

from facility.config.shapes import (
    LABEL_KEYS,
    QUANTITY,
    VARIABLE_NAME,
    Affinity,
    Confined,
    Cores,
    ImageName,
    LabelValue,
    Memory,
    ObjectName,
    OneLine,
    PassedName,
    ResourceName,
    Toleration,
    Volume,
    keys_matching,
)
from facility.quantity import format_memory, parse_memory

MIN_MEMORY = 64 * 2**20
"""Bytes below which no worker process starts; less is a forgotten suffix."""
MAX_WORKERS = 10_000
"""Worker processes that no pool exceeds: every bound is finite."""


DISK = 10 * 2**30
"""Bytes of disk of a worker process, beside those of which `spill` says how many."""


def spilled(spill: bool | int) -> int:
    """Return the bytes that `spill` names; 0 where it names none."""
    return 0 if isinstance(spill, bool) else spill


def _spill(value: object) -> bool | int:
    if isinstance(value, bool):
        return value
    try:
        return parse_memory(value)
    except ValueError:
        raise ValueError(
            "must be true, false, or how much disk a worker process may spill to, such as 20Gi"
        ) from None


Spill = Annotated[
    bool | int,
    BeforeValidator(_spill),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, *QUANTITY]}),
]


class Pool(Confined):
    """A named kind of worker.

    `cpu`, `memory`, `gpus` and `threads` are those of one worker process. A
    group (on Kubernetes a pod) holds `processes` of them.
    """

    name: SkipJsonSchema[str] = Field(description="The key under pools.")
    description: OneLine = Field("", description="What the pool is for, shown to users.")
    default: bool = Field(
        False, description="Whether work that names no pool goes here; true for exactly one pool."
    )
    cpu: Cores = Field(description="Cores of a worker process.", examples=[1, "500m"])
    memory: Memory = Field(description="Memory of a worker process.", examples=["4Gi", "512Mi"])
    memory_max: Memory = Field(
        default_factory=lambda data: data.get("memory", 0),
        description="Most that a user may ask for with memory=; by default memory.",
    )
    processes: int = Field(
        1,
        ge=1,
        le=256,
        description="Worker processes of a group (a pod), which start and end together; counts "
        "round up to whole groups.",
    )
    threads: int = Field(
        default_factory=lambda data: max(1, int(data.get("cpu", 1))),
        ge=1,
        le=1024,
        description="Tasks that a worker process runs at once; by default one for each whole core.",
    )
    max_workers: int = Field(
        ge=1,
        le=MAX_WORKERS,
        description="Most worker processes of one Dask cluster in this pool.",
        examples=[100],
    )
    scarce: bool = Field(
        False, description="Whether work that names no pool stays away, for example from GPUs."
    )
    gpus: int = Field(
        0, ge=0, le=64, description="GPUs of a worker process, each visible to one only."
    )
    gpu_resource: ResourceName = Field(
        "nvidia.com/gpu", description="Name of the GPU resource in Kubernetes."
    )
    architecture: Literal["amd64", "arm64"] | None = Field(
        None,
        description="Processor architecture; by default any. On one machine the routing is kept, "
        "and the processor is the machine's.",
    )
    grace: float = Field(
        30.0,
        ge=0,
        le=86400,
        description="Seconds in which a running task may finish when its worker is to leave.",
    )
    price_per_hour: float | None = Field(
        None, ge=0, description="Price of a worker process per hour, shown to users."
    )
    spot: bool = Field(
        False, description="Whether its machines may be taken away at any time; shown to users."
    )
    image: ImageName | None = Field(
        None, description="Image of the workers; by default the notebook's own."
    )
    priority_class: ObjectName | None = Field(
        None, description="PriorityClass of the pods; by default the facility's of this pool."
    )
    runtime_class: ObjectName | None = Field(None, description="RuntimeClass of the pods.")
    node_selector: Annotated[dict[str, LabelValue], LABEL_KEYS] = Field(
        default_factory=dict, description="Labels of the nodes that may run the pods."
    )
    tolerations: tuple[Toleration, ...] = Field(
        (), strict=False, description="Taints of nodes that the pods tolerate."
    )
    affinity: Affinity | None = Field(None, description="Kubernetes affinity of the pods.")
    env: Annotated[
        dict[str, str], keys_matching(VARIABLE_NAME, "a variable's name: letters, digits and '_'")
    ] = Field(default_factory=dict, description="Environment variables of the workers.")
    pass_env: tuple[PassedName, ...] = Field(
        (),
        strict=False,
        description="Variables of the notebook that workers get too; a * at the end stands for any "
        "ending. On one machine workers have them all.",
        examples=[["RUCIO_ACCOUNT", "ATLAS_*"]],
    )
    annotations: Annotated[dict[str, str], LABEL_KEYS] = Field(
        default_factory=dict, description="Annotations of the pods."
    )
    volumes: tuple[Volume, ...] = Field(
        (), strict=False, description="Folders mounted into the workers."
    )
    spill: Spill = Field(
        True,
        description="Whether workers may spill what does not fit into memory to disk, or how much "
        "disk each may use; true for most of disk.",
        examples=[True, "20Gi"],
    )
    disk: Memory = Field(
        default_factory=lambda data: DISK + spilled(data.get("spill", True)),
        description="Disk of a worker process on its node, for what it spills, writes and prints; "
        "by default 10Gi, and as much more as it may spill. On Kubernetes a pod that takes more "
        "is ended. On one machine nothing limits it.",
        examples=["50Gi"],
    )

    @field_validator("volumes")
    @classmethod
    def _apart(cls, volumes: tuple[Volume, ...]) -> tuple[Volume, ...]:
        for key in ("name", "mount_path"):
            values = [getattr(volume, key) for volume in volumes]
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"must differ in their {to_camel(key)}, and {twice[0]!r} is twice")
        return volumes

    @field_validator("memory")
    @classmethod
    def _enough_memory(cls, memory: int) -> int:
        if memory < MIN_MEMORY:
            raise ValueError(
                f"must be at least {format_memory(MIN_MEMORY)}; a number alone counts bytes, "
                "so write a suffix: 4Gi"
            )
        return memory

    @field_validator("disk")
    @classmethod
    def _room_for_spilling(cls, disk: int, info: ValidationInfo) -> int:
        most = spilled(info.data.get("spill", True))
        if disk < most:
            raise ValueError(f"must be at least spill, which is {format_memory(most)}")
        return disk

    @field_validator("memory_max")
    @classmethod
    def _not_below_memory(cls, memory_max: int, info: ValidationInfo) -> int:
        memory = info.data.get("memory", 0)
        if memory_max < memory:
            raise ValueError(f"must be at least memory, which is {format_memory(memory)}")
        return memory_max

    @field_validator("max_workers")
    @classmethod
    def _room_for_a_group(cls, max_workers: int, info: ValidationInfo) -> int:
        processes = info.data.get("processes", 1)
        if max_workers < processes:
            raise ValueError(f"must be at least processes, which is {processes}")
        return max_workers

    @field_validator("gpu_resource")
    @classmethod
    def _qualified(cls, resource: str) -> str:
        if "/" not in resource:
            raise ValueError("must have a domain, such as nvidia.com/gpu")
        return resource
