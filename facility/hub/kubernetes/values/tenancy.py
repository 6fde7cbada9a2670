"""Values about users' namespaces: quotas and network."""

from typing import Annotated, Any, Literal

from pydantic import Field

from facility import names
from facility.config.shapes import Cores, Memory, Strict
from facility.hub.kubernetes.values.shapes import NodePlacement, Sandboxed, Sized
from facility.quantity import format_cores, format_memory


class Scheduler(NodePlacement, Sandboxed, Sized):
    """Dask's schedulers."""

    cpu_guarantee: Cores = Field(0.25, description="Cores that its node must have free.")

    @property
    def resources(self) -> dict[str, dict[str, str]]:
        """What its container asks for and the most that it gets, as Kubernetes reads it."""
        return {
            "requests": {
                "cpu": format_cores(self.cpu_guarantee),
                "memory": format_memory(self.memory_guarantee),
                "ephemeral-storage": names.DISK_REQUEST,
            },
            "limits": {
                "cpu": format_cores(self.cpu_limit),
                "memory": format_memory(self.memory_limit),
                "ephemeral-storage": format_memory(self.disk_limit),
            },
        }


class QuotaValues(Strict):
    """The most that a user may have; what is not said is as for all, or as it is by default."""

    cpu: Cores | None = Field(None, description="Cores of all pods together; by default 64.")
    memory: Memory | None = Field(
        None, description="Memory of all pods together; by default 256Gi."
    )
    gpus: int | None = Field(None, ge=0, description="GPUs of all pods together; by default 0.")
    pods: int | None = Field(None, ge=1, description="Number of pods; by default 200.")
    storage: Memory | None = Field(
        None, description="Size of all volumes together; by default 100Gi."
    )
    disk: Memory | None = Field(
        None, description="Disk on nodes that all pods together may take; by default 2Ti."
    )
    clusters: int | None = Field(
        None, ge=0, description="Dask clusters at the same time; by default 5."
    )
    servers: int | None = Field(None, ge=1, description="Servers at the same time; by default 2.")
    pools: dict[str, int] = Field(
        default_factory=dict,
        description="Worker processes of single pools at the same time, each under its pool.",
        examples=[{"gpu": 2}],
    )


class PermittedCsi(Strict):
    """An inline volume of a CSI driver."""

    driver: str = Field(
        min_length=1,
        description="Name of the driver.",
        examples=["secrets-store.csi.k8s.io"],
    )
    read_only: bool = Field(True, description="Whether it is mounted read-only.")
    volume_attributes: dict[str, str] = Field(
        default_factory=dict, description="What the driver is told, exactly."
    )


class PermittedValues(Strict):
    """What users' pods may have beside what the facility gives them."""

    annotations: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Keys of annotations of pods, as a site's own webhooks add them; one that "
        "ends in / stands for all that begin with it. Those of a pool's pods stand in the pool.",
        examples=[["sidecar.istio.io/"]],
    )
    finalizers: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Finalizers of any object, as a site's own webhooks add them.",
    )
    csi_volumes: tuple[PermittedCsi, ...] = Field(
        (),
        strict=False,
        description="Inline CSI volumes that pods may have, such as a site's store of secrets.",
    )


class Tenants(Strict):
    """Users' namespaces."""

    prefix: str = Field(
        "af-",
        pattern="^[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?-$",
        description="What the names of users' namespaces begin with; another one for each release.",
    )
    create_namespaces: bool = Field(
        True,
        description="Have the hub make users' namespaces; else the site makes them, with labels "
        "that the hub names.",
    )
    quota: QuotaValues = Field(
        default_factory=QuotaValues, description="How much each user may have."
    )
    groups: dict[str, QuotaValues] = Field(
        default_factory=dict,
        description="How much members of a group may have; of several groups the largest counts.",
    )
    users: dict[str, QuotaValues] = Field(
        default_factory=dict, description="How much one user may have; it counts more than groups."
    )
    permitted: PermittedValues = Field(
        default_factory=PermittedValues,
        description="What users' pods may have beside what the facility gives them.",
    )


class SiteAddress(Strict):
    """A service of the site."""

    cidr: str = Field(description="An address, or a range of them.", examples=["192.0.2.0/24"])
    ports: tuple[int, ...] = Field(
        (), strict=False, description="TCP ports; without any, all ports of all protocols."
    )


class Egress(Strict):
    """What users' pods may reach beside their own namespace."""

    internet: bool = Field(True, description="Let users' pods reach all public addresses.")
    private: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Public addresses that users' pods may not reach: the site's own, those of "
        "the nodes.",
        examples=[["192.0.2.0/24", "2001:db8::/32"]],
    )
    site: tuple[SiteAddress, ...] = Field(
        (),
        strict=False,
        description="Services of the site that users' pods may reach: file servers, caches.",
        examples=[[{"cidr": "192.0.2.0/24", "ports": [1094]}]],
    )


class Dns(Strict):
    """The pods that answer for cluster DNS."""

    namespace: str = Field("kube-system", description="Namespace of cluster DNS.")
    labels: dict[str, str] = Field(
        default_factory=lambda: {"k8s-app": "kube-dns"}, description="Labels of its pods."
    )
    port: int = Field(53, ge=1, le=65535, description="Port on which they listen.")


class HubEgress(Strict):
    """What the hub may reach beside DNS, API server, proxy, its database and users' servers."""

    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        (443,),
        strict=False,
        description="TCP ports that the hub may reach at any address, for its authenticator: 443 "
        "for OpenID Connect; LDAP needs 389 or 636.",
    )
    site: tuple[SiteAddress, ...] = Field(
        (),
        strict=False,
        description="Services of the site that the hub may reach.",
        examples=[[{"cidr": "192.0.2.7/32", "ports": [636]}]],
    )
    rules: tuple[dict[str, Any], ...] = Field(
        (),
        strict=False,
        description="Further rules, as in a NetworkPolicy's egress: for pods that it may reach, "
        "which have no lasting address.",
    )


class NetworkPolicy(Strict):
    """What may reach what; everything else may not."""

    flavor: Literal["standard", "cilium"] = Field(
        "standard",
        description="Kind of policies: cilium where Cilium runs with its defaults, for which no "
        "address is that of the API server; else standard.",
    )
    api_server: tuple[SiteAddress, ...] = Field(
        (),
        strict=False,
        description="Addresses of the API server, for hub and operator; by default any address, on "
        "the ports 443 and 6443. Policies of users' namespaces follow it by themselves.",
    )
    egress: Egress = Field(default_factory=Egress, description="What users' pods may reach.")
    hub: HubEgress = Field(default_factory=HubEgress, description="What the hub may reach.")
    dns: Dns = Field(default_factory=Dns, description="The pods of cluster DNS.")
