"""Nothing that one attempt at a chunk leaves in the user's objects reaches another one."""

import builtins
import gc
import re
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import uproot
from coffea import processor
from coffea.nanoevents import BaseSchema
from hist import Hist
from hist import axis as axes

from facility.analysis.files.chunk import Chunk
from facility.analysis.reading import file_cache, lazy_tree
from facility.analysis.reading.file_cache import Settings, open_file
from facility.analysis.runner import process_chunk as chunks
from facility.analysis.runner.process_chunk import ChunkError, process_chunk, result_of
from facility.analysis.serialization.unpickling import LITTER, Litter, Scope

EVENTS, CHUNKS = 100, 4
SETTINGS = bytes(cloudpickle.dumps(Settings(BaseSchema)))


@pytest.fixture(autouse=True)
def no_file_stays_open() -> Iterator[None]:
    yield
    file_cache.close_files()


@pytest.fixture
def parts(tmp_path: Path) -> list[Chunk]:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        file.mktree("tree", {"x": np.float64}).extend({"x": np.arange(float(EVENTS))})
    with uproot.open(path) as file:
        uuid = str(file.file.uuid)
    step = EVENTS // CHUNKS
    identity = (uuid, path.stat().st_size, EVENTS)
    return [
        Chunk(n, "data", str(path), "tree", n * step, (n + 1) * step, *identity)
        for n in range(CHUNKS)
    ]


def notebook(code: str) -> types.ModuleType:
    """Run code as a notebook does: what it defines travels by value."""
    module = types.ModuleType("__main__")
    exec(code, vars(module))
    return module


def processed(run: bytes, part: Chunk, metadata: Any = None, settings: bytes = SETTINGS) -> Any:
    packed, _ = process_chunk(part, metadata or {}, run, settings, "none")
    return result_of(packed)


SELF = """
import numpy as np
from coffea import processor
from hist import Hist, axis

class Filling(processor.ProcessorABC):
    def __init__(self):
        self.h = Hist(axis.Regular(1, 0, 1000))
    def process(self, events):
        self.h.fill(np.asarray(events.x))
        return {"n": self.h.sum()}
    def postprocess(self, accumulator):
        return accumulator
analysis = Filling()
"""
CLASS = """
class Counting:
    n, seen = 0, []
    def __call__(self, events):
        kind = type(self)
        kind.n += len(events)
        kind.seen.append(1)
        pause()
        kind.late = getattr(kind, "late", 0) + len(events)
        return {"n": kind.n if kind.n == kind.late and len(kind.seen) == 1 else -1}
def pause():
    import time
    time.sleep(0.02)
analysis = Counting()
"""
GLOBAL = """
n, table = 0, {"n": 0}
def analysis(events):
    global n
    n += len(events)
    table["n"] += len(events)
    return {"n": n if table["n"] == n else -1}
"""
DEFAULT = """
def analysis(events, kept=[]):
    kept.append(len(events))
    return {"n": sum(kept)}
"""
CLOSURE = """
def made():
    n = 0
    def process(events):
        nonlocal n
        n += len(events)
        return {"n": n}
    return process
analysis = made()
"""
MODULE = """
import sys, types
beside = types.ModuleType("beside")
exec("n = 0\\ndef add(m):\\n    global n\\n    n += m\\n    return n", vars(beside))
def analysis(events):
    return {"n": beside.add(len(events))}
"""
ENUM = """
import enum
class Kind(enum.Enum):
    A = 1
def analysis(events):
    Kind.A.kept = getattr(Kind.A, "kept", 0) + len(events)
    return {"n": Kind.A.kept}
"""
ARRAY = """
import numpy as np
total = np.zeros(1)
def analysis(events):
    total[0] += len(events)
    return {"n": int(total[0])}
"""


