"""What workers get of the notebook's own: credentials, variables, modules."""

from collections.abc import Iterator
from typing import Any

import pytest

from facility.config import Config
from tests.kube.notebooks import POOLS, Notebook, facility_of

pytestmark = [pytest.mark.kube, pytest.mark.timeout(400)]

PROXY = """
    import datetime, os, pathlib, stat, time
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def write_proxy(minutes):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ada")])
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
        builder = builder.public_key(key.public_key()).serial_number(1)
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        made = builder.not_valid_after(now + datetime.timedelta(minutes=minutes))
        made = made.sign(key, hashes.SHA256())
        pathlib.Path("/tmp/proxy").write_bytes(made.public_bytes(serialization.Encoding.PEM))

    os.environ["X509_USER_PROXY"] = "/tmp/proxy"

    def seen():
        found = {}
        for name in ("X509_USER_PROXY", "BEARER_TOKEN_FILE", "RUCIO_ACCOUNT", "SECRET_WORD"):
            found[name] = os.environ.get(name)
        for name in ("X509_USER_PROXY", "BEARER_TOKEN_FILE"):
            if found[name]:
                path = pathlib.Path(found[name])
                mode = oct(stat.S_IMODE(path.stat().st_mode))
                owner = path.stat().st_uid == os.getuid()
                found[name] = path.read_bytes(), mode, owner
        return found
"""


@pytest.fixture(scope="module")
def notebook(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A user's server whose pool cpu lets a variable pass."""
    cpu = POOLS.pools["cpu"].model_copy(update={"pass_env": ("RUCIO_*",)})
    pools = Config(pools={**POOLS.pools, "cpu": cpu}, source="the tests")
    with facility_of(state, tmp_path_factory.mktemp("space"), pools) as found:
        yield found


def test_credentials_and_variables_reach_workers_and_follow(notebook: Notebook) -> None:
    lines = notebook.python(
        PROXY
        + """
    os.environ["RUCIO_ACCOUNT"], os.environ["SECRET_WORD"] = "ada", "hush"
    write_proxy(30)
    from facility import cluster
    with cluster(cpu=1, pairs=2, name="mine", wait=3) as c, c.get_client() as client:
        first = client.submit(seen, pure=False).result()
        assert first["X509_USER_PROXY"] == (open("/tmp/proxy", "rb").read(), "0o600", True), first
        assert (first["RUCIO_ACCOUNT"], first["SECRET_WORD"]) == ("ada", None), first
        assert first["BEARER_TOKEN_FILE"] is None, first
        others = client.gather([client.submit(seen, pure=False, **c.route("pairs"))
                                for _ in range(8)])
        assert all(each["X509_USER_PROXY"] == first["X509_USER_PROXY"] for each in others)
        assert not any(each["RUCIO_ACCOUNT"] for each in others)
        print("proxy expires in " in c.explain(), flush=True)
        write_proxy(600)
        pathlib.Path(f"/tmp/bt_u{os.getuid()}").write_text("a.token")
        deadline = time.monotonic() + 200
        while True:
            now = client.submit(seen, pure=False).result()
            if now["BEARER_TOKEN_FILE"] and now["X509_USER_PROXY"] != first["X509_USER_PROXY"]:
                break
            assert time.monotonic() < deadline, now
            time.sleep(1)
        assert now["X509_USER_PROXY"][0] == open("/tmp/proxy", "rb").read()
        assert now["BEARER_TOKEN_FILE"] == (b"a.token", "0o600", True)
        print("expires" in c.explain())
    os.unlink(f"/tmp/bt_u{os.getuid()}")
        """
    ).splitlines()
    assert lines == ["True", "False"]
    notebook.gone("mine", 30)


def test_an_expired_proxy_is_told_once_and_stands_in_no_pod(notebook: Notebook) -> None:
    kube = notebook.admin
    started = notebook.start(
        PROXY
        + """
    import logging, sys
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    os.environ["RUCIO_ACCOUNT"] = "marker-of-ada"
    write_proxy(-5)
    from facility import cluster
    with cluster(cpu=1, name="late", wait=1) as c:
        print("expired:", "has expired" in c.explain(), flush=True)
        time.sleep(25)
    """
    )
    assert started.stdout is not None
    said = ""
    for line in started.stdout:
        if line.startswith("expired:"):
            break
        said += line
    assert line == "expired: True\n"
    assert said.count("The X.509 proxy of /tmp/proxy has expired") == 1
    pods = kube.run("get", "pods", "-o", "yaml")
    assert "late-belongings" in pods
    assert "marker-of-ada" not in pods
    rest, _ = started.communicate(timeout=120)
    assert started.returncode == 0
    assert "has expired" not in rest


def test_modules_beside_the_notebook_are_imported_and_follow(notebook: Notebook) -> None:
    lines = notebook.python(
        """
        import os, pathlib, time
        from facility import cluster
        folder = pathlib.Path("/home/jovyan/analysis")
        (folder / "cuts").mkdir(parents=True)
        (folder / "cuts" / "__init__.py").write_text("from .pt import least")
        (folder / "cuts" / "pt.py").write_text("least = 25")
        (folder / "plots.py").write_text("import cuts\\ndef least(_): return cuts.least")
        (folder / "numpy.py").write_text("raise RuntimeError")
        os.chdir(folder)
        import plots
        with cluster(cpu=1, name="code", wait=1) as c, c.get_client() as client:
            print(client.submit(plots.least, 1).result())
            (folder / "cuts" / "pt.py").write_text("least = 30000")
            print(c.send_code())
            print(client.submit(plots.least, 2).result())
            c.scale(cpu=2)
            while len(c.scheduler_info["workers"]) < 2:
                time.sleep(0.1)
            print(client.run(lambda: __import__("cuts").least, nanny=False).values())
        """
    ).splitlines()
    assert lines[0] == "25"
    assert lines[1].startswith("sent: 1 file of /home/jovyan/analysis, 10 kB")
    assert "numpy is not sent: an installed module has this name" in lines[1]
    assert lines[2:] == ["30000", "dict_values([30000, 30000])"]
