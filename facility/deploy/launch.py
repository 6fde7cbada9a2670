"""The one public call: `cluster(...)`, and the Dask clusters that there are."""

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask

from facility import config as configuration
from facility.backend import LOCAL, Backend, choose_backend, runs_in_pod
from facility.config import Config
from facility.dask_process import dask_settings
from facility.deploy.cluster import PooledCluster
from facility.deploy.controller import Controller
from facility.environment.shared import Shared
from facility.local import capacity, registry
from facility.local.backend import LocalBackend
from facility.request import worker_counts
from facility.request.call_words import AskedWorkers, understand
from facility.request.checked_request import Count, Limit, request
from facility.request.dask_words import no_pool
from facility.security.certificates import Authority
from facility.system.machine import this_machine
from facility.table import Table

if TYPE_CHECKING:
    from facility.kubernetes.namespace import ThisNamespace


def cluster(
    n: "Count | None" = None,
    *more: object,
    config: "str | Path | Mapping[str, Any] | Config | None" = None,
    backend: str | None = None,
    memory: Mapping[str, str | int] | None = None,
    wait: float | None = None,
    timeout: float | str | None = None,
    idle_timeout: float | str | None = None,
    untagged: Iterable[str] | None = None,
    name: str | None = None,
    environment: bool = True,
    asynchronous: bool = False,
    **pools: "Count | None",
) -> PooledCluster:
    """Start a private Dask cluster with the pools asked for.

    Without any number it is the default pool, from 0 workers to all that the
    pool and the machine allow. In a script that `facility submit --pool` has started, the
    numbers of pools named there stand above those of the call.

    Parameters
    ----------
    n
        Workers of the default pool: a number, or (minimum, maximum) to adapt; ``(0, math.inf)``
        adapts up to all that there is.
    config
        A pools.yaml, or what stands in one; by default `FACILITY_CONFIG`,
        /etc/facility/pools.yaml, or pools that fit this machine.
    backend
        Where to run; by default Kubernetes in a pod, else this machine. Outside of a pod
        ``"kubernetes"`` works with the namespace of your kubeconfig's context.
    memory
        Memory of each worker, by pool, as in ``{"cpu": "8Gi"}``.
    wait
        Workers to wait for, or a fraction (below 1, or 1.0) of those that start
        by themselves; by default one, or none where all minima are 0.
    timeout
        Seconds (or "5 min") to wait for them.
    idle_timeout
        Seconds (or "1h") without work and held results after which it ends;
        0 for never.
    untagged
        Pools that run tasks submitted outside `on`; by default the default pool.
    name
        Name of the Dask cluster.
    environment
        Whether workers on Kubernetes are sent what this process has above their image: packages,
        and the folder beside the notebook or script. ``c.environment`` shows it.
    asynchronous
        For ``await cluster(..., asynchronous=True)`` in an event loop.
    **pools
        Workers of each pool, as `n`. Dask's ``n_workers``, ``minimum`` and ``maximum`` mean the
        default pool.

    Raises
    ------
    RequestError
        With everything that is wrong with the call.
    ConfigError
        With everything that is wrong with pools.yaml.
    ClusterFailedError, ClusterTimeoutError
        Where it does not start.

    Examples
    --------
    >>> with cluster(cpu=(0, 200), gpu=2) as c, c.get_client() as client:  # doctest: +SKIP
    ...     future = client.submit(sum, [1, 2])
    """
    provider = _provider(backend)
    loaded = provider.pools(config)
    allowed = provider.limits(loaded)
    spoken = understand("cluster", loaded, (n, *more), pools)
    standing = worker_counts.standing(os.environ)
    above = worker_counts.over({name: each.count for name, each in spoken.asked.items()}, standing)
    asked, unknown = _named(standing, loaded)
    checked = request(
        loaded,
        allowed,
        spoken.asked | asked,
        [*spoken.problems, *unknown],
        memory=memory,
        wait=wait,
        timeout=timeout,
        idle_timeout=idle_timeout,
        untagged=untagged,
        name=name,
    )
    dask_settings.check()
    for note in (*above, *checked.notes, *provider.notes(loaded, spoken.asked | asked)):
        PooledCluster.say(note)
    name = checked.name or f"dask-{secrets.token_hex(3)}"
    chosen = provider.start(name, loaded)
    try:
        _trust(chosen.authority)
        controller = Controller(
            name, checked, chosen, sending=_sending(chosen, environment), say=PooledCluster.say
        )
        found = PooledCluster(controller, allowed, asynchronous=asynchronous)
    except BaseException:
        chosen.close_now()
        raise
    if not found.called_from_running_loop:
        found.start()
    return found


