"""Counts of workers as text: ``cpu=0:200``, ``gpu=2``.

Those in `FACILITY_POOLS`, which `facility submit --pool` sets, stand above what a script asks for,
so that the same script runs small on a laptop and large in the facility.
"""

from collections.abc import Iterable, Mapping

from facility import names
from facility.errors import RequestError

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


def over(
    n: object, pools: Mapping[str, object], default: str, environ: Mapping[str, str]
) -> tuple[object, dict[str, object], list[str]]:
    """Put the standing counts above those of a call of `cluster`.

    Parameters
    ----------
    n, pools
        What the call names, without and with names of pools.
    default
        Name of the default pool.

    Returns
    -------
    n, pools
        What is asked for now.
    notes : list of str
        A sentence for each number that is another one than the call's.
    """
    found = standing(environ)
    asked = {**pools, **({default: n} if n is not None else {})}
    notes = [
        f"pool {name} gets {found[name]} workers, as {names.POOLS_VARIABLE} says, instead of "
        f"{count}"
        for name, count in asked.items()
        if found.get(name, count) != count
    ]
    return (None if default in found else n), {**pools, **found}, notes
