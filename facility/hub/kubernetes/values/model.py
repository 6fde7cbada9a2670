"""The model of the chart's values.yaml. Descriptions here become its schema and documentation.

Names are those of the chart zero-to-jupyterhub where they mean the same.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from facility.config import Config, load
from facility.config.shapes import Strict
from facility.hub.kubernetes.values.servers import SingleUser
from facility.hub.kubernetes.values.shapes import Image, NodePlacement, Resources
from facility.hub.kubernetes.values.storage import TAKEN, VOLUME_NAME, SharedVolumes
from facility.hub.kubernetes.values.tenancy import Images, NetworkPolicy, Scheduler, Tenants
from facility.kubernetes.tenant import Shape, SharedVolume


class Database(Strict):
    """Where the hub keeps its state."""

    type: Literal["sqlite-pvc", "sqlite-memory", "postgres"] = Field(
        "sqlite-pvc",
        description="Kind of database: a file on a volume (sqlite-pvc), one that is lost with the "
        "hub's pod (sqlite-memory), or postgres.",
    )
    url: str | None = Field(
        None,
        description="Address of the database, for postgres only; its password is the key "
        "database-password of hub.existingSecret.",
        examples=["postgresql+psycopg2://hub@db.example.org:5432/hub"],
    )
    storage: str = Field("1Gi", description="Size of the volume, for sqlite-pvc only.")
    storage_class_name: str | None = Field(
        None, description="StorageClass of the volume; by default the Kubernetes cluster's own."
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Database":
        if (self.type == "postgres") != (self.url is not None):
            raise ValueError("url must be given with type: postgres, and with no other type")
        return self


class Hub(NodePlacement):
    """The hub."""

    image: Image = Field(Image(name="facility/hub"), description="Image of the hub.")
    resources: Resources = Field(
        default_factory=Resources, description="Requests and limits of its container."
    )
    config: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Settings of JupyterHub's classes, each under the name of its class. Without "
        "JupyterHub.authenticator_class one password, made at the installation, lets everybody in.",
        examples=[{"GenericOAuthenticator": {"client_id": "facility"}}],
    )
    extra_config: dict[str, str] = Field(
        default_factory=dict,
        description="Python code that runs after hub.config, in the order of its names; `c` is "
        "JupyterHub's configuration.",
    )
    extra_env: dict[str, str] = Field(
        default_factory=dict, description="Environment variables of the hub."
    )
    db: Database = Field(default_factory=Database, description="Where the hub keeps its state.")
    existing_secret: str | None = Field(
        None,
        description="Name of a Secret in the release's namespace with the keys proxy-token, "
        "cookie-secret, crypt-key and password; by default one is made at the installation, and "
        "kept.",
    )
    base_url: str = Field("/", pattern="^/(.*/)?$", description="URL prefix of the hub.")
    allow_named_servers: bool = Field(False, description="Allow each user several servers.")
    named_server_limit_per_user: int = Field(
        0, ge=0, description="Most servers of one user; 0 for any number."
    )
    concurrent_spawn_limit: int = Field(
        64, ge=0, description="Most servers that start at the same time."
    )
    shared_password_on_the_network: bool = Field(
        False,
        description="Let one password open every user's account also where the hub is reached "
        "from outside of Kubernetes: with an Ingress, a LoadBalancer or a NodePort, and without "
        "an authenticator in hub.config. For a trial among people who trust each other.",
    )
    trusted_proxies: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Address ranges of the proxies before the facility's own, such as an Ingress "
        "controller's pods: what they say in X-Forwarded-For is where a login comes from. Pauses "
        "between wrong passwords are for a user at an address. Without it the address that "
        "reaches the facility's proxy counts.",
        examples=[["192.0.2.16/28"]],
    )
    consecutive_failure_limit: int = Field(
        5,
        ge=0,
        description="Number of failed starts in a row after which the hub restarts; 0 for never.",
    )
    active_server_limit: int = Field(
        0, ge=0, description="Most servers that run at the same time; 0 for any number."
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _address_ranges(cls, found: tuple[str, ...]) -> tuple[str, ...]:
        for each in found:
            ipaddress.ip_network(each)
        return found


class Service(Strict):
    """The Service at which browsers arrive, directly or through an Ingress."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        "ClusterIP", description="Type of the Service, as in Kubernetes."
    )
    port: int = Field(80, ge=1, le=65535, description="Port of the Service.")
    node_port: int | None = Field(None, description="Port of each node, for type NodePort.")
    annotations: dict[str, str] = Field(
        default_factory=dict, description="Annotations of the Service."
    )
    load_balancer_source_ranges: tuple[str, ...] = Field(
        (),
        strict=False,
        description="Address ranges that may reach it, for type LoadBalancer.",
        examples=[["192.0.2.0/24"]],
    )


