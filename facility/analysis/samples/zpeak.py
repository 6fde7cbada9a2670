"""A coffea processor that finds Z bosons in pairs of electrons and of muons."""

from typing import Any

import awkward as ak
import numpy as np
from coffea import processor
from hist import Hist, storage
from hist import axis as axes

from facility.analysis.samples.kinematics import Floats, pair_mass

GEV = 1e3
"""MeV in a GeV."""
FLAVOURS = {"ee": "Electrons", "mumu": "Muons"}
"""PHYSLITE's collections by the name of the pair that they make."""


class ZPeak(processor.ProcessorABC):
    """Masses of opposite-sign pairs of electrons and of muons.

    An event counts for a flavour if it has exactly two leptons of it that pass the selection, and
    these have opposite charges.

    Parameters
    ----------
    min_pt
        Smallest transverse momentum of a lepton, in MeV.
    max_eta
        Largest absolute pseudorapidity of a lepton.
    bins
        Number of bins of the mass axis.
    mass_range
        Ends of the mass axis in GeV.
    """

    def __init__(
        self,
        *,
        min_pt: float = 15e3,
        max_eta: float = 2.47,
        bins: int = 160,
        mass_range: tuple[float, float] = (40.0, 140.0),
    ) -> None:
        self.min_pt = min_pt
        self.max_eta = max_eta
        self.bins = bins
        self.mass_range = mass_range

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Fill the histogram with one chunk of events.

        Returns
        -------
        dict
            `mass`, a histogram over dataset, flavour (``ee``, ``mumu``) and mass in GeV; and
            `events`, the number of events processed of each dataset.
        """
        dataset = events.metadata["dataset"]
        mass = Hist(
            axes.StrCategory([], growth=True, name="dataset"),
            axes.StrCategory(list(FLAVOURS), name="flavour"),
            axes.Regular(self.bins, *self.mass_range, name="mass", label=r"$m_{\ell\ell}$ [GeV]"),
            storage=storage.Int64(),
        )
        for flavour, collection in FLAVOURS.items():
            mass.fill(dataset=dataset, flavour=flavour, mass=self._masses(events[collection]) / GEV)
        return {"mass": mass, "events": {dataset: len(events)}}

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Any]:
        """Return the sum of all chunks as it is."""
        return accumulator

    def _masses(self, leptons: ak.Array) -> Floats:
        """Masses in MeV, one for each event with a selected pair."""
        # Only the columns needed: a real PHYSLITE lepton has a hundred.
        pt, eta, phi, charge = leptons.pt, leptons.eta, leptons.phi, leptons.charge
        good = (pt > self.min_pt) & (abs(eta) < self.max_eta)
        paired = ak.sum(good, axis=1) == 2
        pt, eta, phi, charge = (
            ak.to_numpy(ak.flatten(column[good][paired])).reshape(-1, 2)
            for column in (pt, eta, phi, charge)
        )
        opposite = charge[:, 0] * charge[:, 1] < 0
        pt, eta, phi = (column[opposite].astype(np.float64) for column in (pt, eta, phi))
        masses: Floats = pair_mass(pt[:, 0], eta[:, 0], phi[:, 0], pt[:, 1], eta[:, 1], phi[:, 1])
        return masses
