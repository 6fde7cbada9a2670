"""Workers in pods see the packages and the folder of the notebook's pod, on both architectures."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kube.notebooks import Notebook, facility_of

pytestmark = [pytest.mark.kube, pytest.mark.timeout(120)]

MAKE = """
import pathlib, subprocess, sys, zipfile

def wheel(name, version, text):
    place = f"/tmp/{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(place, "w") as found:
        found.writestr(f"{name}.py", text)
        found.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
        )
        found.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        found.writestr(f"{info}/RECORD", "")
    return place

def install(*what):
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*pip, *what], check=True)

install("--user", wheel("lacking_there", "0.1", "version = '0.1'"))
newer = wheel("mplhep", "99.0", "__version__ = '99.0'")
install("--ignore-installed", "--target=/home/jovyan/newer", newer)
folder = pathlib.Path("/home/jovyan/analysis")
(folder / ".globus").mkdir(parents=True)
(folder / ".globus" / "userkey.pem").write_text("marker-of" + "-ada")
(folder / "key.txt").write_text("-----BEGIN RSA PRIVATE" + " KEY----- marker-of" + "-ada")
(folder / "corrections.bin").write_bytes(bytes(100_000))
(folder / "cuts.py").write_text("least = 25\\n")
edited = pathlib.Path("/home/jovyan/sources/src/edited")
edited.mkdir(parents=True)
(edited / "__init__.py").write_text("value = 3\\n")
site = pathlib.Path("/home/jovyan/.local/lib/python3.13/site-packages")
info = site / "edited-0.3.dist-info"
info.mkdir(parents=True, exist_ok=True)
(site / "_edited.pth").write_text("/home/jovyan/sources/src\\n")
(info / "METADATA").write_text("Metadata-Version: 2.1\\nName: edited\\nVersion: 0.3\\n")
(info / "RECORD").write_text("_edited.pth,,\\nedited-0.3.dist-info/METADATA,,\\n"
                             "edited-0.3.dist-info/RECORD,,\\n"
                             "edited-0.3.dist-info/direct_url.json,,\\n")
(info / "direct_url.json").write_text(
    '{"url": "file:///home/jovyan/sources", "dir_info": {"editable": true}}'
)
"""

SEEN = """
def seen():
    import importlib.metadata, os, platform
    import cuts, edited, lacking_there, mplhep
    size = os.path.getsize("corrections.bin")
    return (mplhep.__version__, lacking_there.version, edited.value, cuts.least, size,
            importlib.metadata.version("edited"), platform.machine())
"""


@pytest.fixture(scope="module")
def notebook(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    with facility_of(state, tmp_path_factory.mktemp("space")) as found:
        found.python(MAKE)
        yield found


def test_both_architectures_have_what_the_notebook_has(notebook: Notebook) -> None:
    lines = notebook.python(
        f"""
        import os, sys
        sys.path.insert(0, "/home/jovyan/newer")
        os.chdir("/home/jovyan/analysis")
        from facility import cluster
        {SEEN.replace(chr(10), chr(10) + 8 * " ")}
        with cluster(cpu=1, arm=1, pairs=2, wait=4, timeout=100, name="seen") as c:
            with c.get_client() as client:
                for pool in ("cpu", "arm", "pairs"):
                    with c.on(pool):
                        print(*client.submit(seen, pure=False).result())
                print(client.run_on_scheduler(lambda: __import__("lacking_there").version))
                print(c.environment)
        """
    ).splitlines()
    both = "99.0 0.1 3 25 100000 0.3"
    assert lines[:3] == [f"{both} x86_64", f"{both} aarch64", f"{both} x86_64"]
    assert lines[3] == "0.1"
    table = "\n".join(lines[4:])
    assert "mplhep" in table
    assert "key.txt" in table
    assert "not sent: it holds a private key" in table


def test_no_key_is_on_a_worker_and_changes_follow(notebook: Notebook) -> None:
    lines = notebook.python(
        """
        import os, pathlib
        os.chdir("/home/jovyan/analysis")
        from facility import cluster
        def search(dask_worker):
            found = []
            for folder, _, files in os.walk("/tmp"):
                for name in files:
                    data = pathlib.Path(folder, name).read_bytes()
                    found += [name] if b"marker-of" b"-ada" in data else []
            return found, os.path.exists(".globus")
        with cluster(cpu=1, wait=1, name="keys") as c, c.get_client() as client:
            print(*client.run(search).values())
            pathlib.Path("cuts.py").write_text("least = 30\\n")
            print(c.send_code())
            print(*client.run(lambda: __import__("cuts").least).values())
            pathlib.Path("cuts.py").write_text("least = 25\\n")
        """
    ).splitlines()
    assert lines[0] == "([], False)"
    assert lines[1].startswith("sent: 1 file of /home/jovyan/analysis, 10 kB")
    assert lines[2] == "30"


def test_an_import_that_fails_ends_the_start(notebook: Notebook) -> None:
    said = notebook.python(
        """
        import os, pathlib, sys
        place = pathlib.Path("/home/jovyan/broken")
        (place / "fails_there").mkdir(parents=True)
        (place / "fails_there" / "__init__.py").write_text(
            "import os\\nif 'FACILITY_ENVIRONMENT' in os.environ: raise OSError('no libX.so')"
        )
        sys.path.insert(0, str(place))
        import fails_there
        from facility import cluster
        from facility.errors import FacilityError
        try:
            cluster(cpu=1, wait=1, name="failing", timeout=60)
        except FacilityError as error:
            print(error)
        """
    )
    assert "cannot be imported here: OSError: no libX.so" in said
    assert "no more workers are started" in said
    notebook.gone("failing", 30)
