"""`facility batch run`: many runs of one template, with an account of each."""

import argparse
import asyncio
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOOD, FAILED = 0, 1
Command = Callable[..., argparse.ArgumentParser]


def add(within: Any, command: Command) -> None:
    """Describe `run` among the subcommands of `batch`."""
    run = command(
        within, "run", _run, "run a template many times, and say what became of each, with a "
        "kubeconfig",
    )  # fmt: skip
    run.add_argument(
        "template", type=Path, metavar="TEMPLATE", help="YAML of a Job, Pod or PodTemplate"
    )
    run.add_argument(
        "--count", type=int, required=True, metavar="N", help="how often, from 1 to 100,000"
    )
    run.add_argument(
        "--cores", type=float, metavar="N", help="cores of each (default: the template's)"
    )
    run.add_argument(
        "--retries",
        type=int,
        default=2,
        metavar="N",
        help="how often one is tried again that failed by itself (%(default)s); one that lost its "
        "node or was displaced always is",
    )
    run.add_argument("--name", help="name of the burst (default: the template's, and four digits)")
    run.add_argument(
        "--namespace",
        metavar="NAME",
        help="namespace of batch (default: that of the kubeconfig's context)",
    )
    run.add_argument(
        "--priority-class", metavar="NAME", help="PriorityClass (default: the template's)"
    )
    run.add_argument(
        "--account", type=Path, metavar="FILE", help="write what became of every index as JSON"
    )
    run.epilog = "It exits with 1 where an index is not done. After Ctrl-C the burst goes on."


def _run(arguments: argparse.Namespace) -> int:
    from facility.backend import runs_in_pod
    from facility.batch.burst_run import BurstRun
    from facility.batch.bursts import burst
    from facility.kubernetes.client.account import pod_account
    from facility.kubernetes.client.api import Api
    from facility.kubernetes.client.kubeconfig import kubeconfig_account

    api = Api(pod_account() if runs_in_pod() else kubeconfig_account())
    if arguments.namespace:
        api = api.within(arguments.namespace)
    wanted = burst(
        arguments.template,
        api.namespace,
        count=arguments.count,
        name=arguments.name or f"{_slug(arguments.template.stem)}-{secrets.token_hex(2)}",
        cores=arguments.cores,
        retries=arguments.retries,
        priority_class=arguments.priority_class,
    )
    run = BurstRun(api, wanted)
    try:
        found = asyncio.run(_follow(run))
    except KeyboardInterrupt:
        print(
            f"facility: the burst {wanted.name} goes on in {wanted.namespace}; this ends it:\n"
            f"  kubectl --namespace {wanted.namespace} delete jobs "
            f"-l facility/burst={wanted.name}",
            file=sys.stderr,
        )
        raise
    if arguments.account is not None:
        from facility.system.private_files import write_readable

        write_readable(arguments.account, found.to_json().encode())
    print(found)
    return GOOD if found.complete else FAILED


async def _follow(run: Any) -> Any:
    try:
        await run.begin()
        print(f"The burst {run.wanted.name} has begun in {run.wanted.namespace}.", flush=True)
        return await run.follow()
    finally:
        await run.api.aclose()


def _slug(stem: str) -> str:
    plain = "".join(letter if letter.isalnum() else "-" for letter in stem.lower())
    return plain.strip("-")[:30].strip("-") or "burst"
