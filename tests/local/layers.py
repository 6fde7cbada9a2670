"""An image in a virtual environment of its own, and a kernel's environment on top of it.

The image has all packages of this one but by links, so that it takes a second to make; workers run
its interpreter, as pods run their image's.
"""

import os
import subprocess
import sys
import sysconfig
import textwrap
import zipfile
from pathlib import Path

SITE = Path(sysconfig.get_path("purelib"))
ROOT = Path(__file__).resolve().parents[2]
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"

PROLOGUE = """
import functools, logging, os, pathlib, sys, time
from facility.deploy import launch
from facility.local.backend import LocalBackend

launch.LocalBackend = functools.partial(LocalBackend, python={python!r})
from facility import cluster
from facility.errors import FacilityError

SMALL = {{"cpu": 1, "memory": "1Gi", "maxWorkers": 4}}
POOLS = {{"pools": {{"cpu": {{**SMALL, "default": True}}}}}}
"""


class Layers:
    """An image, and a kernel's environment that sees the image's packages under its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image, self.kernel = folder / "image", folder / "kernel"
        for each in (self.image, self.kernel):
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", each], check=True)
        for entry in SITE.iterdir():
            if entry.suffix != ".pth" and entry.name != "__pycache__":
                (self.site(self.image) / entry.name).symlink_to(entry)
        (self.site(self.image) / "facility").symlink_to(ROOT / "facility")
        (self.site(self.kernel) / "_image.pth").write_text(f"{self.site(self.image)}\n")

    @staticmethod
    def site(environment: Path) -> Path:
        """Its site-packages."""
        return environment / "lib" / VERSION / "site-packages"

    def wheel(self, name: str, version: str, tag: str = "py3-none-any", **files: str) -> Path:
        """Make a wheel; dots in the names of its files are written as two underscores."""
        place = self.folder / "wheels" / f"{name}-{version}-{tag}.whl"
        place.parent.mkdir(exist_ok=True)
        info = f"{name}-{version}.dist-info"
        found = {each.replace("__", "."): text for each, text in files.items()}
        found = found or {f"{name}.py": f"version = {version!r}\n"}
        found[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        found[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        lines = [f"{each},," for each in (*found, f"{info}/RECORD")]
        with zipfile.ZipFile(place, "w") as wheel:
            for each, text in (found | {f"{info}/RECORD": "\n".join(lines)}).items():
                wheel.writestr(each, text)
        return place

    def install(self, environment: Path, *what: str | Path) -> None:
        """Install with pip, as users do."""
        pip: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            environment / "bin" / "python",
            "install",
        ]
        options = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", "-q"]
        subprocess.run([*pip, *options, *what], check=True)

    def run(self, folder: Path, script: str, *paths: Path) -> str:
        """Run a script of the kernel's in a folder; what it prints."""
        folder.mkdir(exist_ok=True, parents=True)
        text = PROLOGUE.format(python=str(self.image / "bin" / "python"))
        (folder / "script.py").write_text(text + textwrap.dedent(script))
        done = subprocess.run(
            [self.kernel / "bin" / "python", "script.py"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
