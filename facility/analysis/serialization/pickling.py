"""How a processor gets to the workers: pickled whole, with the user's own modules in it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle

from facility.analysis.serialization.fingerprint import installed
from facility.errors import RequestError


def pickled(processor: Any) -> bytes:
    """Pickle a processor such that workers need not have its module.

    A module beside the notebook or the script goes along, and what it imports from there.

    Raises
    ------
    RequestError
        It holds something that cannot be pickled.
    """
    with _by_value(_own_modules(processor)):
        try:
            return bytes(cloudpickle.dumps(processor))
        except Exception as error:  # noqa: BLE001 - pickling runs the user's code
            problem = (
                f"the processor cannot be sent to the workers ({type(error).__name__}: {error}): "
                "make what cannot be pickled inside process(), not in __init__ or outside"
            )
            raise RequestError("The run cannot begin", [problem]) from None


def _own_modules(processor: Any) -> list[ModuleType]:
    """Modules of the user's that a processor's code stands in or refers to."""
    kinds = [] if hasattr(processor, "__code__") else list(type(processor).__mro__)
    found: dict[str, ModuleType] = {}
    names = [kind.__module__ for kind in kinds] + [str(getattr(processor, "__module__", ""))]
    while names:
        name = names.pop()
        module = sys.modules.get(name)
        if module is None or name in found or not _is_own(module):
            continue
        found[name] = module
        for value in list(vars(module).values()):
            referred = value.__name__ if isinstance(value, ModuleType) else None
            names.append(str(referred or getattr(value, "__module__", "")))
    return list(found.values())


def _is_own(module: ModuleType) -> bool:
    """Whether a module stands below the working folder or the script's, and is not installed."""
    name, file = module.__name__, getattr(module, "__file__", None)
    if file is None or name == "__main__" or name.partition(".")[0] == "facility":
        return False
    folders = [Path.cwd(), Path(sys.path[0] or ".").resolve()]
    path = Path(file).resolve()
    return not installed(name) and any(path.is_relative_to(folder) for folder in folders)


@contextmanager
def _by_value(modules: list[ModuleType]) -> Iterator[None]:
    already = cloudpickle.list_registry_pickle_by_value()
    fresh = [module for module in modules if module.__name__ not in already]
    for module in fresh:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in fresh:
            cloudpickle.unregister_pickle_by_value(module)
