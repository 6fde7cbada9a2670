"""The folder that a run writes skims to: checked before, completed and tidied at the end."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Client

from facility.analysis.files.chunk import Chunk, halves
from facility.analysis.files.rootfile import LONGEST_LIST, is_address
from facility.analysis.inputs.plan import Plan
from facility.analysis.results.skim import FORMATS, UNFINISHED, SkimFile, folder_of, stem, written
from facility.analysis.runner.checkpoint import Checkpoint
from facility.analysis.runner.process_chunk import result_of
from facility.errors import RequestError
from facility.system.private_files import READABLE_FOLDER, check_room, make_folder, refusal
from facility.wording import counted


class MissingSkimsError(Exception):
    """Files that the results name are not there; the message is a sentence."""


class SkimFolder:
    """A folder for the skims of one run.

    Parameters
    ----------
    folder
        Made if it is missing.

    Raises
    ------
    RequestError
        It cannot be written.
    """

    def __init__(self, folder: str | Path, plan: Plan) -> None:
        if is_address(str(folder)):
            raise _refusal(f"output={folder!r} is an address; give a folder that workers share")
        self.folder = Path(folder).expanduser().absolute()
        self._plan = plan
        try:
            make_folder(self.folder, READABLE_FOLDER)
            check_room(self.folder, 1)
        except OSError as error:
            told = refusal(error, self.folder, "choose a folder")
            raise _refusal(f"the folder {self.folder} is not writable: {told}") from None

    @property
    def _probe(self) -> Path:
        return self.folder / f".probe-{os.getpid()}"

    def check_workers(self, client: Client, resources: Mapping[str, Any]) -> None:
        """Find out whether workers can write there.

        Raises
        ------
        RequestError
        """
        self._probe.touch()
        try:
            told = client.submit(_trouble, str(self._probe), pure=False, **resources).result()
        finally:
            self._probe.unlink()
        if told:
            raise _refusal(
                f"workers cannot write to {self.folder} ({told}); it has to be a folder that they "
                "share with you"
            )

    def check_content(self, kept: Checkpoint | None) -> None:
        """Refuse a folder in which events would be twice.

        Parameters
        ----------
        kept
            Has what an earlier part of the same run has written.

        Raises
        ------
        RequestError
        """
        there = [
            path
            for form in FORMATS
            for path in self.folder.rglob(f"*.{form}")
            if not path.name.startswith(".")
        ]
        if not there:
            return
        mine = {
            file.path
            for chunk in (self._plan.chunks if kept else ())
            for packed in _results(kept, chunk)
            for file in written(result_of(packed))
        }
        others = sorted(path.name for path in there if str(path) not in mine)
        if others:
            first = ", ".join(others[:LONGEST_LIST])
            raise _refusal(
                f"{self.folder} holds {counted(len(others), 'skim')} that this run has not written "
                f"({first}{', ...' if others[LONGEST_LIST:] else ''}): choose another folder, "
                "remove them, or give the checkpoint of the run that wrote them"
            )

    def intact(self, packed: bytes) -> bool:
        """Whether all files are there that a pickled result names."""
        return all(
            Path(file.path).exists() or Path(file.part).exists()
            for file in written(result_of(packed))
        )

    def complete(self, results: Any, run: str) -> list[SkimFile]:
        """Give the files that results name their real names, and remove what else was begun.

        Parameters
        ----------
        run
            Name of the run.

        Raises
        ------
        MissingSkimsError
        """
        files = written(results)
        missing = []
        for file in files:
            with suppress(FileNotFoundError):
                Path(file.part).replace(file.path)
            if not Path(file.path).exists():
                missing.append(file.path)
        self._tidy(run)
        if missing:
            first, gone = ", ".join(missing[:LONGEST_LIST]), counted(len(missing), "skim")
            raise MissingSkimsError(f"of what was written, {gone} cannot be found ({first})")
        return files

    def _tidy(self, run: str) -> None:
        """Remove unfinished files of this run, and those of earlier ones of the same chunks."""
        stems = {stem(chunk) for chunk in self._plan.chunks}
        for dataset in {folder_of(chunk.dataset) for chunk in self._plan.chunks}:
            for path in (self.folder / dataset).rglob(f".*{UNFINISHED}"):
                of_chunk = path.name[1:].rpartition(".")[0].rpartition(".")[0].rpartition(".")[0]
                if of_chunk in stems or f".{run}-" in path.name:
                    with suppress(OSError):
                        path.unlink()


def _results(kept: Checkpoint | None, chunk: Chunk) -> Iterator[bytes]:
    """What a checkpoint has of a chunk, or of its parts if it was cut."""
    found = kept.load(chunk) if kept else None
    if found is not None:
        yield found[0]
    elif kept and kept.has_part(chunk):
        for part in halves(chunk) or ():
            yield from _results(kept, part)


def _trouble(probe: str) -> str | None:
    """Say, on a worker, why a folder cannot be written."""
    path = Path(probe)
    if not path.exists():
        return "they do not see it"
    mine = path.with_name(f"{path.name}.worker")
    try:
        mine.touch()
        mine.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _refusal(problem: str) -> RequestError:
    return RequestError("The run cannot write skims", [problem])
