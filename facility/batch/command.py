"""`facility batch`: what an administrator asks of the site's batch, with a kubeconfig."""

import argparse
from collections.abc import Callable
from typing import Any

from facility.batch import burst_command

Command = Callable[..., argparse.ArgumentParser]


def add(commands: Any, command: Command) -> None:
    """Describe the subcommands.

    Parameters
    ----------
    command
        Adds one to the parsers that it is given first.
    """
    batch = command(commands, "batch", None, "look after the site's batch, with a kubeconfig")
    within = batch.add_subparsers(title="commands", metavar="COMMAND")
    burst_command.add(within, command)
