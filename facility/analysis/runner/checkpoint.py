"""Keep the results of chunks on disk, so that an interrupted run goes on where it was.

One file for each chunk, named after everything that its result depends on: a changed processor,
parameter, schema or input has another name, and never meets an old result. What was written with
the key of another user is not unpickled: the folder may be one that others can write.
"""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facility import names
from facility.analysis.files.chunk import Chunk, halves
from facility.analysis.inputs.plan import Plan
from facility.analysis.results.record import Receipt
from facility.analysis.serialization.fingerprint import UnknownContentError, fingerprint
from facility.errors import RequestError
from facility.security.signing import Signer
from facility.system.private_files import check_room, make_folder, refusal, write_private
from facility.wording import counted

SUFFIX = ".chunk"
CHOOSE = "choose a folder"
DIGEST = hashlib.sha256


class CheckpointWarning(UserWarning):
    """The results of some chunks could not be kept; the run itself went on."""


class Checkpoint:
    """A folder with the results of chunks.

    Parameters
    ----------
    folder
        Made if it is missing. Several analyses may share one.
    plan, processor, schema
        What is run.
    settings
        Everything else that results depend on.
    intact
        Whether what a pickled result names besides is still there.

    Attributes
    ----------
    foreign
        Files that were not opened: they are damaged, or the user's own key has not signed them.

    Raises
    ------
    RequestError
        The folder cannot be written, or the processor holds something of which nobody can say
        whether it has changed.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        processor: Any,
        schema: Any,
        settings: Any = None,
        intact: Callable[[bytes], bool] | None = None,
    ) -> None:
        self.folder, self._intact = folder, intact
        self.foreign = 0
        import awkward
        import coffea
        import uproot

        versions = [module.__version__ for module in (awkward, coffea, uproot)]
        try:
            self._code = fingerprint(processor, schema, settings, versions)
            self._metadata = {name: fingerprint(data) for name, data in plan.metadata.items()}
        except UnknownContentError as error:
            problem = (
                f"the processor holds something whose changes cannot be noticed ({error}): make "
                "it inside process(), or run without a checkpoint"
            )
            raise RequestError("The run cannot keep a checkpoint", [problem]) from None
        try:
            # What is in it is unpickled: nobody else may write there.
            make_folder(folder)
            check_room(folder, 1)
            self._there = {path.name for path in folder.iterdir()}
            self._signer = Signer()
        except OSError as error:
            problem = f"the folder {folder} is not writable: {refusal(error, folder, CHOOSE)}"
            raise RequestError("The run cannot keep a checkpoint", [problem]) from None

    def key(self, chunk: Chunk) -> str:
        """Name of all that a chunk's result depends on."""
        parts = (
            self._code,
            chunk.dataset,
            self._metadata[chunk.dataset],
            chunk.tree,
            chunk.identity,
            chunk.start,
            chunk.stop,
        )
        return DIGEST(repr(parts).encode()).hexdigest()

    def load(self, chunk: Chunk) -> tuple[bytes, Receipt] | None:
        """Return what was saved of a chunk; None where there is nothing of one's own, or half."""
        try:
            signed = self._path(chunk).read_bytes()
        except OSError:
            return None
        content = self._signer.opened(signed, self._path(chunk).name)
        if content is None:
            self.foreign += 1
            return None
        found: tuple[bytes, Receipt] = pickle.loads(content)
        return found if self._intact is None or self._intact(found[0]) else None

    def has_part(self, chunk: Chunk) -> bool:
        """Whether there is something of a part of a chunk, which an earlier run has cut."""
        parts = (halves(chunk) or ()) if self._there else ()
        return any(self._path(part).name in self._there or self.has_part(part) for part in parts)

    def save(self, chunk: Chunk, packed: bytes, receipt: Receipt) -> None:
        """Keep a chunk's pickled result, whole or not at all.

        Raises
        ------
        OSError
            The disk is full or gone.
        """
        path = self._path(chunk)
        write_private(path, self._signer.signed(pickle.dumps((packed, receipt)), path.name))

    def remarks(self) -> list[str]:
        """Say what of the folder was not opened."""
        if not self.foreign:
            return []
        what = counted(self.foreign, "file was not opened", "files were not opened")
        why = "damaged, written by another user, by an older release, or with another key than"
        said = f"of the checkpoint {self.folder} {what}, and computed again: {why} "
        return [said + f"{names.data_folder()} has"]

    def _path(self, chunk: Chunk) -> Path:
        return self.folder / (self.key(chunk) + SUFFIX)
