"""The hub on Kubernetes: login to a ready notebook, and what starting servers costs it.

    .venv/bin/python -m benchmarks.hub_spawn [--json] [--rounds 3]

Runs on the Kubernetes of `make kube-up`, with the facility's images in its registry
(`.venv/bin/python -m tests.kube.bringup images`). Installs the chart, and beside it KubeSpawner as
it comes: with user namespaces, in a hub of the same image, with all rights.

login
    From the password to the first answer of JupyterLab's page, in the real image with a home of
    its own: of a user who never came before (namespace and home are made), and of one who did.
starts
    20 servers at once, each watched on its progress page. So that the machine carries them, they
    are a program of six lines in the same image that answers and does nothing else: what is
    measured is the hub. Its processor time is user and system of its process (that of its pod,
    keeper and culler included, stands beside), from before the first call until the last server
    is ready.
events
    The same with events of Dask workers' pods in the users' namespaces: none, 50,000 and
    100,000, half of them with users of either hub. The hub of KubeSpawner is there only while it
    is measured, since it takes the machine's cores from all others; it is warm by then: one
    server was started before. A start fails, of either hub, when it takes longer than 120 s.
rendering
    `helm template` by Helm 3 and 4, and by the package helm-python-sdk in this process.
"""

import argparse
import asyncio
import math
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks._events import Bulk, Events, Request
from benchmarks._hubs import WHOLE, Batch, Hub, of_the_chart, stock, stock_space
from benchmarks._kube import state_of_running
from benchmarks._measure import (
    Summary,
    alternate,
    finish,
    note,
    number,
    options,
    positive,
    ratio,
    seconds,
    table,
)
from tests.kube.charts import CHART, Facility
from tests.kube.conftest import Kubernetes

RENDERINGS = 5
SMALLEST = 1, [20]
"""Servers at once, and events beside none."""
TOGETHER = 5
"""Users whose namespaces are made at once, which loads the API server most."""
FIRST = "first"
"""User with whose server a hub of KubeSpawner becomes warm."""
VALUES = CHART / "ci" / "minimal.yaml"


def label(count: int) -> str:
    """Write a number of events as the result's keys do: 0, 50k."""
    return f"{count // 1000}k" if count and count % 1000 == 0 else str(count)


def visit(facility: Facility, user: str) -> tuple[float, float]:
    """Seconds from the password to the notebook: of somebody new, and of the same one later."""

    def once() -> None:
        visitor = facility.visitor(user)
        visitor.spawn(profile=WHOLE)
        visitor.open_server(300)

    first = seconds(once)()
    stopped(facility, user)
    again = seconds(once)()
    stopped(facility, user)
    return first, again


def stopped(facility: Facility, user: str) -> None:
    """Stop a user's server and wait until its pod is gone."""
    facility.visitors[-1].stop_server()
    facility.space(user).run("wait", "--for=delete", "pod/notebook", "--timeout=120s")


class Rounds:
    """Starts with each number of events, by both hubs in turn.

    Parameters
    ----------
    ours
        The hub of the chart.
    beside
        Where hubs of KubeSpawner are made.
    events
        Those in the namespaces of all users.
    users
        Of either hub.
    """

    def __init__(self, ours: Hub, beside: Kubernetes, events: Events, users: Sequence[str]) -> None:
        self.ours = ours
        self.beside = beside
        self.events = events
        self.users = users
        self.found: dict[tuple[str, int], list[Batch]] = {}
        self.api_server: dict[int, list[float]] = {}

    async def run(self, levels: Sequence[int], rounds: int) -> None:
        """Measure as planned; every other time the other hub begins."""
        steps = plan(levels, rounds)
        for index, level in enumerate(steps):
            await self.events.reach(level)
            order = [("ours", self._ours), ("stock", self._stock)]
            for name, measure in order if index % 2 == 0 else order[::-1]:
                note(f"[{index + 1}/{len(steps)}] {label(level)} events, {name} ...")
                try:
                    batch = await asyncio.to_thread(measure)
                finally:
                    await self._clear()
                self.found.setdefault((name, level), []).append(batch)
                told(batch)
            resident = await asyncio.to_thread(api_server_memory, self.beside)
            self.api_server.setdefault(level, []).append(resident)

    def _ours(self) -> Batch:
        batch = self.ours.start_all(self.users)
        self.ours.stop_all(self.users)
        return batch

    def _stock(self) -> Batch:
        with stock(self.beside, stock_prefix(self.beside)) as hub:
            hub.make_users([FIRST, *self.users])
            warm = hub.start(FIRST)
            if warm.problem:
                note(f"the first server did not start: {warm.problem}")
            return hub.start_all(self.users)

    async def _clear(self) -> None:
        """Remove servers that a hub of KubeSpawner has left behind with its end."""
        await self.events.bulk.run(
            Request("DELETE", f"/api/v1/namespaces/{space}/pods?gracePeriodSeconds=0")
            for space in stock_spaces(self.beside, self.users)
        )


