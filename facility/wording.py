"""Numbers and names as people read them: ``1 task``, ``10,000 tasks``, ``mc20_13TeV.70…_p6026``."""

from collections.abc import Sequence


def counted(number: float, one: str, many: str | None = None) -> str:
    """Write a number and what it counts.

    Parameters
    ----------
    number
        How many there are.
    one
        What one of them is called; a verb may follow, as in ``"task waits"``.
    many
        What any other number of them is called; by default `one` with an s.

    Examples
    --------
    >>> counted(1, "task waits", "tasks wait")
    '1 task waits'
    >>> counted(0, "core")
    '0 cores'
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def shortened(names: Sequence[str], most: int) -> list[str]:
    """Shorten names to a number of letters; those that differ still do.

    Names of one kind often differ in the middle: then what they begin and end with is left out
    first.
    """
    cut = [_cut(name, most) for name in names]
    if len(set(cut)) == len(set(names)):
        return cut
    begin, end = _shared(names), _shared([name[::-1] for name in names])
    middle = max(len(name) for name in names) - begin - end
    # What is around it fills the room that it leaves, but for the dots.
    around = max(0, most - middle - 2) // 2
    start, stop = max(0, begin - around), max(0, end - around)
    return [
        _cut(f"{'…' if start else ''}{name[start : len(name) - stop]}{'…' if stop else ''}", most)
        for name in names
    ]


def _shared(names: Sequence[str]) -> int:
    """Count the letters with which all names begin."""
    return next(
        (at for at, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1),
        min(map(len, names)),
    )


def _cut(name: str, most: int) -> str:
    head = most // 2
    return name if len(name) <= most else f"{name[:head]}…{name[len(name) - most + head + 1 :]}"
