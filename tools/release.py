"""What a release is made of: `python -m tools.release check v0.2.0`, `dist`, `push`, `version`.

RELEASE.md says in which order, and .github/workflows/release.yml does it.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import helm_python
import yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "facility"
DIST = ROOT / "dist"


def versions() -> dict[str, str]:
    """Return the version by the file that says it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    package = (ROOT / "facility" / "__init__.py").read_text()
    said = re.search(r'^__version__ = "(.*)"$', package, re.MULTILINE)
    return {
        "pyproject.toml": str(project["version"]),
        "facility/__init__.py": said[1] if said else "none",
        "helm/facility/Chart.yaml (version)": str(chart["version"]),
        "helm/facility/Chart.yaml (appVersion)": str(chart["appVersion"]),
        "CITATION.cff": str(citation["version"]),
    }


def problems(tag: str) -> Iterator[str]:
    """Say what keeps a tag from being a release of this tree."""
    wanted = tag.removeprefix("v")
    if not re.fullmatch(r"v\d+\.\d+\.\d+(rc\d+)?", tag):
        yield f"{tag} is no tag of a release: write v1.2.3 or v1.2.3rc1"
    for file, said in versions().items():
        if said != wanted:
            yield f"{file} says {said}, not {wanted}"
    if f"## [{wanted}]" not in (ROOT / "CHANGELOG.md").read_text():
        yield f"CHANGELOG.md has no section [{wanted}]: run `make changelog`"
    left = [path.name for path in (ROOT / "changes").glob("*.md") if path.name != "README.md"]
    if left:
        yield f"changes/ holds what no release tells: {', '.join(sorted(left))}"


def dist() -> list[Path]:
    """Build the wheel, the source archive and the chart, and return where they are."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist"]
    subprocess.run([*command, "-d", str(DIST)], cwd=ROOT, check=True)
    helm_python.chart.package(CHART, destination=DIST)
    return sorted(DIST.iterdir())


def push(registry: str) -> str:
    """Put the packaged chart into an OCI registry, and return how it is called there.

    Parameters
    ----------
    registry
        Host and folder, as in ``registry.example/facility``; ``http://`` before it where it speaks
        no TLS. Who may write there stands in the registry configuration of Helm.
    """
    plain = registry.startswith("http://")
    place = registry.removeprefix("http://").rstrip("/")
    [chart] = DIST.glob("facility-*.tgz")
    helm_python.registry.push(chart, f"oci://{place}/charts", plain_http=plain)
    return f"{place}/charts/{chart.stem.replace('-', ':', 1)}"


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say; return the code to exit with."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("action", choices=("check", "dist", "push", "version"))
    parser.add_argument("what", nargs="?", default="", help="the tag, or the registry")
    chosen = parser.parse_args(arguments)
    if chosen.action in ("check", "push") and not chosen.what:
        needed = {"check": "tag", "push": "registry"}[chosen.action]
        parser.error(f"{chosen.action} needs the {needed}")
    if chosen.action == "check":
        wrong = list(problems(chosen.what))
        print("\n".join(wrong) or f"This tree is release {chosen.what}.")
        return int(bool(wrong))
    if chosen.action == "dist":
        print("\n".join(str(path.relative_to(ROOT)) for path in dist()))
    elif chosen.action == "push":
        print(push(chosen.what))
    else:
        print(versions()["pyproject.toml"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
