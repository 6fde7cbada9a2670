"""Whatever stands in an object, each function that reads it answers: nothing of it ends a loop.

Objects are those of `tests.api_objects`, changed at random by a generator with a seed: fields are
left out, or become nothing, a number, a text, a list, something huge. They come by the way that all
answers of an API server come. What fails here is told with the seed that fails again.
"""

import datetime
import json
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kubespawner import KubeSpawner

from facility.config import load
from facility.errors import FacilityError
from facility.hub.kubernetes import progress, server_pod, shortage
from facility.hub.kubernetes.tenants import difference, leftovers
from facility.hub.kubernetes.values.tenant_model import api_server, is_tenant_of
from facility.jobs import kubernetes as jobs
from facility.kubernetes import (
    backend,
    deletion,
    explain,
    lease,
    pod_template,
    pool_limits,
    quota,
    worker_pods,
)
from facility.kubernetes.client import kinds
from facility.kubernetes.client.answers import ListReader, read
from facility.kubernetes.client.calls import Call
from facility.kubernetes.client.kinds import Kind
from facility.kubernetes.tenant import is_counted
from tests import api_objects
from tests.any_object import changed

Object = dict[str, Any]
CASES = 3000
NOW = datetime.datetime(2026, 1, 1, 0, 2, tzinfo=datetime.UTC)


def arrived(kind: Kind, found: Any) -> Object:
    """Return an object as it comes from an API server."""
    call = Call("get", "GET", kind, "af-ada", "x")
    answer = read(call, "application/json", json.dumps(found).encode(errors="replace"))
    return dict(answer)


def listed(kind: Kind, objects: list[Any]) -> list[Object]:
    call = Call("list", "GET", kind, "")
    body = json.dumps({"metadata": {}, "items": objects}).encode(errors="replace")
    whole = read(call, "application/json", body)["items"]
    reader = ListReader(call, dict)
    for at in range(0, len(body), 10_000):
        reader.feed(body[at : at + 10_000])
    assert reader.end()["items"] == whole
    return list(whole)


POOLS = load({"pools": {"cpu": {"default": True, "cpu": 1, "memory": "4Gi", "maxWorkers": 9}}})
POD = api_objects.SERVER
RELEASE: Any = SimpleNamespace(name="af", volumes=())
TENANT: Any = SimpleNamespace(release=RELEASE, namespace="af-ada", slug="ada")


def of_pods(pod: Object) -> None:
    events = [arrived(kinds.EVENT, api_objects.EVENT)]
    explain.ending(pod)
    explain.is_scheduled(pod)
    explain.hindrance(pod, events)
    explain.pool_reasons([pod], events, {})
    explain.scheduler_hindrance(arrived(kinds.DASK_CLUSTER, {}), [pod], events, 3)
    progress.stage(pod, events)
    leftovers.ended(pod)
    difference.mounted_claims([pod])
    difference.mounting(pod)
    worker_pods.trimmed(pod)
    worker_pods.is_worker(pod)
    deletion._leaves(pod)
    pod_template.template_of(pod) if pod["spec"]["containers"] else None
    jobs._is_of(pod, arrived(kinds.JOB, api_objects.JOB))
    server_pod.is_server(pod, ("af-notebook",))
    kept = server_pod.kept(pod)
    spawner: Any = SimpleNamespace()
    KubeSpawner.is_pod_running(spawner, kept)
    assert "exitCode" in json.dumps(kept) or "terminated" not in json.dumps(kept)
    progress.stage(kept, events)


def of_events(event: Object) -> None:
    pod = arrived(kinds.POD, api_objects.WAITING)
    explain.hindrance(pod, [event])
    explain.pool_reasons([pod], [event], {})
    explain.scheduler_hindrance(
        arrived(kinds.DASK_CLUSTER, api_objects.DASK_CLUSTER), [], [event], 3
    )
    progress.stage(pod, [event])
    assert isinstance(backend._moment(event), str)


