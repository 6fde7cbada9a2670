"""What `facility submit` asks for, checked before anything starts."""

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from facility.errors import RequestError
from facility.request.worker_counts import Count
from facility.table import Table
from facility.wording import counted

NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
LARGEST = 40_000
"""Bytes of a script: it has to fit into an object of Kubernetes."""
RETRIES = 2


@dataclass(frozen=True)
class Submission:
    """A script to run.

    Parameters
    ----------
    name
        Of the job.
    script
        Absolute path.
    arguments
        Of the script.
    folder
        Absolute path of the folder in which it runs.
    pools
        Workers that its Dask cluster gets, whatever the script asks for.
    retries
        How often it is started again after it failed.
    """

    name: str
    script: Path
    arguments: tuple[str, ...]
    folder: Path
    pools: Mapping[str, Count] = field(default_factory=dict)
    retries: int = RETRIES


class Jobs(Protocol):
    """Where jobs run."""

    def submit(self, submission: Submission) -> None:
        """Start a job.

        Raises
        ------
        FacilityError
            Where it cannot start.
        """

    def table(self) -> Table:
        """List the jobs, the oldest first."""

    def log(self, name: str, *, follow: bool) -> Iterator[str]:
        """Give what a job has printed; with `follow` until it ends."""

    def succeeded(self, name: str) -> bool | None:
        """Whether a job ended well; None while it has not ended."""

    def stop(self, name: str) -> None:
        """End a job."""

    def remove(self, name: str) -> None:
        """Forget a job that has ended, and its log."""


def submission(
    script: Path,
    arguments: tuple[str, ...] = (),
    *,
    name: str | None = None,
    pools: Mapping[str, Count] | None = None,
    retries: int = RETRIES,
) -> Submission:
    """Check a script and what is asked of it.

    Raises
    ------
    RequestError
        With everything that is wrong.
    """
    problems = [problem for problem in (_script_problem(script),) if problem]
    if name is not None and not NAME.fullmatch(name):
        problems.append(
            f"the name {name!r} has to be up to 40 lower-case letters, digits and '-', with a "
            "letter first"
        )
    if problems:
        raise RequestError(f"{script} cannot be submitted", problems)
    chosen = name or f"{_slug(script.stem)}-{secrets.token_hex(2)}"
    where = script.resolve()
    return Submission(chosen, where, arguments, Path.cwd(), dict(pools or {}), retries)


def _script_problem(script: Path) -> str | None:
    if script.suffix == ".ipynb":
        return (
            "it is a notebook; make a script of it with `jupyter nbconvert --to script` and "
            "submit that"
        )
    try:
        content = script.read_bytes()
        compile(content, str(script), "exec")
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except SyntaxError as error:
        return f"it is no Python: line {error.lineno}: {error.msg}"
    except ValueError as error:  # of bytes that are no text
        return f"it is no Python: {error}"
    if len(content) > LARGEST:
        return f"it holds {counted(len(content), 'byte')}; at most {LARGEST:,} can be sent"
    return None


def _slug(stem: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:30].strip("-")
    return plain if plain[:1].isalpha() else f"job-{plain}".rstrip("-")