@pytest.mark.parametrize(
    "code", [SELF, CLASS, GLOBAL, DEFAULT, CLOSURE, MODULE, ENUM, ARRAY],
    ids=["self", "class", "global", "default", "closure", "module", "enum", "array"],
)  # fmt: skip
def test_each_attempt_begins_anew(parts: list[Chunk], code: str) -> None:
    """Also where several threads of one process are at it."""
    run = bytes(cloudpickle.dumps(notebook(code).analysis))
    for _ in range(2):
        assert [processed(run, part)["n"] for part in parts] == [25] * CHUNKS
    together = threading.Barrier(CHUNKS)

    def work(part: Chunk) -> list[int]:
        together.wait()
        try:
            return [processed(run, part)["n"] for _ in range(3)]
        finally:
            file_cache.close_files()

    with ThreadPoolExecutor(CHUNKS) as threads:
        assert list(threads.map(work, parts)) == [[25] * 3] * CHUNKS


def test_the_plain_way_begins_anew_too(parts: list[Chunk], monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor has begun when its chunk is found not to be read well."""
    read = lazy_tree.read_object_any

    def wrongly(chunk: Any, cursor: Any, *more: Any) -> Any:
        found = read(chunk, cursor, *more)
        cursor.skip(1)
        return found

    code = """
class Counting:
    n = 0
    def __init__(self): self.tries = 0
    def __call__(self, events):
        self.tries += 1
        type(self).n += 1
        events.metadata["list"].append(1)
        return {"n": self.tries + type(self).n + len(events.metadata["list"]), "x": sum(events.x)}
analysis = Counting()
"""
    run = bytes(cloudpickle.dumps(notebook(code).analysis))
    processed(run, parts[1], {"list": []})
    file_cache.close_files()
    monkeypatch.setattr(lazy_tree, "read_object_any", wrongly)
    packed, receipt = process_chunk(parts[0], {"list": []}, run, SETTINGS, "none")
    assert receipt.plainly == "x was not read where it is"
    assert result_of(packed) == {"n": 3, "x": 300.0}


def test_what_is_imported_by_name_stays(parts: list[Chunk], monkeypatch: Any) -> None:
    module = types.ModuleType("kept_beside")
    exec("n = 0\ndef add(m):\n    global n\n    n += m\n    return n", vars(module))
    monkeypatch.setitem(sys.modules, "kept_beside", module)
    code = "import kept_beside\ndef analysis(events): return {'n': kept_beside.add(len(events))}"
    run = bytes(cloudpickle.dumps(notebook(code).analysis))
    assert [processed(run, part)["n"] for part in parts] == [25, 50, 75, 100]


# Results that are objects of the user's.

RESULTS = """
class Sum:
    made = 0
    def __init__(self, n): self.n = n
    def __add__(self, other):
        assert type(other) is type(self)
        return type(self)(self.n + other.n)
def analysis(events):
    Sum.made += 1
    return {"sum": Sum(len(events))}
"""


def test_results_of_a_class_of_the_users_add_up_and_change_nothing(parts: list[Chunk]) -> None:
    module = notebook(RESULTS)
    run = bytes(cloudpickle.dumps(module.analysis))
    outcomes = [process_chunk(part, {}, run, SETTINGS, "none")[0] for part in parts]
    total = result_of(chunks.add_packed([chunks.add_packed(outcomes[:2]), *outcomes[2:]]))
    assert type(total["sum"]) is module.Sum
    assert total["sum"].n == EVENTS
    assert module.Sum.made == 0


def test_results_whose_class_was_never_seen_here(parts: list[Chunk]) -> None:
    module = notebook(RESULTS)
    run = bytes(cloudpickle.dumps(module.analysis))
    packed, _ = process_chunk(parts[0], {}, run, SETTINGS, "none")
    del module
    gc.collect()
    one, two = result_of(packed), result_of(packed)
    assert (one["sum"] + two["sum"]).n == 50


# What lasts longer than an attempt.

SCHEMA = """
from coffea.nanoevents import BaseSchema
class Renamed(BaseSchema):
    name = "a"
    def __init__(self, base_form, *more, **named):
        super().__init__(base_form, *more, **named)
        self._form["fields"] = [self.name for _ in self._form["fields"]]
"""


def test_a_schema_that_has_changed_is_used_as_it_is_now(parts: list[Chunk]) -> None:
    module = notebook(SCHEMA)
    fields = cloudpickle.dumps(lambda events: {"fields": events.fields})

    def found() -> list[str]:
        settings = bytes(cloudpickle.dumps(Settings(module.Renamed)))
        names: list[str] = processed(fields, parts[0], settings=settings)["fields"]
        return names

    before = bytes(cloudpickle.dumps(Settings(module.Renamed)))
    assert found() == ["a"]
    module.Renamed.name = "b"
    assert found() == ["b"]
    # A run that began before goes on with what it was given.
    assert processed(fields, parts[1], settings=before)["fields"] == ["a"]


def test_a_schema_of_a_module_that_was_sent_again(
    parts: list[Chunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is pickled as its name, which is the same."""
    fields = cloudpickle.dumps(lambda events: {"fields": events.fields})
    found = []
    pickles = set()
    for name in "ab":
        module = types.ModuleType("schemas_beside")
        exec(SCHEMA.replace('"a"', f'"{name}"'), vars(module))
        monkeypatch.setitem(sys.modules, "schemas_beside", module)
        settings = bytes(cloudpickle.dumps(Settings(module.Renamed)))
        pickles.add(settings)
        found.append(processed(fields, parts[0], settings=settings)["fields"])
    assert len(pickles) == 1
    assert found == [["a"], ["b"]]


def test_files_and_forms_are_kept_for_the_same_settings(parts: list[Chunk]) -> None:
    module = notebook(SCHEMA)
    pickled = [bytes(cloudpickle.dumps(Settings(module.Renamed))) for _ in range(2)]
    first, second = (open_file(parts[0], Scope().loads(each)) for each in pickled)
    assert first is second
    other = open_file(parts[0], replace(Settings(module.Renamed), weights=True))
    assert other is not first


# Whatever the user's code raises.


def failing(code: str, part: Chunk) -> ChunkError:
    run = bytes(cloudpickle.dumps(notebook(code).analysis))
    with pytest.raises(ChunkError) as caught:
        process_chunk(part, {}, run, SETTINGS, "none")
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import sys; sys.exit()", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("import asyncio; raise asyncio.CancelledError('so')", "CancelledError: so"),
        (
            "raise BaseExceptionGroup('two', [KeyboardInterrupt()])",
            r"BaseExceptionGroup: two \(1 sub-exception\)",
        ),
        ("raise Mute", r"Mute: its text cannot be made \(ZeroDivisionError\)"),
        ("raise Fatal", r"Fatal: its text cannot be made \(SystemExit\)"),
    ],
)
def test_what_a_processor_raises_is_its_chunks_failure(
    parts: list[Chunk], line: str, told: str
) -> None:
    code = (
        "class Mute(Exception):\n    def __str__(self): return 1 / 0\n"
        "class Fatal(BaseException):\n    def __str__(self): raise SystemExit\n"
        f"def analysis(events):\n    {line}\n"
    )
    error = failing(code, parts[0])
    assert re.fullmatch(told, str(error))
    assert "line 6, in analysis" in error.details
    assert not error.transient
    # The next chunk knows nothing of it.
    assert processed(cloudpickle.dumps(len), parts[0]) == 25


