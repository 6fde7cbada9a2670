"""What a user's namespace should hold: pure."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from facility import names
from facility.errors import FacilityError
from facility.hub.kubernetes.pod_identity import Identity, fixed
from facility.hub.kubernetes.values.tenant_model import Installation, manifests
from facility.kubernetes.tenant import Network, Tenant, tenant_set

USED_ANNOTATION = "facility/used"
"""Annotation of a user's namespace: when a server was last started in it."""
GROUPS_ANNOTATION = "facility/groups"
"""Annotation of a user's namespace: groups of the last login, for its quota."""
NOTES = (GROUPS_ANNOTATION, USED_ANNOTATION)
IDENTITY_NOTES = (names.UID_ANNOTATION, names.GID_ANNOTATION, names.GIDS_ANNOTATION)

Object = dict[str, Any]


class TenantError(FacilityError):
    """A user cannot have a namespace."""


@dataclass(frozen=True)
class Surroundings:
    """What all users' namespaces depend on, as it is at a moment.

    Parameters
    ----------
    network
        What users' pods may reach, with the API server's present addresses.
    pull_secrets
        Content of ``.dockerconfigjson`` of each Secret for pulling images, under its name.
    """

    network: Network
    pull_secrets: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What a user's namespace should be, and hold.

    Parameters
    ----------
    tenant
        What it is made from.
    namespace
        Its manifest, with all annotations but that of `contents_digest`.
    binding
        What gives the hub its rights in it; made before the rest.
    contents
        All else in it, in the order in which it is made; shared volumes are apart.
    contents_digest
        Hash of `binding` and `contents`.
    digest
        Hash of everything that follows from the values, the groups and the surroundings.
    """

    tenant: Tenant
    namespace: Object
    binding: Object
    contents: tuple[Object, ...]
    contents_digest: str
    digest: str


def plan_for_start(
    installation: Installation,
    around: Surroundings,
    user: str,
    groups: Collection[str],
    identity: Identity | None,
    now: str,
) -> Plan:
    """Plan the namespace of a user who starts a server.

    Parameters
    ----------
    identity
        As whom its pods run; None for as the values say for all.
    now
        The time, for the namespace to tell when it was used.
    """
    identity = identity or fixed(installation.values.singleuser)
    notes = {GROUPS_ANNOTATION: json.dumps(sorted(groups)), USED_ANNOTATION: now}
    return _plan(installation, around, user, groups, notes | identity.notes)


def plan_as_left(
    installation: Installation, around: Surroundings, user: str, notes: Mapping[str, str]
) -> Plan:
    """Plan the namespace of a user as the last start has left it, from present values.

    Parameters
    ----------
    notes
        Annotations of the namespace.

    Raises
    ------
    TenantError
        Where they are not as the hub writes them.
    """
    try:
        groups = json.loads(notes.get(GROUPS_ANNOTATION, "[]"))
    except (ValueError, RecursionError):
        groups = None
    if not isinstance(groups, list) or not all(isinstance(each, str) for each in groups):
        raise TenantError(
            f"The annotation {GROUPS_ANNOTATION} of its namespace has to be a list of names in "
            "JSON; the hub writes it anew when a server starts."
        )
    servers = installation.values.singleuser
    # What a login says is known at a start alone.
    keys = NOTES if servers.identity is None else (*NOTES, *IDENTITY_NOTES)
    kept = {key: notes[key] for key in keys if key in notes}
    if servers.identity is None:
        kept |= fixed(servers).notes
    return _plan(installation, around, user, groups, kept)


def _plan(
    installation: Installation,
    around: Surroundings,
    user: str,
    groups: Collection[str],
    notes: Mapping[str, str],
) -> Plan:
    quota = installation.quota(user, groups)
    tenant = Tenant(user, installation.release, quota, around.network, around.pull_secrets)
    namespace, binding, *contents = tenant_set(tenant)
    namespace["metadata"]["annotations"].update(notes)
    return Plan(
        tenant,
        namespace,
        binding,
        tuple(contents),
        digest_of([binding, *contents]),
        digest_of(manifests(tenant)),
    )


def digest_of(made: list[Object]) -> str:
    """Return a hash of manifests."""
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
