"""Shapes that several sections of the values have in common."""

from typing import Self

from pydantic import Field, model_validator

from facility.config.shapes import Cores, Memory, ObjectName, SeccompConfined, Strict, Toleration
from facility.quantity import format_cores, format_memory


class Amounts(Strict):
    """Processor and memory, as in Kubernetes."""

    cpu: str | float | None = Field(None, description="Cores.", examples=[1, "500m"])
    memory: str | None = Field(None, description="Memory.", examples=["1Gi"])


class Resources(Strict):
    """What a container asks for, and the most that it gets."""

    requests: Amounts = Field(default_factory=Amounts, description="What its node must have free.")
    limits: Amounts = Field(default_factory=Amounts, description="Most that it gets.")


class NodePlacement(Strict):
    """What runs on chosen nodes."""

    node_selector: dict[str, str] = Field(
        default_factory=dict, description="Labels of the nodes on which it may run."
    )
    tolerations: tuple[Toleration, ...] = Field(
        (), strict=False, description="Taints of nodes on which it may run all the same."
    )


class Sandboxed(SeccompConfined):
    """What users' code runs in."""

    runtime_class: ObjectName | None = Field(
        None, description="RuntimeClass of the pods; by default the runtime of their node."
    )


class Sized(Strict):
    """What has processor and memory, as a pod of one container."""

    cpu_limit: Cores = Field(2.0, description="Most cores.")
    cpu_guarantee: Cores = Field(0.1, description="Cores that its node must have free.")
    memory_limit: Memory = Field(4 * 2**30, description="Most memory.")
    memory_guarantee: Memory = Field(2**30, description="Memory that its node must have free.")
    disk_limit: Memory = Field(
        10 * 2**30,
        description="Most disk of its node, for files outside of volumes and for what it prints.",
    )

    @model_validator(mode="after")
    def _guarantees_within_limits(self) -> Self:
        for what, guarantee, limit in (
            ("cpu", format_cores(self.cpu_guarantee), format_cores(self.cpu_limit)),
            ("memory", format_memory(self.memory_guarantee), format_memory(self.memory_limit)),
        ):
            if getattr(self, f"{what}_guarantee") > getattr(self, f"{what}_limit"):
                raise ValueError(
                    f"{what}Guarantee is {guarantee}, more than {what}Limit, which is {limit}; "
                    "Kubernetes refuses such pods"
                )
        return self
