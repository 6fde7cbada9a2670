"""Real ROOT files for the tests: `python -m tools.samples` fetches them, and says where they are.

coffea publishes its sources with the files that its own tests read: ATLAS PHYSLITE, NanoAOD of
several versions as TTree and as RNTuple, EDM4hep, FCC, Delphes. They are fetched from where pip on
this machine fetches packages, once, and kept in the user's cache folder. The archive is compared
with its hash here, and each file, whenever it is asked for, with its own in `tests/data`.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

from tools.building import CACHE, BuildError, fingerprint, once, remove, say

ROOT = Path(__file__).resolve().parent.parent
HASHES = ROOT / "tests" / "data" / "samples.sha256"
"""Hash and name of each file, as `sha256sum` writes them."""
NAME, VERSION = "coffea", "2026.9.0"
ARCHIVE_HASH = "7dfc1b54d9d1533c8a5bd8a5786d13272ea1a170b0817061d4478f721aedae04"
INSIDE = f"{NAME}-{VERSION}/tests/samples/"
BACKEND = f'''"""Tells pip the name and the version of what it downloads."""

from pathlib import Path


def prepare_metadata_for_build_wheel(folder, settings=None):
    told = Path(folder, "{NAME}-{VERSION}.dist-info")
    told.mkdir()
    told.joinpath("METADATA").write_text("""\\
Metadata-Version: 2.1
Name: {NAME}
Version: {VERSION}
""")
    return told.name
'''
"""Stands for the package's own build backend.

pip asks it for the metadata of each source archive that it downloads. The real one would have to be
installed, and would run code of the archive.
"""
BACKEND_NAME = "hatchling"
"""The package whose module `build` the archive names as its backend."""


def hashes() -> Mapping[str, str]:
    """SHA-256 of each file by its name."""
    lines = [line.split() for line in HASHES.read_text().splitlines()]
    return {name: digest for digest, name in lines}


def location() -> Path:
    """Where the files are kept."""
    return CACHE / "samples" / fingerprint([NAME, VERSION, ARCHIVE_HASH], [HASHES])


def sample(name: str) -> Path:
    """Path of one file that was fetched before.

    Raises
    ------
    BuildError
        It is not there, or not what it should be.
    """
    path = location() / name
    if hashes()[name] != digest(path):
        raise BuildError(
            f"{path} is {'damaged' if path.exists() else 'not there'}: `make samples` fetches it."
        )
    return path


def samples() -> Path:
    """Folder of all files that were fetched before; raises as `sample` does."""
    for name in hashes():
        sample(name)
    return location()


@cache
def digest(path: Path) -> str:
    """SHA-256 of a file, empty where there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch() -> Path:
    """Have all files in the cache, and return their folder.

    Of two programs that want them at once, one fetches and the other waits.

    Raises
    ------
    BuildError
        They cannot be fetched, or are not what they should be.
    """
    final = location()
    final.parent.mkdir(parents=True, exist_ok=True)
    with (final.parent / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        digest.cache_clear()
        damaged = [name for name, wanted in hashes().items() if digest(final / name) != wanted]
        if final.exists() and damaged:
            say(f"{final}: {', '.join(damaged)} missing or damaged, all are fetched again")
            remove(final)
        about = "Fetching real ROOT files for the tests (30 MB, once)"
        return once(final.parent, final.name, unpack, about)


def unpack(folder: Path) -> None:
    """Download the archive, and put the files into a folder."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive = download(Path(scratch))
        wanted = hashes()
        with tarfile.open(archive) as packed:
            for member in packed:
                name = member.name.removeprefix(INSIDE)
                content = packed.extractfile(member) if name in wanted else None
                if content is not None:
                    with (folder / name).open("wb") as file:
                        shutil.copyfileobj(content, file)
                    (folder / name).chmod(0o444)
    digest.cache_clear()
    wrong = [name for name, known in wanted.items() if digest(folder / name) != known]
    if wrong:
        raise BuildError(
            f"{NAME} {VERSION} holds {', '.join(wrong)} otherwise than {HASHES.name} says."
        )


def download(folder: Path) -> Path:
    """Have pip download the archive into a folder, without building it."""
    backend = folder / "backend" / BACKEND_NAME
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build.py").write_text(BACKEND)
    requirement = folder / "requirement"
    requirement.write_text(f"{NAME}=={VERSION} --hash=sha256:{ARCHIVE_HASH}\n")
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-build-isolation", "--no-cache-dir", f"--no-binary={NAME}"]
    command += ["--require-hashes", f"--requirement={requirement}", f"--dest={folder}"]
    environment = os.environ | {"PYTHONPATH": str(backend.parent)}
    # What pip says, its progress too, is not what this program is asked for.
    code = subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode
    archive = folder / f"{NAME}-{VERSION}.tar.gz"
    if code or not archive.exists():
        raise BuildError(
            f"The real ROOT files of the tests could not be fetched: pip did not download the "
            f"sources of {NAME} {VERSION} (see above). They come from where pip on this machine "
            "fetches packages; see that it reaches that and run this again."
        )
    return archive


if __name__ == "__main__":
    try:
        with redirect_stdout(sys.stderr):
            found = fetch()
        print(found)
    except BuildError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
