"""What a release and a user's namespace are made from: frozen, and checked when made."""

import hashlib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from facility import names
from facility.config import Config, Pool
from facility.config.shapes import Toleration
from facility.errors import ProblemsError
from facility.kubernetes.tenant.shared_volumes import SharedVolume

PREFIX = "af-"
NAME_LENGTH = 63
"""Characters of a namespace's name at most, and of a label's value."""
_PLAIN = re.compile(r"[a-z0-9](-?[a-z0-9])*")
_RELEASE = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_HASH = 12


@dataclass(frozen=True)
class Shape:
    """Which nodes the pods of a PriorityClass may run on.

    Parameters
    ----------
    node_selector
        Labels of nodes that each pod asks for at least.
    tolerations
        Taints that it may tolerate.
    choices
        Labels of nodes that a pod may ask for beside those, as ``key=value``.
    """

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class CsiVolume:
    """An inline volume of a CSI driver, exactly as pods may have it.

    Parameters
    ----------
    driver
        Name of the driver.
    read_only
        Whether it is mounted read-only.
    attributes
        What the driver is told.
    """

    driver: str
    read_only: bool = True
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Permitted:
    """What users' pods may have beside what the facility itself gives them.

    Parameters
    ----------
    annotations
        Keys; one that ends in ``/`` stands for all that begin with it.
    finalizers
        Of any object, as a site's webhooks add them.
    csi
        Inline volumes.
    """

    annotations: tuple[str, ...] = ()
    finalizers: tuple[str, ...] = ()
    csi: tuple[CsiVolume, ...] = ()


@dataclass(frozen=True)
class Release:
    """What the users' namespaces of one hub have in common.

    Parameters
    ----------
    name
        Name of the release, unique in the Kubernetes cluster.
    namespace
        Where the hub runs.
    config
        The pools.
    images
        Images that users' pods may run: ``registry.example/images/`` stands for all below it,
        ``registry.example/analysis`` for that repository. Images of pools are permitted anyway.
    hub_account, operator_account
        ServiceAccounts of the hub and of dask-kubernetes' operator.
    operator_namespace
        Where the operator runs; None for the hub's.
    prefix
        What the names of users' namespaces begin with, another one for each release.
    notebook, scheduler
        Which nodes user servers, with what `facility submit` starts, and schedulers may run on.
    scheduler_resources
        ``requests`` and ``limits`` of a scheduler's container; None for the library's own.
    volumes
        What all users share.
    permitted
        What their pods may have beside what the facility gives them.
    batch
        Whether users' pods share the nodes with the site's batch, which gives way to them.
    earlier_classes
        With batch, whether pods may still have the PriorityClasses from before it.

    Raises
    ------
    ProblemsError
        With all that is wrong.
    """

    name: str
    namespace: str
    config: Config
    images: tuple[str, ...]
    hub_account: str = "hub"
    operator_account: str = "operator"
    operator_namespace: str | None = None
    prefix: str = PREFIX
    notebook: Shape = Shape()
    scheduler: Shape = Shape()
    scheduler_resources: Mapping[str, Mapping[str, str]] | None = None
    volumes: tuple[SharedVolume, ...] = ()
    permitted: Permitted = Permitted()
    batch: bool = False
    earlier_classes: bool = True

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ProblemsError(f"The release {self.name!r} cannot have users", problems)

    @property
    def labels(self) -> dict[str, str]:
        """Labels of every object that is made."""
        return {"app.kubernetes.io/managed-by": "facility", names.HUB_LABEL: self.name}

    @property
    def notebook_class(self) -> str:
        """PriorityClass of user servers."""
        return self._own_class(names.notebook_priority_class(self.name))

    @property
    def scheduler_class(self) -> str:
        """PriorityClass of schedulers."""
        return self._own_class(names.scheduler_priority_class(self.name))

    @property
    def job_class(self) -> str:
        """PriorityClass of what `facility submit` starts."""
        return self._own_class(names.job_priority_class(self.name))

    @property
    def classes(self) -> list[str]:
        """The PriorityClass of each kind of pod in users' namespaces."""
        pools = [self.pool_class(pool) for pool in self.config.pools.values()]
        return [self.notebook_class, self.scheduler_class, self.job_class, *pools]

    @property
    def makes_volumes(self) -> bool:
        """Whether the hub makes PersistentVolumes."""
        return any(volume.source is not None for volume in self.volumes)

    def pool_class(self, pool: Pool) -> str:
        """PriorityClass of a pool's workers."""
        own = self._own_class(names.pool_priority_class(pool.name, self.name))
        return pool.priority_class or own

    def role(self, part: str) -> str:
        """Name of one of the release's ClusterRoles."""
        return f"{self.name}-{part}"

    def _own_class(self, name: str) -> str:
        return names.preempting_class(name, self.name) if self.batch else name

    def _problems(self) -> Iterator[str]:
        if not _RELEASE.fullmatch(self.name):
            yield (
                "its name must be lower-case letters, digits and '-', at most 40, since it is "
                "part of other names"
            )
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?-", self.prefix):
            yield (
                f"the prefix {self.prefix!r} must be lower-case letters, digits and '-', at most "
                "21, and end in '-'"
            )
        if self.namespace.startswith(self.prefix):
            yield (
                f"the hub's namespace {self.namespace!r} begins with the prefix {self.prefix!r} of "
                "users' namespaces; choose another one of the two"
            )
        if not self.images:
            yield "images: none is permitted; name at least one registry, such as ghcr.io/example/"
        for image in self.images:
            # Without a "/" a prefix would be a host's beginning, as example.org of example.org.uk.
            if "/" not in image or image.startswith("/") or not image.isprintable():
                yield f"images: {image!r} must be a repository, or a registry that ends in '/'"
            elif "://" in image:
                yield f"images: {image!r} must stand without {image.partition('://')[0]}://"
        classes = self.classes
        for twice in sorted({each for each in classes if classes.count(each) > 1}):
            yield (
                f"the PriorityClass {twice!r} stands for more than one kind of pod, so that no "
                "quota could tell them apart; give each pool a priorityClass of its own, or none"
            )
        for each in classes:
            if each.startswith("system-"):
                yield f"the PriorityClass {each!r} belongs to Kubernetes itself; choose another"


