"""Which settings of Dask are looked at, which have no effect, which cannot work."""

from pathlib import Path

import dask
import pytest
import yaml

from facility import names
from facility.cli import main
from facility.dask_process import dask_settings
from facility.deploy.launch import cluster
from facility.errors import RequestError
from facility.security.certificates import authority


def write(folder: Path, content: object) -> str:
    """Write a file where Dask looks for one; its path."""
    place = folder / "dask"
    place.mkdir(exist_ok=True)
    (place / "mine.yaml").write_text(yaml.safe_dump(content))
    return str(place / "mine.yaml")


def test_settings_are_told_with_their_origin(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dask_settings.settings() == []
    path = write(
        home,
        {
            "distributed": {
                "scheduler": {"idle_timeout": "10s", "work-stealing": True},
                "worker": {"lifetime": {"duration": "1h"}},
                "client": None,
            },
            "gateway": {"auth": {"password": "secret"}},
        },
    )
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT", "20s")
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__MEMORY", "{'target': False}")
    monkeypatch.setenv("DASK_GATEWAY__PASSWORD", "secret")
    with dask.config.set({"distributed.comm.timeouts.connect": "45s"}):
        found = dask_settings.settings()
    assert list(map(str, found)) == [
        f"distributed.client = None ({path})",
        "distributed.comm.timeouts.connect = '45s' (dask.config.set)",
        "distributed.scheduler.idle-timeout = '20s' (DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT)",
        f"distributed.worker.lifetime.duration = '1h' ({path})",
        "distributed.worker.memory.target = False (DASK_DISTRIBUTED__WORKER__MEMORY)",
    ]
    assert dask_settings.problems(found) == []
    said = dask_settings.overridden(found)
    assert len(said) == 2
    assert "`idle_timeout=` of cluster() says when it ends" in said[0]
    assert "workers leave by c.scale and c.adapt" in said[1]


def test_what_is_ours_is_always_explained() -> None:
    for key in dask_settings.OURS:
        assert any(key.startswith(known) for known in dask_settings.INSTEAD), key


def test_the_doctor_names_what_has_no_effect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT", "5s")
    monkeypatch.setenv("DASK_DISTRIBUTED__NANNY__ENVIRON", "{'A': '1'}")
    monkeypatch.setenv("DASK_TEMPORARY_DIRECTORY", "/nowhere")
    main(["doctor"])
    said = capsys.readouterr().out
    assert "no-workers-timeout = '5s' (DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT) has" in said
    assert "`env` of the pool in pools.yaml" in said
    missing = said.partition("Missing:")[2].partition("To know:")[0]
    assert "temporary-directory = '/nowhere' (DASK_TEMPORARY_DIRECTORY): there is no" in missing


def test_the_certificates_of_the_hub_are_no_settings_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in authority().environment().items():
        monkeypatch.setenv(name, value)
    assert str(names.certificates_folder()) in str(dask_settings.settings()[0])
    assert dask_settings.overridden(dask_settings.settings()) == []
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY", "/other/key")
    assert "certificates of its own" in dask_settings.overridden(dask_settings.settings())[0]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TEMPORARY_DIRECTORY", "/nowhere/x", "there is no such folder"),
        ("DISTRIBUTED__COMM__TIMEOUTS__TCP", "10s", "needs at least 11 s; Dask's default is '30s'"),
        ("DISTRIBUTED__COMM__TIMEOUTS__TCP", "None", "has to be a time"),
        ("DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "10ms", "needs at least 1 s"),
        ("DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "soon", "has to be a time"),
        ("DISTRIBUTED__CLIENT__HEARTBEAT", "0", "more than 0"),
        ("DISTRIBUTED__WORKER__PROFILE__INTERVAL", "0ms", "more than 0"),
        ("DISTRIBUTED__COMM__SHARD", "much", "has to be a size"),
        ("DISTRIBUTED__WORKER__MEMORY__PAUSE", "often", "has to be a number"),
        ("DISTRIBUTED__SCHEDULER__HTTP__ROUTES", "['no.such.module']", "no.such.module is not"),
        ("DISTRIBUTED__WORKER__PRELOAD", "/nowhere/preload.py", "/nowhere/preload.py is not found"),
        ("DISTRIBUTED__WORKER__PRELOAD", "[1]", "1 is no name of a module"),
        ("DISTRIBUTED__ADMIN__EVENT_LOOP", "uvloop", "one of 'asyncio', 'tornado'"),
        ("DISTRIBUTED__COMM__COMPRESSION", "best", "one of None, False, 'auto'"),
        ("DISTRIBUTED__COMM__TLS__CIPHERS", "none-such", "knows no such cipher"),
        ("DISTRIBUTED__COMM__TLS__MIN_VERSION", "1.1", "1.2 or 1.3"),
        ("DISTRIBUTED__SCHEDULER__ACTIVE_MEMORY_MANAGER__POLICIES", "5", "has to be a list"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"DASK_{name}", value)
    with pytest.raises(RequestError, match="No Dask cluster can start with these") as caught:
        cluster(1)
    (problem,) = caught.value.problems
    assert told in problem
    assert f"(DASK_{name})" in problem
    assert not names.clusters_folder().exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DISTRIBUTED__COMM__TIMEOUTS__TCP", "11s"),
        ("DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "1"),
        ("DISTRIBUTED__SCHEDULER__WORKER_SATURATION", "inf"),
        ("DISTRIBUTED__WORKER__MEMORY__TARGET", "False"),
        ("DISTRIBUTED__WORKER__MEMORY__MAX_SPILL", "10GB"),
        ("DISTRIBUTED__WORKER__PRELOAD", "json"),
        ("DISTRIBUTED__WORKER__PRELOAD", "import json\njson.dumps(1)"),
        ("DISTRIBUTED__WORKER__MEMORY__RECENT_TO_OLD_TIME", "0s"),
        ("DISTRIBUTED__ADMIN__LOG_LENGTH", "None"),
        ("DISTRIBUTED__COMM__TLS__CIPHERS", "HIGH"),
        ("DISTRIBUTED__COMM__COMPRESSION", "zlib"),
    ],
)
def test_what_works_is_the_users(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DASK_{name}", value)
    dask_settings.check()


def test_several_are_told_together(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, {"temporary-directory": "/nowhere", "distributed": {"comm": {"shard": "x"}}})
    with pytest.raises(RequestError) as caught:
        dask_settings.check()
    assert len(caught.value.problems) == 2
