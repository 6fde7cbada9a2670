"""The clients of this process where they cannot be used any more."""

import asyncio
import logging

from distributed.client import Client
from distributed.comm.core import CommClosedError


def expect_ends() -> None:
    """Have clients of this process take it for no alarm that a connection has ended.

    They log a traceback for what they send until they know of it, however it came.
    """
    logging.getLogger("distributed.batched").addFilter(_is_no_ended_connection)


def close_clients(address: str) -> None:
    """Close this process's clients of a scheduler that will not answer again.

    Closing one cancels its attempts to connect again, which it logs as an error.
    """
    logging.getLogger("distributed.client").addFilter(_is_no_cancellation)
    for client in list(Client._instances):
        if client.scheduler is not None and client.scheduler.address == address and client.loop:
            client.loop.add_callback(client._close, fast=True)


def disown_clients() -> None:
    """Take for closed, in a forked child, what its parent goes on using.

    A client is of no use here, since the thread is not here that speaks for it; it would wait for
    that when it is closed, and the child's end with it.
    """
    for client in list(Client._instances):
        client.status = "closed"


def _is_no_ended_connection(record: logging.LogRecord) -> bool:
    error = record.exc_info[0] if record.exc_info else None
    return error is None or not issubclass(error, CommClosedError)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    error = record.exc_info[0] if record.exc_info else None
    return error is None or not issubclass(error, asyncio.CancelledError)
