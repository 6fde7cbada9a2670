"""One run at a time brings a Kubernetes up or down."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kube.bringup.places import Places
from tools.building import BuildError


@contextmanager
def alone(where: Places) -> Iterator[None]:
    """Hold the folder, so that no other run changes it meanwhile.

    Raises
    ------
    BuildError
        Another run holds it.
    """
    where.root.mkdir(parents=True, exist_ok=True)
    with (where.root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(
                f"Another run brings a Kubernetes up or down in {where.root}: wait for its end."
            ) from None
        yield
