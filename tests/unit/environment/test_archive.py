"""Archives: named by content, checked when they arrive, and nothing lies elsewhere."""

import os
import tarfile
from pathlib import Path

import pytest

from facility.environment.archive import BLOCK, Archive, Shelf, digest_of, pack, unpack


def files(folder: Path, **texts: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {f"package/{name}": str(folder / name) for name in texts}


def test_the_same_content_has_the_same_name(home: Path, tmp_path: Path) -> None:
    shelf = Shelf(home / "shelf")
    one = files(tmp_path / "one", a="1", b="2")
    digest, size = shelf.packed(one)
    assert shelf.packed(files(tmp_path / "two", b="2", a="1")) == (digest, size)
    (tmp_path / "one" / "a").write_text("changed")
    assert shelf.packed(one)[0] != digest
    unpack(shelf.path(digest), tmp_path / "out")
    assert (tmp_path / "out" / "package" / "b").read_text() == "2"


def test_what_is_known_is_not_read_again(home: Path, tmp_path: Path) -> None:
    shelf = Shelf(home / "shelf")
    found = files(tmp_path / "one", a="1")
    digest, _ = shelf.packed(found)
    (tmp_path / "one" / "a").chmod(0)
    status = (tmp_path / "one" / "a").stat()
    # Of the same size and time: that it was not read shows in its name.
    (tmp_path / "one" / "a").chmod(0o600)
    (tmp_path / "one" / "a").write_text("2")
    os.utime(tmp_path / "one" / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert shelf.packed(found)[0] == digest


def test_files_that_vanish_while_they_are_packed_are_left_out(home: Path, tmp_path: Path) -> None:
    found = files(tmp_path / "one", a="1", b="2")
    (tmp_path / "one" / "a").unlink()
    shelf = Shelf(home / "shelf")
    with tarfile.open(shelf.path(shelf.packed(found)[0])) as tar:
        assert tar.getnames() == ["package/b"]


def test_blocks_make_the_archive_and_damage_is_found(tmp_path: Path) -> None:
    data = os.urandom(BLOCK + 17)
    digest = digest_of(data)
    shelf, other = Shelf(tmp_path / "one"), Shelf(tmp_path / "two")
    assert shelf.add(data) == digest
    first, second = shelf.read(digest, 0), shelf.read(digest, BLOCK)
    assert (len(first), len(second), shelf.read(digest, len(data))) == (BLOCK, 17, b"")
    assert not other.append(digest, 0, first, len(data))
    assert not other.has(digest)
    with pytest.raises(ValueError, match="arrived damaged"):
        other.append(digest, BLOCK, bytes(17), len(data))
    assert list(other.folder.iterdir()) == []
    other.append(digest, 0, first, len(data))
    assert other.append(digest, BLOCK, second, len(data))
    assert other.has(digest)


def test_the_oldest_are_removed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    digests = [shelf.add(bytes([number]) * 100) for number in range(4)]
    for age, digest in enumerate(digests):
        os.utime(shelf.path(digest), (1000 - age, 1000 - age))
    shelf.prune(most=250)
    assert [shelf.has(digest) for digest in digests] == [True, True, False, False]


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil"])
def test_nothing_is_unpacked_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "one.tar").write_bytes(pack([name], lambda path: b"x"))
    folder = tmp_path / "deep" / "out"
    if name.startswith("/"):
        unpack(tmp_path / "one.tar", folder)  # as a name below the folder
        assert (folder / "tmp" / "evil").exists()
    else:
        with pytest.raises(tarfile.TarError):
            unpack(tmp_path / "one.tar", folder)
    assert not (tmp_path / "deep" / "evil").exists()


@pytest.mark.parametrize("digest", ["../../etc/passwd", "a" * 63, "g" * 64])
def test_names_that_are_none_are_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="is no name of an archive"):
        Shelf(tmp_path).read(digest, 0)


def test_an_archive_travels_as_json() -> None:
    one = Archive("a" * 64, 5, "site", "name", "1.0", ("name",), "x86_64")
    assert Archive.from_json(one.as_json()) == one
