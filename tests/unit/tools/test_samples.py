"""Real files for the tests: fetched once, without running anything of the archive they come in."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tools import samples
from tools.building import BuildError

FILES = {"a.root": b"root of a", "b.root": b"root of b"}
BUILD = f"""[build-system]
requires = ["{samples.BACKEND_NAME}"]
build-backend = "{samples.BACKEND_NAME}.build"

[project]
name = "{samples.NAME}"
dynamic = ["version"]
"""
"""As coffea's own: nothing here tells its version, so that its real backend would fail."""
FETCH = """
import sys
from pathlib import Path
from tools import samples
samples.HASHES, samples.ARCHIVE_HASH = Path(sys.argv[1]), sys.argv[2]
print(samples.fetch())
"""


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive, which is all that pip finds."""
    inside = {"pyproject.toml": BUILD, "PKG-INFO": "Name: x"}
    inside |= {f"tests/samples/{name}": content.decode() for name, content in FILES.items()}
    path = tmp_path / "index" / f"{samples.NAME}-{samples.VERSION}.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as packed:
        for name, content in inside.items():
            told = tarfile.TarInfo(f"{samples.NAME}-{samples.VERSION}/{name}")
            told.size = len(content)
            packed.addfile(told, io.BytesIO(content.encode()))
    known = tmp_path / "samples.sha256"
    known.write_text(
        "".join(f"{hashlib.sha256(each).hexdigest()}  {name}\n" for name, each in FILES.items())
    )
    monkeypatch.setattr(samples, "CACHE", tmp_path / "cache" / "facility")
    monkeypatch.setattr(samples, "HASHES", known)
    monkeypatch.setattr(samples, "ARCHIVE_HASH", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    samples.digest.cache_clear()
    return path


def test_two_programs_at_once_from_an_empty_cache(archive: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FETCH, str(samples.HASHES), samples.ARCHIVE_HASH]
    environment = os.environ | {"KEPT_CACHE_HOME": str(tmp_path / "cache")}
    both = [
        subprocess.Popen(
            command,
            cwd=samples.ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [each.communicate(timeout=60) for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert sum("once)" in out for out, _ in said) == 1, said
    folder = samples.samples()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert sorted(each.name for each in folder.parent.iterdir()) == [folder.name, "lock"]
    assert samples.sample("a.root") == folder / "a.root"


def test_what_is_damaged_in_the_cache_is_told_and_fetched_again(
    archive: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BuildError, match=r"a\.root is not there: `make samples` fetches it"):
        samples.samples()
    damaged = samples.fetch() / "b.root"
    damaged.chmod(0o644)
    damaged.write_bytes(b"toor of b")
    samples.digest.cache_clear()
    with pytest.raises(BuildError, match=r"b\.root is damaged: `make samples` fetches it"):
        samples.samples()
    archive.rename(archive.with_suffix(".away"))
    with pytest.raises(BuildError, match="pip did not download the sources of coffea"):
        samples.fetch()
    archive.with_suffix(".away").rename(archive)
    assert samples.fetch() == damaged.parent
    assert damaged.read_bytes() == FILES["b.root"]
    # And never again.
    archive.unlink()
    assert samples.fetch() == damaged.parent
    assert capfd.readouterr().out.count("missing or damaged") == 1


def test_an_archive_of_another_content_leaves_nothing(
    archive: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(samples, "ARCHIVE_HASH", "0" * 64)
    with pytest.raises(BuildError, match="fetches packages; see that it reaches that"):
        samples.fetch()
    assert "HASHES" in capfd.readouterr().err
    assert [path.name for path in samples.location().parent.iterdir()] == ["lock"]


def test_a_file_of_another_content_leaves_nothing(archive: Path) -> None:
    samples.HASHES.write_text(f"{'1' * 64}  a.root\n{'2' * 64}  c.root\n")
    with pytest.raises(BuildError, match=r"holds a\.root, c\.root otherwise than samples\.sha256"):
        samples.fetch()
    assert [path.name for path in samples.location().parent.iterdir()] == ["lock"]
