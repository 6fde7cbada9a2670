"""Quantities as Kubernetes writes them: `500m` of a core, `4Gi` of memory.

Both directions are exact: what is read is either the number that was meant or
an error that says what would be valid, and what is written reads back as the
same number.
"""

import re
from decimal import Decimal

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_FRACTION = {"m": Decimal(1).scaleb(-3), "u": Decimal(1).scaleb(-6), "n": Decimal(1).scaleb(-9)}
_FACTORS = {
    "": Decimal(1),
    **{suffix: Decimal(factor) for suffix, factor in (_BINARY | _DECIMAL).items()},
    **_FRACTION,
}
_PATTERN = re.compile(
    r"(?P<number>[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})"
    r"(?:[eE](?P<exponent>[+-]?[0-9]{1,3})|(?P<suffix>[A-Za-z]*))"
)

MEMORY_EXAMPLES = "a quantity such as 4Gi, 512Mi or 2G, or a number of bytes"
CORES_EXAMPLES = "a number of cores such as 1, 0.5 or 500m"

MAX_MEMORY = 2**50
"""Bytes that no worker exceeds; what is above is a slip of the suffix."""
MAX_CORES = 4096
"""Cores that no worker exceeds."""

_TIME = re.compile(r"(?P<number>[-+]?[0-9]+(\.[0-9]*)?(e[-+]?[0-9]+)?)\s*(?P<unit>[a-z]*)")
_UNITS = {
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}


def parse_memory(value: object) -> int:
    """Read an amount of memory or disk.

    Parameters
    ----------
    value
        A Kubernetes quantity (`4Gi`, `2G`, `1e9`) or a number of bytes.

    Returns
    -------
    int
        Bytes; a fraction of a byte is rounded up, as Kubernetes does.

    Raises
    ------
    ValueError
        With a sentence that says what is valid.
    """
    number = _number(value, MEMORY_EXAMPLES)
    if isinstance(value, str) and value.strip()[-1:] in _FRACTION:
        guess = value.strip()[:-1]
        raise ValueError(
            f"must be {MEMORY_EXAMPLES}; the suffix {value.strip()[-1]!r} is a fraction of a byte "
            f"(did you mean '{guess}M' or '{guess}Mi'?)"
        )
    if number <= 0:
        raise ValueError(f"must be more than 0: {MEMORY_EXAMPLES}")
    if number > MAX_MEMORY:
        raise ValueError(f"must be at most {format_memory(MAX_MEMORY)}: {MEMORY_EXAMPLES}")
    whole = int(number)
    return whole if whole == number else whole + 1


def parse_cores(value: object) -> float:
    """Read a number of cores.

    Parameters
    ----------
    value
        A Kubernetes quantity (`500m`, `0.5`, `2`) or a number.

    Returns
    -------
    float
        Cores, a whole number of thousandths.

    Raises
    ------
    ValueError
        With a sentence that says what is valid.
    """
    if isinstance(value, str) and value.strip()[-2:] in _BINARY:
        raise ValueError(f"must be {CORES_EXAMPLES}; {value.strip()[-2:]!r} counts memory")
    number = _number(value, CORES_EXAMPLES)
    if number <= 0:
        raise ValueError(f"must be more than 0: {CORES_EXAMPLES}")
    if number > MAX_CORES:
        raise ValueError(f"must be at most {MAX_CORES}: {CORES_EXAMPLES}")
    thousandths = number * 1000
    if thousandths != int(thousandths):
        raise ValueError(f"must be a whole number of thousandths of a core: {CORES_EXAMPLES}")
    return int(thousandths) / 1000


def parse_quantity(value: object) -> Decimal:
    """Read any quantity of Kubernetes, as it writes them itself: also 0, and however large.

    Raises
    ------
    ValueError
        Where it is none.
    """
    return _number(value, "a quantity such as 2, 500m or 4Gi")


def parse_seconds(value: object) -> float:
    """Read a time: ``90``, ``"90"``, ``"2 min"``, ``"1.5h"``.

    Returns
    -------
    float
        Seconds, 0 or more.

    Raises
    ------
    ValueError
        Saying what is valid.
    """
    valid = "give seconds, or a text such as '90 s', '10 min' or '2h'"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(valid)
    found = _TIME.fullmatch(str(value).strip().lower())
    unit = _UNITS.get(found["unit"]) if found else None
    if found is None or unit is None:
        raise ValueError(valid)
    seconds = float(found["number"]) * unit
    if seconds < 0:
        raise ValueError("a time cannot be negative")
    return seconds


def format_memory(count: int) -> str:
    """Write a number of bytes as the shortest quantity that is exactly it."""
    exact = [
        f"{count // factor}{suffix}"
        for suffix, factor in (_BINARY | _DECIMAL).items()
        if count and count % factor == 0
    ]
    return min([*exact, str(count)], key=len)


def format_cores(cores: float) -> str:
    """Write a number of cores, to a thousandth: `2`, `500m`."""
    thousandths = round(cores * 1000)
    if thousandths % 1000 == 0:
        return str(thousandths // 1000)
    return f"{thousandths}m"


def _number(value: object, examples: str) -> Decimal:
    """Read any quantity, or raise a `ValueError` that shows `examples`."""
    # bool is an int, and YAML reads "yes" as one.
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"must be {examples}")
    text = str(value).strip()
    if text.startswith("-"):
        raise ValueError(f"must be more than 0: {examples}")
    match = _PATTERN.fullmatch(text.removeprefix("+"))
    if match is None:
        raise ValueError(f"must be {examples}")
    number = Decimal(match["number"])
    if match["exponent"] is not None:
        return number.scaleb(int(match["exponent"]))
    suffix = match["suffix"]
    if suffix not in _FACTORS:
        raise ValueError(
            f"must be {examples}; {suffix!r} is no suffix{_suffix_hint(match['number'], suffix)}"
        )
    return number * _FACTORS[suffix]


def _suffix_hint(number: str, suffix: str) -> str:
    """Say which suffix was probably meant (`GB`, `gi` and `K` are common)."""
    letter = suffix[0].upper()
    if f"{letter}i" not in _BINARY:
        return ""
    if suffix.lower() not in {letter.lower() + rest for rest in ("", "i", "b", "ib")}:
        return ""
    if suffix.lower().startswith(f"{letter.lower()}i"):
        return f" (did you mean '{number}{letter}i'?)"
    decimal = "k" if letter == "K" else letter
    return f" (did you mean '{number}{decimal}' or '{number}{letter}i'?)"
