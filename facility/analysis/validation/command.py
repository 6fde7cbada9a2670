"""`facility validate`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facility.errors import RequestError

GOOD, DIFFERENT = 0, 1
Command = Callable[..., argparse.ArgumentParser]


def add(commands: Any, command: Command) -> None:
    """Describe the subcommand.

    Parameters
    ----------
    command
        Adds one to the parsers that it is given first.
    """
    parser = command(
        commands, "validate", _validate, "run a processor in two pools, and compare event by event"
    )
    parser.add_argument(
        "script",
        type=Path,
        metavar="SCRIPT",
        help="a Python script that defines `processor` (or `columns`) and `fileset`",
    )
    parser.add_argument(
        "--pools",
        nargs=2,
        default=["cpu", "arm"],
        metavar=("FIRST", "SECOND"),
        help="the two pools (cpu arm); the second is compared with the first",
    )
    parser.add_argument(
        "--events",
        type=int,
        default=10_000,
        metavar="N",
        help="events of each dataset, its first ones (%(default)s); 0 for all",
    )
    parser.add_argument(
        "--files",
        nargs="+",
        default=[],
        metavar="FILE",
        help="read these instead of the script's `fileset`",
    )
    parser.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="NAME=RELATIVE[:ABSOLUTE]",
        help="how much values of a column may differ (default: not at all); NAME may be a pattern",
    )
    parser.add_argument(
        "--chunksize", type=int, metavar="N", help="events of a chunk, as in facility.run"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="where the page goes (validation-SCRIPT.html)"
    )
    parser.epilog = (
        "It exits with 1 where anything differs. What follows -- are arguments of the script."
    )


def _validate(arguments: argparse.Namespace) -> int:
    # These import numpy, awkward and coffea, which other subcommands do without.
    from facility.analysis.validation import script, validate

    page = arguments.page or validate.page_of(arguments.script)
    problems: list[str] = []
    tolerances = _tolerances(arguments.tolerance, problems)
    if not page.resolve().parent.is_dir():
        problems.append(f"--page {page}: there is no folder {page.resolve().parent}")
    if arguments.events < 0:
        problems.append(f"--events {arguments.events} is not a number from 0 on")
    problems += validate.pool_problems(arguments.pools, None)
    try:
        with script.loaded(arguments.script, arguments.rest, arguments.files) as given:
            if not problems:
                return _run(arguments, page, given, tolerances)
    except RequestError as error:
        if not problems:
            raise
        problems += error.problems
    raise RequestError(f"{arguments.script} cannot be validated", problems)


def _run(arguments: argparse.Namespace, page: Path, given: Any, tolerances: dict[str, Any]) -> int:
    from facility.analysis.validation import validate

    options = dict(given.options)
    options["tolerances"] = {**(options.get("tolerances") or {}), **tolerances}
    if arguments.chunksize is not None:
        options["chunksize"] = arguments.chunksize
    events = arguments.events or None
    found = validate.validate(
        given.processor, given.fileset, arguments.pools, events=events, **options
    )
    print(validate.told(found, found.save(page)))
    return GOOD if found.ok else DIFFERENT


def _tolerances(words: list[str], problems: list[str]) -> dict[str, tuple[float, float]]:
    """Read ``NAME=RELATIVE[:ABSOLUTE]``."""
    read = {}
    for word in words:
        name, _, numbers = word.rpartition("=")
        relative, _, absolute = numbers.partition(":")
        try:
            pair = float(relative), float(absolute or 0)
        except ValueError:
            pair = -1.0, -1.0
        if not name or not min(pair) >= 0:
            problems.append(
                f"--tolerance {word}: give NAME=RELATIVE or NAME=RELATIVE:ABSOLUTE, with numbers "
                "from 0 on, as mass=1e-6"
            )
            continue
        read[name] = pair
    return read
