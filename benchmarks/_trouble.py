"""A Z peak with trouble in one file: what becomes of the events of a run then."""

import os
import time
from pathlib import Path
from typing import Any

from facility.analysis.samples.zpeak import ZPeak


class Trouble(ZPeak):
    """`ZPeak` that meets trouble in the first chunk of one file.

    Parameters
    ----------
    kind
        ``"read"``: an error of reading, once; ``"exit"``: its worker dies, always.
    file
        Name of the file.
    marks
        Folder that all workers see.
    """

    def __init__(self, kind: str, file: str, marks: str) -> None:
        super().__init__()
        self.kind, self.file, self.marks = kind, file, marks

    def process(self, events: Any) -> dict[str, Any]:
        """Fill the histogram, unless there is trouble."""
        told = events.metadata
        if told["filename"].endswith(self.file) and told["entrystart"] == 0:
            again = any(Path(self.marks).iterdir())
            (Path(self.marks) / str(time.time_ns())).touch()
            if self.kind == "exit":
                os._exit(7)
            if not again:
                raise OSError("Operation expired")
        return super().process(events)
