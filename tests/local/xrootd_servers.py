"""Real XRootD servers on loopback: an origin with files, and caches (XCache) in front of it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

USER = "nobody"
"""Whom a server runs as that root starts: xrootd refuses root."""

ORIGIN = """
xrd.port {port}
xrd.network nodnr norpipa
oss.localroot {data}
all.export /atlas
all.adminpath {work}
all.pidpath {work}
"""
CACHE = """
xrd.port {port}
xrd.network nodnr norpipa
ofs.osslib libXrdPss.so
pss.cachelib libXrdPfc.so
pss.origin =
pss.permit 127.0.0.1
oss.localroot {data}
all.export /
all.export /root:/
all.adminpath {work}
all.pidpath {work}
pfc.ram 1g
pfc.diskusage 0.98 0.99
"""


class Server:
    """One server process with folders of its own.

    Attributes
    ----------
    data
        What an origin serves below ``/atlas``, or what a cache has kept.
    """

    def __init__(self, kind: str) -> None:
        # Not below pytest's folders, which another user cannot enter.
        self.folder = Path(tempfile.mkdtemp(prefix="facility-xrootd-"))
        self.folder.chmod(0o755)
        self.data, self.work = self.folder / "data", self.folder / "work"
        (self.data / "atlas").mkdir(parents=True)
        self.work.mkdir()
        if os.getuid() == 0:
            for folder in (self.data, self.data / "atlas", self.work):
                shutil.chown(folder, USER)
        self.kind = kind
        self.config = self.folder / "server.cfg"
        self.process: subprocess.Popen[bytes] | None = None
        self.choose_port()

    def choose_port(self) -> None:
        """Write its settings, with a port that is free now."""
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        values = {"port": self.port, "data": self.data, "work": self.work}
        self.config.write_text(self.kind.format(**values))

    def start(self) -> "Server":
        """Start it at its port, or at another one if meanwhile somebody else has taken that."""
        self._start()
        for _ in range(3):
            if self._comes_up():
                return self
            self.choose_port()
            self._start()
        raise AssertionError(f"xrootd ends again and again: {self.log()}")

    def _start(self) -> None:
        program = shutil.which("xrootd")
        assert program
        as_user = ["-R", USER] if os.getuid() == 0 else []
        words = [program, *as_user, "-c", str(self.config), "-l", str(self.work / "log")]
        self.process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.work
        )

    def _comes_up(self) -> bool:
        """Whether it answers before it ends."""
        assert self.process is not None
        deadline = time.monotonic() + 30
        while self.process.poll() is None:
            if self._answers():
                return True
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return False

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and keep its folders."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20)
            self.process = None

    def clean_up(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)
        shutil.rmtree(self.folder)

    def log(self) -> str:
        return "\n".join(path.read_text() for path in self.work.rglob("log"))

    def kept(self) -> set[str]:
        """Names of the files of which a cache has a part."""
        return {path.name.removesuffix(".cinfo") for path in self.data.rglob("*.cinfo")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
