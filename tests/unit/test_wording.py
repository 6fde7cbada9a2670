"""One of a thing is told as one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import facility
from facility.wording import counted

SOURCES = sorted(Path(facility.__file__).parent.rglob("*.py"))


def test_numbers_agree_with_what_they_count() -> None:
    assert counted(1, "task waits", "tasks wait") == "1 task waits"
    assert counted(2, "task waits", "tasks wait") == "2 tasks wait"
    assert [counted(n, "core") for n in (0, 1, 12_000)] == ["0 cores", "1 core", "12,000 cores"]


def nodes(kind: type[ast.AST]) -> Iterator[tuple[Path, ast.AST]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield path, node


def test_no_message_writes_a_plural_by_hand() -> None:
    nouns = {
        argument.value
        for _, call in nodes(ast.Call)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "counted"
        for argument in call.args[1:2]
        if isinstance(argument, ast.Constant) and " " not in argument.value
    }
    assert {"worker", "file", "event", "core"} <= nouns
    plural = re.compile(rf" (?:more |other |new )?(?:{'|'.join(sorted(nouns))})s\b(?!/)")
    found = [
        f"{path.name}:{value.lineno}: {ast.unparse(value)}{text.value}"
        for path, message in nodes(ast.JoinedStr)
        if isinstance(message, ast.JoinedStr)
        for value, text in zip(message.values, message.values[1:], strict=False)
        if isinstance(value, ast.FormattedValue)
        and isinstance(text, ast.Constant)
        and plural.match(text.value)
    ]
    assert found == []
