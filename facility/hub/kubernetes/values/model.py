"""The model of the chart's values.yaml. Descriptions here become its schema and documentation.

Names are those of the chart zero-to-jupyterhub where they mean the same.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from facility.config import Config, load
from facility.config.shapes import Strict
from facility.hub.kubernetes.values.batch import Batch
from facility.hub.kubernetes.values.hub import Hub
from facility.hub.kubernetes.values.images import Image, Images, OwnImage, names_registry
from facility.hub.kubernetes.values.servers import SingleUser
from facility.hub.kubernetes.values.shapes import NodePlacement, Resources
from facility.hub.kubernetes.values.storage import TAKEN, VOLUME_NAME, SharedVolumes
from facility.hub.kubernetes.values.tenancy import NetworkPolicy, Scheduler, Tenants
from facility.kubernetes.tenant import Shape, SharedVolume


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
    image: OwnImage | None = Field(
        None, description="Image of the operator; by default operator below images.registry."
    )
    resources: Resources = Field(
        default_factory=Resources, description="Requests and limits of its container."
    )
    namespace: str | None = Field(None, description="Namespace of the site's own operator.")
    account: str = Field("operator", description="ServiceAccount of the operator.")


class Values(Strict):
    """All values of the chart."""

    pools: dict[str, Any] = Field(description="Worker pools, each under its name; see pools.yaml.")
    images: Images = Field(default_factory=Images, description="Where images come from.")
    # Checked when not given too: it has to say how users are kept apart.
    hub: Hub = Field(default_factory=dict, validate_default=True, description="The hub.")
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
    batch: Batch = Field(default_factory=Batch, description="The grid's jobs on what users leave.")
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

    @model_validator(mode="after")
    def _images_of_known_registries(self) -> "Values":
        own = {"hub": self.hub.image, "analysis": self.singleuser.image}
        if self.operator.enabled:
            own["operator"] = self.operator.image
        lost = [name for name, image in own.items() if self.images.own(name, image) is None]
        if lost:
            raise ValueError(
                f"images.registry is missing, and with it where the image {' and '.join(lost)} "
                "lies; give it, or each image by itself"
            )
        given = {f"the image {name}": self.images.own(name, own[name]) for name in own}
        texts = {path: image.name for path, image in given.items() if image is not None}
        texts |= {f"an image of singleuser.profiles, {each}": each for each in self._chosen_images}
        texts |= {f"images.permitted, {each}": each for each in self.images.permitted}
        for name, pool in self.pools.items():
            if isinstance(pool, dict) and isinstance(pool.get("image"), str):
                texts[f"pools.{name}.image"] = pool["image"]
        for path, text in texts.items():
            if not names_registry(text):
                raise ValueError(
                    f"{path} must begin with its registry, such as registry.example/{text}: "
                    "nodes would take what somebody calls so at docker.io"
                )
        return self

    @property
    def _chosen_images(self) -> list[str]:
        profiles = self.singleuser.profiles.values()
        found = [profile.image.name for profile in profiles if profile.image is not None]
        return found + [each.image.name for one in profiles for each in one.images.values()]

    @property
    def server_image(self) -> Image:
        """Image of servers that choose no other."""
        found = self.images.own("analysis", self.singleuser.image)
        assert found is not None, "seen when the values were read"
        return found

    @property
    def permitted_images(self) -> list[str]:
        """Repositories that users' pods may run, those of servers first."""
        found = [self.server_image.name, *self._chosen_images, *self.images.permitted]
        return list(dict.fromkeys(found))

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
