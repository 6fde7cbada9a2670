"""`facility submit` and `facility jobs`."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facility.backend import LOCAL, choose_backend, runs_in_pod
from facility.jobs.request import RETRIES, Jobs, submission
from facility.request.worker_counts import parse

GOOD, FAILED = 0, 1
NAME_HELP = "name of the job, which `facility jobs` shows"
Command = Callable[..., argparse.ArgumentParser]


def add(commands: Any, command: Command) -> None:
    """Describe the subcommands.

    Parameters
    ----------
    command
        Adds one to the parsers that it is given first.
    """
    submit = command(
        commands, "submit", _submit, "run a script with its own Dask cluster, without watching it"
    )
    submit.add_argument("script", type=Path, metavar="SCRIPT", help="a Python script")
    submit.add_argument(
        "--pool",
        action="append",
        default=[],
        metavar="NAME=N",
        help="workers of a pool, N or MINIMUM:MAXIMUM, whatever the script asks for",
    )
    submit.add_argument("--name", help="name of the job (default: the script's, and four digits)")
    submit.add_argument(
        "--retries",
        type=int,
        choices=range(11),
        default=RETRIES,
        metavar="N",
        help="how often it is started again after it failed (%(default)s)",
    )
    submit.add_argument("--follow", action="store_true", help="show what it prints until it ends")
    submit.epilog = "What follows -- are arguments of the script."

    jobs = command(commands, "jobs", _table, "show your jobs")
    within = jobs.add_subparsers(title="commands", metavar="COMMAND")
    log = command(within, "log", _log, "show what a job has printed")
    log.add_argument("name", metavar="NAME", help=NAME_HELP)
    log.add_argument("--follow", action="store_true", help="go on until it ends")
    stop = command(within, "stop", _stop, "end a job as Ctrl-C does")
    stop.add_argument("name", metavar="NAME", help=NAME_HELP)
    remove = command(within, "remove", _remove, "forget a job that has ended, and its log")
    remove.add_argument("name", metavar="NAME", help=NAME_HELP)


def jobs_here() -> Jobs:
    """Return where jobs run: on Kubernetes in a pod, else on this machine."""
    chosen, _ = choose_backend(None, os.environ, runs_in_pod())
    if chosen == LOCAL:
        from facility.jobs.local import MachineJobs

        return MachineJobs()
    from facility.jobs.kubernetes import KubernetesJobs

    return KubernetesJobs()


def _submit(arguments: argparse.Namespace) -> int:
    pools = parse(arguments.pool, "--pool")
    wanted = submission(
        arguments.script,
        tuple(arguments.rest),
        name=arguments.name,
        pools=pools,
        retries=arguments.retries,
    )
    if pools:
        # Dask takes half a second to import, which only its pools are worth.
        from facility.deploy import launch

        launch.check(pools)
    jobs = jobs_here()
    jobs.submit(wanted)
    name = wanted.name
    print(
        f"Job {name} has begun. `facility jobs log {name} --follow` shows what it prints, "
        f"`facility jobs stop {name}` ends it.",
        flush=True,
    )
    return _follow(jobs, name) if arguments.follow else GOOD


def _follow(jobs: Jobs, name: str) -> int:
    try:
        for text in jobs.log(name, follow=True):
            print(text, end="", flush=True)
    except KeyboardInterrupt:
        print(
            f"\nfacility: job {name} goes on; `facility jobs stop {name}` ends it", file=sys.stderr
        )
        return GOOD
    return GOOD if jobs.succeeded(name) else FAILED


def _table(arguments: argparse.Namespace) -> int:
    print(jobs_here().table())
    return GOOD


def _log(arguments: argparse.Namespace) -> int:
    jobs = jobs_here()
    if arguments.follow:
        return _follow(jobs, arguments.name)
    for text in jobs.log(arguments.name, follow=False):
        print(text, end="")
    return GOOD


def _stop(arguments: argparse.Namespace) -> int:
    jobs_here().stop(arguments.name)
    print(f"Job {arguments.name} is stopped.")
    return GOOD


def _remove(arguments: argparse.Namespace) -> int:
    jobs_here().remove(arguments.name)
    print(f"Job {arguments.name} is forgotten.")
    return GOOD
