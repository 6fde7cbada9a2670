"""Synthetic files of a small search: data, two backgrounds and a signal, with a known answer.

A particle of 300 GeV decays to pairs of electrons or of muons, among Drell-Yan pairs and pairs of
any two flavours from top quarks. The data hold the signal as often as predicted, 15 % more top
quarks than predicted, and electrons whose momenta are measured 0.3 % too large: what an analysis
has to find out.
"""

import asyncio
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from distributed import Client, Worker, WorkerPlugin
from distributed.deploy.cluster import Cluster

from facility.analysis.samples.collisions import (
    ELECTRON_RESOLUTION,
    MUON_RESOLUTION,
    UNRELATED_LEPTONS,
    Columns,
    Integers,
    Particles,
    collisions,
    detected,
    leptons,
)
from facility.analysis.samples.kinematics import (
    ELECTRON_MASS,
    Floats,
    Momenta,
    decay,
    resonance_masses,
)
from facility.analysis.samples.physlite_files import MAX_EVENTS, write_files
from facility.backend import runs_in_pod
from facility.names import data_folder

LUMINOSITY = 10e3
"""Of the data, in 1/pb."""
SIGNAL_MASS, SIGNAL_WIDTH = 300e3, 3e3
"""In MeV."""
TOP_EXCESS = 1.15
"""Top quarks in the data for each that is predicted."""
ELECTRON_SCALE = 1.003
"""Electron momenta in the data for those in simulation."""
DRELL_YAN_TAIL = 0.05
"""Fraction of Drell-Yan pairs that are heavier than the Z boson's peak."""
EE, MUMU, EMU = range(3)


class Process(NamedTuple):
    """What makes lepton pairs.

    Attributes
    ----------
    cross_section
        In pb.
    events
        To simulate.
    shares
        Of electron pairs, muon pairs, and one of each.
    masses
        Draws as many masses as it is asked for, in MeV.
    """

    cross_section: float
    events: int
    shares: tuple[float, float, float]
    masses: Callable[[np.random.Generator, int], Floats]


def _drell_yan(rng: np.random.Generator, n: int) -> Floats:
    tail = 110e3 * rng.uniform(0.001, 1.0, n) ** -0.25
    return np.where(rng.uniform(size=n) < DRELL_YAN_TAIL, tail, resonance_masses(rng, n))


def _top(rng: np.random.Generator, n: int) -> Floats:
    return 20e3 + rng.exponential(80e3, n)


def _signal(rng: np.random.Generator, n: int) -> Floats:
    return np.maximum(rng.normal(SIGNAL_MASS, SIGNAL_WIDTH, n), 0.5 * SIGNAL_MASS)


PROCESSES = {
    "drell-yan": Process(7.5, 150_000, (0.5, 0.5, 0.0), _drell_yan),
    "top": Process(2.5, 75_000, (0.25, 0.25, 0.5), _top),
    "signal": Process(0.02, 10_000, (0.5, 0.5, 0.0), _signal),
}


def search_files(folder: Path | None = None, scale: float = 1.0) -> dict[str, Any]:
    """Give the files of the search, written when they are first asked for.

    Parameters
    ----------
    folder
        Where they are, by default in the user's data folder; in a pod in that for temporary
        files.
    scale
        Luminosity and simulated events, in parts of what they are by default: 235,000 simulated
        events and 104,000 of data, 75 MB in all.

    Returns
    -------
    dict
        A fileset: `data` and one dataset for each of `PROCESSES`. The metadata of simulated ones
        hold `xsec_pb`, those of the data `lumi_ipb`.
    """
    folder = folder or _folder(scale)
    luminosity = LUMINOSITY * scale
    seen = round(sum(_expected(name, luminosity) for name in PROCESSES))
    data = partial(_columns, list(PROCESSES), True)
    files: dict[str, Any] = {
        "data": {
            "files": _written(folder / "data", seen, len(PROCESSES), data),
            "metadata": {"lumi_ipb": luminosity},
        }
    }
    for seed, (name, process) in enumerate(PROCESSES.items()):
        events = round(process.events * scale)
        files[name] = {
            "files": _written(folder / name, events, seed, partial(_columns, [name], False)),
            "metadata": {"xsec_pb": process.cross_section},
        }
    return files


def bring_search_files(cluster: Cluster, scale: float = 1.0) -> None:
    """Have each worker that does not see the files of the search make them too.

    Parameters
    ----------
    scale
        As it was given to `search_files`.
    """
    with Client(cluster) as client:
        client.register_plugin(_Bring(_folder(scale), scale))


class _Bring(WorkerPlugin):
    """What `bring_search_files` does in each worker process."""

    name = "facility-search-files"

    def __init__(self, folder: Path, scale: float) -> None:
        self.folder, self.scale = folder, scale

    async def setup(self, worker: Worker) -> None:
        # Elsewhere than in the worker's event loop, which answers meanwhile.
        await asyncio.to_thread(search_files, self.folder, self.scale)


def _folder(scale: float) -> Path:
    """Where the files are: in a pod a folder that its workers can write too."""
    base = Path(tempfile.gettempdir()) / "facility" if runs_in_pod() else data_folder()
    return base / "samples" / f"search-{scale:g}"


def _expected(name: str, luminosity: float) -> float:
    """Events of a process in the data."""
    excess = TOP_EXCESS if name == "top" else 1.0
    return PROCESSES[name].cross_section * luminosity * excess


def _written(folder: Path, events: int, seed: int, make: Callable[..., Columns]) -> list[str]:
    """Write the file of a dataset where it is missing."""
    found = sorted(folder.glob("*.root.1"))
    return [
        str(path)
        for path in found or write_files(folder, 1, events, seed, progress=False, make=make)
    ]


def _columns(
    names: list[str], real: bool, rng: np.random.Generator, n: int, *, first_event: int, run: int
) -> Columns:
    """Generate events of one process, or of all as they are in the data."""
    expected = np.array([_expected(name, 1.0) for name in names])
    kinds = rng.choice(len(names), n, p=expected / expected.sum())
    masses, flavours = np.zeros(n), np.zeros(n, int)
    for index, name in enumerate(names):
        own = np.flatnonzero(kinds == index)
        masses[own] = PROCESSES[name].masses(rng, own.size)
        flavours[own] = rng.choice(3, own.size, p=PROCESSES[name].shares)
    first, second = decay(rng, masses, ELECTRON_MASS)
    charge = rng.choice([-1.0, 1.0], n)
    scale = ELECTRON_SCALE if real else 1.0
    electrons = [
        _some(rng, flavours != MUMU, _scaled(first, scale), charge),
        _some(rng, flavours == EE, _scaled(second, scale), -charge),
    ]
    muons = [
        _some(rng, flavours == MUMU, first, charge),
        _some(rng, flavours != EE, second, -charge),
    ]
    return collisions(
        rng,
        leptons(rng, n, electrons, _unrelated(rng, n), ELECTRON_RESOLUTION),
        leptons(rng, n, muons, _unrelated(rng, n), MUON_RESOLUTION),
        first_event=first_event % MAX_EVENTS,
        run=run,
    )


def _some(rng: np.random.Generator, chosen: Any, momenta: Momenta, charges: Floats) -> Particles:
    events = np.flatnonzero(chosen)
    return detected(rng, events, Momenta(*(each[events] for each in momenta)), charges[events])


def _scaled(momenta: Momenta, scale: float) -> Momenta:
    return momenta._replace(pt=momenta.pt * scale)


def _unrelated(rng: np.random.Generator, n: int) -> Integers:
    return np.repeat(np.arange(n), rng.poisson(UNRELATED_LEPTONS, n))
