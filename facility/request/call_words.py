"""The words of a call -> what it asks of each pool. Pure.

Dask's other classes have other words for it: what can be meant is done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from facility.config import Config
from facility.request.dask_words import Call, answers, other_pool, shown


@dataclass(frozen=True)
class AskedWorkers:
    """What a call asks of one pool, and in which words."""

    count: object
    """Should be a number of workers, or a pair, an end of which may be open (None)."""
    words: str


@dataclass
class ParsedCall:
    """A call as it is understood."""

    asked: dict[str, AskedWorkers] = field(default_factory=dict)
    """By name of the pool; only pools that there are."""
    problems: list[str] = field(default_factory=list)


def understand(
    call: Call, config: Config, numbers: Sequence[object], words: Mapping[str, object]
) -> ParsedCall:
    """Read the arguments of a call that ask for workers.

    Parameters
    ----------
    numbers
        Those without a name, which are the default pool's; None where one was left out.
    words
        Those with a name: pools, and what is none.
    """
    found = ParsedCall()
    default = config.default.name
    strange = {word: value for word, value in words.items() if word not in config.pools}
    given = _first(call, config, numbers, found.problems)
    if call != "adapt" and (count := strange.pop("n_workers", None)) is not None:
        given.append(AskedWorkers(count, f"n_workers={shown(count)}"))
    if call == "cluster":
        given += _bounds(strange.pop("minimum", None), strange.pop("maximum", None))
    found.asked = {
        word: AskedWorkers(value, f"{word}={shown(value)}")
        for word, value in words.items()
        if word in config.pools
    }
    if default in found.asked:
        given.append(found.asked[default])
    if len(given) > 1:
        found.problems.append(
            f"{' and '.join(asked.words for asked in given)}: each is for the default pool, "
            f"{default}; give one of them"
        )
    elif given:
        found.asked[default] = given[0]
    found.problems += answers(call, config, strange)
    return found


def _first(
    call: Call, config: Config, numbers: Sequence[object], problems: list[str]
) -> list[AskedWorkers]:
    """Return what the arguments without a name ask of the default pool."""
    given = [number for number in numbers if number is not None]
    words = f"{call}({', '.join(map(shown, given))})"
    name = next((x for x in given if isinstance(x, str) and x in config.pools), other_pool(config))
    form = {"cluster": f"cluster({name}=2)", "scale": f"c.scale({name}=2)"}.get(
        call, f"c.adapt({name}=(0, 2))"
    )
    if any(isinstance(number, str) and not number.strip().isdecimal() for number in given):
        also = "; name= names the Dask cluster" if call == "cluster" else ""
        problems.append(f"{words}: workers are a number, a pool has a name, as in {form}{also}")
        return []
    if len(numbers) > (2 if call == "adapt" else 1):
        hint = {
            "cluster": f"give one number, or a pair to adapt between, as in cluster({(0, 2)})",
            "scale": f"give one number; that of another pool has its name, as in {form}",
            "adapt": f"give two numbers; those of another pool have its name, as in {form}",
        }
        problems.append(f"{words}: {hint[call]}")
        return []
    if call == "adapt" and len(given) == 1 and isinstance(given[0], tuple | list):
        return [AskedWorkers(given[0], words)]
    if call == "adapt":
        return _bounds(*numbers)
    return [AskedWorkers(number, words) for number in given]


def _bounds(minimum: object, maximum: object) -> list[AskedWorkers]:
    ends = {"minimum": minimum, "maximum": maximum}
    words = ", ".join(f"{end}={shown(value)}" for end, value in ends.items() if value is not None)
    return [AskedWorkers((minimum, maximum), words)] if words else []
