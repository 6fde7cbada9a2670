"""Which trees are in a file, and which of coffea's schemas are made for them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import uproot
from coffea.nanoevents import schemas

from facility.analysis.reading.physlite import PhysliteSchema

NTUPLE = "ROOT::RNTuple"
KINDS = ("TTree", "TNtuple", "TNtupleD", "TChain", NTUPLE)


class Tree(NamedTuple):
    """A tree of a file, and a schema that it is to be read with."""

    path: Path
    name: str
    schema: type[Any]

    def __str__(self) -> str:
        return f"{self.path} {self.name!r} as {self.schema.__name__}"


def _nano(name: str, fields: set[str]) -> bool:
    return name.endswith("Events")


def _physlite(name: str, fields: set[str]) -> bool:
    return any("AuxDyn" in field for field in fields)


def _edm4hep(name: str, fields: set[str]) -> bool:
    return name == "events"


MADE_FOR: tuple[tuple[type[Any], Callable[[str, set[str]], bool]], ...] = (
    (schemas.NanoAODSchema, _nano),
    (schemas.PFNanoAODSchema, lambda name, fields: _nano(name, fields) and "nPFCands" in fields),
    (
        schemas.ScoutingNanoAODSchema,
        lambda name, fields: _nano(name, fields) and any("Scouting" in each for each in fields),
    ),
    (schemas.PHYSLITESchema, _physlite),
    (PhysliteSchema, _physlite),
    (schemas.DelphesSchema, lambda name, _: name == "Delphes"),
    (schemas.TreeMakerSchema, lambda name, _: name == "PreSelection"),
    (schemas.EDM4HEPSchema, _edm4hep),
    (schemas.FCCSchema, _edm4hep),
    (schemas.FCCSchema_edm4hep1, _edm4hep),
    (schemas.PDUNESchema, lambda name, _: name.endswith("beamana")),
)
"""Schemas beside BaseSchema, and when a tree of a name and with these fields is read with one."""


def trees(path: Path) -> Iterator[Tree]:
    """Every tree of a file, once for each schema; none where uproot cannot open it."""
    with uproot.open({str(path): None}) as file:
        kinds = file.classnames(cycle=False)
        for name, kind in kinds.items():
            if kind not in KINDS:
                continue
            yield Tree(path, name, schemas.BaseSchema)
            try:
                fields = set(file[name].keys())
            except Exception:  # noqa: BLE001 - found again, and told, where it is read
                continue
            for schema, fits in MADE_FOR:
                # We refuse coffea's own for an RNTuple, of which it makes something else.
                if fits(name, fields) and (kind, schema) != (NTUPLE, schemas.PHYSLITESchema):
                    yield Tree(path, name, schema)