def plan(levels: Sequence[int], rounds: int) -> list[int]:
    """Return the order of what is measured: up the levels, and once more at the lowest.

    Making events takes longer than measuring with them; the lowest level is measured on either
    side, so that what changes meanwhile on the machine is seen.
    """
    lowest, *others = sorted(levels)
    before = max(1, rounds - 1)
    return [
        *[lowest] * before,
        *(level for level in others for _ in range(rounds)),
        *[lowest] * (rounds - before),
    ]


def told(batch: Batch) -> None:
    """Say on stderr how a batch went."""
    last = number(batch.ready[-1]) if batch.ready else "-"
    note(
        f"  {number(batch.cpu)} ms a start (pod {number(batch.pod_cpu)}), last ready after "
        f"{last} s, {batch.failed} failed, {number(batch.mib)} MiB"
    )
    for problem in {start.problem for start in batch.starts if start.problem}:
        note(f"  {problem[:300]}")


def stock_prefix(beside: Kubernetes) -> str:
    """What the namespaces of KubeSpawner's users begin with."""
    return f"{beside.namespace}-"


def stock_spaces(beside: Kubernetes, users: Sequence[str]) -> list[str]:
    """Namespaces of KubeSpawner's users, that of its first one before those that are measured."""
    return [stock_prefix(beside) + user for user in (FIRST, *users)]


def api_server_memory(kube: Kubernetes) -> float:
    """MiB of the API server's process."""
    for line in kube.run("get", "--raw", "/metrics").splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return float(line.split()[1]) / 2**20
    raise RuntimeError("the API server does not tell its memory")


