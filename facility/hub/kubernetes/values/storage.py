"""Values about what users share with each other and with the site: volumes, user numbers."""

from typing import Annotated, Any, Literal

from pydantic import Field

from facility.config.shapes import Memory, Strict
from facility.kubernetes.tenant import SharedVolume

AccessMode = Literal["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce"]
VOLUME_NAME = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
TAKEN = ("home", "pools", "tmp")
"""Names of volumes that every server has anyway."""


class SecretReference(Strict):
    """A Secret of any namespace, read by the driver alone."""

    name: str = Field(description="Its name.")
    namespace: str = Field(description="Its namespace.")


class Nfs(Strict):
    """A folder of an NFS server."""

    server: str = Field(min_length=1, description="Its name or address.")
    path: str = Field(pattern="^/", description="The folder.")


class Csi(Strict):
    """A volume of a CSI driver, as a PersistentVolume describes it."""

    driver: str = Field(
        min_length=1, description="Name of the driver.", examples=["cephfs.csi.ceph.com"]
    )
    volume_handle: str = Field(
        pattern=r"\{namespace\}",
        description="What the driver knows it by, with {namespace} in it: drivers take two volumes "
        "of one handle for one.",
    )
    volume_attributes: dict[str, str] = Field(
        default_factory=dict, description="What the driver is told."
    )
    node_stage_secret_ref: SecretReference | None = Field(
        None, description="Credentials with which a node mounts it."
    )
    node_publish_secret_ref: SecretReference | None = Field(
        None, description="Credentials with which a pod gets it."
    )


class VolumeTemplate(Strict):
    """What the PersistentVolume of each user's claim is; in texts {namespace} is the user's."""

    nfs: Nfs | None = Field(None, description="A folder of an NFS server.")
    csi: Csi | None = Field(None, description="A volume of a CSI driver.")
    mount_options: tuple[str, ...] = Field(
        (), strict=False, description="Options of the mount.", examples=[["nfsvers=4.2"]]
    )


class SharedVolumeValues(Strict):
    """A folder that all users share, by a claim in each user's namespace."""

    mount_path: str = Field(
        pattern="^/.", description="Path at which servers, schedulers and workers mount it."
    )
    read_only: bool = Field(True, description="Let nobody write it; true by default.")
    volume: VolumeTemplate | None = Field(
        None,
        description="Template from which the hub makes the claim's PersistentVolume: nfs or csi.",
        json_schema_extra={"oneOf": [{"required": ["nfs"]}, {"required": ["csi"]}]},
    )
    storage_class: str | None = Field(
        None,
        description="Without a template: the StorageClass that makes the claim's volume; by "
        "default the cluster's own.",
    )
    capacity: Memory = Field(2**30, description="Size that the claim asks for; quotas count it.")
    access_modes: tuple[AccessMode, ...] = Field(
        default_factory=lambda data: (
            ("ReadOnlyMany",) if data.get("read_only", True) else ("ReadWriteMany",)
        ),
        strict=False,
        min_length=1,
        description="Access modes of the claim; by default for many nodes.",
    )
    mount_propagation: Literal["HostToContainer"] | None = Field(
        None,
        description="HostToContainer where the driver mounts on demand, as CVMFS's automounts.",
    )

    def shared(self, name: str) -> SharedVolume:
        """Return what its claims are made from.

        Raises
        ------
        ProblemsError
            Where it has no source, or several.
        """
        template = self.volume
        return SharedVolume(
            name=name,
            capacity=self.capacity,
            access_modes=self.access_modes,
            storage_class=self.storage_class,
            source=None if template is None else self._source(template),
            mount_options=() if template is None else template.mount_options,
            read_only=self.read_only,
        )

    def _source(self, template: VolumeTemplate) -> dict[str, Any]:
        found = template.model_dump(
            by_alias=True, exclude_none=True, exclude={"mount_options"}, mode="json"
        )
        # Who crafts a pod of his own cannot write what is mounted read-only on the node.
        return {kind: each | {"readOnly": self.read_only} for kind, each in found.items()}

    def mount(self, name: str) -> dict[str, Any]:
        """Return how the user's server mounts it."""
        found = {"name": name, "mountPath": self.mount_path, "readOnly": self.read_only}
        return found | (
            {"mountPropagation": self.mount_propagation} if self.mount_propagation else {}
        )


SharedVolumes = Annotated[
    dict[str, SharedVolumeValues],
    Field(
        default_factory=dict,
        json_schema_extra={"propertyNames": {"pattern": VOLUME_NAME}},
        description="Folders that all users share, at the same path in the user's server, in "
        "schedulers and in workers, each under the name of its claim.",
    ),
]


class IdentityKeys(Strict):
    """Where the login says as whom a user's pods run; keys may be dotted."""

    uid: str = Field(
        min_length=1,
        description="Key of the authenticator's auth_state with the number of the user.",
        examples=["oauth_user.uidNumber"],
    )
    gid: str = Field(
        min_length=1,
        description="Key with the number of the user's group.",
        examples=["oauth_user.gidNumber"],
    )
    groups: str | None = Field(
        None,
        description="Key with a list of the numbers of further groups.",
        examples=["oauth_user.gids"],
    )
    smallest_uid: int = Field(
        1000,
        ge=1,
        description="Smallest number of a user with which a login is accepted: those below 1000 "
        "are of system accounts.",
    )
