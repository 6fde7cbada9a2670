"""Write down every package of this image, as CycloneDX, into /etc/facility/sbom.json.

Runs at the end of each Containerfile, with nothing but the standard library.
"""

import json
import os
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

SBOM = Path("/etc/facility/sbom.json")
IMAGE = Path("/etc/facility/image.json")
DPKG = Path("/var/lib/dpkg/status")
RELEASE = Path("/etc/os-release")


def python_packages() -> list[dict[str, Any]]:
    """Components for the Python packages that this interpreter finds."""
    found = []
    for each in distributions():
        name, version = each.metadata["Name"], each.version
        component = {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{version}",
        }
        # Some packages give their licence's whole text here.
        licence = each.metadata.get("License-Expression") or each.metadata.get("License") or ""
        if licence and "\n" not in licence and len(licence) < 80:
            component["licenses"] = [{"license": {"name": licence}}]
        found.append(component)
    return found


def debian_packages() -> list[dict[str, Any]]:
    """Components for the installed Debian packages."""
    found = []
    release = dict(line.split("=", 1) for line in RELEASE.read_text().splitlines() if "=" in line)
    distribution = "debian-" + release["VERSION_ID"].strip('"')
    for paragraph in DPKG.read_text().split("\n\n"):
        lines = (line.split(": ", 1) for line in paragraph.splitlines() if ": " in line[1:])
        fields = {pair[0]: pair[1] for pair in lines}
        if fields.get("Status") != "install ok installed":
            continue
        name, version, arch = fields["Package"], fields["Version"], fields["Architecture"]
        purl = f"pkg:deb/debian/{name}@{version}?arch={arch}&distro={distribution}"
        found.append({"type": "library", "name": name, "version": version, "purl": purl})
    return found


def npm_packages(prefix: Path) -> list[dict[str, Any]]:
    """Components for the packages of npm: in folders of their own, and bundled into pages.

    What is bundled is told by the list of licences that JupyterLab's builder puts beside a bundle.
    """
    found = {}
    for name, version, licence in _npm(prefix):
        purl = f"pkg:npm/{name.replace('@', '%40')}@{version}"
        component = {"type": "library", "name": name, "version": version, "purl": purl}
        if licence and "\n" not in licence and len(licence) < 80:
            component["licenses"] = [{"license": {"name": licence}}]
        found[purl] = component
    return list(found.values())


def _npm(prefix: Path) -> Iterator[tuple[str, str, str]]:
    """Name, version and licence of each."""
    for folder, _, files in os.walk(prefix):
        place = Path(folder)
        if "third-party-licenses.json" in files:
            bundled = json.loads((place / "third-party-licenses.json").read_text())["packages"]
            for each in bundled:
                yield each["name"], each["versionInfo"], each.get("licenseId") or ""
        # One of a scope, such as @jupyterlab, lies one level deeper.
        holder = place.parent.parent if place.parent.name.startswith("@") else place.parent
        if "package.json" in files and holder.name in ("node_modules", "labextensions"):
            own = json.loads((place / "package.json").read_text())
            if "name" in own and "version" in own:
                licence = own.get("license")
                yield own["name"], own["version"], licence if isinstance(licence, str) else ""


def main() -> None:
    """Write the file."""
    image = json.loads(IMAGE.read_text())
    found = python_packages() + debian_packages() + npm_packages(Path(sys.prefix))
    components = sorted(found, key=lambda each: each["purl"])
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "name": f"facility/{image['name']}",
                "version": image["version"],
            }
        },
        "components": components,
    }
    SBOM.write_text(json.dumps(bom, indent=1) + "\n")


if __name__ == "__main__":
    main()
