"""Write down every package of this image, as CycloneDX, into /etc/facility/sbom.json.

Runs at the end of each Containerfile, with nothing but the standard library.
"""

import json
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


def main() -> None:
    """Write the file."""
    image = json.loads(IMAGE.read_text())
    components = sorted(python_packages() + debian_packages(), key=lambda each: each["purl"])
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
