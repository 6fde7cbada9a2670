"""Judges storage: StorageClasses, access modes, drivers. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from facility.hub.kubernetes.values.model import Values
from facility.kubernetes.client import kinds
from facility.site.check.finding import Finding, advice, good, missing, unknown
from facility.site.check.snapshot import Snapshot

KIND, DRIVER = kinds.STORAGE_CLASS.name, kinds.CSI_DRIVER.name
DEFAULT = "storageclass.kubernetes.io/is-default-class"
SEVERAL = ("ReadWriteMany", "ReadOnlyMany")
ONE_NODE = (
    "ebs.csi.aws.com",
    "pd.csi.storage.gke.io",
    "disk.csi.azure.com",
    "cinder.csi.openstack.org",
    "rbd.csi.ceph.com",
    "rancher.io/local-path",
    "kubernetes.io/no-provisioner",
    "topolvm.io",
    "local.csi.openebs.io",
)
"""Ends of names of provisioners whose volumes one node mounts at a time, as file systems."""
MANY_NODES = (
    "cephfs.csi.ceph.com",
    "efs.csi.aws.com",
    "file.csi.azure.com",
    "filestore.csi.storage.gke.io",
    "nfs.csi.k8s.io",
    "nfs-subdir-external-provisioner",
    "manila.csi.openstack.org",
    "cvmfs.csi.cern.ch",
    "eos.csi.cern.ch",
    "beegfs.csi.netapp.com",
)
"""Ends of names of provisioners whose volumes many nodes mount."""


@dataclass(frozen=True)
class Wanted:
    """A claim that the values ask for.

    Parameters
    ----------
    asked
        By which value.
    storage_class
        Its class; None for the default.
    modes
        Its access modes.
    """

    asked: str
    storage_class: str | None
    modes: tuple[str, ...]


def wanted(values: Values) -> Iterator[Wanted]:
    """Return the claims for which a StorageClass has to make volumes."""
    if values.hub.db.type == "sqlite-pvc":
        yield Wanted("hub.db", values.hub.db.storage_class_name, ("ReadWriteOnce",))
    home = values.singleuser.storage
    if home.type == "dynamic":
        yield Wanted("singleuser.storage", home.storage_class, home.access_modes)
    for name, volume in values.shared_volumes.items():
        if volume.volume is None:
            yield Wanted(f"sharedVolumes.{name}", volume.storage_class, volume.access_modes)


def judge(snapshot: Snapshot, values: Values | None) -> Iterator[Finding]:
    """Look at storage."""
    classes = {each["metadata"]["name"]: each for each in snapshot.lists.get(KIND, ())}
    claims = list(wanted(values)) if values is not None else [Wanted("homes and hub.db", None, ())]
    for claim in claims:
        yield _claim(snapshot, claim, classes)
    if values is not None:
        yield from _drivers(snapshot, values)


def _claim(snapshot: Snapshot, claim: Wanted, classes: dict[str, dict[str, object]]) -> Finding:
    if KIND not in snapshot.lists:
        todo = f"Ask for the right to list each {KIND}."
        return unknown(KIND, claim.asked, snapshot.why(KIND), todo)
    there = f"there are {', '.join(sorted(classes))}" if classes else "there is none"
    chosen = claim.storage_class or _default(snapshot)
    if chosen is None:
        todo = (
            f'Mark one with the annotation {DEFAULT}: "true", or name one in the value; where '
            "there is none, install a provisioner."
        )
        return missing("Default StorageClass", claim.asked, f"{there}, and no default", todo)
    if chosen not in classes:
        asked = f"{claim.asked}, {chosen}"
        return missing(KIND, asked, there, "Make it, or name one that is here.")
    provisioner = str(classes[chosen]["provisioner"])
    asked = f"{claim.asked}, {', '.join(claim.modes) or 'any access'}"
    several = [mode for mode in claim.modes if mode in SEVERAL]
    if several and provisioner.endswith(ONE_NODE):
        told = f"volumes of {chosen} ({provisioner}) are for one node at a time"
        todo = f"Name a StorageClass of a shared file system, or ask for {claim.asked} otherwise."
        return missing("Access mode", asked, told, todo)
    if several and not provisioner.endswith(MANY_NODES):
        told = f"whether {provisioner} of {chosen} has volumes for many nodes is not known"
        return advice("Access mode", asked, told, "Look into its documentation.")
    return good(KIND, asked, f"{chosen} ({provisioner})")


def _default(snapshot: Snapshot) -> str | None:
    """Return the default class: of several Kubernetes takes the one that was made last."""
    marked = [
        (each["metadata"]["creationTimestamp"], each["metadata"]["name"])
        for each in snapshot.lists[KIND]
        if each["metadata"].get("annotations", {}).get(DEFAULT) == "true"
    ]
    return max(marked)[1] if marked else None


def _drivers(snapshot: Snapshot, values: Values) -> Iterator[Finding]:
    """Look for the CSI drivers that values name."""
    named = {
        f"sharedVolumes.{name}.volume.csi": each.volume.csi.driver
        for name, each in values.shared_volumes.items()
        if each.volume is not None and each.volume.csi is not None
    }
    for each in values.tenants.permitted.csi_volumes:
        named[f"tenants.permitted.csiVolumes, {each.driver}"] = each.driver
    there = snapshot.names(DRIVER)
    for path, driver in named.items():
        if there is None:
            todo = f"Ask for the right to list each {DRIVER}."
            yield unknown(DRIVER, path, snapshot.why(DRIVER), todo)
        elif driver in there:
            yield good(DRIVER, path, f"{driver} is there")
        else:
            told = f"there are {', '.join(sorted(there)) or 'none'}"
            yield missing(DRIVER, path, told, f"Install the driver {driver}.")
