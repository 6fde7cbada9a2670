"""Workers of another interpreter see what the notebook's process sees."""

import shutil
from pathlib import Path

import pytest

from tests.local.layers import Layers

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    """An image with a package `both` 1.0; above it 2.0, one that it lacks and an editable one."""
    found = Layers(tmp_path_factory.mktemp("layers"))
    found.install(found.image, found.wheel("both", "1.0"))
    found.install(found.kernel, found.wheel("both", "2.0"), found.wheel("lacking", "0.1"))
    sources = found.folder / "sources"
    package = sources / "src" / "edited"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def where(): return __file__\n")
    (sources / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "edited"\nversion = "0.3"\n'
    )
    found.install(found.kernel, "--editable", sources)
    return found


def test_packages_and_the_folder_are_on_workers_with_no_argument(
    layers: Layers, tmp_path: Path
) -> None:
    folder, extra = tmp_path / "analysis", tmp_path / "extra"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "corrections.bin").write_bytes(bytes(range(256)))
    (folder / "mine.py").write_text("import lacking\nclass Cut: least = 25\n")
    extra.mkdir()
    (extra / "on_pythonpath.py").write_text("value = 7\n")
    lines = layers.run(
        folder,
        """
        import both, lacking, edited, mine, on_pythonpath
        def seen(cut):
            import importlib.metadata, sys, both, lacking, edited, on_pythonpath
            data = open("data/corrections.bin", "rb").read()
            return (
                both.version, lacking.version, on_pythonpath.value, cut.least, len(data),
                importlib.metadata.version("edited"), edited.where(), sys.prefix,
            )
        if __name__ == "__main__":
            with cluster(2, config=POOLS, wait=2) as c, c.get_client() as client:
                for one in client.map(seen, [mine.Cut(), mine.Cut()], pure=False):
                    print(*one.result()[:-2])
                    where, prefix = one.result()[-2:]
                    print(where.startswith(prefix), "/src/" in where, prefix)
                print(client.run_on_scheduler(lambda: __import__("both").version))
                print(c.environment)
        """,
        extra,
    ).splitlines()
    expected = ["2.0 0.1 7 25 256 0.3", f"False False {layers.image}"]
    assert lines[:5] == [*expected, *expected, "2.0"]
    table = "\n".join(lines[5:])
    for said in ("both", "lacking", "edited", str(extra), "sent from", "3 files", "(editable)"):
        assert said in table
    assert "not sent" not in table
