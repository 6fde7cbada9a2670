"""`facility site`: what administrators ask about their Kubernetes cluster before users come."""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from facility.progress import Line

GOOD, FAILED = 0, 1
NAMESPACE = "facility"
SIZES = ("1:3", "8:1")
"""Three jobs of a core for each one of eight."""
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
    _add_test(within, command, extra)


def _add_test(within: Any, command: Command, extra: Extra) -> None:
    def tested(arguments: argparse.Namespace) -> int:
        with extra("kubernetes"):
            return _test(arguments)

    test = command(
        within, "test", tested, "fill a namespace with jobs and faults, and say how that went"
    )
    test.add_argument("--namespace", required=True, metavar="NAME", help="where the jobs run")
    test.add_argument("--image", required=True, metavar="IMAGE", help="image of the jobs: Python")
    test.add_argument(
        "--count", type=_number(1, int), default=200, metavar="N", help="jobs (%(default)s)"
    )
    test.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="CORES:SHARE",
        help="cores of a job, and its share among the sizes; may be given several times "
        f"({' '.join(SIZES)})",
    )
    test.add_argument(
        "--seconds",
        type=_number(0, float),
        default=60.0,
        metavar="S",
        help="for which a job works (%(default)s)",
    )
    test.add_argument(
        "--faults",
        type=_number(0, int),
        default=5,
        metavar="N",
        help="jobs for each kind of fault (%(default)s)",
    )
    test.add_argument(
        "--seed",
        type=_number(0, int),
        default=1,
        metavar="N",
        help="of the random numbers: the same seed, the same jobs and faults (%(default)s)",
    )
    test.add_argument(
        "--least",
        type=_number(0, float),
        default=90.0,
        metavar="PERCENT",
        help="of the cores that have to be requested while jobs wait (%(default)s)",
    )
    test.add_argument(
        "--timeout",
        type=_number(1, float),
        default=3600.0,
        metavar="S",
        help="seconds after which it is given up (%(default)s)",
    )
    test.add_argument("--priority-class", metavar="NAME", help="PriorityClass of the jobs' pods")
    test.add_argument("--busy", action="store_true", help="calculate, instead of sleeping")
    test.add_argument("--keep", action="store_true", help="leave the jobs")
    test.add_argument(
        "--out",
        type=Path,
        default=Path("site-test.html"),
        metavar="FILE",
        help="the page with tables and pictures (%(default)s)",
    )


def _number(least: float, kind: Callable[[str], float]) -> Callable[[str], float]:
    """Make a reader of numbers that are not below one."""

    def read(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of this kind") from None
        if not least <= number < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not at least {least:g}")
        return number

    return read


def _test(arguments: argparse.Namespace) -> int:
    import asyncio
    import uuid

    from facility.kubernetes.client.api import Api
    from facility.site.acceptance.page import Verdict
    from facility.site.acceptance.plan import plan, sizes
    from facility.site.acceptance.trial import Seen, Settings, Trial
    from facility.site.check.examine import account

    mix = sizes(arguments.size or SIZES)
    run = f"site-test-{uuid.uuid4().hex[:6]}"
    settings = Settings(
        run=run,
        image=arguments.image,
        plan=plan(run, arguments.count, mix, arguments.seconds, arguments.faults, arguments.seed),
        patience=arguments.timeout,
        priority_class=arguments.priority_class,
        busy=arguments.busy,
        keep=arguments.keep,
    )
    line = Line()

    def tell(text: str) -> None:
        if line.due():
            line.tell(f"site test: {text}")

    async def trial() -> Seen:
        api = Api(account()).within(arguments.namespace)
        try:
            return await Trial(api, settings, tell).run()
        finally:
            await api.aclose()

    # A page that cannot be written is told before an hour is spent.
    arguments.out.touch()
    verdict = Verdict(settings, asyncio.run(trial()), arguments.least / 100)
    line.end("site test: done")
    arguments.out.write_text(verdict.html())
    print(verdict)
    print(f"\nThe page is {arguments.out}. The seed is {arguments.seed}.")
    return GOOD if verdict.good else FAILED


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
