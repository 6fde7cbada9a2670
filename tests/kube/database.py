"""A real Postgres beside the Kubernetes, on the nodes' network: Debian's, as its own user."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kube.bringup import site

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
OWNER = "postgres"
PORT = 5433
USER = DATABASE = "hub"


@dataclass(frozen=True)
class Database:
    """An empty database.

    Parameters
    ----------
    password
        Of the only user.
    """

    password: str

    @property
    def url(self) -> str:
        """As SQLAlchemy writes it, without the password."""
        return f"postgresql+psycopg2://{USER}@{site.FIRST.address}:{PORT}/{DATABASE}"

    def ask(self, query: str, name: str = DATABASE) -> str:
        """What a query gives, a row a line."""
        words = ["-h", site.FIRST.address, "-p", str(PORT), "-U", USER, "-d", name, "-Atc", query]
        environment = os.environ | {"PGPASSWORD": self.password}
        done = subprocess.run(
            [PROGRAMS / "psql", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextmanager
def postgres(password: str) -> Iterator[Database]:
    """A server with an empty database, gone at the end."""
    # Its owner may not see what lies in a folder of root.
    folder = Path(tempfile.mkdtemp(prefix="facility-postgres-", dir="/tmp"))
    try:
        secret, data = folder / "password", folder / "data"
        secret.write_text(password)
        for each in (folder, secret):
            shutil.chown(each, OWNER, OWNER)
        words = [f"--pgdata={data}", f"--username={USER}", f"--pwfile={secret}"]
        words += ["--auth=scram-sha-256", "--no-sync", "--no-locale", "--encoding=UTF8"]
        done = _as_owner([PROGRAMS / "initdb", *words], folder)
        assert done.wait(120) == 0, (folder / "log").read_text()
        with (data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.0.0.0/8 scram-sha-256\n")
        words = ["-D", str(data), "-h", site.FIRST.address, "-p", str(PORT), "-k", str(folder)]
        server = _as_owner([PROGRAMS / "postgres", *words, "-c", "fsync=off"], folder)
        try:
            found = Database(password)
            deadline = time.monotonic() + 60
            while True:
                try:
                    found.ask(f"create database {DATABASE}", "postgres")
                    break
                except AssertionError:
                    assert server.poll() is None, (folder / "log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            yield found
        finally:
            # It ends its clients too, which are pods.
            server.send_signal(signal.SIGINT)
            server.wait(30)
    finally:
        shutil.rmtree(folder)


def _as_owner(command: list[str | Path], folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=OWNER,
            group=OWNER,
            extra_groups=[],
        )