def _sending(backend: Backend, enabled: bool) -> Shared:
    """Return what gives workers what they lack."""
    if backend.shares_files:
        return Shared()
    from facility.environment.sending import Sending

    return Sending(enabled)


def _named(pools: Mapping[str, Count], config: Config) -> tuple[dict[str, AskedWorkers], list[str]]:
    """Return what counts by name ask for, and a sentence for each pool that there is not."""
    asked = {
        name: AskedWorkers(count, f"{name}={count}")
        for name, count in pools.items()
        if name in config.pools
    }
    return asked, [no_pool(name, config) for name in pools if name not in config.pools]


def check(pools: Mapping[str, Count]) -> None:
    """Refuse counts of workers that `cluster` would not grant; nothing is started.

    Raises
    ------
    RequestError
        With everything that is wrong with them.
    """
    loaded, limits = room()
    request(loaded, limits, *_named(pools, loaded))


def room() -> tuple[Config, dict[str, Limit]]:
    """Return the pools that there are here, and how many workers of each there can be."""
    provider = _provider(None)
    loaded = provider.pools(None)
    return loaded, provider.limits(loaded)


_trusted: set[str] = set()


def _trust(authority: Authority) -> None:
    """Let ``Client("tls://...")`` work with nothing else in this process.

    What the user or the hub has configured stays.
    """
    for key, value in authority.configuration().items():
        present = dask.config.get(key, None)
        if present is None or present in _trusted:
            dask.config.set({key: value})
            _trusted.add(value)


class ThisMachine:
    """Dask clusters as processes of this machine."""

    def pools(self, source: "str | Path | Mapping[str, Any] | Config | None") -> Config:
        """Read the pools."""
        return configuration.load(source)

    def limits(self, config: Config) -> dict[str, Limit]:
        """Return how many workers of each pool there can be."""
        return capacity.limits(config, this_machine())

    def notes(self, config: Config, asked: Mapping[str, object]) -> list[str]:
        """Say how pools differ here from what they are."""
        return capacity.emulated(config, this_machine(), asked)

    def start(self, name: str, config: Config) -> LocalBackend:
        """Return what starts the processes of a new Dask cluster."""
        return LocalBackend(name)

    def clusters(self) -> Table:
        """List the user's Dask clusters."""
        return Table(
            ("name", "pools", "started", "scheduler", "dashboard", "owner (process)"),
            tuple(
                (
                    record.name,
                    ", ".join(record.pools),
                    registry.started(record),
                    record.address,
                    record.dashboard,
                    record.owner,
                )
                for record in registry.records()
            ),
            empty="no Dask cluster of yours runs on this machine",
        )

    def stop(self, name: str) -> None:
        """End one of them."""
        registry.find(name).stop()


def _provider(explicit: str | None) -> "ThisMachine | ThisNamespace":
    """Return where Dask clusters run."""
    chosen, _ = choose_backend(explicit, os.environ, runs_in_pod())
    if chosen == LOCAL:
        return ThisMachine()
    # aiohttp takes a tenth of a second to import, which one machine does not need.
    from facility.kubernetes.namespace import ThisNamespace

    return ThisNamespace()


def pools(config: "str | Path | Mapping[str, Any] | Config | None" = None) -> Table:
    """List the pools that a Dask cluster can have here.

    Raises
    ------
    ConfigError
        With everything that is wrong with pools.yaml.
    """
    provider = _provider(None)
    loaded = provider.pools(config)
    allowed = provider.limits(loaded)
    return configuration.pools_table(
        loaded, {name: found.workers for name, found in allowed.items()}
    )


def clusters() -> Table:
    """List your Dask clusters here, whoever started them."""
    return _provider(None).clusters()


def stop(name: str) -> None:
    """End one of your Dask clusters here.

    Raises
    ------
    ClusterFailedError
        Where none of that name runs.
    """
    _provider(None).stop(name)
