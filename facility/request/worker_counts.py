"""Counts of workers as text: ``cpu=0:200``, ``gpu=2``.

Those in `FACILITY_POOLS`, which `facility submit --pool` sets, stand above what a script asks for,
so that the same script runs small on a laptop and large in the facility.
"""

from collections.abc import Iterable, Mapping

from facility import names
from facility.errors import RequestError
from facility.wording import counted

Count = int | tuple[int, int]


def parse(texts: Iterable[str], origin: str) -> dict[str, Count]:
    """Read counts of pools.

    Parameters
    ----------
    texts
        Each ``NAME=NUMBER`` or ``NAME=MINIMUM:MAXIMUM``.
    origin
        Where they stand, for messages.

    Raises
    ------
    RequestError
        With everything that is wrong with them.
    """
    found: dict[str, Count] = {}
    problems = []
    for text in texts:
        name, equals, ends = (part.strip() for part in text.partition("="))
        numbers = ends.split(":")
        if not (name and equals and len(numbers) <= 2 and all(n.isdecimal() for n in numbers)):
            problems.append(f"{text!r} is not of the form cpu=4 or cpu=0:200")
        elif name in found:
            problems.append(f"the pool {name!r} is named twice")
        else:
            found[name] = int(ends) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))
    if problems:
        raise RequestError(f"{origin} cannot be read", problems)
    return found


def text(counts: Mapping[str, Count]) -> str:
    """Write counts such that `standing` reads them."""
    return ",".join(
        f"{name}={count[0]}:{count[1]}" if isinstance(count, tuple) else f"{name}={count}"
        for name, count in counts.items()
    )


def standing(environ: Mapping[str, str]) -> dict[str, Count]:
    """Return the counts that stand above those of a call; none in most processes.

    Raises
    ------
    RequestError
        The variable cannot be read.
    """
    given = environ.get(names.POOLS_VARIABLE, "")
    return parse(given.split(","), names.POOLS_VARIABLE) if given.strip() else {}


def over(asked: Mapping[str, object], standing: Mapping[str, Count]) -> list[str]:
    """Say which counts of a call stand back behind others.

    Parameters
    ----------
    asked
        What the call asks of pools.

    Returns
    -------
    list of str
        A sentence for each number that is another one than the call's.
    """
    return [
        f"pool {name}: {_shown(standing[name])}, as {names.POOLS_VARIABLE} says, instead of "
        f"{_shown(count)}"
        for name, count in asked.items()
        if standing.get(name, count) != count
    ]


def _shown(count: object) -> str:
    return counted(count, "worker") if isinstance(count, int) else f"{count!r}"
