"""Values about the hub itself: its image, settings, state, and who may log in how."""

import ipaddress
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from facility.config.shapes import Strict
from facility.hub.kubernetes.values.images import OwnImage
from facility.hub.kubernetes.values.shapes import NodePlacement, Resources


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


ONE_ORIGIN = (
    "domain is missing, so that the hub and all users' servers have one address, and a page that "
    "one user's server serves can act as whoever opens it; give the hub's public host name, with "
    "DNS and a certificate for all names below it, or say usersTrustEachOther: true"
)


class Lifetimes(Strict):
    """How long logins and tokens hold. The token of a user's server ends with the server."""

    session_days: float = Field(
        14,
        gt=0,
        description="Days after which a browser has to log in again, at the hub and at servers.",
    )
    token_days: float = Field(
        90,
        ge=0,
        description="Most days for which an API token that a user makes holds, and for which it "
        "holds where they say nothing; 0 for any time, also for ever.",
    )


class Hub(NodePlacement):
    """The hub."""

    image: OwnImage | None = Field(
        None, description="Image of hub and proxy; by default hub below images.registry."
    )
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
    lifetimes: Lifetimes = Field(
        default_factory=Lifetimes, description="How long logins and tokens hold."
    )
    domain: str | None = Field(
        None,
        pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]+)?$",
        description="Host name at which browsers reach the hub by https. Each user's servers have "
        "a name of their own below it, so that nothing that one user's server serves can act as "
        "who opens it. DNS and certificate have to be for *.NAME too.",
        examples=["af.example.org"],
    )
    users_trust_each_other: bool = Field(
        False,
        description="Have hub and all users' servers at one address, where hub.domain is not "
        "given: what one user's server serves can then act as whoever opens it.",
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

    @model_validator(mode="after")
    def _users_apart(self) -> "Hub":
        if self.domain is None and not self.users_trust_each_other:
            raise ValueError(ONE_ORIGIN)
        return self
