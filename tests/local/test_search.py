"""The files of the small search reach workers that do not see the user's folders."""

import shutil
from pathlib import Path

from facility import cluster
from facility.analysis.samples.search_files import bring_search_files, search_files
from tests.local.pools import POOLS

SCALE = 0.01


def test_workers_make_the_files_that_they_do_not_see() -> None:
    files = search_files(scale=SCALE)
    paths = [path for data in files.values() for path in data["files"]]
    shutil.rmtree(Path(paths[0]).parents[1])
    with cluster(1, config=POOLS) as c, c.get_client() as client:
        bring_search_files(c, SCALE)
        seen = client.submit(lambda: [Path(path).exists() for path in paths], pure=False).result()
    assert seen == [True] * 4
