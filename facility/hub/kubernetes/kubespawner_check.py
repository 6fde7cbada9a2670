"""Whether KubeSpawner still starts servers by the methods that `TenantSpawner` replaces.

They are private, so that an upgrade may rename them without a word. KubeSpawner would then go its
own ways again: it takes over whichever namespace has the name of a user's, and ends the hub when
it cannot follow pods. So the hub looks first, and does not start.
"""

from kubespawner import KubeSpawner

from facility.errors import HubError

REPLACED = {
    "_start": "start",
    "_ensure_namespace": "_start",
    "_start_watching_pods": "_start",
}
"""Methods of KubeSpawner that `TenantSpawner` replaces, each with the method that calls it."""
SETTING = "enable_user_namespaces"
"""The setting under which KubeSpawner calls them so."""


def problems() -> list[str]:
    """Return what KubeSpawner does no longer as it has to."""
    found = []
    for name, caller in REPLACED.items():
        if not callable(getattr(KubeSpawner, name, None)):
            found.append(f"it has no method {name}")
        elif name not in _names_in(caller):
            found.append(f"its method {caller} does not call {name}")
    if SETTING not in KubeSpawner.class_trait_names():
        found.append(f"it has no setting {SETTING}")
    elif SETTING not in _names_in("_start"):
        found.append(f"its method _start does not heed the setting {SETTING}")
    return found


def _names_in(method: str) -> tuple[str, ...]:
    """Return the names of methods and attributes that a method of KubeSpawner uses."""
    code = getattr(getattr(KubeSpawner, method, None), "__code__", None)
    return code.co_names if code is not None else ()


def check_kubespawner() -> None:
    """Refuse a KubeSpawner that would not make users' namespaces as this hub does.

    Raises
    ------
    HubError
        With all that is not as it has to be.
    """
    found = problems()
    if found:
        raise HubError(
            "The hub does not start, since it would start servers in namespaces that it has not "
            "checked: this is not the KubeSpawner that it was made for, because "
            f"{'; '.join(found)}. Install the version of jupyterhub-kubespawner that "
            "requirements.lock names."
        )
