"""The list of an image's packages: those of npm, which lie in folders or are bundled into pages."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[3] / "images/base/write_sbom.py"


@pytest.fixture(scope="module")
def program() -> Any:
    spec = importlib.util.spec_from_file_location("write_sbom", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(place: Path, found: object) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(found))


def test_packages_of_npm_are_listed(program: Any, tmp_path: Path) -> None:
    modules = tmp_path / "lib/node_modules"
    write(modules / "proxy/package.json", {"name": "proxy", "version": "5.3.0", "license": "MIT"})
    inner = modules / "proxy/node_modules"
    write(inner / "@scope/part/package.json", {"name": "@scope/part", "version": "1.0.0"})
    # Files of a package itself, which are no packages.
    write(inner / "@scope/part/test/package.json", {"name": "no", "version": "0"})
    write(modules / "proxy/lib/package.json", {"type": "module"})
    extensions = tmp_path / "share/jupyter/labextensions"
    write(extensions / "@scope/shown/package.json", {"name": "@scope/shown", "version": "2.0.0"})
    bundled = [
        {"name": "react", "versionInfo": "18.2.0", "licenseId": "MIT", "extractedText": "..."},
        {"name": "proxy", "versionInfo": "5.3.0", "licenseId": None},
    ]
    licences = "static/third-party-licenses.json"
    write(extensions / "@scope/shown" / licences, {"packages": bundled})
    found = {each["purl"]: each for each in program.npm_packages(tmp_path)}
    assert sorted(found) == [
        "pkg:npm/%40scope/part@1.0.0",
        "pkg:npm/%40scope/shown@2.0.0",
        "pkg:npm/proxy@5.3.0",
        "pkg:npm/react@18.2.0",
    ]
    assert found["pkg:npm/react@18.2.0"]["licenses"] == [{"license": {"name": "MIT"}}]


def test_what_this_environment_bundles_is_listed(program: Any) -> None:
    """JupyterLab's own pages and those of the extensions, as their builder names them."""
    found = {each["purl"].rpartition("@")[0] for each in program.npm_packages(Path(sys.prefix))}
    expected = ("react", "dask-labextension", "%40jupyter-widgets/jupyterlab-manager")
    assert {f"pkg:npm/{each}" for each in expected} <= found
