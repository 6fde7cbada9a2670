"""Calls that mypy has to refuse: `make lint` fails where it lets one pass, by an unused ignore."""

from collections.abc import Mapping
from typing import Any

from facility.analysis.background import start
from facility.analysis.run import prepared, run
from facility.analysis.runner.arguments import RunRequest


def process(events: Any) -> int:
    return len(events)


def wrong(files: Mapping[str, Any]) -> None:
    run(process, files, chunksize="many")  # type: ignore[arg-type]
    run(process, files, on_error="ignore")  # type: ignore[arg-type]
    start(process, files, chunksize="many")  # type: ignore[arg-type]
    start(process, files, chunk_size=10)  # type: ignore[call-arg]
    prepared(RunRequest(process, files, retries="3"))  # type: ignore[arg-type]
    RunRequest(process, files).retries = 4  # type: ignore[misc]
