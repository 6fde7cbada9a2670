"""Reading ATLAS PHYSLITE with coffea, as quietly and quickly as its files allow.

A real PHYSLITE file has hundreds of branches that no columnar program can read (links, strings,
C++ objects). coffea leaves them out, and says so in one warning for each branch, file and chunk.
"""

import gc
import warnings
from typing import Any

from coffea.nanoevents import PHYSLITESchema
from distributed import Client, Worker, WorkerPlugin

GC_THRESHOLD = 50_000
"""New objects after which Python looks for garbage, instead of its 700 to 2,000.

The metadata of a PHYSLITE file are some 100,000 long-lived objects, and looking through them over
and over takes nearly half of the time in which a chunk is opened.
"""


def quiet() -> None:
    """Silence coffea's warnings about branches that it leaves out, and no others.

    Importing this module calls it, in every process that unpickles `PhysliteSchema` too; call it
    again where something has reset Python's warning filters since.
    """
    warnings.filterwarnings(
        "ignore",
        message=r"Skipping \S+ as it is (not interpretable|it cannot be represented)",
        category=UserWarning,
        module=r"coffea\.(util|nanoevents\.mapping\.uproot)$",
    )


class PhysliteSchema(PHYSLITESchema):
    """coffea's PHYSLITESchema without its hundreds of warnings.

    `AnalysisElectronsAuxDyn.pt` becomes `events.Electrons.pt`; units are PHYSLITE's, MeV.

    Examples
    --------
    >>> runner = coffea.processor.Runner(executor, schema=PhysliteSchema)
    """


class _Preparation(WorkerPlugin):
    """What `prepare` does in each worker process."""

    name = "facility-physlite"

    def setup(self, worker: Worker) -> None:
        quiet()
        gc.set_threshold(GC_THRESHOLD)

    def teardown(self, worker: Worker) -> None:
        pass


def prepare(client: Client) -> Any:
    """Get the workers of a Dask cluster ready to read PHYSLITE, present and future ones.

    They load coffea before the first chunk comes, stay quiet about branches that it leaves out,
    and collect garbage less often (see `GC_THRESHOLD`).
    """
    return client.register_plugin(_Preparation())


quiet()
