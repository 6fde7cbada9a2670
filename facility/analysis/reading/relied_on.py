"""What quick reading relies on in uproot, coffea and awkward, beyond what they document.

It is compared once in each process, whatever their versions are: where something is not as
expected, files are read plainly, and the report says why. That what is read is the same is
compared with a file's own bytes (`LayoutError`) and, for a new version, by `make test-upstream`.
"""

from functools import cache
from importlib.metadata import version

from facility.private_api import PrivateApi, problems

READ = "self, chunk, cursor, context, file"
TREE, BRANCH = "uproot.behaviors.TTree:TTree", "uproot.behaviors.TBranch:TBranch"
ARRAY, CURSOR = "uproot.models.TObjArray:Model_TObjArray", "uproot.source.cursor:Cursor"
MAPPING = "coffea.nanoevents.mapping:UprootSourceMapping"

LAZY_TREE = (
    PrivateApi("uproot:open", "path, custom_classes="),
    PrivateApi("uproot:classes"),
    PrivateApi("uproot.reading:ReadOnlyFile.class_named", "self, classname"),
    PrivateApi(
        "uproot.deserialization:read_object_any", "chunk, cursor, context, file, selffile, parent"
    ),
    PrivateApi(
        f"{ARRAY}.read", "chunk, cursor, context, file, selffile, parent, concrete", overridden=True
    ),
    PrivateApi(f"{ARRAY}.read_members", READ, overridden=True, sets="_data"),
    PrivateApi("uproot.models.TTree:Model_TTree.known_versions"),
    PrivateApi("uproot.models.TTree:Model_TTree_v19.read_members", READ),
    PrivateApi("uproot.models.TTree:Model_TTree_v20.read_members", READ),
    PrivateApi(f"{TREE}.postprocess", READ, overridden=True, sets="_chunk, _lookup"),
    PrivateApi(f"{BRANCH}.index.fget", "self", sets="_index"),
    PrivateApi("uproot.source.chunk:Chunk.get", "self, start, stop, cursor, context"),
    PrivateApi(f"{CURSOR}.__init__", "self, index, origin, refs", sets="_index, _origin, _refs"),
    PrivateApi(f"{CURSOR}.copy", "self"),
    PrivateApi(f"{CURSOR}.move_to", "self, index"),
    PrivateApi(f"{CURSOR}.refs"),
    PrivateApi(f"{CURSOR}.origin"),
    PrivateApi(f"{CURSOR}.skip_after", "self, obj", sets="_index"),
)
BASKETS = (
    PrivateApi(f"{BRANCH}.basket_compressed_bytes", "self, basket_num"),
    PrivateApi(f"{BRANCH}.cache_key"),
    PrivateApi(f"{BRANCH}.embedded_baskets"),
    PrivateApi(f"{BRANCH}.entry_offsets"),
    PrivateApi(f"{BRANCH}.interpretation"),
    PrivateApi("uproot:AsDtype.from_dtype"),
    PrivateApi("uproot:AsDtype.to_dtype"),
    PrivateApi("uproot:AsJagged.content"),
    PrivateApi("uproot:AsJagged.header_bytes"),
    PrivateApi("uproot.source.chunk:Chunk.wrap", "source, data"),
    PrivateApi("uproot.source.chunk:Source.chunks", "self, ranges, notifications"),
    PrivateApi(
        "uproot.compression:decompress",
        "chunk, cursor, context, compressed_bytes, uncompressed_bytes",
    ),
    PrivateApi("awkward.contents:ListOffsetArray", "offsets, content"),
    PrivateApi("awkward.contents:NumpyArray", "data"),
    PrivateApi("awkward.index:Index64", "data"),
)
EVENTS = (
    PrivateApi("awkward.forms:from_dict", "input"),
    PrivateApi("uproot:LRUArrayCache", "limit_bytes"),
    PrivateApi(
        "coffea.nanoevents:NanoEventsFactory.__init__",
        "self, schema, mapping, partition_key, mode",
        sets="_events, _mapping, _mapping_accepts_form_mapping, _mode, _partition_key, _schema",
    ),
    PrivateApi(
        "coffea.nanoevents:NanoEventsFactory.from_root", "file, treepath=, schemaclass=, metadata="
    ),
    PrivateApi("coffea.nanoevents.mapping:TrivialUprootOpener", "uuid_pfnmap, uproot_options"),
    PrivateApi(
        MAPPING,
        "fileopener, start, stop, cache=, file_handle=, use_ak_forth=, virtual=",
    ),
    PrivateApi(f"{MAPPING}.setup", "self", overridden=True),
    PrivateApi(
        f"{MAPPING}.extract_column",
        "self, columnhandle, start, stop, allow_missing, use_ak_forth",
        overridden=True,
    ),
    PrivateApi(
        f"{MAPPING}.get_column_handle", "self, columnsource, name, allow_missing", overridden=True
    ),
    PrivateApi(f"{MAPPING}.preload_column_source", "self, uuid, path_in_source, source"),
    PrivateApi("coffea.nanoevents.schemas:EDM4HEPSchema"),
    PrivateApi("coffea.nanoevents.util:tuple_to_key", "tup"),
)


@cache
def differing() -> str | None:
    """Say what quick reading cannot do with; None where all is as it expects."""
    found = problems((*LAZY_TREE, *BASKETS, *EVENTS))
    if not found:
        return None
    names = ("uproot", "coffea", "awkward")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"quick reading does not know {versions}: {'; '.join(found)}"
