"""Run in a container of the image: Dask computes, JupyterLab answers, notebooks can import."""

import ast
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.resources import files
from pathlib import Path

TIMEOUT = 300
"""Seconds, under emulation."""


def ask(url: str, program: subprocess.Popen, log: Path) -> bytes:
    """What a program answers, once it does."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return urllib.request.urlopen(url, timeout=30).read()
        except OSError as error:
            assert program.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"{error}\n{log.read_text()}"
            time.sleep(0.5)


def imports(notebook: dict) -> set[str]:
    """Names of the modules that a notebook imports."""
    found = set()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            for node in ast.walk(ast.parse("".join(cell["source"]))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module)
                elif isinstance(node, ast.Import):
                    found |= {name.name for name in node.names}
    return found


def check_notebooks() -> None:
    """What notebooks import is there, and each notebook is."""
    notebooks = [path for path in files("facility.notebooks").iterdir() if ".ipynb" in path.name]
    assert len(notebooks) >= 3, notebooks
    modules = {name for path in notebooks for name in imports(json.loads(path.read_text()))}
    for name in sorted(modules):
        importlib.import_module(name)
    print(f"analysis: {len(notebooks)} notebooks, modules {', '.join(sorted(modules))}")


def check_inputs() -> None:
    """The clients of what input is read from, which are imported when they are needed."""
    for name in ("XRootD.client", "atlasopenmagic", "fsspec_xrootd", "pyarrow", "rucio.client"):
        importlib.import_module(name)
    print("analysis: clients of XRootD, Rucio and ATLAS Open Data")


def check_dask(folder: Path) -> None:
    """A scheduler and a worker, as pods start them, and a client: an analysis in all three."""
    from dask.distributed import Client

    address = "tcp://127.0.0.1:8786"
    with (folder / "dask").open("w") as log:
        where = ["--host=127.0.0.1", "--dashboard-address=127.0.0.1:8787"]
        scheduler = subprocess.Popen(["dask", "scheduler", *where], stdout=log, stderr=log)
        options = ["--nworkers=1", "--nthreads=1", "--no-nanny", "--no-dashboard"]
        options += ["--host=127.0.0.1", f"--local-directory={folder}"]
        worker = subprocess.Popen(["dask", "worker", address, *options], stdout=log, stderr=log)
        try:
            ask("http://127.0.0.1:8787/health", scheduler, folder / "dask")
            with Client(address, timeout=TIMEOUT) as client:
                client.wait_for_workers(1, timeout=TIMEOUT)
                total = client.submit(sum, range(1000))
                assert total.result(timeout=TIMEOUT) == 499500
        finally:
            for program in (worker, scheduler):
                program.terminate()
                program.wait()
    print("analysis: scheduler, worker and client compute")


def check_jupyterlab(folder: Path) -> None:
    """The notebook server with its extensions."""
    command = ["jupyter", "lab", "--no-browser", "--ip=127.0.0.1", "--port=8888"]
    command += [f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=smoke"]
    with (folder / "jupyter").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            page = ask("http://127.0.0.1:8888/lab?token=smoke", server, folder / "jupyter")
            assert b"JupyterLab" in page
            specs = ask("http://127.0.0.1:8888/api/kernelspecs?token=smoke", server, folder)
            kernel = json.loads(specs)["kernelspecs"]["python3"]["spec"]
            assert kernel["argv"][0] in {"python", sys.executable}, kernel
            ask("http://127.0.0.1:8888/dask/clusters?token=smoke", server, folder)
        finally:
            server.terminate()
            server.wait()
    print("analysis: JupyterLab answers")


def check_user_packages() -> None:
    """`pip install --user` is allowed, and what it installs is found."""
    words = [sys.executable, "-m", "pip", "install", "--user", "--dry-run", "--no-index", "pip"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    import site

    assert site.ENABLE_USER_SITE


def check_another_python() -> None:
    """What an older image's Python saw in a home is told, and an environment is made anew."""
    from facility.hub.user_server import pod, python_change

    home = Path.home()
    for name in ("own_of_the_user", "numpy"):
        site = home / ".local/lib/python3.11/site-packages"
        (site / f"{name}-1.0.dist-info").mkdir(parents=True)
    folder = home / "own"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to("/usr/bin/python3.11")
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    version = platform.python_version()
    assert python_change.tell_of_change(home, pod.packages_of_image, version, print)
    notice = (home / python_change.NOTICE).read_text()
    assert "1 package of yours: own_of_the_user" in notice, notice
    first, command = notice.split("```sh\n")[1].split("\n```")[0].split(" \\\n  && ")
    assert first == "python3 -m pip install --user own_of_the_user", notice
    subprocess.run(["sh", "-c", command], check=True)
    words = ["-c", "import sys; print(sys.prefix, *sys.version_info[:2])"]
    done = subprocess.run([folder / "bin/python", *words], capture_output=True, check=True)
    assert done.stdout.decode().split() == [str(folder), *version.split(".")[:2]], done
    print("analysis: what an older Python saw is told")


if __name__ == "__main__":
    # Under emulation matplotlib's list of fonts takes a while, once.
    os.environ.setdefault("MPLCONFIGDIR", tempfile.mkdtemp())
    check_notebooks()
    check_inputs()
    if json.loads(os.environ["EXPECTED"])["programs"]:
        check_user_packages()
        check_another_python()
        with tempfile.TemporaryDirectory() as name:
            check_dask(Path(name))
            check_jupyterlab(Path(name))
