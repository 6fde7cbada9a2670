"""Values about users' servers: their image, size, home, and as whom they run."""

from typing import Annotated, Literal

from pydantic import Field

from facility.config.shapes import Cores, Memory, Strict
from facility.hub.kubernetes.values.shapes import Image, NodePlacement, Sized
from facility.hub.kubernetes.values.storage import IdentityKeys


class Storage(Strict):
    """The user's home."""

    type: Literal["dynamic", "none"] = Field(
        "dynamic", description="A claim of its own, or nothing that outlives the server."
    )
    capacity: Memory = Field(10 * 2**30, description="Its size.")
    storage_class: str | None = Field(
        None, description="Its StorageClass; by default the cluster's own."
    )
    access_modes: tuple[str, ...] = Field(
        ("ReadWriteOnce",),
        strict=False,
        description="Of the claim; with ReadWriteMany schedulers and workers mount the home too.",
    )
    home_mount_path: str = Field("/home/jovyan", pattern="^/", description="Where it is seen.")


class ImageChoice(Strict):
    """One image that a user may choose."""

    display_name: str = Field(description="What the user sees.")
    image: Image = Field(description="The image.")


class Profile(NodePlacement):
    """One kind of server that a user may choose; what it does not say is as for all."""

    display_name: str = Field(description="What the user sees.")
    description: str = Field("", description="More of that.")
    default: bool = Field(False, description="Whether it is chosen already.")
    image: Image | None = Field(None, description="Its image.")
    images: dict[str, ImageChoice] = Field(
        default_factory=dict,
        description="Other images that the user may choose for it, under their names.",
    )
    cpu_limit: Cores | None = Field(None, description="Cores at most.")
    memory_limit: Memory | None = Field(None, description="Memory at most.")
    gpus: int = Field(0, ge=0, description="Devices of the pools' first GPU resource.")


class SingleUser(NodePlacement, Sized):
    """Users' servers."""

    image: Image = Field(
        Image(name="facility/analysis"),
        description="Image of notebook, schedulers and workers.",
    )
    profiles: dict[str, Profile] = Field(
        default_factory=dict, description="Kinds of servers to choose from, under their names."
    )
    storage: Storage = Field(default_factory=Storage, description="The user's home.")
    default_url: str | None = Field(
        None, pattern="^/", description="What opens; by default the first notebook."
    )
    extra_env: dict[str, str] = Field(default_factory=dict, description="Variables of the server.")
    start_timeout: int = Field(300, ge=10, description="Seconds that a start may take.")
    # To Helm null means the default, so that nothing has a word.
    uid: Annotated[int, Field(ge=1)] | Literal["none"] = Field(
        1000,
        description="Number of the user that all its pods run as, other than root; none where "
        "Kubernetes chooses it, as OpenShift does.",
    )
    fs_gid: Annotated[int, Field(ge=0)] | Literal["none"] = Field(
        100,
        description="Group to which Kubernetes gives all files of its volumes; none where they "
        "keep their owners, as a file system of the site has to.",
    )
    identity: IdentityKeys | None = Field(
        None,
        description="Where the login says as whom each user's pods run, instead of uid; a login "
        "that does not say it is refused.",
    )
