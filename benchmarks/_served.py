"""Processes that run a way to analyse whenever they are told to, started once and kept warm."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._ways import Outcome

Process = subprocess.Popen[str]


@contextmanager
def process(way: str, root: str | None = None) -> Iterator[Process]:
    """Start one.

    Parameters
    ----------
    way
        One of `benchmarks._ways.WAYS`, or ``"rdataframe"``.
    root
        Python that can import ROOT.
    """
    command = [sys.executable, "-m", "benchmarks._ways", way]
    if way == "rdataframe":
        command = [str(root), str(Path(__file__).with_name("_root.py")), "serve"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def together(
    processes: list[Process], shares: list[list[str]], chunksize: int
) -> tuple[Outcome, list[Outcome]]:
    """Let processes work at once, each on its share.

    Returns
    -------
    total : Outcome
        The sum, with the wall time of the slowest.
    each : list of Outcome
    """
    for started, share in zip(processes, shares, strict=True):
        assert started.stdin
        started.stdin.write(json.dumps({"files": share, "chunksize": chunksize}) + "\n")
        started.stdin.flush()
    each = []
    for started in processes:
        assert started.stdout
        line = started.stdout.readline()
        if not line:
            raise RuntimeError(f"{started.args!r} has died")
        each.append(Outcome(**json.loads(line)))
    events, pairs, cpu, walls = zip(*each, strict=True)
    return Outcome(sum(events), sum(pairs), sum(cpu), max(walls)), each


def alone(started: Process, files: list[str], chunksize: int) -> Outcome:
    """Let one process work."""
    return together([started], [files], chunksize)[0]
