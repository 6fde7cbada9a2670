"""Reading ATLAS PHYSLITE with coffea, as quietly and quickly as its files allow.

A real PHYSLITE file has hundreds of branches that no columnar program can read (links, strings,
C++ objects). coffea leaves them out, and says so in one warning for each branch, file and chunk.
"""

import gc
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from coffea.nanoevents import PHYSLITESchema
from coffea.nanoevents.util import concat
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


NTUPLE_COLON = re.compile(r"(?<!:):(?!:)")
"""What an RNTuple has where a TTree has a dot: `AnalysisElectronsAuxDyn:pt`."""


class PhysliteSchema(PHYSLITESchema):
    """coffea's PHYSLITESchema without its hundreds of warnings, and for RNTuples too.

    `AnalysisElectronsAuxDyn.pt` becomes `events.Electrons.pt`, and so does
    `AnalysisElectronsAuxDyn:pt` of an RNTuple; units are PHYSLITE's, MeV.

    Examples
    --------
    >>> runner = coffea.processor.Runner(executor, schema=PhysliteSchema)
    """

    def __init__(self, base_form: dict[str, Any], *arguments: Any, **named: Any) -> None:
        if any(NTUPLE_COLON.search(name) for name in base_form["fields"]):
            forms = dict(_with_dots(zip(base_form["fields"], base_form["contents"], strict=True)))
            base_form = {**base_form, "fields": list(forms), "contents": list(forms.values())}
        super().__init__(base_form, *arguments, **named)

    @staticmethod
    def _create_eventindex_form(base_form: dict[str, Any], key: str) -> dict[str, Any]:
        """Number the events of a column, which may have another name in the file."""
        form: dict[str, Any] = PHYSLITESchema._create_eventindex_form(base_form, key)
        form["content"]["form_key"] = concat(base_form["form_key"], "!eventindex,!content")
        return form


def _with_dots(fields: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Name the fields of an RNTuple as the branches of a TTree."""
    for name, form in fields:
        if form["class"] == "ListOffsetArray" and form["content"].get("fields") == []:
            continue  # a collection itself, whose columns stand beside it
        if not name.endswith(":"):
            yield NTUPLE_COLON.sub(".", name), form
        elif form["class"] == "RecordArray":
            # What a TTree has as branches inside a branch.
            for field, content in zip(form["fields"], form["contents"], strict=True):
                yield f"{name[:-1]}.{field}", content


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
