"""The clients of a Dask cluster whose scheduler has ended."""

import asyncio
import logging

from distributed.client import Client


def close_clients(address: str) -> None:
    """Close this process's clients of a scheduler that will not answer again.

    Closing one cancels its attempts to connect again, which it logs as an error.
    """
    logging.getLogger("distributed.client").addFilter(_is_no_cancellation)
    for client in list(Client._instances):
        if client.scheduler is not None and client.scheduler.address == address and client.loop:
            client.loop.add_callback(client._close, fast=True)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    error = record.exc_info[0] if record.exc_info else None
    return error is None or not issubclass(error, asyncio.CancelledError)
