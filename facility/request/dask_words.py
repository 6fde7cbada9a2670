"""Words of Dask's other classes, and of people who look for a pool: what there is here instead.

LocalCluster, dask-jobqueue, dask-kubernetes, dask-gateway and Adaptive are meant. Pure.
"""

import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Literal

from dask.utils import parse_bytes

from facility.config import BUILTIN_SOURCE, Config, Pool
from facility.errors import nearest
from facility.quantity import format_memory
from facility.request.bounds import DOWN_AFTER, TARGET_DURATION
from facility.wording import counted

Call = Literal["cluster", "scale", "adapt"]

_OWN: Mapping[Call, tuple[str, ...]] = {
    "cluster": (
        *("n", "config", "backend", "memory", "wait", "timeout", "idle_timeout", "untagged"),
        *("name", "environment", "asynchronous"),
    ),
    "scale": ("n", "force"),
    "adapt": ("minimum", "maximum"),
}
"""Arguments that each call has."""
_AMOUNTS: Mapping[Call, re.Pattern[str]] = {
    "cluster": re.compile("()(jobs)"),
    "scale": re.compile("()(cores|memory|jobs)"),
    "adapt": re.compile("(minimum|maximum)_(cores|memory|jobs)"),
}
"""Arguments that count something else than workers."""
_PLACED = "what runs where, and how, is described by pool in pools.yaml"
_ANSWERS: Mapping[str, str] = {
    "threads_per_worker nthreads ncores threads cores processes worker_cores job_cpu": "what a "
    "worker has is its pool's, as facility.pools() shows: in pool {pool} {cores} and {threads}",
    "memory_limit worker_memory job_mem": "memory={{'{pool}': '{memory}'}} sets the memory of a "
    "worker of pool {pool}, up to {most}",
    "dashboard_address worker_dashboard_address dashboard diagnostics_port": "the dashboard is "
    "always on, at c.dashboard_link",
    "host ip port interface protocol address proxy_address scheduler_port scheduler_options "
    "scheduler_kwargs scheduler_file scheduler_forward_port scheduler_service_type "
    "port_forward_cluster_ip contact_address services worker_services service_kwargs "
    "blocked_handlers": "where the scheduler listens is chosen for you: c.scheduler_address",
    "security auth": "every connection is encrypted, with your own certificates: c.security",
    "silence_logs quiet": "what workers print is kept, and not shown here: c.logs('{pool}')",
    "loop": "asynchronous=True runs it in your event loop",
    "image worker_image conda_env python": "workers have the software of this "
    "notebook, or the image of their pool",
    "env env_extra job_script_prologue preload preload_nanny plugins": "variables of workers are "
    "`env` and `passEnv` of their pool in pools.yaml; modules beside the notebook are sent",
    "namespace create_mode custom_cluster_spec pod_template worker_pod_template worker_command "
    "scheduler_pod_template jupyter resources worker_resources cluster_options worker_class "
    "worker_kwargs worker_options worker_extra_args extra nanny scheduler_cls start hosts "
    "connect_options scheduler_sync_interval": _PLACED,
    "queue project account walltime disk job_name job_extra job_extra_directives job_cls "
    "job_directives_skip header_skip log_directory shebang config_name shared_temp_directory "
    "submit_command_extra cancel_command_extra": "there is no batch queue behind it: workers are "
    "processes or pods, and end with their Dask cluster",
    "local_directory temporary_directory data": "workers keep what does not fit into their memory "
    "in a folder of their own",
    "lifetime lifetime_stagger lifetime_restart death_timeout shutdown_on_close": "it ends with "
    "close(), with your kernel, and after idle_timeout= without work",
    "resource_timeout start_timeout worker_start_timeout connect_timeout": "timeout= says how long "
    "to wait for workers, and wait= for how many",
    "interval wait_count": "a pool grows as soon as it has work for more workers, and shrinks "
    f"after {DOWN_AFTER:.0f} s with work for fewer",
    "target_duration scale_factor": "a pool grows until what waits for it takes about "
    f"{TARGET_DURATION:.0f} s",
    "worker_key Adaptive": "the scheduler decides which workers leave: idle ones first",
    "active": "a pool adapts until c.scale({pool}=...) fixes its number",
    "worker_group": "a pool is asked for by its name, as in {call}({other}=2)",
    "adaptive adapt": "a pair adapts, as in {call}({pool}=(0, 2))",
}
_KNOWN = {word: answer for words, answer in _ANSWERS.items() for word in words.split()}
_METHODS: Mapping[str, str] = {
    "shutdown": "c.close() ends it",
    **dict.fromkeys(
        ("scale_up", "scale_down", "start_worker"), "c.scale(n) sets the number of workers"
    ),
    "add_worker_group": "c.scale(gpu=2) starts workers of a pool, of which there are those of "
    "facility.pools()",
    "delete_worker_group": "c.scale(gpu=0) ends the workers of a pool",
    "job_script": "c.explain() and c.logs() tell of workers, which are no batch jobs",
    "worker_spec": "c.pools shows what there is of each pool",
}
"""Methods of Dask's other classes, and what to use instead."""
_HARDWARE: Mapping[str, str] = {
    r"gpus?|cuda|nvidia|[abhlv][0-9]{2,3}s?|[lt]4": "GPUs",
    r"arm|arm64|aarch64": "arm64",
    r"amd|amd64|x86|x86_64": "amd64",
    r"[a-bd-z]pus?": "",
}
"""Names by which people ask for a kind of machine: no slips for the name of another kind."""


