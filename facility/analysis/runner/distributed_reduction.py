"""The sums of a run: the tree of `facility.analysis.runner.reduction`, filled with futures."""

from dataclasses import dataclass
from typing import Any

from distributed import Future

from facility.analysis.runner.process_chunk import add_packed, merge, outcome, result_of
from facility.analysis.runner.reduction import MergeError, Node, Tree, add
from facility.analysis.runner.tasks import Tasks

FETCH_SECONDS = 10.0
"""Seconds for which a result is waited for that a worker said to have."""


class ReductionError(Exception):
    """Results cannot be added, or not be computed again."""


@dataclass(frozen=True)
class LocalResult:
    """A result, or a sum of some, in this process and pickled."""

    packed: bytes


Value = Future[Any] | LocalResult | None
"""What is known of a node; None adds nothing."""


class DistributedReduction:
    """Adds results on the workers as they become known.

    Parameters
    ----------
    leaves
        Number of chunks.

    Attributes
    ----------
    values
        What is known; a node's children are forgotten when it is.
    merges
        DistributedReduction at work.
    """

    def __init__(self, tasks: Tasks, leaves: int) -> None:
        self._tasks = tasks
        self._tree = Tree(leaves)
        self._reopened = 0
        self._home = False
        self.values: dict[Node, Value] = {}
        self.merges: dict[Node, Future[Any]] = {}

    @property
    def complete(self) -> bool:
        """Whether the sum of all is known."""
        return self._tree.root in self.values

    def know(self, node: Node, value: Value) -> None:
        """Take a node's value, and add what can be added now.

        Raises
        ------
        ReductionError
            Where results do not add.
        """
        self.merges.pop(node, None)
        self.values[node] = self._fetched(value) if self._home else value
        for child in self._tree.children(node):
            self.values.pop(child, None)
        parent = self._tree.know(node)
        if parent is not None:
            self._merge(parent)

    def collect(self) -> Any:
        """Add up here what is known, complete or not; None where there is nothing."""
        return self._here(self._tree.root)

    def take_home(self) -> None:
        """Keep what is known in this process from now on, since workers end.

        The sums of a run are on few workers, and each takes along what many chunks made.
        """
        if not self._home:
            self._home = True
            self.values = {node: self._fetched(value) for node, value in self.values.items()}

    def _fetched(self, value: Value) -> Value:
        if value is None or isinstance(value, LocalResult) or value.status != "finished":
            return value
        try:
            return LocalResult(value.result(FETCH_SECONDS)[0])
        except Exception:  # noqa: BLE001 - lost meanwhile; it is found out where it is needed
            return value

    def reopen(self, node: Node, error: BaseException, most: int) -> list[int]:
        """Forget everything below a sum that failed, since something that it needs was lost.

        Returns
        -------
        list of int
            The chunks to process again.

        Raises
        ------
        ReductionError
            Where that would not help, or has happened more than `most` times.
        """
        self._reopened += 1
        if isinstance(error, MergeError) or self._reopened > most:
            raise ReductionError(str(error)) from error
        for lost in self._tree.forget(node):
            self.values.pop(lost, None)
            self.merges.pop(lost, None)
        return list(self._tree.leaves(node))

    def _merge(self, node: Node) -> None:
        """Add the children of a node: on a worker, unless all of them are here already."""
        found = [self.values[child] for child in self._tree.children(node)]
        values = [value for value in found if value is not None]
        here = [value.packed for value in values if isinstance(value, LocalResult)]
        if len(values) <= 1:
            self.know(node, values[0] if values else None)
        elif len(here) == len(values):
            try:
                self.know(node, LocalResult(add_packed(here)))
            except MergeError as error:
                raise ReductionError(str(error)) from error
        else:
            parts = [
                self._sent(value) if isinstance(value, LocalResult) else value for value in values
            ]
            self.merges[node] = future = self._tasks.submit("merge", merge, parts)
            self._tasks.watch(node, future)

    def _sent(self, value: LocalResult) -> Future[Any]:
        return self._tasks.submit("restored", outcome, value.packed)

    def _here(self, node: Node) -> Any:
        if node in self.values:
            value = self.values[node]
            if isinstance(value, LocalResult):
                return result_of(value.packed)
            return None if value is None else result_of(self._tasks.gather([value])[0][0])
        return add([self._here(child) for child in self._tree.children(node)])
