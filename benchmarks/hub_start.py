"""`make run` to the login page, in a fresh clone and again; login to a ready notebook server.

The clone and the data folder are new and temporary. The caches of pip and uv are as they are, so
the first start shows how long the set-up takes where the packages need not be downloaded again;
`--no-cache` starts without them.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

from benchmarks import _measure

ROOT = Path(__file__).resolve().parent.parent
PORT = 18800
FIRST_LIMIT = 1200.0
NEXT_LIMIT = 120.0
"""Seconds after which a start counts as failed."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = _measure.options(__doc__.partition("\n")[0], rounds=3)
    parser.add_argument(
        "--no-cache", action="store_true", help="make the environment without pip's and uv's caches"
    )
    benchmark(parser.parse_args(arguments))


def benchmark(options: argparse.Namespace) -> None:
    """Measure one first start and several later ones, and print the table."""
    folder = Path(tempfile.mkdtemp(prefix="hub-start-"))
    try:
        environment = os.environ | {"XDG_DATA_HOME": str(folder / "data")}
        if options.no_cache:
            environment["XDG_CACHE_HOME"] = str(folder / "cache")
        caches = "empty caches" if options.no_cache else "pip's and uv's caches as they are"
        _measure.note(f"First start, in a fresh clone, {caches} ...")
        began = time.perf_counter()
        clone = folder / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        with started(clone, environment, FIRST_LIMIT):
            first = time.perf_counter() - began
        _measure.note(f"First start: {first:.1f} s")

        ready: list[float] = []

        def start_again() -> float:
            began = time.perf_counter()
            with started(clone, environment, NEXT_LIMIT) as told:
                again = time.perf_counter() - began
                ready.append(login_to_notebook(told))
                _measure.note(f"login to a ready notebook server: {ready[-1]:.1f} s")
            return again

        again = _measure.alternate({"next start": start_again}, options.rounds)["next start"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = {
        f"first start, fresh clone, {caches}": _measure.Summary.of([first]),
        "next start": _measure.Summary.of(again),
        "login to a ready notebook server": _measure.Summary.of(ready),
    }
    result = dict(zip(("first_s", "next_s", "login_s"), rows.values(), strict=True))
    _measure.finish(result, json=options.json, table=_measure.table(rows))


@contextmanager
def started(clone: Path, environment: dict[str, str], limit: float) -> Iterator[dict[str, str]]:
    """Give what `make run` printed, once its login page has answered; stop it afterwards."""
    log = clone / "run.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["make", "run", f"ARGS=--port {PORT}"],
            cwd=clone,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + limit
        while "Ctrl-C stops" not in log.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"The hub did not start:\n{log.read_text()}")
            time.sleep(0.05)
        told = dict(re.findall(r"^ +(address|user|password) +(\S+)$", log.read_text(), re.M))
        requests.get(told["address"] + "hub/login", timeout=60).raise_for_status()
        yield told
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        process.wait(120)


def login_to_notebook(told: dict[str, str]) -> float:
    """Log in as a browser does and return the seconds until JupyterLab's page comes."""
    with requests.Session() as browser:
        browser.trust_env = False
        hub = told["address"] + "hub/"
        browser.get(hub + "login", timeout=60)
        token = browser.cookies.get("_xsrf", path="/hub/")
        form = {"username": told["user"], "password": told["password"], "_xsrf": token}
        began = time.perf_counter()
        # The answer leads on to the page that starts the server.
        browser.post(hub + "login", data=form, timeout=60).raise_for_status()
        lab = f"{told['address']}user/{told['user']}/lab"
        while time.perf_counter() - began < NEXT_LIMIT:
            page = browser.get(lab, timeout=60)
            if page.status_code == 200 and page.url.startswith(lab):
                return time.perf_counter() - began
            time.sleep(0.1)
    raise SystemExit("The notebook server did not start.")


if __name__ == "__main__":
    main()
