"""The Python packages of an image, unpacked for its architecture without running any of them."""

import filecmp
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.building import CACHE, BuildError, fingerprint, install, once, remove, run, say
from tools.images import catalog, engine
from tools.images.catalog import ARCHITECTURES, LOGS, PYTHON, ROOT, Image, ancestors

UV = Path(sys.executable).with_name("uv")
PREFIX = "/opt/facility"
"""Where the packages are in an image."""
SITE = Path("lib") / f"python{PYTHON}" / "site-packages"
BESIDE = ("bin", "etc", "share", "include")
"""What packages have beside their modules; `uv --target` puts it among those."""
LAYOUT = "1"
"""Changes with what this module makes of the wheels, so that they are unpacked again."""
PLATFORM = "{machine}-manylinux_2_28"
UNPACKED = CACHE / "images" / "packages"
NPM = ("package.json", "package-lock.json")
"""Files of an image's folder that name its packages of npm."""
INGREDIENTS = ("facility", "notebooks", "pyproject.toml", "README.md", "LICENSE")
"""What the package `facility` is built from."""


def lock(images: Mapping[str, Image], arguments: list[str]) -> None:
    """Resolve each image's packages into its lock, held to the versions that the tests ran with.

    Raises
    ------
    BuildError
        They do not fit together.
    """
    for image in images.values():
        if not image.extras and not image.wanted.exists():
            continue
        fresh = image.lock.with_suffix(".new")
        if image.lock.exists():
            shutil.copy(image.lock, fresh)
        sources = [str(image.wanted)] if image.wanted.exists() else []
        sources += ["pyproject.toml"] if image.extras else []
        parent = images.get(image.parent)
        held = [ROOT / "requirements.lock", ROOT / "requirements-gpu.lock"]
        held += [parent.lock] if parent and parent.lock.exists() else []
        command = [str(UV), "pip", "compile", *sources, "--quiet", "--universal"]
        command += [f"--python-version={PYTHON}", "--generate-hashes", "--no-emit-index-url"]
        command += ["--no-emit-find-links", "--annotation-style=line", "--no-strip-extras"]
        command += ["--custom-compile-command=make lock", f"--output-file={fresh}", *arguments]
        command += [f"--extra={each}" for each in image.extras]
        command += [f"--constraints={path}" for path in held]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            fresh.unlink(missing_ok=True)
            raise BuildError(f"The packages of image {image.name}: {done.stderr.strip()}")
        fresh.rename(image.lock)
        print(f"{image.lock.relative_to(ROOT)}: {len(image.locked())} packages")


def without(text: str, names: Iterable[str]) -> str:
    """A lock without the packages named, which the parent has."""
    left, skipping, gone = [], False, set(names)
    for line in text.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            skipping = line.split("==")[0].split("[")[0].strip() in gone
        if not skipping:
            left.append(line)
    return "\n".join(left) + "\n"


def rewrite(path: Path, content: bytes) -> None:
    """Replace a file: it may be a link to one in uv's cache, which stays as it is."""
    mode = path.stat().st_mode
    path.unlink()
    path.write_bytes(content)
    path.chmod(mode)


def settle(target: Path, prefix: Path) -> None:
    """Turn the folder that `uv --target` filled into a prefix with programs beside modules."""
    for name in BESIDE:
        source = target / name
        if source.is_dir():
            shutil.copytree(source, prefix / name, dirs_exist_ok=True, symlinks=True)
            shutil.rmtree(source)
    for program in (prefix / "bin").glob("*"):
        text = program.read_bytes()
        if text.startswith(b"#!") and b"python" in text.split(b"\n", 1)[0]:
            _, rest = text.split(b"\n", 1)
            rewrite(program, f"#!{PREFIX}/bin/python\n".encode() + rest)
    for record in target.glob("*.dist-info/RECORD"):
        lines = [
            f"../../../{line}" if line.split("/")[0] in BESIDE else line
            for line in record.read_text().splitlines()
        ]
        rewrite(record, ("\n".join(lines) + "\n").encode())
    (target / ".lock").unlink(missing_ok=True)


def strip(target: Path) -> None:
    """Leave out the packages' own tests, a tenth of their size, which nobody runs in an image."""
    for folder in sorted(target.rglob("tests")):
        if folder.is_dir() and any(folder.glob("**/test_*.py")):
            shutil.rmtree(folder)


def unpack(
    into: Path, architecture: str, words: list[str], what: str, like: Path | None = None
) -> None:
    """Have uv unpack wheels for an architecture into a prefix; `like`: for another one."""
    target = into / SITE
    target.mkdir(parents=True)
    (into / "bin").mkdir()
    platform = PLATFORM.format(machine=ARCHITECTURES[architecture])
    command = [str(UV), "pip", "install", "--quiet", f"--target={target}"]
    command += [f"--python-version={PYTHON}", f"--python-platform={platform}"]
    command += ["--only-binary=:all:", "--no-deps", "--link-mode=hardlink", *words]
    run(command, what, LOGS / f"packages-{into.name.lstrip('.')}.log", cwd=ROOT)
    settle(target, into)
    strip(target)
    compile_modules(target, like and like / SITE)


def compiled_from(module: Path) -> Path:
    """File of what the image's Python makes of a module."""
    return module.parent / "__pycache__" / f"{module.stem}.cpython-{PYTHON.replace('.', '')}.pyc"


