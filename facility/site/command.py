"""`facility site`: what administrators ask about their Kubernetes cluster before users come."""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from facility.progress import Line

GOOD, FAILED = 0, 1
NAMESPACE = "facility"
Command = Callable[..., argparse.ArgumentParser]
Extra = Callable[[str], AbstractContextManager[None]]
"""Names the optional part to install where a package of it is missing."""


def add(commands: Any, command: Command, extra: Extra) -> None:
    """Add `site` and what is below it to the command line."""
    site = command(commands, "site", None, "look at the Kubernetes cluster of a site")
    within = site.add_subparsers(title="commands", metavar="COMMAND")

    def checked(arguments: argparse.Namespace) -> int:
        with extra("kubernetes"):
            return _check(arguments)

    check = command(
        within, "check", checked, "say what a Kubernetes cluster lacks of what the chart needs"
    )
    check.add_argument(
        "--values",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="the chart's values, as for Helm; may be given several times",
    )
    check.add_argument(
        "--namespace",
        default=NAMESPACE,
        metavar="NAME",
        help="namespace in which the chart is, or is to be, installed (%(default)s)",
    )
    check.add_argument(
        "--probe",
        action="store_true",
        help="try what nothing tells, with pods in a namespace of their own, which goes again",
    )
    check.add_argument(
        "--probe-image",
        metavar="IMAGE",
        help="image with Python for --probe (default: the hub's, of the values)",
    )
    check.add_argument("--json", action="store_true", help="print it as JSON")


def _check(arguments: argparse.Namespace) -> int:
    from facility.site.check.examine import examine, values_of

    line = Line()

    def tell(text: str) -> None:
        if line.due():
            line.tell(f"site check: {text}")

    report = examine(
        values_of(arguments.values),
        arguments.namespace,
        tell,
        probe=arguments.probe,
        image=arguments.probe_image,
    )
    line.end("site check: done")
    print(report.json() if arguments.json else report)
    return GOOD if report.complete else FAILED