@pytest.mark.parametrize(
    ("line", "again"),
    [
        ("open('/nowhere/weights.json')", False),
        ("import uproot; uproot.open('/nowhere/sf.root')", False),
        ("open('/')", False),
        ("open('/dev/null/x')", False),
        ("import numpy, io; numpy.load(io.BytesIO(b''))", False),
        ("import pickle, io; pickle.load(io.BytesIO(b''))", False),
        ("raise TimeoutError", True),
        ("raise ConnectionResetError(104, 'reset')", True),
        ("raise OSError('Operation expired')", True),
    ],
)
def test_files_of_the_users_own_are_not_tried_again(
    parts: list[Chunk], line: str, again: bool
) -> None:
    error = failing(f"def analysis(events):\n    len(events.x)\n    {line}\n", parts[0])
    assert error.transient is again


def test_events_that_cannot_be_read_are_tried_again(parts: list[Chunk]) -> None:
    """Wherever in the user's code they are first used."""
    path = Path(parts[0].path)
    whole = path.read_bytes()
    with uproot.open(path) as file:
        branch = file["tree"]["x"]
        at = int(branch.member("fBasketSeek")[0])
    code = "import awkward as ak\ndef analysis(events): return {'n': float(ak.sum(events.x))}"
    path.write_bytes(whole[:at] + bytes(60) + whole[at + 60 :])
    assert failing(code, parts[0]).transient
    path.unlink()
    error = failing(code, parts[0])
    assert error.transient
    assert "FileNotFoundError" in str(error)


