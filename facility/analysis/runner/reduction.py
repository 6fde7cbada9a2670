"""Add the results of chunks, always in the same order, so that sums are equal to the last bit.

The chunks of a plan are the leaves of a tree in which each node adds up to `FAN` neighbours from
left to right. Its shape follows from the number of chunks alone: which worker did what, when,
and how often it was tried, changes nothing.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any, NamedTuple

from coffea.processor import accumulate, list_accumulator

from facility.errors import one_line

FAN = 8
"""Results that one node adds."""


class Node(NamedTuple):
    """Place in the tree: leaves are level 0."""

    level: int
    place: int


class MergeError(Exception):
    """Two results cannot be added; raised on a worker, and told to the user as something else."""


def add(results: list[Any]) -> Any:
    """Add results from left to right and leave them as they are.

    Returns
    -------
    object
        The sum; None stands for the result of a chunk that failed, and adds nothing.
    """
    try:
        if any(_holds_lists(result) for result in results):
            lists = [_exchanged(result, list_accumulator, _List) for result in results]
            return _exchanged(accumulate(lists), _List, list_accumulator)
        return accumulate(results)
    except (Exception, SystemExit) as error:
        raise MergeError(one_line(error)) from error


class _List(list[Any]):
    """Stands for coffea's list_accumulator, whose sum is a list to which no third can be added."""

    def __add__(self, other: list[Any]) -> "_List":
        return _List([*self, *other])

    def identity(self) -> "_List":
        """Return what adds nothing, as coffea's dict_accumulator asks for it."""
        return _List()


def _holds_lists(value: Any) -> bool:
    if isinstance(value, MutableMapping):
        return any(_holds_lists(inner) for inner in value.values())
    return type(value) is list_accumulator


def _exchanged(value: Any, kind: type, put: Callable[[Any], Any]) -> Any:
    """Put something in the place of all values of a type, in a copy of what holds them."""
    if not isinstance(value, MutableMapping):
        return put(value) if type(value) is kind else value
    changed = copy.copy(value)  # of the same type, which may be a dictionary of coffea's
    for key, inner in value.items():
        changed[key] = _exchanged(inner, kind, put)
    return changed


class Tree:
    """What has to be added next, as leaves become known.

    Parameters
    ----------
    leaves
        Number of chunks.
    """

    def __init__(self, leaves: int) -> None:
        self.widths = [leaves]
        while self.widths[-1] > 1:
            self.widths.append(-(-self.widths[-1] // FAN))
        self.root = Node(len(self.widths) - 1, 0)
        self._known: set[Node] = set()

    def children(self, node: Node) -> list[Node]:
        """Nodes whose sum a node is, from left to right; none for a leaf."""
        if node.level == 0:
            return []
        below = node.level - 1
        last = min((node.place + 1) * FAN, self.widths[below])
        return [Node(below, place) for place in range(node.place * FAN, last)]

    def parent(self, node: Node) -> Node | None:
        """Node that a node is added to; None for the root."""
        return None if node == self.root else Node(node.level + 1, node.place // FAN)

    def leaves(self, node: Node) -> Iterator[int]:
        """Chunks below a node."""
        width = FAN**node.level
        yield from range(node.place * width, min((node.place + 1) * width, self.widths[0]))

    def know(self, node: Node) -> Node | None:
        """Take note that a node's value is known.

        Returns
        -------
        Node or None
            Its parent, if everything that this adds is known now.
        """
        self._known.add(node)
        parent = self.parent(node)
        if parent is None or not all(child in self._known for child in self.children(parent)):
            return None
        return parent

    def forget(self, node: Node) -> set[Node]:
        """Take back what is known of a node, of all below it and of all above it."""
        lost = set(self._below(node))
        above = self.parent(node)
        while above is not None:
            lost.add(above)
            above = self.parent(above)
        self._known -= lost
        return lost

    def _below(self, node: Node) -> Iterable[Node]:
        yield node
        for child in self.children(node):
            yield from self._below(child)


def merge_here(results: dict[int, Any], leaves: int) -> Any:
    """Add in this process what workers would add, in the same order.

    Parameters
    ----------
    results
        By chunk; those that are missing add nothing.
    leaves
        Number of chunks.
    """
    tree = Tree(leaves)

    def value(node: Node) -> Any:
        if node.level == 0:
            return results.get(node.place)
        return add([value(child) for child in tree.children(node)])

    return value(tree.root)
