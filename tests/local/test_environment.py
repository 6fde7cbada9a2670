"""Workers of another interpreter see what the notebook's process sees."""

from pathlib import Path

import pytest

from tests.disks import run_on_small_disk
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


def test_changes_are_sent_by_difference_also_to_those_that_come_later(
    layers: Layers, tmp_path: Path
) -> None:
    (tmp_path / "cuts.py").write_text("least = 25\n")
    (tmp_path / "large.bin").write_bytes(bytes(3_000_000))
    (tmp_path / "gone.txt").write_text("here")
    lines = layers.run(
        tmp_path,
        """
        def seen(dask_worker):
            import os, cuts
            return cuts.least, os.path.exists("gone.txt"), os.path.getsize("large.bin")
        if __name__ == "__main__":
            with cluster(1, config=POOLS, wait=1) as c, c.get_client() as client:
                print(*client.run(seen).values())
                pathlib.Path("cuts.py").write_text("least = 30000\\n")
                pathlib.Path("gone.txt").unlink()
                print(c.send_code())
                print(c.send_code())
                c.scale(2)
                client.wait_for_workers(2)
                print(*client.run(seen).values())
                print(client.run_on_scheduler(lambda: __import__("cuts").least))
                pathlib.Path("mine.pem").write_text("-----BEGIN RSA PRIVATE" " KEY-----")
                print(c.send_code())
        """,
    ).splitlines()
    assert lines[0] == "(25, True, 3000000)"
    assert lines[1] == f"sent: 1 file of {tmp_path}, 10 kB; 1 file is gone"
    assert lines[2] == f"nothing has changed in {tmp_path}"
    assert lines[3] == "(30000, False, 3000000) (30000, False, 3000000)"
    assert lines[4] == "30000"
    assert (
        lines[5]
        == f"nothing has changed in {tmp_path}; mine.pem is not sent: it holds a private key"
    )


