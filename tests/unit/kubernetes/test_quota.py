"""Whether a ResourceQuota counts a pod, and what it has left.

The same rule is compared with the API server's own verdict in tests/kube/test_quota.py.
"""

from decimal import Decimal
from typing import Any

import pytest

from facility.kubernetes.quota import counts, shares, takes, written

Object = dict[str, Any]


def pod(*containers: Object, **spec: Any) -> Object:
    return {"spec": {"containers": list(containers), **spec}}


def container(limits: Object | None = None, requests: Object | None = None, **more: Any) -> Object:
    sides = {"limits": limits, "requests": requests}
    return {"resources": {side: each for side, each in sides.items() if each is not None}, **more}


def quota(hard: Object | None = None, used: Object | None = None, **spec: Any) -> Object:
    found: Object = {"metadata": {"name": "q"}, "spec": {"hard": hard or {"pods": "1"}, **spec}}
    if used is not None:
        found["status"] = {"hard": hard, "used": used}
    return found


def selector(name: str, operator: str, *values: str) -> Object:
    term: Object = {"scopeName": name, "operator": operator}
    if values:
        term["values"] = [*values]
    return {"scopeSelector": {"matchExpressions": [term]}}


NOTHING = pod({})
SMALL = pod(container({"cpu": "1"}))
GPU_ALONE = pod(container({"nvidia.com/gpu": "1", "ephemeral-storage": "1Gi"}))
ZERO = pod(container({"cpu": "0", "memory": "0"}))
FIRST = pod({}, initContainers=[container(requests={"memory": "1Mi"})])
LIMITED = pod({}, activeDeadlineSeconds=60)
HIGH = pod({}, priorityClassName="high")
OTHERS = {"topologyKey": "zone", "namespaces": ["b"]}
REQUIRED, PREFERRED = (
    f"{kind}DuringSchedulingIgnoredDuringExecution" for kind in ("required", "preferred")
)


def near(rule: str, term: Object, kind: str = "podAffinity") -> Object:
    return pod({}, affinity={kind: {rule: [term]}})


@pytest.mark.parametrize(
    ("scope", "fitting", "others"),
    [
        ("BestEffort", [NOTHING, GPU_ALONE, ZERO], [SMALL, FIRST]),
        ("NotBestEffort", [SMALL, FIRST], [NOTHING, GPU_ALONE, ZERO]),
        ("Terminating", [LIMITED], [NOTHING]),
        ("NotTerminating", [NOTHING], [LIMITED]),
        ("PriorityClass", [HIGH], [NOTHING]),
        (
            "CrossNamespacePodAffinity",
            [
                near(REQUIRED, OTHERS),
                near(REQUIRED, {"topologyKey": "zone", "namespaceSelector": {}}),
                near(PREFERRED, {"weight": 1, "podAffinityTerm": OTHERS}, "podAntiAffinity"),
            ],
            [NOTHING, near(REQUIRED, {"topologyKey": "zone", "namespaces": []})],
        ),
        ("AnotherScope", [], [NOTHING, SMALL]),
    ],
)
def test_scopes(scope: str, fitting: list[Object], others: list[Object]) -> None:
    for spec in ({"scopes": [scope]}, selector(scope, "Exists")):
        assert all(counts(quota(**spec), each) for each in fitting)
        assert not any(counts(quota(**spec), each) for each in others)


@pytest.mark.parametrize(
    ("operator", "values", "high", "none"),
    [
        ("In", ("high", "low"), True, False),
        ("In", ("low",), False, False),
        ("NotIn", ("high",), False, True),
        ("NotIn", ("low",), True, True),
        ("Exists", (), True, False),
        ("DoesNotExist", (), False, True),
    ],
)
def test_operators(operator: str, values: tuple[str, ...], high: bool, none: bool) -> None:
    found = quota(**selector("PriorityClass", operator, *values))
    assert (counts(found, HIGH), counts(found, NOTHING)) == (high, none)


