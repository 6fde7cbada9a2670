"""Harvester's kubeconfig: what is asked of Kubernetes for it, in which order, and what fails."""

import datetime
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from facility.batch import command, namespace
from facility.batch.kubeconfig import _ask, lifetime
from facility.batch.namespace import find
from facility.cli import main
from facility.errors import FacilityError, KubernetesError
from facility.kubernetes.client.account import Account
from facility.kubernetes.client.kinds import CONFIG_MAP, NAMESPACE, SECRET
from tests.batch_server import SPACE, Site, config_map, named

TOKEN = {"facility/batch-token": "af"}


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with Site() as found:
        monkeypatch.setattr(namespace, "administrator", found.api)
        yield found


def words(path: Path, *more: str) -> list[str]:
    return ["batch", "kubeconfig", str(path), *more]


def test_the_token_is_bound_to_a_new_secret_and_the_earlier_one_ends(
    batch: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch.objects.objects.append((SECRET, named("harvester-token-old", TOKEN)))
    path = tmp_path / "harvester.kubeconfig"
    assert main(words(path, "--lifetime", "12h", "--server", "https://api.example.org")) == 0
    (made, asked, ended) = batch.objects.asked
    name = made[2]["metadata"]["name"]
    assert made[:2] == ("POST", f"/api/v1/namespaces/{SPACE}/secrets")
    assert made[2]["type"] == "Opaque"
    assert asked[1] == f"/api/v1/namespaces/{SPACE}/serviceaccounts/harvester/token"
    bound = {"apiVersion": "v1", "kind": "Secret", "name": name, "uid": "uid-1"}
    assert asked[2]["spec"] == {"expirationSeconds": 43200, "boundObjectRef": bound}
    # What Harvester has goes on until there is another.
    assert ended[:2] == ("DELETE", f"/api/v1/namespaces/{SPACE}/secrets/harvester-token-old")
    written = yaml.safe_load(path.read_text())
    assert written["clusters"][0]["cluster"]["server"] == "https://api.example.org"
    assert written["users"] == [{"name": "harvester", "user": {"token": "token-of-harvester"}}]
    assert written["contexts"][0]["context"]["namespace"] == SPACE
    assert path.stat().st_mode & 0o777 == 0o600
    said = capsys.readouterr().out
    assert "Ended: 1 token of before." in said
    assert "sooner than asked" not in said


def test_an_api_server_that_allows_less_is_told(
    batch: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch.longest = datetime.timedelta(hours=1)
    assert main(words(tmp_path / "a", "--lifetime", "30d")) == 0
    assert "sooner than asked: the API server allows no more" in capsys.readouterr().out


def test_a_refused_token_leaves_no_secret_and_ends_no_earlier_one(
    batch: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch.objects.objects.append((SECRET, named("harvester-token-old", TOKEN)))
    batch.objects.refuses = lambda _, path: 403 if path.endswith("/token") else None
    assert main(words(tmp_path / "a")) == 1
    assert "harvester" in capsys.readouterr().err
    made, ended = batch.objects.asked
    assert ended[:2] == ("DELETE", f"{made[1]}/{made[2]['metadata']['name']}")
    assert not (tmp_path / "a").exists()


def test_a_file_that_cannot_be_written_ends_no_earlier_token(batch: Site, tmp_path: Path) -> None:
    batch.objects.objects.append((SECRET, named("harvester-token-old", TOKEN)))
    assert main(words(tmp_path / "missing" / "a")) == 1
    assert "DELETE" not in [method for method, *_ in batch.objects.asked]


@pytest.mark.parametrize("text", ["", "90", "0d", "1w", "-3h", "1.5d", "9m"])
def test_a_lifetime_that_is_none_is_told(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "a", f"--lifetime={text}")) == 1
    told = capsys.readouterr().err
    assert "--lifetime" in told
    assert "10m" in told or "write 90d, 12h or 30m" in told


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("12h", 43_200), ("90d", 90 * 86_400)])
def test_a_lifetime_is_read(text: str, seconds: int) -> None:
    assert lifetime(text).total_seconds() == seconds


def test_a_token_that_has_ended_is_told(batch: Site) -> None:
    """By its time, or by its Secret: Kubernetes answers the same."""
    batch.objects.refuses = lambda method, path: 401
    account = Account(batch.objects.url, SPACE, ssl.create_default_context(), token="old")
    with pytest.raises(FacilityError, match="The token in a.kubeconfig has ended"):
        _ask(Path("a.kubeconfig"), account)


def test_another_refusal_is_told_as_it_is(batch: Site) -> None:
    batch.objects.refuses = lambda method, path: 403
    account = Account(batch.objects.url, SPACE, ssl.create_default_context(), token="other")
    with pytest.raises(KubernetesError, match="403"):
        _ask(Path("a.kubeconfig"), account)


def test_without_batch_it_says_how_to_have_it(batch: Site, capsys: Any) -> None:
    batch.objects.objects.clear()
    assert main(["batch", "status"]) == 1
    assert "set batch.enabled: true" in capsys.readouterr().err
    assert main(["batch", "status", "--namespace", "default"]) == 1
    assert "The namespace default is no batch of a facility" in capsys.readouterr().err


def test_of_several_one_has_to_be_named(batch: Site, capsys: Any) -> None:
    other = {"metadata": {"name": "grid", "uid": "2", "labels": {"facility/batch": "b"}}}
    batch.objects.objects.append((NAMESPACE, other))
    assert main(["batch", "status"]) == 1
    assert f"{SPACE}, grid: say which with --namespace" in capsys.readouterr().err
    assert main(["batch", "status", "--namespace", SPACE]) == 0


@pytest.mark.parametrize("said", ["", "[]", "{}", '{"release": 1, "largestJob": 3}'])
def test_a_config_map_that_somebody_changed_is_told(batch: Site, said: str) -> None:
    batch.objects.objects = [(CONFIG_MAP, config_map(said))]
    with pytest.raises(FacilityError, match="not as the chart writes it"):
        find(batch.api(), SPACE)


def test_nothing_heavy_is_imported_for_the_help() -> None:
    assert command.GOOD == 0
    with pytest.raises(SystemExit):
        main(["batch", "kubeconfig", "--help"])