def test_no_worker_has_a_key_or_a_token_and_what_stays_is_told(
    layers: Layers, tmp_path: Path
) -> None:
    (tmp_path / ".globus").mkdir()
    for name in (".globus/userkey.pem", "harmless.txt", "notes/deep.dat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("-----BEGIN ENCRYPTED PRIVATE" + " KEY-----\nmarker-of-ada\n")
    (tmp_path / "token").write_text(
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ" + ".bWFya2VyLW9mLWFkYQ"
    )
    with (tmp_path / "huge.root").open("wb") as file:
        file.truncate(60_000_000)
    (tmp_path / "fine.txt").write_text("fine")
    lines = layers.run(
        tmp_path,
        """
        def search(dask_worker):
            found = []
            for folder, _, files in os.walk(dask_worker.local_directory):
                for name in files:
                    data = pathlib.Path(folder, name).read_bytes()
                    secret = b"marker-of" b"-ada" in data or b"bWFya" b"2Vy" in data
                    found += [name] if secret else []
            return found, os.path.exists("fine.txt"), os.path.exists(".globus")
        def read(name):
            return open(name, "rb").read(4)
        if __name__ == "__main__":
            with cluster(1, config=POOLS, wait=1) as c, c.get_client() as client:
                print(*client.run(search).values())
                for name in ("huge.root", "token", "unknown"):
                    print(repr(client.submit(read, name).exception()))
                print(c.environment)
        """,
    ).splitlines()
    assert lines[0] == "([], True, False)"
    assert "sent to workers, since it has 60 MB and a file may have 50 MB" in lines[1]
    assert "since it holds a token (JWT)" in lines[2]
    assert "No such file" in lines[3]
    assert sum("not sent: it holds a private key" in line for line in lines) == 2
    assert any("huge.root" in line and "not sent" in line for line in lines)


def test_packages_that_must_agree_are_refused_with_the_line_to_type(
    layers: Layers, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    info = other / "toolz-99.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("")
    said = layers.run(
        tmp_path / "analysis",
        """
        if __name__ == "__main__":
            try:
                cluster(1, config=POOLS)
            except FacilityError as error:
                print(type(error).__name__, error)
        """,
        other,
    )
    assert said.startswith("ClusterFailedError")
    assert "toolz 99.0 here and" in said
    assert "    python -m pip install toolz==" in said


def test_an_import_that_fails_on_workers_is_told_once(layers: Layers, tmp_path: Path) -> None:
    broken = tmp_path / "extra" / "fails_there"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(
        "import os\nif 'FACILITY_ENVIRONMENT' in os.environ:\n"
        "    raise OSError('no libX.so here')\n"
    )
    said = layers.run(
        tmp_path / "analysis",
        """
        import fails_there
        if __name__ == "__main__":
            try:
                cluster(1, config=POOLS, timeout=60)
            except FacilityError as error:
                print(type(error).__name__, error)
        """,
        tmp_path / "extra",
    )
    assert said.startswith("ClusterFailedError")
    assert "which the notebook has sent, cannot be imported here: OSError: no libX.so here" in said
    assert "no more workers are started" in said


def test_nothing_is_sent_where_nobody_wants_it(layers: Layers, tmp_path: Path) -> None:
    (tmp_path / "fine.txt").write_text("fine")
    lines = layers.run(
        tmp_path,
        """
        def seen(dask_worker):
            import both
            return both.version, os.path.exists("fine.txt")
        if __name__ == "__main__":
            with cluster(1, config=POOLS, wait=1, environment=False) as c, c.get_client() as client:
                print(*client.run(seen).values())
                print(c.environment)
                try:
                    c.send_code()
                except FacilityError as error:
                    print(error)
        """,
    ).splitlines()
    assert lines == [
        "('1.0', False)",
        "nothing was sent: environment=False",
        "Nothing is sent to these workers: environment=False.",
    ]


def test_workers_serve_each_other_and_what_is_damaged_is_fetched_elsewhere(
    layers: Layers, tmp_path: Path
) -> None:
    lines = layers.run(
        tmp_path,
        """
        import both
        async def again(dask_worker):
            import tempfile
            from distributed.core import rpc
            from facility.environment import bootstrap
            from facility.environment.archive import Shelf
            from facility.environment.exchange import fetch
            (archive,) = [a for a in bootstrap.received().archives if a.name == "both"]
            asked = []
            def peer(address):
                asked.append(address)
                return rpc(address, connection_args=dask_worker.connection_args)
            shelf = Shelf(pathlib.Path(tempfile.mkdtemp(dir=dask_worker.local_directory)))
            await fetch(archive, shelf, dask_worker.scheduler, peer)
            return len(asked), shelf.has(archive.digest)
        def damage():
            from facility.environment import bootstrap
            found = bootstrap.received()
            (archive,) = [a for a in found.archives if a.name == "both"]
            path = found.shelf.path(archive.digest)
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        if __name__ == "__main__":
            with cluster(2, config=POOLS, wait=2) as c, c.get_client() as client:
                print(*client.run(again).values())
                client.run(damage)
                print(*client.run(again).values())
        """,
    ).splitlines()
    assert lines == ["(1, True) (1, True)", "(2, True) (2, True)"]


def test_what_cannot_work_there_is_told_and_the_rest_is_sent(
    layers: Layers, tmp_path: Path
) -> None:
    """A broken editable installation, and packages built for another Python."""
    found = Layers(tmp_path / "layers")
    moved = tmp_path / "moved"
    (moved / "gone_away").mkdir(parents=True)
    (moved / "gone_away" / "__init__.py").touch()
    (moved / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "gone-away"\nversion = "0.3"\n'
    )
    found.install(found.kernel, "--editable", moved, found.wheel("lacking", "0.1"))
    moved.rename(tmp_path / "elsewhere")
    old = found.wheel("old", "1.0")
    found.install(found.kernel, old)
    wheel = next(found.site(found.kernel).glob("old-1.0.dist-info")) / "WHEEL"
    wheel.write_text("Wheel-Version: 1.0\nTag: cp38-cp38-win32\n")
    said = found.run(
        tmp_path / "analysis",
        """
        if __name__ == "__main__":
            with cluster(1, config=POOLS, wait=1) as c, c.get_client() as client:
                print(client.submit(lambda: __import__("lacking").version).result())
                print(c.environment)
        """,
    )
    assert said.startswith("0.1\n")
    assert f"its editable installation points to {moved}, which is not there" in said
    assert "it was built for cp38-cp38-win32, and workers run Python 3" in said


def test_a_pod_fetches_once_for_all_of_its_workers(layers: Layers, tmp_path: Path) -> None:
    """What runs in a worker's container, beside a scheduler of this machine."""
    lines = layers.run(
        tmp_path / "analysis",
        f"""
        import json, subprocess, signal
        import both
        folder = pathlib.Path({str(tmp_path)!r})
        pathlib.Path("beside.txt").write_text("here")
        def seen(dask_worker):
            import both
            return dask_worker.name, both.version, open("beside.txt").read(), os.getcwd()
        if __name__ == "__main__":
            with cluster(cpu=(0, 1), config=POOLS) as c, c.get_client() as client:
                settings = {{
                    "scheduler": c.scheduler_address, "members": ["pod-0", "pod-1"],
                    "pool": "cpu", "threads": 1, "memory": 2**30, "folder": f"{{folder}}/pod/dask",
                    "resources": {{"pool-cpu": 1e9}}, "death_timeout": 60, "dask": {{}},
                    "client": {{}}, "grace": 5, "disk": 10**9,
                }}
                authority = c._controller.backend.authority
                variables = {{
                    **os.environ, **authority.environment(), "FACILITY_POD_IP": "127.0.0.1",
                    "FACILITY_WORKER": json.dumps(settings), "PYTHONPATH": "",
                }}
                for role in ("CERT", "KEY"):
                    variables[f"DASK_DISTRIBUTED__COMM__TLS__WORKER__{{role}}"] = variables[
                        f"DASK_DISTRIBUTED__COMM__TLS__CLIENT__{{role}}"
                    ]
                command = [{str(layers.image / "bin" / "python")!r}, "-P", "-m"]
                pod = subprocess.Popen([*command, "facility.kubernetes.worker"], env=variables,
                                       cwd=folder)
                client.wait_for_workers(2)
                for found in sorted(client.run(seen).values()):
                    print(*found[:3], found[3].startswith(f"{{folder}}/pod/dask"))
                print(len(list((folder / "pod" / "environment" / "archives").glob("*.tar"))))
                pod.send_signal(signal.SIGTERM)
                print(pod.wait())
                # A disk that is too small for what there is.
                variables["FACILITY_WORKER"] = json.dumps(settings | {{"disk": 1000}})
                done = subprocess.run([*command, "facility.kubernetes.worker"], env=variables,
                                      cwd=folder, capture_output=True, text=True)
                print(done.returncode, done.stdout)
        """,
    ).splitlines()
    assert lines[:2] == ["pod-0 2.0 here True", "pod-1 2.0 here True"]
    archives = int(lines[2])
    assert archives == 4  # both, lacking, edited, and the folder
    assert lines[3] == "0"
    assert lines[4].startswith("78 what the notebook has above the image takes 0 MB here")
    assert "cluster(environment=False) sends nothing" in lines[4]


def test_a_scheduler_without_room_is_told(tmp_path: Path, home: Path) -> None:
    """The scheduler's part on a disk of its own, without the connection to it."""
    folder = tmp_path / "analysis"
    folder.mkdir()
    (folder / "large.bin").write_bytes(bytes(10_000_000))
    said = run_on_small_disk(
        home,
        f"""
        import asyncio, types
        from facility.environment.exchange import Exchange
        from facility.environment.sending import Sending

        class Direct:
            def __init__(self, exchange):
                self.calls = exchange.calls()

            def __getattr__(self, name):
                async def call(**arguments):
                    found = self.calls[name](**arguments)
                    return await found if asyncio.iscoroutine(found) else found

                return call

        async def main():
            exchange = Exchange(types.SimpleNamespace(workers={{}}), HOME / "scheduler")
            try:
                await Sending().send(Direct(exchange))
            except Exception as error:
                print(type(error).__name__, error)

        os.chdir({str(folder)!r})
        asyncio.run(main())
        """,
    )
    assert said.startswith("ClusterFailedError The scheduler has no room for the 10 MB that this")
    assert "No space left on device" in said
