"""Real PHYSLITE cut off at every boundary of a key and of a basket, and beside them.

Some six thousand times: `make test-long`.
"""

import shutil
import warnings
from pathlib import Path

import pytest

from facility.analysis.files.rootfile import inspect
from facility.analysis.inputs.fileset import fileset
from tests.truncation import around, baskets, keys, read, told_or_whole

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


def test_each_is_found_before_it_is_read(real_physlite: Path, tmp_path: Path) -> None:
    content = real_physlite.read_bytes()
    cut = tmp_path / "cut.root"
    offsets = around([*keys(real_physlite), *baskets(real_physlite)], len(content))
    assert len(offsets) > 4_000
    for at in offsets:
        cut.write_bytes(content[:at])
        problem = inspect(str(cut), "CollectionTree").problem
        assert problem, at
        assert "truncated" in problem or (at == 0 and "empty" in problem) or at < 4, (at, problem)


def test_none_is_read_as_another_one(real_physlite: Path, tmp_path: Path) -> None:
    content = real_physlite.read_bytes()
    cut = tmp_path / "cut.root"
    shutil.copy(real_physlite, cut)
    files = fileset(cut)
    [whole] = read(files)
    assert whole.sum() > 30
    wrong = []
    for at in [*keys(real_physlite), *baskets(real_physlite)]:
        # Cut off in place, after it was looked into.
        cut.write_bytes(content[:at])
        with warnings.catch_warnings(record=True):
            [found] = read(files)
        if not told_or_whole(found, whole):
            wrong.append((at, found))
    assert not wrong