def test_all_scopes_and_expressions_have_to_fit() -> None:
    both = quota(scopes=["BestEffort"], **selector("PriorityClass", "In", "high"))
    assert counts(both, HIGH)
    assert not counts(both, NOTHING)
    assert not counts(both, pod(container({"cpu": "1"}), priorityClassName="high"))
    assert counts(quota(), NOTHING)


def test_what_a_pod_takes() -> None:
    found = takes(
        pod(
            container({"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"}, {"cpu": "500m"}),
            container(requests={"ephemeral-storage": "1G", "hugepages-2Mi": "4Mi"}),
        )
    )
    assert found == {
        "pods": 1,
        "count/pods": 1,
        **dict.fromkeys(("cpu", "requests.cpu"), Decimal("0.5")),
        "limits.cpu": 2,
        # Without a request, the limit is one.
        **dict.fromkeys(("memory", "requests.memory", "limits.memory"), 2**30),
        **dict.fromkeys(("ephemeral-storage", "requests.ephemeral-storage"), 10**9),
        **dict.fromkeys(("hugepages-2Mi", "requests.hugepages-2Mi"), 2**22),
        "requests.nvidia.com/gpu": 1,
    }


def test_containers_that_run_first_do_not_add_up() -> None:
    first = [
        container({"cpu": "5"}),
        container({"cpu": "1"}, restartPolicy="Always"),
        container({"cpu": "3"}),
    ]
    assert takes(pod(container({"cpu": "1"}), initContainers=first))["cpu"] == 5
    # The sidecar runs beside all that come after it.
    assert takes(pod(container({"cpu": "1"}), initContainers=first[1:]))["cpu"] == 4
    assert takes(pod(container({"cpu": "4"}), initContainers=first))["cpu"] == 5


def test_overhead_counts_as_a_limit_where_there_is_one() -> None:
    overhead = {"cpu": "250m", "memory": "1Mi"}
    found = takes(pod(container({"cpu": "1"}), overhead=overhead))
    assert (found["cpu"], found["limits.cpu"]) == (Decimal("1.25"), Decimal("1.25"))
    assert found["memory"] == 2**20
    assert "limits.memory" not in found


def test_what_is_left_of_several_quotas() -> None:
    quotas = [
        quota({"pods": "3", "services": "0", "requests.cpu": "2"}, {"pods": "1"}),
        quota({"limits.cpu": "1"}, {"limits.cpu": "500m"}),
        quota({"pods": "0"}, scopes=["BestEffort"]),
    ]
    found = {each.resource: (each.left, each.fits) for each in shares(quotas, SMALL)}
    assert found == {
        "pods": (2, True),
        "requests.cpu": (2, True),
        "limits.cpu": (Decimal("0.5"), False),
    }


def test_what_is_used_up_holds_up_only_what_takes_of_it() -> None:
    over = quota({"requests.nvidia.com/gpu": "0"}, {"requests.nvidia.com/gpu": "2"})
    assert list(shares([over], SMALL)) == []
    (share,) = shares([over], GPU_ALONE)
    assert (share.left, share.fits) == (-2, False)


def test_a_quota_may_be_as_large_as_kubernetes_takes_it() -> None:
    (share,) = shares([quota({"limits.memory": "9Ei"})], pod(container({"memory": "1Gi"})))
    assert share.fits
    assert written("limits.memory", share.hard) == "9Ei"


@pytest.mark.parametrize(
    ("resource", "amount", "text"),
    [
        ("cpu", Decimal("1.5"), "1500m"),
        ("requests.memory", Decimal(2**31), "2Gi"),
        ("ephemeral-storage", Decimal(0), "0"),
        ("requests.nvidia.com/gpu", Decimal(4), "4"),
    ],
)
def test_amounts_are_written_as_kubernetes_does(resource: str, amount: Decimal, text: str) -> None:
    assert written(resource, amount) == text
