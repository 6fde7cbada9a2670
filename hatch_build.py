"""Writes the commit that FACILITY_COMMIT names into the package that is built.

A release sets it. Without it the package is the same for each commit that changes nothing in it, by
which images are found to be built already.
"""

import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface[Any]):
    """Adds ``facility/commit.txt``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to what is packed."""
        commit = os.environ.get("FACILITY_COMMIT", "")
        if commit:
            path = Path(self.directory) / "commit.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{commit}\n")
            build_data["force_include"][str(path)] = "facility/commit.txt"