class Proxy(NodePlacement):
    """The proxy, which runs on while the hub starts anew."""

    service: Service = Field(
        default_factory=Service, description="The Service at which browsers arrive."
    )
    resources: Resources = Field(
        default_factory=Resources, description="Requests and limits of its container."
    )


class IngressTLS(Strict):
    """A certificate of an Ingress."""

    hosts: tuple[str, ...] = Field(strict=False, description="Host names that it is for.")
    secret_name: str = Field(description="Name of the Secret with the certificate.")


class Ingress(Strict):
    """The way in from outside, where the cluster has a controller for it."""

    enabled: bool = Field(False, description="Make an Ingress.")
    ingress_class_name: str | None = Field(
        None, description="Class of the controller that serves it, such as nginx."
    )
    annotations: dict[str, str] = Field(
        default_factory=dict, description="Annotations of the Ingress."
    )
    hosts: tuple[str, ...] = Field((), strict=False, description="Host names of the facility.")
    tls: tuple[IngressTLS, ...] = Field(
        (), strict=False, description="Certificates of the host names."
    )


class Cull(Strict):
    """Ends servers that nobody uses."""

    enabled: bool = Field(True, description="End idle servers.")
    timeout: int = Field(
        3600, ge=10, description="Seconds without activity after which a server ends."
    )
    every: int = Field(300, ge=5, description="Seconds between two looks for idle servers.")
    max_age: int = Field(
        0, ge=0, description="Seconds after which a server ends though it is used; 0 for never."
    )


class Operator(NodePlacement):
    """dask-kubernetes' operator, which makes the schedulers."""

    enabled: bool = Field(
        True, description="Install dask-kubernetes' operator; false where the site has one."
    )
    image: Image = Field(Image(name="facility/operator"), description="Image of the operator.")
    resources: Resources = Field(
        default_factory=Resources, description="Requests and limits of its container."
    )
    namespace: str | None = Field(None, description="Namespace of the site's own operator.")
    account: str = Field("operator", description="ServiceAccount of the operator.")


class Values(Strict):
    """All values of the chart."""

    pools: dict[str, Any] = Field(description="Worker pools, each under its name; see pools.yaml.")
    images: Images = Field(default_factory=Images, description="What users' pods may run.")
    hub: Hub = Field(default_factory=Hub, description="The hub.")
    proxy: Proxy = Field(default_factory=Proxy, description="The proxy.")
    ingress: Ingress = Field(default_factory=Ingress, description="The way in from outside.")
    singleuser: SingleUser = Field(default_factory=SingleUser, description="Users' servers.")
    shared_volumes: SharedVolumes
    scheduler: Scheduler = Field(default_factory=Scheduler, description="Dask's schedulers.")
    tenants: Tenants = Field(default_factory=Tenants, description="Users' namespaces.")
    cull: Cull = Field(default_factory=Cull, description="What ends idle servers.")
    network_policy: NetworkPolicy = Field(
        default_factory=NetworkPolicy, description="What may reach what."
    )
    operator: Operator = Field(default_factory=Operator, description="dask-kubernetes' operator.")
    debug: bool = Field(False, description="Have hub and proxy log all that they do.")

    @property
    def config(self) -> Config:
        """The pools.

        Raises
        ------
        ConfigError
            With every mistake found.
        """
        return load({"pools": self.pools})

    @property
    def volumes(self) -> tuple[SharedVolume, ...]:
        """What all users share.

        Raises
        ------
        ProblemsError
            Where one of them cannot be made.
        """
        return tuple(each.shared(name) for name, each in self.shared_volumes.items())

    @model_validator(mode="after")
    def _volumes_apart(self) -> "Values":
        paths = {self.singleuser.storage.home_mount_path: "the home", "/tmp": "scratch"}
        for name, volume in self.shared_volumes.items():
            if not re.fullmatch(VOLUME_NAME, name) or name in TAKEN:
                raise ValueError(
                    f"cannot have the shared volume {name!r}: a name is of lower-case letters, "
                    f"digits and '-', at most 63, and none of {', '.join(TAKEN)}"
                )
            if volume.mount_path in paths:
                raise ValueError(
                    f"mount both {paths[volume.mount_path]} and the shared volume {name!r} at "
                    f"{volume.mount_path}; give one of them another path"
                )
            paths[volume.mount_path] = f"the shared volume {name!r}"
        return self

    @property
    def node_shapes(self) -> Mapping[str, Shape]:
        """Where user servers and schedulers may run: labels of nodes, and taints."""
        servers = self.singleuser
        tolerated = [*servers.tolerations]
        choices = {
            f"{key}={value}"
            for profile in servers.profiles.values()
            for key, value in profile.node_selector.items()
        }
        for profile in servers.profiles.values():
            tolerated += [each for each in profile.tolerations if each not in tolerated]
        return {
            "notebook": Shape(servers.node_selector, tuple(tolerated), tuple(sorted(choices))),
            "scheduler": Shape(self.scheduler.node_selector, self.scheduler.tolerations),
        }
