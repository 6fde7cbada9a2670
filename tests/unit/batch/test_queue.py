"""What Harvester and CRIC are told of a queue, and what no node here could run."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from facility.batch import namespace
from facility.cli import main
from facility.kubernetes.client.kinds import CONFIG_MAP, NODE, POD
from tests.batch_server import SPACE, Site, named, node, pod


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with Site() as found:
        monkeypatch.setattr(namespace, "administrator", found.api)
        yield found


def queue(*more: str) -> int:
    return main(["batch", "queue", "GRID_K8S", *more])


def test_the_entry_names_what_the_chart_has_made(batch: Site, tmp_path: Path) -> None:
    assert queue(f"--out={tmp_path}", "--harvester-folder=/etc/h/", "--workers=50") == 0
    entry = json.loads((tmp_path / "GRID_K8S.queue.json").read_text())["GRID_K8S"]
    for plugin in ("submitter", "monitor", "sweeper"):
        assert entry[plugin]["k8s_namespace"] == SPACE
        assert entry[plugin]["k8s_config_file"] == f"/etc/h/harvester-{SPACE}.kubeconfig"
    assert entry["submitter"]["k8s_yaml_file"] == "/etc/h/GRID_K8S.job.yaml"
    assert (tmp_path / "GRID_K8S.job.yaml").read_text() == "kind: Job\n"
    assert entry["maxWorkers"] == 50
    cric = json.loads((tmp_path / "GRID_K8S.cric.json").read_text())
    assert cric["k8s.scheduler.priorityClassName"] == "af-batch"
    assert cric["k8s.resources.requests.cpu_scheduling_ratio"] == 90
    assert (cric["corecount"], cric["maxrss"]) == (8, 16384)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cores=64"], "a job of 64 cores is larger than batch.largestJob.cpu, 8"),
        (["--memory=64Gi"], "a job of 64Gi is larger than batch.largestJob.memory, 32Gi"),
        (["--cores=8"], "the largest of 2, big, gives 4 cores and 32.0 GiB to pods"),
        (["--cores=1", "--memory=32Gi"], "--out"),
    ],
)
def test_a_job_larger_than_any_node_is_told(
    batch: Site, words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, big = node("small", "2", "16Gi"), node("big", "4", "32Gi")
    # Nodes that batch may not use do not count.
    other = node("other", "128", "512Gi", other="yes")
    batch.objects.objects += [(NODE, small), (NODE, big), (NODE, other)]
    code = queue(f"--out={tmp_path}", *words)
    assert code == (0 if told == "--out" else 1)
    assert told == "--out" or told in capsys.readouterr().err
    assert bool(list(tmp_path.iterdir())) == (told == "--out")


def test_what_is_asked_of_a_node_is_the_ratio_of_the_cores(batch: Site, tmp_path: Path) -> None:
    """Kubernetes looks at the request alone: 7.2 of 8 cores."""
    batch.objects.objects.append((NODE, node("node", "7500m", "60Gi")))
    assert queue(f"--out={tmp_path}") == 0


def test_several_mistakes_are_told_together(
    batch: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert queue("--cores=0", "--workers=-1", "--memory=much") == 1
    told = capsys.readouterr().err
    assert all(word in told for word in ("--cores", "--workers", "--memory"))


def test_a_kubeconfig_that_is_not_there_is_told(
    batch: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert queue(f"--kubeconfig={tmp_path / 'a'}", f"--out={tmp_path}") == 1
    assert "make another one with `facility batch kubeconfig`" in capsys.readouterr().err


# Whether anybody serves a queue.


def test_pods_are_counted_by_queue(batch: Site, capsys: pytest.CaptureFixture[str]) -> None:
    pods = [
        pod("a", "Running", "GRID_K8S"),
        pod("b", "Pending", "GRID_K8S"),
        pod("c", "Failed", None),
    ]
    batch.objects.objects += [(POD, each) for each in pods]
    assert main(["batch", "status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if "GRID_K8S" in line]
    assert [word for word in row.split() if word.isdigit()] == ["1", "1", "0", "0"]
    assert any("no queue" in line for line in lines)
    assert main(["batch", "status", "GRID_K8S"]) == 0


def test_a_queue_that_nobody_serves_is_told(
    batch: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", "status", "GRID_K8S"]) == 1
    assert "no Harvester has begun here" in capsys.readouterr().err
    batch.objects.objects.append((CONFIG_MAP, named("pilots-starter", data={})))
    batch.objects.objects.append((POD, pod("a", "Running", "GRID_K8S_2")))
    batch.objects.lists.clear()
    assert main(["batch", "status", "GRID_K8S"]) == 1
    told = capsys.readouterr().err
    assert "Nobody serves the queue GRID_K8S: no pod here is of it" in told
    assert "GRID_K8S_2" in told
    assert "online in CRIC" in told
