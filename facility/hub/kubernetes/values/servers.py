"""Values about users' servers: their image, size, home, and as whom they run."""

from typing import Annotated, Literal

from pydantic import Field

from facility.config.shapes import Confined, Cores, Memory, Strict
from facility.hub.kubernetes.values.images import Image, OwnImage
from facility.hub.kubernetes.values.shapes import NodePlacement, Sandboxed, Sized
from facility.hub.kubernetes.values.storage import IdentityKeys


class Storage(Strict):
    """The user's home."""

    type: Literal["dynamic", "none"] = Field(
        "dynamic",
        description="Kind of home: a claim of the user's own (dynamic), or none that outlives the "
        "server.",
    )
    capacity: Memory = Field(10 * 2**30, description="Size of the home.")
    storage_class: str | None = Field(
        None, description="StorageClass of the home; by default the Kubernetes cluster's own."
    )
    access_modes: tuple[str, ...] = Field(
        ("ReadWriteOnce",),
        strict=False,
        description="Access modes of the claim; with ReadWriteMany schedulers and workers mount "
        "the home too.",
    )
    home_mount_path: str = Field(
        "/home/jovyan", pattern="^/", description="Path at which the home is mounted."
    )


class ImageChoice(Strict):
    """One image that a user may choose."""

    display_name: str = Field(description="Name that the user sees.")
    image: Image = Field(description="The image.")


class Profile(NodePlacement):
    """One kind of server that a user may choose; what it does not say is as for all."""

    display_name: str = Field(description="Name that the user sees.")
    description: str = Field("", description="Text below that name.")
    default: bool = Field(
        False, description="Choose it where the user does not; for one profile only."
    )
    image: Image | None = Field(
        None, description="Image of its servers; by default singleuser.image."
    )
    images: dict[str, ImageChoice] = Field(
        default_factory=dict,
        description="Other images that the user may choose for it, each under a name.",
    )
    cpu_limit: Cores | None = Field(
        None, description="Most cores of a server; by default singleuser.cpuLimit."
    )
    memory_limit: Memory | None = Field(
        None, description="Most memory of a server; by default singleuser.memoryLimit."
    )
    gpus: int = Field(
        0, ge=0, description="GPUs of a server, of the resource that the pools name first."
    )


class SingleUser(NodePlacement, Confined, Sandboxed, Sized):
    """Users' servers."""

    image: OwnImage | None = Field(
        None,
        description="Image of servers, schedulers and workers; by default analysis below "
        "images.registry.",
    )
    profiles: dict[str, Profile] = Field(
        default_factory=dict,
        description="Kinds of servers that a user may choose, each under a name.",
    )
    storage: Storage = Field(default_factory=Storage, description="The user's home.")
    default_url: str | None = Field(
        None,
        pattern="^/",
        description="Path that opens after the login; by default the first notebook.",
    )
    extra_env: dict[str, str] = Field(
        default_factory=dict, description="Environment variables of servers."
    )
    start_timeout: int = Field(
        300, ge=10, description="Seconds that the start of a server may take."
    )
    # To Helm null means the default, so that nothing has a word.
    uid: Annotated[int, Field(ge=1)] | Literal["none"] = Field(
        1000,
        description="Numeric user ID of all pods of users, other than root; none where Kubernetes "
        "chooses it, as OpenShift does.",
    )
    fs_gid: Annotated[int, Field(ge=0)] | Literal["none"] = Field(
        100,
        description="Numeric group ID to which Kubernetes gives all files of volumes; none where "
        "files keep their owners, as on a file system of the site.",
    )
    identity: IdentityKeys | None = Field(
        None,
        description="Keys of the login that hold the numeric IDs of each user's pods, instead of "
        "singleuser.uid; a login without them is refused.",
    )