def compile_modules(target: Path, like: Path | None) -> None:
    """Compile modules to what the image's Python reads.

    The image may be read-only where it runs, so that nothing is compiled later. What comes of a
    module is the same on all architectures: it is taken from `like`, the same packages of another
    one, where they are there. Where this program has another Python, the image `base` compiles.
    """
    left = []
    for module in target.rglob("*.py"):
        twin = like / module.relative_to(target) if like else module
        compiled = compiled_from(twin)
        if twin != module and compiled.exists() and filecmp.cmp(module, twin, shallow=False):
            own = compiled_from(module)
            own.parent.mkdir(exist_ok=True)
            os.link(compiled, own)
        else:
            left.append(str(module))
    command = ["-m", "compileall", "-q", "-j", "0", "-i", "-", "-s", str(target)]
    command += ["-p", f"{PREFIX}/{SITE}", "--invalidation-mode=unchecked-hash"]
    # Some packages ship files for other versions of Python, which do not compile.
    said = "\n".join(left)
    if sys.version_info[:2] == tuple(map(int, PYTHON.split("."))):
        command = [sys.executable, *command]
        subprocess.run(command, input=said, text=True, check=False, capture_output=True)
        return
    machine = next(name for name, kernel in ARCHITECTURES.items() if kernel == os.uname().machine)
    base = catalog.read()["base"].built(machine)
    if engine.inspect(base) is None:
        say(f"  not compiled, which needs Python {PYTHON}: programs in the image start slower")
        return
    engine.change(base, machine, ["python3", *command], target, said)


def wanted(image: Image, architecture: str, images: Mapping[str, Image]) -> tuple[str, str]:
    """The part of an image's lock that its parents do not have, and the folder's name for it."""
    above = {name for each in ancestors(image, images) for name in each.locked()}
    text = without(image.lock.read_text(), above)
    return text, f"{image.name}-{architecture}-{fingerprint([text, PYTHON, LAYOUT])}"


def packages(image: Image, architecture: str, images: Mapping[str, Image]) -> Path | None:
    """The folder with the packages of an image's lock that its parents do not have."""
    if not image.lock.exists():
        return None
    text, name = wanted(image, architecture, images)
    first = image.architectures[0]
    like = None if architecture == first else packages(image, first, images)

    def make(into: Path) -> None:
        lock = into / "requirements.txt"
        lock.write_text(text)
        what = f"packages of {image.name} for {architecture}"
        words = ["--require-hashes", f"--requirements={lock}"]
        unpack(into, architecture, words, what, like)
        lock.unlink()

    about = f"unpacking the packages of {image.name} for {architecture}"
    return once(UNPACKED, name, make, about)


def node_key(image: Image) -> str:
    """Name of the folder with an image's packages of npm."""
    return f"{image.name}-npm-{fingerprint([], [image.folder / name for name in NPM])}"


def node_modules(image: Image) -> Path | None:
    """The folder with an image's packages of npm, which run on every architecture.

    Raises
    ------
    BuildError
        npm is missing, or what it fetched is not what the lock says.
    """
    if not (image.folder / NPM[0]).exists():
        return None
    if shutil.which("npm") is None:
        install({"npm": "/usr/bin/npm"}, ["npm"])

    def make(into: Path) -> None:
        for name in NPM:
            shutil.copy(image.folder / name, into)
        # No package's own scripts: what is built for this machine would be of no use elsewhere.
        command = ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
        what = f"packages of npm of {image.name}"
        run(command, what, LOGS / f"npm-{image.name}.log", cwd=into)

    return once(UNPACKED, node_key(image), make, f"fetching the packages of npm of {image.name}")


def names(image: Image, architecture: str, images: Mapping[str, Image]) -> list[str]:
    """Names of the folders with an image's packages, which change with what is in them."""
    found = [wanted(image, architecture, images)[1]] if image.lock.exists() else []
    return found + ([node_key(image)] if (image.folder / NPM[0]).exists() else [])


def forget_others(images: Mapping[str, Image]) -> None:
    """Remove what was unpacked for earlier locks, and earlier packages `facility`."""
    kept = {f"facility-{package_hash()}"}
    for image in images.values():
        for each in image.architectures:
            kept.update(names(image, each, images))
    prefixes = ("facility-", *(f"{name}-" for name in images))
    for path in UNPACKED.iterdir():
        if path.name.startswith(prefixes) and path.name not in kept:
            remove(path)


def package_hash() -> str:
    """Hash of the package `facility` as it stands here."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *INGREDIENTS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    listed = done.stdout.split("\0")
    paths = sorted(ROOT / name for name in set(listed) if name and (ROOT / name).is_file())
    return fingerprint(str(path.relative_to(ROOT)) for path in paths) + fingerprint([], paths)


def facility() -> Path:
    """The folder with the package `facility`, which runs on every architecture."""

    def make(into: Path) -> None:
        wheels = into / "wheel"
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        command += ["--no-build-isolation", "--disable-pip-version-check"]
        log = LOGS / "facility.log"
        run([*command, f"--wheel-dir={wheels}", str(ROOT)], "the package facility", log)
        [wheel] = wheels.iterdir()
        unpack(into, "amd64", [str(wheel)], "the package facility")
        shutil.rmtree(wheels)

    return once(UNPACKED, f"facility-{package_hash()}", make, "packing the package facility")


def link(source: Path, target: Path) -> None:
    """A copy of a folder that takes no space where the file system can link."""
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)
