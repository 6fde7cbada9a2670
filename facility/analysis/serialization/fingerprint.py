"""Hash what a processor is: its code, what the code refers to, and its parameters.

Pickles cannot be compared: they differ from one process to the next, and hold only the name of
what stands in a module. Here functions and classes count by their compiled code, so that comments
and line breaks change nothing and a changed cut does; what is installed counts by its version.
"""

import copyreg
import dis
import functools
import hashlib
import platform
import struct
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_NOT_CODE = {
    "__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__firstlineno__",
    "_abc_impl", "__abstractmethods__", "__static_attributes__", "__dataclass_fields__",
}  # fmt: skip
_INSTALLED = tuple(
    str(Path(folder).resolve())
    for folder in {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
)


class UnknownContentError(TypeError):
    """An object of which nobody can say whether it is the same as another."""


def fingerprint(*objects: Any) -> str:
    """Hash objects by content.

    Raises
    ------
    UnknownContentError
        For an object that cannot be taken apart, such as an open file.
    """
    walk = _Walk()
    walk.feed((platform.python_version(), sys.byteorder))
    for item in objects:
        walk.feed(item)
    return walk.hash.hexdigest()


def installed(module: str) -> bool:
    """Whether a module belongs to Python or to an installed package, not to the user."""
    found = sys.modules.get(module)
    file = getattr(found, "__file__", None)
    if found is None or module == "__main__":
        return False
    return file is None or str(Path(file).resolve()).startswith(_INSTALLED)


class _Walk:
    """One pass over everything that an object refers to."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []

    def _write(self, tag: str, data: bytes = b"") -> None:
        self.hash.update(struct.pack(">I", len(tag)) + tag.encode())
        self.hash.update(struct.pack(">Q", len(data)) + data)

    def feed(self, item: Any) -> None:
        if item is None or (
            isinstance(item, bool | int | float | complex | str)
            and (type(item).__module__ == "builtins")
        ):
            self._write(type(item).__name__, repr(item).encode())
            return
        if type(item) in (bytes, bytearray):
            self._write("bytes", bytes(item))
            return
        # Constants are shared or not as the compiler likes, so they are never told as "again".
        if type(item) in (tuple, frozenset, types.CodeType):
            self._compound(item)
            return
        # What refers to itself is told by when it was first met; objects are kept so that no
        # other can get the same number.
        if id(item) in self._seen:
            self._write("again", str(self._seen[id(item)]).encode())
            return
        self._seen[id(item)] = len(self._seen)
        self._kept.append(item)
        self._compound(item)

    def _compound(self, item: Any) -> None:
        kind = type(item)
        if kind in (list, tuple):
            self._all(kind.__name__, item)
        elif kind is dict:
            self._all("dict", [part for pair in item.items() for part in pair])
        elif kind in (set, frozenset):
            self._all("set", sorted(fingerprint(element) for element in item))
        elif isinstance(item, np.ndarray) and not item.dtype.hasobject:
            self._write(f"array {item.dtype} {item.shape}", np.ascontiguousarray(item).tobytes())
        elif isinstance(item, types.CodeType):
            self._code(item)
        elif isinstance(item, types.FunctionType):
            self._function(item)
        elif isinstance(item, type):
            self._class(item)
        elif isinstance(item, types.ModuleType):
            self._module(item)
        elif isinstance(item, staticmethod | classmethod | types.MethodType):
            self._all("method", [item.__func__, getattr(item, "__self__", None)])
        elif isinstance(item, property):
            self._all("property", [item.fget, item.fset, item.fdel])
        elif isinstance(item, functools.cached_property):
            self._all("property", [item.func])
        elif isinstance(item, functools.partial):
            self._all("partial", [item.func, item.args, item.keywords])
        else:
            self._other(item)

    def _all(self, tag: str, parts: Any) -> None:
        parts = list(parts)
        self._write(tag, str(len(parts)).encode())
        for part in parts:
            self.feed(part)

    def _code(self, code: types.CodeType) -> None:
        shape = (code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags)
        self._all("code", [code.co_code, code.co_consts, code.co_names, code.co_varnames, shape])

    def _function(self, function: types.FunctionType) -> None:
        if installed(function.__module__):
            self._name(function.__module__, function.__qualname__)
            return
        cells = []
        for cell in function.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:  # not filled yet: the function is inside its own definition
                cells.append("empty")
        named = {
            name: function.__globals__[name]
            for name in sorted(set(_names(function.__code__)))
            if name in function.__globals__
        }
        parts = [function.__code__, function.__defaults__, function.__kwdefaults__, cells, named]
        self._all("function", parts)

    def _class(self, kind: type) -> None:
        if installed(kind.__module__):
            self._name(kind.__module__, kind.__qualname__)
            return
        body = {name: kind.__dict__[name] for name in sorted(set(kind.__dict__) - _NOT_CODE)}
        slots = (types.MemberDescriptorType, types.GetSetDescriptorType)
        body = {name: value for name, value in body.items() if not isinstance(value, slots)}
        self._all("class", [kind.__qualname__, kind.__bases__, body])

    def _module(self, module: types.ModuleType) -> None:
        file = getattr(module, "__file__", None)
        if installed(module.__name__) or file is None:
            self._name(module.__name__, "")
        else:
            self._write("module", Path(file).read_bytes())

    def _name(self, module: str, name: str) -> None:
        """Name what is installed, with its version."""
        package = sys.modules.get(module.partition(".")[0])
        version = getattr(package, "__version__", "")
        self._write("installed", f"{module}:{name}:{version}".encode())

    def _other(self, item: Any) -> None:
        """Take an instance apart as a pickle would be made of it."""
        module = getattr(item, "__module__", None)
        if isinstance(item, types.BuiltinFunctionType) or (
            isinstance(module, str) and hasattr(item, "__qualname__") and installed(module)
        ):
            self._name(str(module), item.__qualname__)
            return
        try:
            # Some types, such as compiled regular expressions, are taken apart by a function.
            reduce = copyreg.dispatch_table.get(type(item))
            parts: Any = reduce(item) if reduce else item.__reduce_ex__(4)
        except Exception as error:
            raise UnknownContentError(f"{type(item).__qualname__}: {error}") from error
        if isinstance(parts, str):
            self._name(str(module), parts)
            return
        function, arguments, state, *iterators = (*parts, None, None, None)[:5]
        content = [list(found) if found is not None else None for found in iterators]
        self._all("object", [function, arguments, state, *content])


def _names(code: types.CodeType) -> Iterator[str]:
    """Globals that a function and those inside it refer to."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