# Memory.


def test_what_was_unpickled_goes_again() -> None:
    """Circles of classes, functions and what they hold, too."""
    code = (
        "class Big: pass\nbig = Big()\n"
        "class Analysis:\n    def __call__(self, events): return Analysis, big\n"
        "analysis = Analysis()\n"
    )
    run = bytes(cloudpickle.dumps(notebook(code).analysis))
    gc.collect()
    gc.disable()
    try:
        made = Scope().loads(run)
        gone = weakref.ref(made(None)[1])
        del made
        assert gone() is not None
        litter = Litter()
        litter.leave(LITTER)
        assert gone() is not None
        litter.leave(1)
        assert gone() is None
    finally:
        gc.enable()


def test_an_error_keeps_nothing(parts: list[Chunk]) -> None:
    seen: list[Any] = []
    builtins.seen_by_test = seen  # type: ignore[attr-defined]
    try:
        code = (
            "import weakref\nclass Big: pass\n"
            "def analysis(events):\n    big = Big()\n    seen_by_test.append(weakref.ref(big))\n"
            "    raise ValueError(3)\n"
        )
        error = failing(code, parts[0])
        assert str(error) == "ValueError: 3"
        assert seen[0]() is None
    finally:
        del builtins.seen_by_test  # type: ignore[attr-defined]


# What is relied on in cloudpickle.


def test_cloudpickle_makes_classes_as_expected() -> None:
    module = notebook("class A:\n    n = 1\nimport enum\nclass E(enum.Enum):\n    X = 1\n")
    scope = Scope()
    one, two = scope.loads(cloudpickle.dumps(module.A)), scope.loads(cloudpickle.dumps(module.A))
    assert one is two is not module.A
    assert Scope().loads(cloudpickle.dumps(module.A)) is not one
    # On its way back it is the class that it was made of.
    assert Scope(defined_here=True).loads(cloudpickle.dumps(one)) is module.A
    kind = scope.loads(cloudpickle.dumps(module.E))
    assert kind is not module.E
    assert Scope(defined_here=True).loads(cloudpickle.dumps(kind.X)) is module.E.X
    # By itself it updates them in place.
    kept = cloudpickle.loads(cloudpickle.dumps(module.A))
    assert kept is module.A


def test_sums_of_coffeas_accumulators() -> None:
    kinds = {
        "list": lambda n: processor.list_accumulator([n]),
        "set": lambda n: processor.set_accumulator({n}),
        "dict": lambda n: processor.dict_accumulator(
            {"n": processor.value_accumulator(int, n), "l": processor.list_accumulator([n])}
        ),
        "value": lambda n: processor.value_accumulator(int, n),
        "default": lambda n: processor.defaultdict_accumulator(int, {"n": n}),
        "column": lambda n: processor.column_accumulator(np.array([n])),
        "plain list": lambda n: [n],
        "hist": lambda n: Hist(axes.Regular(2, 0, 2)).fill(n),
    }
    for name, make in kinds.items():
        values = [make(n) for n in range(3)]
        if name in ("list", "dict"):
            with pytest.raises(AttributeError):  # which is why `add` has its own
                processor.accumulate(values)
            expected: Any = processor.list_accumulator([0, 1, 2])
            if name == "dict":
                three = processor.value_accumulator(int, 3)
                expected = processor.dict_accumulator({"n": three, "l": expected})
        else:
            expected = processor.accumulate([make(n) for n in range(3)])
        packed = [cloudpickle.dumps({"in": value}) for value in values]
        for grouped in ([packed], [packed[:2], packed[2:]], [packed[:1], packed[1:]]):
            sums = [chunks.add_packed(each) for each in grouped]
            found = result_of(chunks.add_packed(sums))["in"]
            assert type(found) is type(expected), name
            assert repr(found) == repr(expected), name
