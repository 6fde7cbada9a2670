"""What the hub's pod was given: the chart's values, the release, and secrets, as files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from facility.config.problems import sentences
from facility.errors import ConfigError
from facility.hub.kubernetes.values.model import Values
from facility.hub.kubernetes.values.tenant_model import Installation

FOLDER = Path("/etc/facility/hub")
VALUES, SECRETS = "values/values.yaml", "secrets"


def read_values(content: Mapping[str, Any]) -> Values:
    """Check the chart's values.

    Raises
    ------
    ConfigError
        With every mistake found.
    """
    try:
        values = Values.model_validate(content, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ConfigError(
            "The values of the chart cannot be used", sentences(error.errors(), Values)
        ) from None
    _ = values.config, values.volumes
    return values


def read_site(folder: Path = FOLDER) -> Installation:
    """Return the release that this pod belongs to.

    Raises
    ------
    ConfigError
        Where its values are wrong.
    """
    content = yaml.safe_load((folder / VALUES).read_text())
    release = {key: os.environ[f"FACILITY_{key.upper()}"] for key in RELEASE}
    return Installation(
        read_values(content), release["release"], release["namespace"], release["version"]
    )


RELEASE = ("release", "namespace", "version")
"""Variables of the hub's pod, which begin with FACILITY_."""


def read_secrets(folder: Path = FOLDER) -> dict[str, str]:
    """Return the secrets, each under its key."""
    return {
        path.name: path.read_text().strip()
        for path in (folder / SECRETS).iterdir()
        if path.is_file() and not path.name.startswith(".")
    }


def crypt_keys(text: str) -> list[str]:
    """Return the keys for what authenticators keep: the first encrypts, all decrypt."""
    return [key.strip() for key in text.split(";") if key.strip()]
