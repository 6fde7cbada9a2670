"""Kinematics of lepton pairs, in arrays with one element for each pair.

Energies, momenta and masses are in MeV, as in PHYSLITE; angles in radians.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Particle Data Group, Review of Particle Physics (2022), in MeV.
Z_MASS = 91_187.6
Z_WIDTH = 2_495.2
ELECTRON_MASS = 0.510_998_95
MUON_MASS = 105.658_375_5


class Momenta(NamedTuple):
    """Momenta of particles in the detector's coordinates.

    Attributes
    ----------
    pt
        Transverse momenta in MeV.
    eta
        Pseudorapidities.
    phi
        Azimuthal angles in [-pi, pi].
    """

    pt: Floats
    eta: Floats
    phi: Floats


def pair_mass(pt1: Any, eta1: Any, phi1: Any, pt2: Any, eta2: Any, phi2: Any) -> Any:
    """Invariant mass of pairs of particles whose own masses are negligible.

    For muon pairs at the Z mass it is some 0.3 MeV too small.

    Parameters
    ----------
    pt1, eta1, phi1, pt2, eta2, phi2
        Momenta of the first and the second particle: NumPy or Awkward arrays of one shape, pt in
        MeV.

    Returns
    -------
    array
        Masses in MeV, in the shape of the arguments.
    """
    return np.sqrt(2 * pt1 * pt2 * (np.cosh(eta1 - eta2) - np.cos(phi1 - phi2)))


def resonance_masses(rng: np.random.Generator, n: int) -> Floats:
    """Draw masses of Z bosons from a Breit-Wigner distribution.

    The outermost percent is cut off, because the relativistic line shape falls faster there and
    a mass must stay positive.

    Returns
    -------
    array of shape (n,)
        Masses in MeV.
    """
    quantile = rng.uniform(0.005, 0.995, n)
    return Z_MASS + Z_WIDTH / 2 * np.tan(np.pi * (quantile - 0.5))


def decay(rng: np.random.Generator, mass: Floats, daughter_mass: float) -> tuple[Momenta, Momenta]:
    """Let moving parents decay, uniformly in their rest frame, to two particles of equal mass.

    The parents get an exponential transverse momentum (mean 15 GeV) and a Gaussian rapidity
    (width 1.6), roughly those of Z bosons at the LHC.

    Parameters
    ----------
    rng
        Source of random numbers.
    mass
        Masses of the parents in MeV, shape (n,), above twice the daughters'.
    daughter_mass
        Mass of each daughter in MeV.

    Returns
    -------
    tuple of Momenta
        The first and the second daughter, each with arrays of shape (n,).
    """
    n = mass.size
    parent_pt = rng.exponential(15e3, n)
    rapidity = rng.normal(0, 1.6, n)
    parent_phi = rng.uniform(-np.pi, np.pi, n)
    transverse_mass = np.hypot(mass, parent_pt)
    parent = np.stack(
        [
            parent_pt * np.cos(parent_phi),
            parent_pt * np.sin(parent_phi),
            transverse_mass * np.sinh(rapidity),
        ]
    )
    parent_energy = transverse_mass * np.cosh(rapidity)

    cosine = rng.uniform(-1, 1, n)
    sine = np.sqrt(1 - cosine**2)
    angle = rng.uniform(-np.pi, np.pi, n)
    energy = mass / 2
    momentum = np.sqrt(energy**2 - daughter_mass**2)
    daughter = momentum * np.stack([sine * np.cos(angle), sine * np.sin(angle), cosine])

    # A boost by the parent's momentum P: p' = p + P (p.P / (m (E + m)) + e / m).
    along = (parent * daughter).sum(axis=0) / (mass * (parent_energy + mass))
    return (
        _momenta(daughter + parent * (along + energy / mass)),
        _momenta(-daughter + parent * (-along + energy / mass)),
    )


def _momenta(vector: Floats) -> Momenta:
    """Turn Cartesian momenta of shape (3, n) into the detector's coordinates."""
    pt = np.hypot(vector[0], vector[1])
    return Momenta(pt, np.arcsinh(vector[2] / pt), np.arctan2(vector[1], vector[0]))
