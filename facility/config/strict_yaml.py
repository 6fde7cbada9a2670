"""YAML read strictly: every key once, nothing that refers to itself.

PyYAML keeps the last of two equal keys without a word, which in a pools.yaml
loses a pool. Here each such key is a problem with its path and lines.
"""

from collections.abc import Iterator
from typing import Any

import yaml

_PLAINER = {
    "found character '\\t' that cannot start any token": (
        "there is a tab, and YAML is indented with spaces"
    ),
    "mapping values are not allowed here": (
        "there is a ': ' where no value can stand (check the indentation, or quote the text)"
    ),
    "could not find expected ':'": "there is a line without ': ' after its key",
    "expected a single document in the stream": "a second document begins ('---'); keep one",
}


class MalformedYamlError(ValueError):
    """Text that is not YAML, told with line and column."""


def read_yaml(text: str) -> tuple[Any, list[str]]:
    """Read one YAML document.

    Parameters
    ----------
    text
        The document.

    Returns
    -------
    value
        What it holds, None for an empty one.
    problems
        One sentence for each key that stands twice.

    Raises
    ------
    MalformedYamlError
        If it cannot be read at all.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, []
            # Before merge keys are resolved, which may override on purpose.
            problems = list(_repeated_keys(node, (), ()))
            return loader.construct_document(node), problems
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise MalformedYamlError(_place(error, text)) from None
    except yaml.reader.ReaderError as error:
        place = _count_lines(text, error.position) if isinstance(error.position, int) else ""
        raise MalformedYamlError(
            f"{place}a character that YAML does not allow stands there"
        ) from None
    except RecursionError:
        raise MalformedYamlError("it is nested too deeply") from None
    except ValueError as error:  # Of the scalar constructors: a date such as 2026-99-99.
        raise MalformedYamlError(f"a value cannot be read ({error})") from None


def _repeated_keys(
    node: yaml.Node, path: tuple[str, ...], around: tuple[yaml.Node, ...]
) -> Iterator[str]:
    """Yield a sentence for each key that stands twice in its mapping."""
    if any(outer is node for outer in around):
        mark = node.start_mark
        raise yaml.MarkedYAMLError(problem="an alias refers to itself", problem_mark=mark)
    around = (*around, node)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(item, (*path, str(index)), around)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if isinstance(key, yaml.ScalarNode):
                if name in seen and name != "<<":
                    lines = f"lines {seen[name]} and {line}"
                    if seen[name] == line:
                        lines = f"line {line}"
                    yield f"{'.'.join((*path, name))}: the key stands twice ({lines}); keep one"
                seen[name] = line
            yield from _repeated_keys(value, (*path, name), around)


def _place(error: yaml.MarkedYAMLError, text: str) -> str:
    """Say where the text is malformed, in words and with the line itself."""
    problem = error.problem or error.context or "it is not YAML"
    if "constructor for the tag" in problem:
        problem = "tags ('!...') are not allowed"
    elif "unhashable key" in problem:
        problem = "a key must be text, not a mapping or a list (quote text that begins with '{')"
    elif problem.startswith("but found"):
        problem = _PLAINER.get(error.context or "", f"{error.context}, {problem}")
    problem = _PLAINER.get(problem, problem)
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return problem
    lines = text.splitlines()
    line = lines[mark.line].strip() if mark.line < len(lines) else ""
    quoted = f" (the line is {line[:80]!r})" if line else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}{quoted}"


def _count_lines(text: str, position: int) -> str:
    """Line and column of a character."""
    before = text[:position]
    return f"line {before.count(chr(10)) + 1}, column {position - before.rfind(chr(10))}: "
