"""`facility batch`: what an administrator asks of the site's batch, with a kubeconfig."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facility.wording import counted

GOOD = 0
FOLDER = "/opt/harvester/etc/panda"
"""Where the files of a queue lie on Harvester's machine, unless another folder is named."""
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
    kubeconfig = command(
        within,
        "kubeconfig",
        _kubeconfig,
        "write a kubeconfig for Harvester, and end the token of the one before",
    )
    kubeconfig.add_argument("file", type=Path, metavar="FILE", help="the file to write")
    kubeconfig.add_argument(
        "--lifetime",
        default="90d",
        metavar="TIME",
        help="time after which its token ends, as 90d, 12h or 30m (%(default)s)",
    )
    kubeconfig.add_argument(
        "--server", metavar="URL", help="URL of the API server for Harvester (default: your own)"
    )
    queue = command(
        within, "queue", _queue, "write what Harvester and CRIC need to know of a PanDA queue"
    )
    queue.add_argument("queue", metavar="QUEUE", help="name of the PanDA queue, as in CRIC")
    queue.add_argument(
        "--cores", type=int, default=8, metavar="N", help="cores of its largest job (%(default)s)"
    )
    queue.add_argument(
        "--memory",
        default="16Gi",
        metavar="SIZE",
        help="memory of its largest job (%(default)s)",
    )
    queue.add_argument(
        "--workers",
        type=int,
        default=1000,
        metavar="N",
        help="workers at most, those that wait included (%(default)s)",
    )
    queue.add_argument(
        "--out", type=Path, default=Path(), metavar="FOLDER", help="where to write (default: here)"
    )
    queue.add_argument(
        "--harvester-folder",
        default=FOLDER,
        metavar="FOLDER",
        help="folder of these files on Harvester's machine (%(default)s)",
    )
    queue.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="a kubeconfig of Harvester's, to see whether its token is good",
    )
    status = command(within, "status", _status, "count the pods of batch by PanDA queue")
    status.add_argument(
        "queue", nargs="?", metavar="QUEUE", help="say whether anybody serves this queue"
    )
    for parser in (kubeconfig, queue, status):
        parser.add_argument(
            "--namespace", metavar="NAME", help="namespace of batch (default: the only one)"
        )


def _kubeconfig(arguments: argparse.Namespace) -> int:
    from facility.batch import kubeconfig
    from facility.batch.namespace import administrator, find
    from facility.errors import RequestError

    try:
        lasting = kubeconfig.lifetime(arguments.lifetime)
    except ValueError as error:
        raise RequestError("No kubeconfig can be made", [f"--lifetime: {error}"]) from None
    batch = find(administrator(), arguments.namespace)
    issued = kubeconfig.issue(batch, lasting, arguments.server)
    kubeconfig.write(arguments.file, issued)
    # Only now: what Harvester has goes on until there is another.
    kubeconfig.end_earlier(batch, issued)
    print(f"{arguments.file}: for Harvester, in the namespace {batch.namespace}.")
    less = "" if issued.asked else ", sooner than asked: the API server allows no more"
    print(f"Its token ends at {issued.ends}{less}.")
    if issued.earlier:
        print(f"Ended: {counted(len(issued.earlier), 'token')} of before.")
    return GOOD


def _queue(arguments: argparse.Namespace) -> int:
    from facility.batch import kubeconfig, queue
    from facility.batch.namespace import administrator, find
    from facility.errors import RequestError
    from facility.quantity import parse_memory

    problems = [
        f"--{name}: {value} must be at least 1"
        for name, value in (("cores", arguments.cores), ("workers", arguments.workers))
        if value < 1
    ]
    try:
        memory = parse_memory(arguments.memory)
    except ValueError as error:
        problems.append(f"--memory: {error}")
    if problems:
        raise RequestError(f"The queue {arguments.queue} cannot be described", problems)
    batch = find(administrator(), arguments.namespace)
    asked = queue.Queue(
        arguments.queue,
        arguments.cores,
        memory,
        arguments.workers,
        arguments.harvester_folder.rstrip("/"),
    )
    queue.check(asked, batch, batch.nodes())
    if arguments.kubeconfig is not None:
        kubeconfig.check(arguments.kubeconfig, batch)
    for path, told in queue.write(asked, batch, arguments.out).items():
        print(f"{path}: {told}")
    print(f"The kubeconfig lies beside the Job as {queue.kubeconfig_name(batch)}.")
    return GOOD


def _status(arguments: argparse.Namespace) -> int:
    from facility.batch import status
    from facility.batch.namespace import administrator, find

    print(status.table(find(administrator(), arguments.namespace), arguments.queue))
    return GOOD
