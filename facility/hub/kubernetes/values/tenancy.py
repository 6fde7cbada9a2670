"""Values about users' namespaces: quotas, network, permitted images."""

from typing import Literal

from pydantic import Field

from facility.config.shapes import Cores, Memory, Strict
from facility.hub.kubernetes.values.shapes import NodePlacement, Sized
from facility.quantity import format_cores, format_memory


class Images(Strict):
    """What users' pods may run."""

    permitted: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Repositories, or registries that end in /, beside the images of servers and "
        "pools.",
    )
    pull_secrets: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Secrets of the release's namespace with which images are fetched; each "
        "user's namespace gets a copy.",
    )


class Scheduler(NodePlacement, Sized):
    """Dask's schedulers."""

    cpu_guarantee: Cores = Field(0.25, description="Cores that a node must have free.")

    @property
    def resources(self) -> dict[str, dict[str, str]]:
        """What its container asks for and the most that it gets, as Kubernetes reads it."""
        return {
            "requests": {
                "cpu": format_cores(self.cpu_guarantee),
                "memory": format_memory(self.memory_guarantee),
            },
            "limits": {
                "cpu": format_cores(self.cpu_limit),
                "memory": format_memory(self.memory_limit),
            },
        }


class QuotaValues(Strict):
    """The most that a user may have; what is not said is as for all, or as it is by default."""

    cpu: Cores | None = Field(None, description="Cores of all pods together (64).")
    memory: Memory | None = Field(None, description="Memory of all pods together (256Gi).")
    gpus: int | None = Field(None, ge=0, description="GPUs of all pods together (0).")
    pods: int | None = Field(None, ge=1, description="Pods (200).")
    storage: Memory | None = Field(None, description="Size of all volumes together (100Gi).")
    clusters: int | None = Field(None, ge=0, description="Dask clusters at a time (5).")
    servers: int | None = Field(None, ge=1, description="Servers at a time (2).")
    pools: dict[str, int] = Field(
        default_factory=dict, description="Worker processes of a pool at a time."
    )


class Tenants(Strict):
    """Users' namespaces."""

    prefix: str = Field(
        "af-",
        pattern="^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?-$",
        description="What their names begin with, another for each release.",
    )
    create_namespaces: bool = Field(
        True,
        description="Whether the hub makes them; else the site does, with the labels that the "
        "documentation names.",
    )
    quota: QuotaValues = Field(default_factory=QuotaValues, description="For everybody.")
    groups: dict[str, QuotaValues] = Field(
        default_factory=dict,
        description="For members of a group of the hub; of several the largest counts.",
    )
    users: dict[str, QuotaValues] = Field(
        default_factory=dict, description="For one user, which outweighs all others."
    )


class SiteAddress(Strict):
    """A service of the site."""

    cidr: str = Field(description="Its address, or a range of them.", examples=["192.0.2.0/24"])
    ports: tuple[int, ...] = Field(
        (), strict=False, description="Of TCP; none for every port of every protocol."
    )


class Egress(Strict):
    """What users' pods may reach beside their own namespace."""

    internet: bool = Field(True, description="Whether all public addresses.")
    site: tuple[SiteAddress, ...] = Field(
        (), strict=False, description="File servers, databases and caches of the site."
    )


class Dns(Strict):
    """The pods that answer for cluster DNS."""

    namespace: str = Field("kube-system", description="Where they run.")
    labels: dict[str, str] = Field(
        default_factory=lambda: {"k8s-app": "kube-dns"}, description="Their labels."
    )
    port: int = Field(53, ge=1, le=65535, description="The port that they listen on.")


class NetworkPolicy(Strict):
    """What may reach what; everything else may not."""

    flavor: Literal["standard", "cilium"] = Field(
        "standard",
        description="cilium where it runs with its defaults, for which no address is ever that of "
        "the API server.",
    )
    api_server: tuple[SiteAddress, ...] = Field(
        (),
        strict=False,
        description="Where the API server is, for hub and operator; by default any address at "
        "the ports 443 and 6443. Users' namespaces follow it by themselves.",
    )
    egress: Egress = Field(default_factory=Egress, description="What users' pods may reach.")
    dns: Dns = Field(default_factory=Dns, description="Cluster DNS.")