def of_leases(found: Object) -> None:
    assert lease.holder(found, NOW)
    lease.renewed(found)
    lease.lasting(found)
    leftovers.run_out(found, NOW)


def of_clusters(found: Object) -> None:
    deletion.owning_lease(found)
    deletion._is_held(found, 0.0)
    leftovers.held(found, NOW)
    leftovers._short(found)
    explain.scheduler_hindrance(found, [], [], 3)


def of_quotas(found: Object) -> None:
    is_counted(found)
    list(quota.shares([found], POD))
    pool_limits.limits(POOLS, [found])
    told = shortage.shortage([found], POD)
    assert told is None or told


def of_claims(found: Object) -> None:
    difference.foreign_claim(TENANT, [found])
    difference.unfit_claims(TENANT, [found])
    pod_template.template_of(arrived(kinds.POD, POD), claims={found["metadata"]["name"]: found})


def of_volumes(found: Object) -> None:
    difference.volume_difference(TENANT, "u", {"home"}, [arrived(kinds.POD, POD)], [found])


def of_namespaces(found: Object) -> None:
    is_tenant_of(found, RELEASE)
    difference.is_complete(SimpleNamespace(contents_digest="x"), found)  # type: ignore[arg-type]
    pod_template.identity_in(found)


def of_jobs(found: Object) -> None:
    table: Any = SimpleNamespace(_list=lambda *_, **__: [])
    table._state = lambda *words: jobs.KubernetesJobs._state(table, *words)
    jobs.KubernetesJobs._row(table, found, [arrived(kinds.POD, api_objects.ENDED)])
    jobs._is_over(found)


def of_config_maps(found: Object) -> None:
    pod_template.told_by(found)


def of_endpoints(found: Object) -> None:
    list(api_server([found]))


READERS: dict[Kind, Callable[[Object], None]] = {
    kinds.POD: of_pods,
    kinds.EVENT: of_events,
    kinds.LEASE: of_leases,
    kinds.DASK_CLUSTER: of_clusters,
    kinds.QUOTA: of_quotas,
    kinds.CLAIM: of_claims,
    kinds.VOLUME: of_volumes,
    kinds.NAMESPACE: of_namespaces,
    kinds.JOB: of_jobs,
    kinds.CONFIG_MAP: of_config_maps,
    kinds.ENDPOINTS: of_endpoints,
    kinds.SECRET: lambda found: None,
    kinds.SERVICE: lambda found: found["spec"].get("clusterIP"),
    kinds.DEFINITION: lambda found: None,
}
RECORDED = [
    pytest.param(kind, each, id=f"{kind.name}-{n}")
    for n, (kind, each) in enumerate(api_objects.OF_EACH_KIND)
]


def answered(kind: Kind, found: Object) -> None:
    """Have an object read; what is told of it is a sentence."""
    try:
        READERS[kind](found)
    except FacilityError as error:
        if len(str(error).split()) < 5:
            raise AssertionError(str(error)) from error


@pytest.mark.parametrize(("kind", "found"), RECORDED)
def test_an_object_as_it_should_be_passes_as_it_is(kind: Kind, found: Object) -> None:
    def without_nothing(part: Any) -> Any:
        if isinstance(part, dict):
            return {k: without_nothing(v) for k, v in part.items() if v is not None}
        return [without_nothing(each) for each in part] if isinstance(part, list) else part

    passed = arrived(kind, found)
    assert difference.has(passed, without_nothing(found))
    READERS[kind](passed)


@pytest.mark.parametrize(("kind", "found"), RECORDED)
def test_whatever_an_object_holds_is_read(kind: Kind, found: Object) -> None:
    for seed in range(CASES // len(RECORDED)):
        source = random.Random(f"{kind.name}-{seed}")
        one = changed(source, found)
        try:
            answered(kind, arrived(kind, one))
        except Exception as error:
            error.add_note(f"seed {kind.name}-{seed}")
            raise
