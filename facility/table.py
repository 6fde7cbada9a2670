"""A small table that reads well in a terminal and in a notebook."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Table:
    """Rows under named columns.

    Iterating gives one dictionary for each row; ``print`` gives aligned text,
    a notebook shows HTML.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    empty: str = "nothing to show"

    def __iter__(self) -> Iterator[dict[str, object]]:
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        if not self.rows:
            return self.empty
        cells = [[_text(value) for value in row] for row in (self.columns, *self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        return "\n".join(_line(row, widths) for row in cells)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{escape(self.empty)}</p>"
        head = "".join(f"<th>{escape(column)}</th>" for column in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(_text(value))}</td>" for value in row) + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _text(value: object) -> str:
    if value is None or value is False:
        return "-"
    return "yes" if value is True else str(value)


class Text(str):
    """Text that a notebook's cell and an interactive prompt show as it reads."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)
