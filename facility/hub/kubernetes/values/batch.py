"""Values about the site's batch: the grid's jobs on what users leave."""

from typing import Any, Literal

from pydantic import Field

from facility.config.shapes import Cores, Memory, Strict
from facility.hub.kubernetes.values.shapes import NodePlacement
from facility.hub.kubernetes.values.tenancy import SiteAddress


class BatchQuota(Strict):
    """The most that all batch together may ask for."""

    cpu: Cores | None = Field(None, description="Cores of all requests; null for no limit.")
    memory: Memory | None = Field(None, description="Memory of all requests; null for no limit.")
    disk: Memory | None = Field(
        None,
        description="Disk of nodes (ephemeral-storage) of all requests; null for no limit. With a "
        "limit every job has to ask for some.",
    )
    pods: int = Field(5000, ge=1, description="Pods that run or wait.")
    jobs: int = Field(20000, ge=1, description="Jobs, those that have ended included.")


class LargestJob(Strict):
    """The largest job that the site takes; a larger one is refused when it is created."""

    cpu: Cores = Field(8.0, description="Cores of a container at most.")
    memory: Memory | None = Field(
        None,
        description="Memory of a container at most, and the memory limit of one that states none; "
        "null for neither.",
    )


class JobMetadata(Strict):
    """What a Job is called."""

    name: str = Field(
        min_length=1,
        max_length=40,
        description="What the names of Jobs begin with; Harvester adds the worker's number.",
    )
    labels: dict[str, str] = Field(default_factory=dict, description="Labels of each Job.")
    annotations: dict[str, str] = Field(
        default_factory=dict, description="Annotations of each Job."
    )


class JobTemplate(Strict):
    """A Job as Kubernetes has it, from which Harvester makes each worker's."""

    api_version: Literal["batch/v1"] = Field(description="batch/v1.")
    kind: Literal["Job"] = Field(description="Job.")
    metadata: JobMetadata = Field(description="What a Job is called.")
    spec: dict[str, Any] = Field(description="The Job's specification.")


class Cvmfs(Strict):
    """CVMFS in batch pods."""

    storage_class: str | None = Field(
        None,
        description="StorageClass of the CSI driver of CVMFS, which mounts each repository when it "
        "is first looked at; null for pods without /cvmfs.",
        examples=["cvmfs"],
    )


class Batch(NodePlacement):
    """The grid's jobs on what users leave: Harvester makes them, and they give way to users."""

    enabled: bool = Field(
        False,
        description="Make a namespace for batch, and have users' pods displace what runs there.",
    )
    namespace: str | None = Field(
        None,
        pattern="^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        description="Namespace of batch; by default batch- and the name of the release.",
    )
    pod_security: Literal["baseline", "restricted"] = Field(
        "baseline",
        description="Pod Security of that namespace: baseline for pilots that start payloads in "
        "Apptainer, which needs user namespaces; restricted for payloads without a container of "
        "their own.",
    )
    grace: int = Field(
        30,
        ge=1,
        le=600,
        description="Seconds in which a batch pod has to end that makes room for a user's.",
    )
    earlier_classes: bool = Field(
        True,
        description="Permit users' pods the PriorityClasses from before batch was enabled too; "
        "false once no pod has them any more.",
    )
    quota: BatchQuota = Field(
        default_factory=BatchQuota, description="The most that all batch together may ask for."
    )
    largest_job: LargestJob = Field(
        default_factory=LargestJob, description="The largest job that the site takes."
    )
    template: JobTemplate | None = Field(
        None, description="The site's own Job instead of the chart's for the grid's pilot."
    )
    cvmfs: Cvmfs = Field(default_factory=Cvmfs, description="CVMFS in batch pods.")
    site: tuple[SiteAddress, ...] = Field(
        (),
        strict=False,
        description="Services of the site that batch pods may reach beside those of "
        "networkPolicy.egress: Squids, storage elements.",
        examples=[[{"cidr": "192.0.2.8/32", "ports": [3128]}]],
    )
