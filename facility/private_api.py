"""What this package relies on in other packages though they do not promise to keep it.

Where the code could go wrong without a word if one of these is missing or another, the code itself
looks first. All of them have a test that fails by their name: tests/unit/test_private_apis.py.
"""

import dis
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from inspect import Parameter, signature
from typing import Any

MARKS: dict[Any, str] = {
    Parameter.KEYWORD_ONLY: "{}=",
    Parameter.VAR_POSITIONAL: "*{}",
    Parameter.VAR_KEYWORD: "**{}",
}


@dataclass(frozen=True)
class PrivateApi:
    """A module, class, function or attribute of another package.

    Attributes
    ----------
    name
        ``module:Class.function``.
    parameters
        What is passed to it, as in ``self, start, stop=``: those with ``=`` by name, the others in
        this order. None where it is not called.
    overridden
        Whether a method of ours stands in its place, which has to take all that it takes.
    sets
        Attributes that it sets, no more and no fewer, where a method of ours does it instead.
    """

    name: str
    parameters: str | None = None
    overridden: bool = False
    sets: str | None = None

    def problem(self) -> str | None:
        """Say what is not as expected; None where all is."""
        module, _, path = self.name.partition(":")
        try:
            found: Any = reduce(getattr, path.split("."), importlib.import_module(module))
        except (ImportError, AttributeError):
            return f"{self.name} is missing"
        if self.parameters is not None:
            try:
                actual = [*signature(found).parameters.values()]
            except (TypeError, ValueError):  # of what is no function, or one of C
                return f"{self.name} tells no parameters"
            wanted = [each for each in self.parameters.split(", ") if each]
            shown = [MARKS.get(each.kind, "{}").format(each.name) for each in actual]
            fits = shown == wanted if self.overridden else _takes(actual, wanted)
            if not fits:
                return f"{self.name} takes ({', '.join(shown)}) and not ({self.parameters})"
        if self.sets is not None and (stored := _stored(found)) != self.sets.split(", "):
            return f"{self.name} sets {', '.join(stored)} and not {self.sets}"
        return None


def problems(apis: Iterable[PrivateApi]) -> list[str]:
    """Say of each that is not as expected what is wrong."""
    return [problem for api in apis if (problem := api.problem()) is not None]


def _takes(actual: list[Parameter], wanted: list[str]) -> bool:
    """Whether a function can be called so."""
    positional = [each for each in wanted if not each.endswith("=")]
    named = {each.removesuffix("=") for each in wanted if each.endswith("=")}
    first, rest = actual[: len(positional)], actual[len(positional) :]
    anything = any(each.kind is Parameter.VAR_KEYWORD for each in rest)
    return (
        [each.name for each in first] == positional
        and all(each.kind is Parameter.POSITIONAL_OR_KEYWORD for each in first)
        and (anything or named <= {each.name for each in rest})
        and all(
            each.name in named
            or each.default is not Parameter.empty
            or each.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
            for each in rest
        )
    )


def _stored(function: Callable[..., Any]) -> list[str]:
    """Name the attributes that a function sets."""
    instructions = dis.get_instructions(function)
    return sorted({str(each.argval) for each in instructions if each.opname == "STORE_ATTR"})
