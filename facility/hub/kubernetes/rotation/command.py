"""Subcommands that rotate keys, as administrators type them; they import what they need late."""

import argparse
import asyncio
import datetime
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from facility.errors import FacilityError
from facility.wording import counted

if TYPE_CHECKING:
    from facility.hub.kubernetes.admin import Administration
    from facility.hub.kubernetes.revocation import Hub
    from facility.hub.kubernetes.rotation.rotate import Rotated

GOOD, FAILED = 0, 1


def add(
    commands: Any,
    tenants: Any,
    command: Callable[..., argparse.ArgumentParser],
    administration: Callable[[], "Administration"],
) -> None:
    """Describe them.

    Parameters
    ----------
    commands, tenants
        Where subcommands of `facility` and of `facility tenants` are added.
    command
        Adds one: to what, its name, what it runs, what it does.
    administration
        Makes what looks after the users of this pod's release.
    """
    renew = command(
        tenants,
        "new-authority",
        lambda given: new_authority(administration(), given.user),
        "make users' certificate authorities anew; ends their Dask clusters, no server",
    )
    renew.add_argument("user", nargs="+", metavar="USER", help="users, as the hub knows them")
    keys = command(commands, "keys", None, "look after the hub's keys, in its pod")
    within = keys.add_subparsers(title="commands", metavar="COMMAND")
    chosen = command(
        within,
        "rotate",
        lambda given: rotate(administration, given.key),
        "make keys of the hub anew and use them; ends no server",
    )
    chosen.add_argument(
        "key",
        nargs="+",
        metavar="KEY",
        help="cookie (logs everybody out), crypt (ends nothing), proxy (ends open connections)",
    )


def hub_of_this_pod() -> "Hub":
    """Return the hub, asked as its administration."""
    from facility.hub.kubernetes.release import read_secrets, read_site
    from facility.hub.kubernetes.revocation import Hub

    return Hub(read_secrets()["cookie-secret"], read_site().values.hub.base_url)


def rotate(administration: "Callable[[], Administration]", words: Sequence[str]) -> int:
    """Rotate keys of the hub; return the exit status."""
    from facility.hub.kubernetes.release import read_site
    from facility.hub.kubernetes.rotation.rotate import Rotation, asked_keys

    keys = asked_keys(words)
    rotation = Rotation(administration().api, read_site(), hub_of_this_pod())
    try:
        rotated = asyncio.run(rotation.run(keys))
    except FacilityError:
        _in_trail(("keys", "rotate", *keys), "", "failed")
        raise
    return _told(rotated, ("keys", "rotate", *keys), "")


def new_authority(administration: "Administration", users: Sequence[str]) -> int:
    """Make users' authorities anew and end what trusts the old ones; return the exit status."""
    from facility.hub.kubernetes.rotation.rotate import renew_authorities

    found = administration.namespaces(users)
    spaces = {user: str(each["metadata"]["name"]) for user, each in found.items()}
    now = datetime.datetime.now(datetime.UTC)
    renewal = renew_authorities(administration.api, spaces, hub_of_this_pod(), now)
    rotated = asyncio.run(renewal)
    try:
        count = administration.stop(users)
        rotated.done.append(f"{counted(count, 'Dask cluster')} ended")
    except FacilityError as error:
        rotated.left.append(str(error))
    return _told(rotated, ("tenants", "new-authority"), ",".join(spaces))


def _told(rotated: "Rotated", words: Sequence[str], about: str) -> int:
    for said in rotated.done:
        print(f"{said.rstrip('.')}.")
    for said in rotated.left:
        print(f"Left: {said.rstrip('.')}.")
    _in_trail(words, about, "failed" if rotated.left else "done")
    return FAILED if rotated.left else GOOD


def _in_trail(words: Sequence[str], about: str, outcome: str) -> None:
    from facility.hub.kubernetes import audit

    audit.command(words, about, outcome)
