"""Every error that `facility` raises on purpose.

A message names what was asked, what is wrong, what is valid and what to do
next. Several mistakes of one call or one file are collected and raised
together, as the `problems` of one error.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class FacilityError(Exception):
    """Base of all errors of this package."""


class ProblemsError(FacilityError, ValueError):
    """Several mistakes found in one place, all of them told at once.

    Parameters
    ----------
    summary
        What was asked, as one clause without a final colon.
    problems
        One sentence for each mistake.
    """

    def __init__(self, summary: str, problems: Iterable[str]) -> None:
        self.summary = summary
        self.problems = tuple(problems)
        super().__init__(summary, self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.summary}: {self.problems[0]}"
        return "\n".join([f"{self.summary}:", *(f"  - {text}" for text in self.problems)])


class ConfigError(ProblemsError):
    """A pools.yaml that cannot be used."""


class RequestError(ProblemsError):
    """A call of `cluster` or of its methods that cannot be granted."""


class FilesetError(ProblemsError):
    """Input files that cannot be analysed."""


class SampleError(ProblemsError):
    """Synthetic files that cannot be written."""


class FitError(FacilityError, ValueError):
    """A histogram to which no peak can be fitted."""


class ClusterTimeoutError(FacilityError, TimeoutError):
    """The workers that a call waits for did not come in time."""


class ClusterFailedError(FacilityError, RuntimeError):
    """A Dask cluster could not start, or its scheduler was lost."""


class KubernetesError(FacilityError, RuntimeError):
    """A call to the API server of Kubernetes that failed.

    Parameters
    ----------
    operation
        What was asked: "create", "get", "delete" and so on.
    kind
        Kind of the object, as "Pod".
    where
        Its namespace/name.
    status
        HTTP status; None where there was no answer.
    reason
        Reason that Kubernetes gives in one word, as "AlreadyExists".
    message
        What it said.
    """

    def __init__(
        self, operation: str, kind: str, where: str, status: int | None, reason: str, message: str
    ) -> None:
        self.operation = operation
        self.kind = kind
        self.where = where
        self.status = status
        self.reason = reason
        self.message = message
        answer = "there was no answer" if status is None else f"HTTP {status} {reason}".rstrip()
        super().__init__(
            f"Kubernetes could not {operation} {kind} {where}: {answer}: {message or 'no message'}"
        )

    @property
    def over_quota(self) -> bool:
        """Whether a ResourceQuota is used up; trying again does not help by itself."""
        return self.status == 403 and "exceeded quota" in self.message


class RunError(FacilityError, RuntimeError):
    """A run that could not process everything, with what it did.

    Parameters
    ----------
    message
        What happened, and what to do.
    results
        Sum of what was processed, None where there is nothing.
    report
        A `facility.analysis.results.report.Report`.
    """

    def __init__(self, message: str, results: object, report: object) -> None:
        super().__init__(message)
        self.results: Any = results
        self.report: Any = report


class RunInterrupted(KeyboardInterrupt):
    """A run that was stopped with Ctrl-C; attributes as those of `RunError`.

    In a notebook ``sys.last_value`` is the exception.
    """

    def __init__(self, message: str, results: object, report: object) -> None:
        super().__init__(message)
        self.results: Any = results
        self.report: Any = report


class HubError(FacilityError, RuntimeError):
    """The hub cannot start."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """Say which of the valid names was probably meant.

    Returns
    -------
    str
        A clause to append to a message, empty where nothing is close.
    """
    close = get_close_matches(word, list(valid), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def one_line(error: BaseException) -> str:
    """Tell an error of anybody's code in one line, also one that cannot be told."""
    try:
        text = str(error).strip().partition("\n")[0]
    except BaseException as another:  # noqa: BLE001 - the user's code
        text = f"its text cannot be made ({type(another).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
