"""Objects changed at random, by a generator with a seed."""

import copy
import random
from collections.abc import Iterator
from typing import Any

HUGE = 10**5
STRANGE: list[Any] = [
    *(None, True, False, 0, -1, 5, 2.5, 10**30, -(10**30), 1e308),
    *("", "0", "-5", "1e999", "soon", "x" * HUGE, "9" * HUGE, "\N{SNOWMAN}\u0000\ud800"),
    *("ValidatingAdmissionPolicy 'x" * 1000, "0001-01-01T00:00:00Z", "2026-01-01T00:00:00"),
    *([], [None], [[]], [{}], ["x"], {}, {"": None}, {"x": {"x": []}}, [{"type": []}] * 50),
]


def changed(source: random.Random, found: Any) -> Any:
    """Return an object with some of its parts left out, replaced or doubled."""
    found = copy.deepcopy(found)
    for _ in range(source.choice((1, 1, 2, 5))):
        places = list(_places(found))
        if not places:
            break
        holder, key = source.choice(places)
        match source.randrange(4):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case _:
                holder[key] = copy.deepcopy(source.choice(STRANGE))
    return found


def _places(found: Any) -> Iterator[tuple[Any, Any]]:
    parts: Any = ()
    if isinstance(found, dict):
        parts = list(found.items())
    elif isinstance(found, list):
        parts = list(enumerate(found))
    for key, part in parts:
        yield found, key
        yield from _places(part)
