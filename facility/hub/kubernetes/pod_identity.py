"""As whom a user's pods run: from the values, or from what the login says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from facility import names
from facility.config.problems import show
from facility.errors import FacilityError
from facility.hub.kubernetes.values.servers import SingleUser

LARGEST = 2**31 - 1
"""Largest number of a user or a group that Kubernetes takes."""


class IdentityError(FacilityError):
    """A login does not say as whom a user's pods are to run."""


@dataclass(frozen=True)
class Identity:
    """Numbers on file systems.

    Parameters
    ----------
    uid, gid
        Of the user, and of the user's group; None for the image's own.
    groups
        Further groups.
    volumes
        Group that owns volumes, to which Kubernetes gives them; None for none.
    """

    uid: int | None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    volumes: int | None = None

    @property
    def notes(self) -> dict[str, str]:
        """Annotations of the user's namespace, which pods in it have to obey."""
        if self.uid is None:
            return {}
        groups = {*self.groups, *(each for each in (self.gid, self.volumes) if each is not None)}
        found = {names.UID_ANNOTATION: str(self.uid)}
        found |= {names.GID_ANNOTATION: str(self.gid)} if self.gid is not None else {}
        return found | {names.GIDS_ANNOTATION: " ".join(map(str, sorted(groups)))}


def fixed(servers: SingleUser) -> Identity:
    """Return as whom the pods of all users run where the login does not say it."""
    return Identity(_or_none(servers.uid), volumes=_or_none(servers.fs_gid))


def _or_none(value: int | str) -> int | None:
    return value if isinstance(value, int) else None


def identity(servers: SingleUser, user: str, state: Mapping[str, Any] | None) -> Identity:
    """Return as whom a user's pods run.

    Parameters
    ----------
    state
        What the authenticator has kept of the login (its ``auth_state``).

    Raises
    ------
    IdentityError
        With all that the login lacks.
    """
    keys = servers.identity
    if keys is None:
        return fixed(servers)
    problems: list[str] = []
    found: dict[str, tuple[int, ...]] = {"groups": ()}
    for what, key in (("uid", keys.uid), ("gid", keys.gid), ("groups", keys.groups)):
        if key is None:
            continue
        value = _at(state or {}, key)
        if value is None:
            problems.append(f"it holds no {key}, which is to be the {what}")
        elif what == "groups" and not isinstance(value, list):
            problems.append(f"{key} is to be a list of groups, and is {show(value)}")
        else:
            listed = value if what == "groups" else [value]
            numbers = {show(each): _number(each) for each in listed}
            problems += [
                f"{key} is {text}, and a number from 1 to {LARGEST} is valid (0 is root's)"
                for text, number in numbers.items()
                if number is None
            ]
            found[what] = tuple(number for number in numbers.values() if number is not None)
    low = [each for each in found.get("uid", ()) if each < keys.smallest_uid]
    problems += [
        f"{keys.uid} is {each}, a system account's, and the smallest that "
        f"singleuser.identity.smallestUid accepts is {keys.smallest_uid}"
        for each in low
    ]
    if problems:
        raise IdentityError(
            f"The login of {user!r} does not say as whom the server is to run: "
            f"{'; '.join(problems)}. Log out and in again; where that does not help, show this to "
            "the administrators, who name these keys under singleuser.identity."
        )
    (uid,), (gid,) = found["uid"], found["gid"]
    return Identity(uid, gid, found["groups"], _or_none(servers.fs_gid))


def _number(value: object) -> int | None:
    """Read the number of a user or a group; None where it is none, or root's."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value)
    valid = text.isascii() and text.isdecimal() and 0 < int(text) <= LARGEST
    return int(text) if valid else None


def _at(state: Any, key: str) -> Any:
    """Return what stands under a dotted key; parts may have dots themselves, or count a list."""
    if isinstance(state, list):
        first, _, rest = key.partition(".")
        if not first.isdecimal() or int(first) >= len(state):
            return None
        return _at(state[int(first)], rest) if rest else state[int(first)]
    if not isinstance(state, Mapping):
        return None
    if key in state:
        return state[key]
    parts = key.split(".")
    for count in range(len(parts) - 1, 0, -1):
        head = ".".join(parts[:count])
        if head in state:
            found = _at(state[head], ".".join(parts[count:]))
            if found is not None:
                return found
    return None
