"""Look into one ROOT file: whether it is whole, holds the tree, and how many events.

Only the file's header, its list of keys and the first bytes of the tree's metadata are
interpreted: about 4 ms for a real PHYSLITE file, whose 1,343 branches take uproot a second.
"""

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from uproot.behaviors.TBranch import HasBranches
from uproot.deserialization import numbytes_version

from facility.analysis.files.open_file import find, held, open_root
from facility.wording import counted

MAGIC = b"root"
WEB_PAGE = (b"<!doctype html", b"<html")
WIDE_FORMAT = 1_000_000
"""Versions of ROOT's file format from here on have 8-byte positions."""
LONGEST_LIST = 5
ENTRIES = struct.Struct(">q")
CLUSTERS = struct.Struct(">32x8x16xi32xq")
"""fNClusterRange and fAutoFlush, where they stand behind the entries of a TTree."""
CLUSTERS_SINCE = 19
"""Version of TTree from which that is so."""
LAID_OUT = range(16, 21)
"""Versions of TTree in which ENTRIES is where the entries are; Geant4 writes 5, with doubles."""
MOST_EVENTS_PER_BYTE = 100_000
"""Of a TTree: ten times what the best compression makes of a column of nothing but zeros."""
NTUPLE = "ROOT::RNTuple"
TREES = ("TTree", "TNtuple", "TNtupleD")


class Inspection(NamedTuple):
    """What one file was found to be.

    Attributes
    ----------
    path
        The path or address as given.
    events
        Entries of the tree, 0 where there is a problem; 0 also of a good file that has none.
    problem
        One sentence about what is wrong, None for a good file.
    uuid, size
        What ROOT wrote into it, and its bytes.
    cluster
        Events of each cluster, after which the file is best cut; 0 where they differ or are not
        told.
    name
        What it is called wherever it is: in its catalogue, or its path without the host.
    stamp
        Of its `facility.analysis.files.version.Version`.
    """

    path: str
    events: int
    problem: str | None
    uuid: str = ""
    size: int = 0
    cluster: int = 0
    name: str = ""
    stamp: str = ""


def is_address(path: str) -> bool:
    """Whether a path is a remote address such as ``root://host//path``."""
    return "://" in path


def inspect(path: str, tree: str, options: Mapping[str, Any] | None = None) -> Inspection:
    """Open a file and count the entries of a tree, without ever raising for a bad file.

    Parameters
    ----------
    tree
        As `facility.analysis.files.open_file.find` takes it.
    options
        Of `uproot.open`.
    """
    problem = None if is_address(path) else _local_problem(Path(path))
    if problem:
        return Inspection(path, 0, f"{path} {problem}")
    try:
        found = _entries(path, tree, options)
    except Exception as error:  # noqa: BLE001 - damaged bytes make uproot raise anything at all
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return Inspection(path, 0, f"{path} cannot be read as a ROOT file ({reason}).")
    return found._replace(problem=f"{path} {found.problem}") if found.problem else found


def _local_problem(path: Path) -> str | None:
    """Find what can be wrong with a file on a disk before ROOT's objects are read."""
    try:
        with path.open("rb") as file:
            header = file.read(20)
        size = path.stat().st_size
    except FileNotFoundError:
        return "does not exist."
    except OSError as error:
        return f"cannot be opened ({error.strerror})."
    if size == 0:
        return "is empty (0 bytes)."
    if header.lstrip().lower().startswith(WEB_PAGE):
        return "is a web page (HTML), as servers answer who may not read, and not a ROOT file."
    if not header.startswith(MAGIC):
        return f"is not a ROOT file (it begins with {header[:8]!r})."
    if len(header) < 20:
        return f"is truncated after {counted(size, 'byte')}; copy it again."
    version, _, narrow_end = struct.unpack(">iii", header[4:16])
    end = narrow_end if version < WIDE_FORMAT else struct.unpack(">q", header[12:20])[0]
    if size < end:
        return f"is truncated: it holds {size:,} of {counted(end, 'byte')}; copy it again."
    return None


