"""Synthetic proton collisions with Z bosons and background, as PHYSLITE's columns.

Of the events 15 % hold a Z -> ee, 15 % a Z -> mumu, and 7.5 % each a pair of electrons or muons
that does not come from a Z; all have a few unrelated leptons, jets and missing momentum. Lepton
momenta are smeared and lost as in a detector. Energies, momenta and masses are in MeV.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import numpy.typing as npt

from facility.analysis.samples.kinematics import (
    ELECTRON_MASS,
    MUON_MASS,
    Floats,
    Momenta,
    decay,
    resonance_masses,
)

Z_FRACTION = 0.15
"""Fraction of the events with a Z boson, for each lepton flavour."""
PAIR_FRACTION = 0.075
"""Fraction of the events with a non-resonant lepton pair, for each flavour."""

ELECTRON_RESOLUTION = 0.018
MUON_RESOLUTION = 0.022
"""Relative resolutions of the transverse momentum of leptons from Z bosons."""

MIN_LEPTON_PT = 7e3
MAX_LEPTON_ETA = 2.5
EFFICIENCY = 0.92
UNRELATED_LEPTONS = 0.25
"""Mean number an event of leptons of one flavour that belong to no pair."""
JETS = 4.0
"""Mean number of jets an event."""
MET_TERMS = 5

Columns = dict[str, Any]
Integers = npt.NDArray[np.int64]


class Particles(NamedTuple):
    """Leptons of some events: the event of each, momenta, charges."""

    events: Integers
    momenta: Momenta
    charges: Floats


def columns(rng: np.random.Generator, n: int, *, first_event: int, run: int) -> Columns:
    """Generate events.

    Parameters
    ----------
    rng
        Source of all random numbers.
    n
        How many events.
    first_event
        Event number of the first one; the others follow.
    run
        Run number of all.

    Returns
    -------
    dict of str to array
        Columns by the name of their branch in PHYSLITE: NumPy arrays of shape (n,) where an event
        has one value, Awkward arrays ``n * var * {field: number}`` for collections.
    """
    dice = rng.uniform(size=n)
    edges = np.cumsum([Z_FRACTION, Z_FRACTION, PAIR_FRACTION, PAIR_FRACTION])
    kind = np.searchsorted(edges, dice, side="right")
    electrons = _leptons(
        rng, kind == 0, kind == 2, mass=ELECTRON_MASS, resolution=ELECTRON_RESOLUTION
    )
    muons = _leptons(rng, kind == 1, kind == 3, mass=MUON_MASS, resolution=MUON_RESOLUTION)
    return collisions(rng, electrons, muons, first_event=first_event, run=run)


def collisions(
    rng: np.random.Generator, electrons: ak.Array, muons: ak.Array, *, first_event: int, run: int
) -> Columns:
    """Complete events of which the leptons are there, as `leptons` returns them.

    Returns
    -------
    dict of str to array
        As that of `columns`.
    """
    n = len(electrons)
    electrons = _with_columns(
        electrons,
        lambda size: {
            "m": np.full(size, ELECTRON_MASS, np.float32),
            "DFCommonElectronsLHLoose": rng.integers(0, 2, size, dtype=np.int8),
            "author": rng.integers(1, 3, size, dtype=np.uint16),
        },
    )
    muons = _with_columns(
        muons,
        lambda size: {
            "ptvarcone30": _float32(rng.exponential(1e3, size)),
            "quality": rng.integers(0, 4, size, dtype=np.uint8),
            "author": rng.integers(1, 3, size, dtype=np.uint16),
        },
    )
    return {
        "EventInfoAuxDyn.eventNumber": np.arange(first_event, first_event + n, dtype=np.uint64),
        "EventInfoAuxDyn.runNumber": np.full(n, run, np.uint32),
        "EventInfoAuxDyn.actualInteractionsPerCrossing": _float32(rng.normal(50, 12, n)),
        "EventInfoAuxDyn.mcEventWeights": ak.unflatten(
            _float32(rng.normal(1, 0.1, n)), np.ones(n, np.int64)
        ),
        "AnalysisElectronsAuxDyn": electrons,
        "AnalysisMuonsAuxDyn": muons,
        "AnalysisJetsAuxDyn": _jets(rng, n),
        "MET_Core_AnalysisMETAuxDyn": _missing_momentum(rng, n),
    }


def _leptons(
    rng: np.random.Generator,
    from_z: np.ndarray[Any, np.dtype[np.bool_]],
    from_pair: np.ndarray[Any, np.dtype[np.bool_]],
    *,
    mass: float,
    resolution: float,
) -> ak.Array:
    """Reconstructed leptons of one flavour, sorted by falling pt within each event."""
    n = from_z.size
    pairs = np.flatnonzero(from_z | from_pair)
    parent = np.where(
        from_z[pairs],
        resonance_masses(rng, pairs.size),
        20e3 + rng.exponential(60e3, pairs.size),
    )
    charge = rng.choice([-1.0, 1.0], pairs.size)
    unrelated = np.repeat(np.arange(n), rng.poisson(UNRELATED_LEPTONS, n))

    found = [
        detected(rng, pairs, daughter, sign)
        for daughter, sign in zip(decay(rng, parent, mass), (charge, -charge), strict=True)
    ]
    return leptons(rng, n, found, unrelated, resolution)


def detected(
    rng: np.random.Generator, events: Integers, momenta: Momenta, charges: Floats
) -> Particles:
    """Lose leptons as a detector does.

    Parameters
    ----------
    events
        Number of the event that each belongs to.
    """
    seen = (
        (np.abs(momenta.eta) < MAX_LEPTON_ETA)
        & (momenta.pt > MIN_LEPTON_PT)
        & (rng.uniform(size=events.size) < EFFICIENCY)
    )
    return Particles(events[seen], Momenta(*(values[seen] for values in momenta)), charges[seen])


def leptons(
    rng: np.random.Generator,
    n: int,
    found: list[Particles],
    unrelated: Integers,
    resolution: float,
) -> ak.Array:
    """Reconstructed leptons of one flavour in `n` events, sorted by falling pt within each.

    Parameters
    ----------
    found
        Those that were detected.
    unrelated
        Numbers of events that get one more which belongs to no pair.
    resolution
        Relative resolution of the transverse momentum.
    """
    more = Particles(
        unrelated,
        Momenta(
            MIN_LEPTON_PT + rng.exponential(10e3, unrelated.size),
            rng.uniform(-MAX_LEPTON_ETA, MAX_LEPTON_ETA, unrelated.size),
            rng.uniform(-np.pi, np.pi, unrelated.size),
        ),
        rng.choice([-1.0, 1.0], unrelated.size),
    )
    every = [*found, more]
    event = np.concatenate([each.events for each in every])
    momenta = zip(*(each.momenta for each in every), strict=True)
    pt, eta, phi = (np.concatenate(values) for values in momenta)
    charges = np.concatenate([each.charges for each in every])
    pt = pt * rng.normal(1, resolution, pt.size)
    order = np.lexsort((-pt, event))
    return _collection(
        np.bincount(event, minlength=n),
        {
            "pt": _float32(pt[order]),
            "eta": _float32(eta[order]),
            "phi": _float32(phi[order]),
            "charge": _float32(charges[order]),
        },
    )


def _jets(rng: np.random.Generator, n: int) -> ak.Array:
    counts = rng.poisson(JETS, n)
    size = int(counts.sum())
    return _collection(
        counts,
        {
            "pt": _float32(15e3 + rng.exponential(25e3, size)),
            "eta": _float32(rng.normal(0, 2, size).clip(-4.5, 4.5)),
            "phi": _float32(rng.uniform(-np.pi, np.pi, size)),
            "m": _float32(rng.exponential(8e3, size)),
            "NNJvtPass": rng.integers(0, 2, size, dtype=np.int8),
            "DFCommonJets_fJvt": _float32(rng.uniform(size=size)),
        },
    )


def _missing_momentum(rng: np.random.Generator, n: int) -> ak.Array:
    """Terms of the missing transverse momentum, whose last one is the sum of the others."""
    x, y, total = (
        _with_sum(values)
        for values in (
            rng.normal(0, 12e3, (n, MET_TERMS - 1)),
            rng.normal(0, 12e3, (n, MET_TERMS - 1)),
            rng.exponential(60e3, (n, MET_TERMS - 1)),
        )
    )
    return _collection(
        np.full(n, MET_TERMS), {"mpx": _float32(x), "mpy": _float32(y), "sumet": _float32(total)}
    )


def _with_sum(terms: Floats) -> Floats:
    return np.column_stack([terms, terms.sum(axis=1)]).ravel()


def _with_columns(collection: ak.Array, make: Callable[[int], Mapping[str, Any]]) -> ak.Array:
    """Add columns, made for as many particles as the collection holds."""
    counts = ak.num(collection)
    for name, values in make(int(ak.sum(counts))).items():
        collection[name] = ak.unflatten(values, counts)
    return collection


def _collection(counts: Any, fields: Mapping[str, Any]) -> ak.Array:
    return ak.unflatten(ak.Array(dict(fields)), counts)


def _float32(values: Floats) -> np.ndarray[Any, np.dtype[np.float32]]:
    return values.astype(np.float32)