def renderings(state: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Seconds to render the chart, by each of Helm's programs and in this process."""
    import helm_python
    import yaml

    values = yaml.safe_load(VALUES.read_text())

    def template(program: str) -> Callable[[], object]:
        command = [program, "template", "af", str(CHART), "-f", str(VALUES)]
        # A program built from the module alone does not know which Kubernetes it is for.
        command += ["--kube-version", "1.35.0"]
        return lambda: subprocess.run(command, check=True, capture_output=True)

    def render() -> None:
        with helm_python.Chart.load(str(CHART)) as chart:
            chart.validate_schema(values)
            chart.render(values, name="af", namespace="af")

    measured = {f"helm {version}": template(path) for version, path in state["helm"].items()}
    measured["helm-python-sdk"] = render
    return alternate({name: seconds(work) for name, work in measured.items()}, rounds)


async def measure(state: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything on the Kubernetes that runs."""
    levels = sorted({0, *arguments.events})
    users = [f"u{index:02d}" for index in range(arguments.starts)]
    often = 1 if arguments.smallest else RENDERINGS
    found: dict[str, Any] = {"renderings": renderings(state, often)}
    with (
        tempfile.TemporaryDirectory() as folder,
        of_the_chart(state, Path(folder), arguments.helm) as (facility, ours),
        stock_space(state) as beside,
    ):
        async with Bulk(state) as bulk:
            theirs = stock_spaces(beside, users)
            try:
                await bulk.run(namespaces("POST", theirs))
                note(f"{len(users)} users' first servers ...")
                found["idle"] = await asyncio.to_thread(lambda: ours.used().mib)
                await asyncio.to_thread(ours.make_users, users)
                found["first"] = []
                for index in range(0, len(users), TOGETHER):
                    some = users[index : index + TOGETHER]
                    found["first"].append(await asyncio.to_thread(ours.start_all, some))
                    told(found["first"][-1])
                await asyncio.to_thread(ours.stop_all, users)
                spaces = [facility.prefix + user for user in users] + theirs[1:]
                rounds = Rounds(ours, beside, Events(bulk, spaces, levels), users)
                found["rounds"] = rounds
                found["visits"] = [
                    await asyncio.to_thread(visit, facility, f"new{index}")
                    for index in range(arguments.rounds)
                ]
                note(f"logins: {found['visits']}")
                await rounds.run(levels, arguments.rounds)
                await rounds.events.reach(0)
            finally:
                with suppress(RuntimeError):
                    await bulk.run(namespaces("DELETE", theirs), allowed=(404,))
    return found


def namespaces(method: str, them: Sequence[str]) -> list[Request]:
    """Calls that make or delete namespaces."""
    if method == "DELETE":
        return [Request(method, f"/api/v1/namespaces/{name}") for name in them]
    kind = {"apiVersion": "v1", "kind": "Namespace"}
    return [
        Request(method, "/api/v1/namespaces", {**kind, "metadata": {"name": name}}) for name in them
    ]


def report(found: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print the table, and the result."""
    rounds: Rounds = found["rounds"]
    rows: dict[str, Summary] = {}
    units: dict[str, str] = {}
    result: dict[str, object] = {"starts": arguments.starts, "rounds": arguments.rounds}

    def tell(key: str, name: str, unit: str, samples: Sequence[float]) -> None:
        samples = [each for each in samples if not math.isnan(each)]
        if samples:
            rows[name] = result[key] = Summary.of(samples)
            units[name] = unit

    first, again = zip(*found["visits"], strict=True)
    tell("login_first_s", "login to notebook, a new user", "s", first)
    tell("login_s", "login to notebook, later", "s", again)
    tell(
        "first_cpu_ms", "hub, first start of each user", "ms", [each.cpu for each in found["first"]]
    )
    tell("hub_idle_mib", "hub, nobody there", "MiB", [found["idle"]])
    for (name, level), batches in sorted(rounds.found.items()):
        prefix = "" if name == "ours" else "stock_"
        what = f"{'hub' if name == 'ours' else 'KubeSpawner'}, {label(level)} events"
        key = label(level)
        tell(f"{prefix}cpu_ms_{key}", f"{what}: a start", "ms", [each.cpu for each in batches])
        pods = [each.pod_cpu for each in batches]
        tell(f"{prefix}pod_cpu_ms_{key}", f"{what}: a start, its pod", "ms", pods)
        ready = [each.ready for each in batches if each.ready]
        tell(f"{prefix}first_s_{key}", f"{what}: first ready", "s", [each[0] for each in ready])
        tell(f"{prefix}last_s_{key}", f"{what}: last ready", "s", [each[-1] for each in ready])
        tell(f"{prefix}mib_{key}", f"{what}: memory", "MiB", [each.mib for each in batches])
        result[f"{prefix}failed_{key}"] = sum(each.failed for each in batches)
        result[f"{prefix}started_{key}"] = sum(len(each.starts) for each in batches)
        none = [each.cpu for each in rounds.found[name, 0]]
        some = [each.cpu for each in batches]
        if level and not any(map(math.isnan, none + some)):
            rows[f"{what}, / 0"] = ratio(some, none)
            result[f"{prefix}cpu_{key}_vs_0"] = rows[f"{what}, / 0"]
    for level, memory in rounds.api_server.items():
        tell(f"api_server_mib_{label(level)}", f"API server, {label(level)} events", "MiB", memory)
    for name, samples in found["renderings"].items():
        tell(f"render_s_{name.replace(' ', '')}", f"chart rendered by {name}", "s", samples)
    finish(result, json=arguments.json, table=table(rows, units))


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = options((__doc__ or "").partition("\n")[0], rounds=3)
    parser.add_argument("--starts", type=positive, default=20, help="servers at once (%(default)s)")
    parser.add_argument("--helm", choices=("3", "4"), default="3", help="which installs the chart")
    parser.add_argument(
        "--events", type=int, nargs="*", default=[50_000, 100_000], help="beside none (%(default)s)"
    )
    arguments = parser.parse_args(given)
    if arguments.smallest:
        arguments.starts, arguments.events = SMALLEST
    state = state_of_running("analysis", "hub")
    report(asyncio.run(measure(state, arguments)), arguments)


if __name__ == "__main__":
    main()