def _entries(path: str, tree: str, options: Mapping[str, Any] | None) -> Inspection:
    """Count the entries of a tree."""
    bad = Inspection(path, 0, None)
    with open_root(path, options) as file:
        try:
            key = find(file, tree).key
        except KeyError:
            holds = _listed(dict(held(file, cycles=";" in tree)))
            return bad._replace(problem=f"has no tree {tree!r}; it holds {holds}.")
        kind, uuid, size = key.fClassName, str(file.file.uuid), int(file.file.fEND)
        if kind == NTUPLE:
            events, cluster = _ntuple(key.get())
        elif kind in TREES:
            version = _version(key) if kind == "TTree" else None
            if version is not None and version in LAID_OUT:
                events, cluster = _tree(key, version)
            elif version is None or file.file.streamer_named("TTree", version) is not None:
                events, cluster = _described(key.get()), 0
            else:
                told = f"a TTree of version {version}, which uproot does not know"
                return bad._replace(problem=f"holds {tree!r} as {told}.")
            if events is not None and events > MOST_EVENTS_PER_BYTE * size:
                events = None
        elif kind == "TChain":
            told = "a TChain, a list of other files; give those"
            return bad._replace(problem=f"holds {tree!r} as {told}.")
        else:
            return bad._replace(problem=f"holds {tree!r} as a {kind}, which is not a tree.")
    if events is None or events < 0:
        told = "it is damaged, or laid out in a way that is not known"
        return bad._replace(problem=f"does not tell how many events its {tree!r} has; {told}.")
    return Inspection(path, events, None, uuid, size, cluster)


def _version(key: Any) -> int | None:
    """Version of a TTree; None where its metadata do not begin as those of ROOT's objects do."""
    counted, version, _ = numbytes_version(*key.get_uncompressed_chunk_cursor(), {}, move=False)
    return None if counted is None else int(version)


def _tree(key: Any, version: int) -> tuple[int | None, int]:
    """Read entries and cluster of a TTree from the beginning of its metadata.

    Returns
    -------
    events : int or None
        None where the metadata are not laid out as those of this version.
    cluster : int
    """
    chunk, cursor = key.get_uncompressed_chunk_cursor()
    numbytes_version(chunk, cursor, {})
    for _ in ("TNamed", "TAttLine", "TAttFill", "TAttMarker"):
        if not cursor.skip_over(chunk, {}):
            return None, 0
    events, cluster = cursor.field(chunk, ENTRIES, {}), 0
    if version >= CLUSTERS_SINCE:
        ranges, *_, flush = cursor.fields(chunk, CLUSTERS, {})
        # A negative number counts bytes.
        cluster = max(flush, 0) if ranges == 0 else 0
    return int(events), int(cluster)


def _described(tree: Any) -> int | None:
    """Entries of a tree that uproot reads by the description in its file.

    Returns
    -------
    int or None
        None where it is no tree to uproot, or its entries are no number of events.
    """
    # Old versions, and those of other writers, store it as a double.
    entries = float(tree.num_entries) if isinstance(tree, HasBranches) else math.nan
    return int(entries) if entries.is_integer() else None


def _ntuple(ntuple: Any) -> tuple[int | None, int]:
    """Count the entries of an RNTuple, whose clusters may be of different sizes.

    Its metadata have a checksum. The size of a file is no bound: pages alike are stored once.
    """
    sizes = [int(cluster.num_entries) for cluster in ntuple.cluster_summaries]
    events = int(ntuple.num_entries)
    cluster = sizes[0] if len(set(sizes[:-1])) == 1 else 0
    return events if events == sum(sizes) else None, cluster


def _listed(classes: dict[str, str]) -> str:
    # Names with ## are bookkeeping of ATLAS' software, not events.
    trees = sorted(
        name
        for name, kind in classes.items()
        if kind in (*TREES, NTUPLE) and not name.startswith("##")
    )
    if not trees:
        return "no trees at all"
    more = len(trees) - LONGEST_LIST
    return ", ".join(trees[:LONGEST_LIST]) + (f" and {more} more" if more > 0 else "")
