"""What a script says of a validation: its processor, and the files to read."""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from facility.errors import RequestError, one_line

PROCESSORS = ("processor", "columns")
"""Names of which a script defines one: a processor, or a function of the events."""
FILES = "fileset"
OPTIONS = ("schema", "treename", "metadata", "uproot_options", "tolerances")
"""Names that a script may define, which stand for the arguments of `validate`."""
MODULE = "facility_validated_script"


@dataclass(frozen=True)
class Script:
    """What a script defines."""

    processor: Any
    fileset: Any
    options: dict[str, Any] = field(default_factory=dict)


@contextmanager
def loaded(path: Path, arguments: Sequence[str], files: Sequence[str] = ()) -> Iterator[Script]:
    """Run a script as a module, so that nothing below ``if __name__ == "__main__"`` runs.

    Parameters
    ----------
    arguments
        Arguments of the script.
    files
        What is read instead of the script's `fileset`.

    Raises
    ------
    RequestError
        With everything that is wrong with it.
    """
    before = sys.argv[:], sys.path[:]
    sys.argv[:] = [str(path), *arguments]
    sys.path[0:1] = [str(path.resolve().parent)]
    try:
        yield _defined(path, _module(path), files)
    finally:
        sys.argv[:], sys.path[:] = before
        sys.modules.pop(MODULE, None)


def _module(path: Path) -> ModuleType:
    summary = f"{path} cannot be validated"
    if path.suffix == ".ipynb":
        told = "it is a notebook; make a script of it with `jupyter nbconvert --to script`"
        raise RequestError(summary, [told])
    try:
        compile(path.read_bytes(), str(path), "exec")
    except OSError as error:
        raise RequestError(summary, [f"it cannot be read ({error.strerror})"]) from None
    except SyntaxError as error:
        raise RequestError(
            summary, [f"it is no Python: line {error.lineno}: {error.msg}"]
        ) from None
    except ValueError as error:  # of bytes that are no text
        raise RequestError(summary, [f"it is no Python: {error}"]) from None
    spec = importlib.util.spec_from_file_location(MODULE, path.resolve())
    if spec is None or spec.loader is None:
        raise RequestError(summary, ["its name has to end with .py"])
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code
        raise RequestError(
            summary, [f"it stops in line {_line(error, path)}: {one_line(error)}"]
        ) from None
    return module


def _line(error: BaseException, path: Path) -> int | str:
    """Find the script's own line that an error comes from."""
    where = str(path.resolve())
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or "?" for frame in reversed(frames) if frame.filename == where), "?")


def _defined(path: Path, module: ModuleType, files: Sequence[str]) -> Script:
    defined = vars(module)
    present = [name for name in PROCESSORS if name in defined]
    # `from coffea import processor` is a module of that name, and no processor.
    present = [name for name in present if not isinstance(defined[name], ModuleType)]
    problems = []
    if len(present) != 1:
        problems.append(
            "it defines both `processor` and `columns`; leave one"
            if present
            else "it defines neither `processor` (a coffea processor, or a function of the events) "
            f"nor a function `columns(events)`{_own(defined)}"
        )
    if not files and FILES not in defined:
        problems.append(
            f"it defines no `{FILES}` (what `facility.run` takes), and --files names none"
        )
    if problems:
        raise RequestError(f"{path} cannot be validated", problems)
    options = {name: defined[name] for name in OPTIONS if name in defined}
    return Script(defined[present[0]], list(files) or defined[FILES], options)


def _own(defined: dict[str, Any]) -> str:
    """List what a script defines that could be meant."""
    names = [
        name
        for name, value in defined.items()
        if isinstance(value, Callable)  # type: ignore[arg-type]
        and getattr(value, "__module__", None) == MODULE
    ]
    return f"; it defines {', '.join(sorted(names))}" if names else ""
