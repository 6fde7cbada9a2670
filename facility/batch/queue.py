"""A PanDA queue for Harvester: its entry in the queue configuration, and its parameters in CRIC."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facility.batch.kubeconfig import HARVESTER
from facility.batch.namespace import BatchNamespace, Node
from facility.errors import RequestError
from facility.quantity import format_cores, format_memory
from facility.wording import counted

CPU_RATIO, MEMORY_RATIO = 90, 100
"""Percent of a job's cores and memory that its pod asks for."""
PROXY = "/proxy/x509up_u25606_prod"
"""Where the pilot finds its X.509 proxy, from the Secret proxy-secret."""
CYCLE_WORKERS = 100
"""Workers that Harvester makes at most each time it looks."""
PACKAGE = "pandaharvester"

Object = dict[str, Any]


@dataclass(frozen=True)
class Queue:
    """A queue as it is asked for.

    Parameters
    ----------
    name
        Of the PanDA queue, as in CRIC.
    cores
        Of its largest job: 1 for score, 8 for mcore by custom.
    memory
        Bytes of its largest job.
    workers
        That Harvester keeps at most, those that wait included.
    folder
        On Harvester's machine, with the kubeconfig and the template.
    """

    name: str
    cores: int
    memory: int
    workers: int
    folder: str


def check(queue: Queue, batch: BatchNamespace, nodes: Iterable[Node]) -> None:
    """See whether a queue's jobs could run here.

    Parameters
    ----------
    nodes
        Those on which batch may run; none where an autoscaler has made none yet.

    Raises
    ------
    RequestError
        With all that is wrong.
    """
    problems = list(_problems(queue, batch, list(nodes)))
    if problems:
        raise RequestError(f"The queue {queue.name} cannot be served here", problems)


def _problems(queue: Queue, batch: BatchNamespace, nodes: list[Node]) -> Iterator[str]:
    cores, memory = counted(queue.cores, "core"), format_memory(queue.memory)
    asked = queue.cores * CPU_RATIO / 100
    if batch.cpu is not None and queue.cores > batch.cpu:
        yield (
            f"a job of {cores} is larger than batch.largestJob.cpu, "
            f"{format_cores(batch.cpu)}; ask for fewer with --cores, or raise that value"
        )
    if batch.memory is not None and queue.memory > batch.memory:
        yield (
            f"a job of {memory} is larger than batch.largestJob.memory, "
            f"{format_memory(int(batch.memory))}; ask for less with --memory, or raise that value"
        )
    if nodes and not any(each.cpu >= asked and each.memory >= queue.memory for each in nodes):
        best = max(nodes, key=lambda each: (each.cpu, each.memory))
        given = counted(int(best.cpu) if best.cpu.is_integer() else best.cpu, "core")
        yield (
            f"a job of {cores} and {memory} is larger than any node of batch: the largest "
            f"of {len(nodes)}, {best.name}, gives {given} and "
            f"{best.memory / 2**30:.1f} GiB to pods"
        )


def harvester_entry(queue: Queue, batch: BatchNamespace) -> Object:
    """Return the entry for Harvester's queue configuration."""
    where = {
        "k8s_namespace": batch.namespace,
        "k8s_config_file": f"{queue.folder}/{kubeconfig_name(batch)}",
    }
    submitter = {
        "nProcesses": 4,
        "k8s_yaml_file": f"{queue.folder}/{template_name(queue)}",
        "proxySecretPath": PROXY,
        "cpuAdjustRatio": CPU_RATIO,
        "memoryAdjustRatio": MEMORY_RATIO,
        "logBaseURL": "https://HARVESTER/condor_logs",
    }
    return {
        queue.name: {
            "queueStatus": "online",
            "prodSourceLabel": "managed",
            "mapType": "NoJob",
            "truePilot": True,
            "nQueueLimitWorker": queue.workers,
            "maxWorkers": queue.workers,
            "maxNewWorkersPerCycle": min(CYCLE_WORKERS, queue.workers),
            "maxSubmissionAttempts": 3,
            "prefetchEvents": False,
            "preparator": _plugin("preparator", "DummyPreparator", "dummy_preparator"),
            "submitter": _plugin("submitter", "K8sSubmitter", "k8s_submitter") | where | submitter,
            "workerMaker": _plugin("workermaker", "SimpleWorkerMaker", "simple_worker_maker"),
            "messenger": _plugin("messenger", "SharedFileMessenger", "shared_file_messenger")
            | {"accessPoint": "/data/harvester/workdir/${workerID}"},
            "stager": _plugin("stager", "DummyStager", "dummy_stager"),
            "monitor": _plugin("monitor", "K8sMonitor", "k8s_monitor") | where,
            "sweeper": _plugin("sweeper", "K8sSweeper", "k8s_sweeper") | where,
        }
    }


def cric_parameters(queue: Queue, batch: BatchNamespace) -> Object:
    """Return the parameters of the queue in CRIC by which Harvester makes its pods."""
    return {
        "k8s.namespace": batch.namespace,
        "k8s.scheduler.priorityClassName": batch.priority_class,
        "k8s.resources.requests.cpu_scheduling_ratio": CPU_RATIO,
        "k8s.resources.requests.memory_scheduling_ratio": MEMORY_RATIO,
        "k8s.use_active_deadline_seconds": True,
        "corecount": queue.cores,
        "maxrss": round(queue.memory / 2**20),
    }


def _plugin(kind: str, name: str, module: str) -> Object:
    return {"name": name, "module": f"{PACKAGE}.harvester{kind}.{module}"}


def kubeconfig_name(batch: BatchNamespace) -> str:
    """Name of the file with the kubeconfig."""
    return f"{HARVESTER}-{batch.namespace}.kubeconfig"


def template_name(queue: Queue) -> str:
    """Name of the file with the Job."""
    return f"{queue.name}.job.yaml"


def write(queue: Queue, batch: BatchNamespace, folder: Path) -> dict[Path, str]:
    """Write the files of a queue; return what each is for.

    Raises
    ------
    OSError
        Where one cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entry, cric = folder / f"{queue.name}.queue.json", folder / f"{queue.name}.cric.json"
    template = folder / template_name(queue)
    entry.write_text(json.dumps(harvester_entry(queue, batch), indent=4) + "\n")
    cric.write_text(json.dumps(cric_parameters(queue, batch), indent=4) + "\n")
    template.write_text(batch.template)
    return {
        entry: "the entry for Harvester's panda_queueconfig.json",
        cric: "the queue's parameters in CRIC",
        template: f"the Job of each worker, to lie in {queue.folder} on Harvester's machine",
    }
