"""Where everything lies."""

import os
from dataclasses import dataclass
from pathlib import Path

from tools.building import BuildError

SOURCES = Path(__file__).resolve().parent / "src"
MANIFESTS = Path(__file__).resolve().parent / "manifests"
LONGEST_ROOT = 60
"""Characters: a Unix socket's path holds 107, and containerd's lie deep below the folder."""


@dataclass(frozen=True)
class Places:
    """Folders and files below the one folder that holds everything.

    `built`, `registry` and `images` outlive a Kubernetes; `run` does not.
    """

    root: Path

    @property
    def built(self) -> Path:
        """A folder for each thing built, named by a hash of what it is built from."""
        return self.root / "built"

    @property
    def registry(self) -> Path:
        """What the local registry holds."""
        return self.root / "registry"

    @property
    def run(self) -> Path:
        """Keys, settings and data of the Kubernetes that runs."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log for each process; those of the last run stay."""
        return self.root / "logs"

    @property
    def ledger(self) -> Path:
        """The processes started."""
        return self.root / "processes.json"

    @property
    def before(self) -> Path:
        """What the machine looked like before anything was started."""
        return self.root / "before.json"

    @property
    def state(self) -> Path:
        """What runs: written last by up, read by the tests."""
        return self.run / "state.json"

    @property
    def keys(self) -> Path:
        """Certificates and keys."""
        return self.run / "keys"

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig."""
        return self.run / "admin.json"

    def node(self, name: str) -> Path:
        """What one node makes while it runs."""
        return self.run / name

    def images(self, name: str) -> Path:
        """Images that one node has pulled."""
        return self.root / "images" / name


def places(environment: dict[str, str] | None = None) -> Places:
    """Where things lie for this user.

    Raises
    ------
    BuildError
        The cache folder's path is too long for the sockets in it.
    """
    variables = dict(os.environ) if environment is None else environment
    home = variables.get("XDG_CACHE_HOME") or f"{variables.get('HOME', '')}/.cache"
    root = Path(home) / "facility" / "kube"
    if len(str(root)) > LONGEST_ROOT:
        raise BuildError(
            f"{root} is too long a path for the sockets that lie in it ({len(str(root))} of "
            f"{LONGEST_ROOT} characters): set XDG_CACHE_HOME to a shorter one."
        )
    return Places(root)


def fill(text: str, values: dict[str, str]) -> str:
    """Put `values` where a text says `@NAME@`; each must be asked for."""
    for name, value in values.items():
        if f"@{name}@" not in text:
            raise ValueError(f"nothing asks for {name}")
        text = text.replace(f"@{name}@", value)
    return text


def manifest(name: str, **values: str) -> str:
    """A manifest of this package with its blanks filled."""
    return fill((MANIFESTS / f"{name}.yaml").read_text(), values)
