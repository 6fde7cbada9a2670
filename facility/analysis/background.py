"""A run that goes on while its user looks at what it has so far."""

import copy
import threading
from concurrent.futures import TimeoutError as NotYetError
from typing import Any, Unpack

from distributed import Client
from distributed.deploy.cluster import Cluster

from facility.analysis.inputs.fileset import Sources
from facility.analysis.results.report import Report
from facility.analysis.run import Prepared, prepared
from facility.analysis.runner.arguments import Processor, RunOptions, RunRequest
from facility.analysis.runner.control import Control
from facility.analysis.runner.reduction import MergeError
from facility.errors import RunError

LOOK = 0.2


def start(
    processor: Processor,
    fileset: Sources,
    cluster_or_client: Cluster | Client | None = None,
    pool: str | None = None,
    **options: Unpack[RunOptions],
) -> "BackgroundRun":
    """Begin what `facility.run` does, and return at once.

    Parameters
    ----------
    processor, fileset, cluster_or_client, pool, **options
        As those of `facility.run`. It tells no progress unless ``progress=True`` says so.

    Raises
    ------
    RequestError, FilesetError
        As `facility.run`, before anything begins.

    Examples
    --------
    >>> going = facility.analysis.start(ZPeak(), files, c)  # doctest: +SKIP
    >>> going.partial()["mass"].sum()  # doctest: +SKIP
    """
    options.setdefault("progress", False)
    request = RunRequest.of_options(processor, fileset, cluster_or_client, pool, options)
    return BackgroundRun(prepared(request))


class BackgroundRun:
    """What `start` returns; shown, it tells how far it is.

    Attributes
    ----------
    report
        What has become of every event so far.
    """

    def __init__(self, work: Prepared) -> None:
        self.report: Report = work.report
        self._work, self._asked = work, Control()
        self._results: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="facility-run", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results = self._work.finish(self._asked)
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            self._error = error

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def partial(self) -> Any:
        """Return the sum of what has been processed so far; None where there is nothing.

        It is the whole once it is `done`; of a run that has failed, what there was.

        Raises
        ------
        RunError
            Results cannot be added.
        """
        question = self._asked.ask()
        while not self.done:
            try:
                return self._work.postprocessed(question.result(LOOK))
            except NotYetError:
                continue
            except MergeError as error:
                text = f"What there is so far cannot be added ({error})"
                raise RunError(text, None, self.report) from error
        found = self._results if self._error is None else getattr(self._error, "results", None)
        return copy.deepcopy(found)

    def result(self) -> tuple[Any, Report]:
        """Wait for the end, and return or raise what `facility.run` does.

        Ctrl-C ends the waiting and not the run.
        """
        while not self.done:
            self._thread.join(LOOK)
        if self._error is not None:
            raise self._error
        return self._results, self.report

    def stop(self) -> None:
        """End it as Ctrl-C does: `result` raises RunInterrupted, with what was done."""
        self._asked.stop()
        while not self.done:
            self._thread.join(LOOK)

    def __repr__(self) -> str:
        return f"{'ended' if self.done else 'goes on'}: {self.report}"

    def _repr_html_(self) -> str:
        state = "Ended" if self.done else "Goes on"
        return f"<p>{state}:</p>{self.report._repr_html_()}"