def answers(call: Call, config: Config, words: Mapping[str, object]) -> list[str]:
    """Answer arguments that are no pools, a sentence each or one for those that belong together."""
    found: dict[str, list[str]] = {}
    for word, value in words.items():
        if word in _KNOWN and _is_so(config.default, word, value):
            continue
        found.setdefault(_answer(call, config, word, value), []).append(f"{word}={shown(value)}")
    return [
        answer if answer.startswith("there is no pool") else f"{', '.join(asked)}: {answer}"
        for answer, asked in found.items()
    ]


def _is_so(pool: Pool, word: str, value: object) -> bool:
    """Whether what is asked for is so anyway; None is what Dask's classes have by default."""
    if value is None or (word, value) in (("processes", True), ("memory_limit", "auto")):
        return True
    return word in ("threads_per_worker", "nthreads", "threads") and value == pool.threads


def _answer(call: Call, config: Config, word: str, value: object) -> str:
    pool, form = config.default, f"{'' if call == 'cluster' else 'c.'}{call}"
    amount = _AMOUNTS[call].fullmatch(word)
    if amount:
        return _amount(form, pool, amount[1], amount[2], value)
    if call == "adapt" and word in ("n", "n_workers"):
        return f"c.adapt(0, {shown(value)}) adapts up to it, and c.scale({shown(value)}) fixes it"
    if call == "scale" and word in ("minimum", "maximum"):
        return "scale fixes a number; c.adapt(minimum, maximum) adapts between two"
    if word in _KNOWN:
        return _KNOWN[word].format(
            call=form,
            pool=pool.name,
            other=other_pool(config),
            cores=_cores(pool.cpu),
            threads=counted(pool.threads, "thread"),
            memory=_memory(value) or format_memory(pool.memory),
            most=format_memory(pool.memory_max),
        )
    # The name of a pool has no underscore, and its value is a count.
    if re.fullmatch("[a-z][a-z0-9]*", word) and isinstance(value, int | float | tuple | list):
        return no_pool(word, config, _OWN[call])
    hint = nearest(word, (*_OWN[call], "n_workers", *config.pools))
    return (
        f"{call} has no such argument{hint}; it has {', '.join(_OWN[call])}, and the names of "
        f"pools: {', '.join(config.pools)}"
    )


def _amount(form: str, pool: Pool, end: str, what: str, value: object) -> str:
    """Say how many workers have a number of cores, so much memory or are so many jobs."""
    each = {"cores": pool.cpu, "memory": pool.memory, "jobs": 1 / pool.processes}[what]
    try:
        total = parse_bytes(value) if what == "memory" else float(value)  # type: ignore[arg-type]
        number = (math.floor if end == "maximum" else math.ceil)(total / each)
    except (ValueError, TypeError, OverflowError):
        number = 2
    has = {
        "cores": f"a worker of pool {pool.name} has {_cores(pool.cpu)}",
        "memory": f"a worker of pool {pool.name} has {format_memory(pool.memory)} of memory",
        "jobs": "there are no batch jobs",
    }
    asked = f"{form}({end}={number})" if end else f"{form}({number})"
    return f"workers are counted, as in {asked}; {has[what]}"


def _cores(cores: float) -> str:
    return counted(int(cores), "core") if cores == int(cores) else f"{cores:g} of a core"


def _memory(value: object) -> str | None:
    """Write memory in Dask's words as a quantity; None for a fraction, "auto" and the like."""
    try:
        size = parse_bytes(value) if isinstance(value, str | int) else 0
    except ValueError:
        return None
    return format_memory(size) if size > 1 else None


def other_pool(config: Config) -> str:
    """Name a pool for an example, another than the default one if there is any."""
    return next((name for name, pool in config.pools.items() if not pool.default), "gpu")


def no_pool(name: object, config: Config, also: Iterable[str] = ()) -> str:
    """Say that there is no pool of a name, which there are, and which was probably meant.

    Parameters
    ----------
    also
        Other words that may have been meant.
    """
    pools = config.pools
    listed = "there are" if len(pools) > 1 else "there is only"
    listed += f" {', '.join(pools)} ({config.source})"
    if not isinstance(name, str):
        return f"{shown(name)} is not the name of a pool; {listed}"
    kind = next((kind for form, kind in _HARDWARE.items() if re.fullmatch(form, name)), None)
    if kind is None:
        return f"there is no pool {name!r}{nearest(name, (*pools, *also))}; {listed}"
    having = ", ".join(
        pool.name
        for pool in pools.values()
        if kind and (pool.gpus if kind == "GPUs" else pool.architecture == kind)
    )
    remark = f"; with {kind} there is {having}" if having else f", and none with {kind}"
    if kind == "GPUs" and config.source == BUILTIN_SOURCE:
        remark = ", since no GPU is seen on this machine"
    return f"there is no pool {name!r}{remark if kind else ''}; {listed}"


def no_method(name: str) -> str:
    """Say that a Dask cluster has no such attribute, and what there is instead."""
    return f"a Dask cluster here has no {name!r}" + (
        f"; {_METHODS[name]}" if name in _METHODS else ""
    )


def shown(value: object) -> str:
    """Show a value of a call, shortened."""
    return reprlib.repr(value)