@dataclass(frozen=True)
class Quota:
    """The most that a user's namespace may hold.

    Parameters
    ----------
    cpu, memory, gpus
        Sum of the limits of all its pods: cores, bytes, devices.
    pods
        Pods, of which each worker process or group of them is one.
    storage
        Bytes of all its volumes.
    disk
        Sum of the limits of all its pods on the disks of their nodes, in bytes.
    clusters
        Dask clusters at a time.
    servers
        User servers at a time, of which a new one may begin while an old one ends.
    pools
        Worker processes of a pool at a time; a pool that is not named has no limit of its own.
    """

    cpu: float = 64.0
    memory: int = 256 * 2**30
    gpus: int = 0
    pods: int = 200
    storage: int = 100 * 2**30
    disk: int = 2 * 2**40
    clusters: int = 5
    servers: int = 2
    pools: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = {key: value for key, value in vars(self).items() if key != "pools"}
        values |= {f"pools.{key}": value for key, value in self.pools.items()}
        problems = [
            f"{key}: must not be negative: {value}" for key, value in values.items() if value < 0
        ]
        if problems:
            raise ProblemsError("A user's quota cannot be set", problems)


@dataclass(frozen=True)
class Address:
    """Where something outside is found.

    Parameters
    ----------
    cidr
        A range of addresses, or one.
    ports
        Of TCP; none for every port of every protocol.
    """

    cidr: str
    ports: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        problems = [f"the port {port} is none" for port in self.ports if not 0 < port < 65536]
        try:
            object.__setattr__(self, "cidr", str(ipaddress.ip_network(self.cidr)))
        except ValueError as error:
            problems.append(f"{error}; write 192.0.2.7 or 192.0.2.0/24")
        if problems:
            raise ProblemsError(f"No policy can be made for the address {self.cidr!r}", problems)


@dataclass(frozen=True)
class Network:
    """What users' pods may reach beside their own namespace.

    Parameters
    ----------
    api_server
        Addresses and ports in the EndpointSlice ``default/kubernetes``.
    site
        Addresses of the site's own services: file servers, databases, caches.
    internet
        Whether all public addresses may be reached.
    private
        Public addresses that are closed with the private ones: the site's own, those of nodes.
    dns_namespace, dns_labels, dns_port
        Pods that answer for cluster DNS, and the port that they listen on.
    flavor
        ``cilium`` where the network is Cilium's with its defaults, for which no address is ever
        that of the API server.
    """

    api_server: tuple[Address, ...]
    site: tuple[Address, ...] = ()
    internet: bool = True
    private: tuple[Address, ...] = ()
    dns_namespace: str = "kube-system"
    dns_labels: Mapping[str, str] = field(default_factory=lambda: {"k8s-app": "kube-dns"})
    dns_port: int = 53
    flavor: Literal["standard", "cilium"] = "standard"

    def __post_init__(self) -> None:
        if not self.api_server:
            raise ProblemsError(
                "No policy to the API server can be made",
                ["its addresses are missing; they stand in the EndpointSlice default/kubernetes"],
            )


@dataclass(frozen=True)
class Tenant:
    """One user's namespace.

    Parameters
    ----------
    user
        The user's name as the hub knows it.
    release, quota, network
        What it is made from.
    pull_secrets
        Content of ``.dockerconfigjson`` of each Secret for pulling images, under its name.

    Raises
    ------
    ProblemsError
        With all that is wrong.
    """

    user: str
    release: Release
    quota: Quota
    network: Network
    pull_secrets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pools = self.release.config.pools
        problems = [
            f"the quota names the pool {pool!r}, and there are {', '.join(pools)}"
            for pool in self.quota.pools
            if pool not in pools
        ]
        if not self.user.strip():
            problems.append("the name of the user is empty")
        if problems:
            raise ProblemsError(f"No namespace can be made for user {self.user!r}", problems)

    @property
    def slug(self) -> str:
        """The user's part of the namespace's name."""
        return slug(self.user, NAME_LENGTH - len(self.release.prefix))

    @property
    def namespace(self) -> str:
        """Name of the namespace."""
        return self.release.prefix + self.slug

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the namespace and of every object in it."""
        return {**self.release.labels, names.TENANT_LABEL: self.slug}


def slug(user: str, length: int = NAME_LENGTH - len(PREFIX)) -> str:
    """Write a user's name so that it can be part of a name in Kubernetes.

    Another user gets another one: a name of lower-case letters, digits and single hyphens stays
    as it is, every other one ends in ``--`` and 12 digits of its SHA-256.

    Parameters
    ----------
    length
        Characters at most.
    """
    if len(user) <= length and _PLAIN.fullmatch(user):
        return user
    digest = hashlib.sha256(user.encode(errors="surrogatepass")).hexdigest()[:_HASH]
    readable = re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-") or "user"
    return f"{readable[: length - _HASH - 2].rstrip('-')}--{digest}"
