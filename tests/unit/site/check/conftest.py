"""A site as its API server tells of it, changed by the tests."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from facility.hub.kubernetes.release import read_values
from facility.hub.kubernetes.values.model import Values
from facility.kubernetes.client import kinds
from facility.kubernetes.client.answers import read
from facility.kubernetes.client.calls import Call
from facility.site.check.snapshot import Snapshot

ROOT = Path(__file__).resolve().parents[4]
Change = Callable[[dict[str, Any]], None]
KINDS = {each.name: each for each in vars(kinds).values() if isinstance(each, kinds.Kind)}


def arrived(kind: str, objects: list[Any]) -> tuple[dict[str, Any], ...]:
    """Objects as they come from an API server."""
    call = Call("list", "GET", KINDS[kind], "")
    body = json.dumps({"metadata": {}, "items": objects}).encode(errors="replace")
    return tuple(read(call, "application/json", body)["items"])


def snapshot_of(content: dict[str, Any]) -> Snapshot:
    return Snapshot(
        version=content["version"],
        groups=frozenset(content["groups"]),
        admission=frozenset(content["admission"]),
        lists={kind: arrived(kind, objects) for kind, objects in content["lists"].items()},
        settings=content["settings"],
        unread=content.get("unread", {}),
        refused=tuple(content.get("refused", ())),
    )


@pytest.fixture
def recorded() -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "tests/data/site/kubespray.yaml").read_text())
    # What an alias of YAML repeats is to be one object each.
    return dict(json.loads(json.dumps(found, default=str)))


@pytest.fixture
def site(recorded: dict[str, Any]) -> Callable[..., Snapshot]:
    """The site, after a change."""

    def changed(change: Change = lambda content: None) -> Snapshot:
        content = copy.deepcopy(recorded)
        change(content)
        return snapshot_of(content)

    return changed


def values(text: str = "", name: str = "minimal") -> Values:
    """The values of an example of the chart, with others laid over them."""
    content = yaml.safe_load((ROOT / f"helm/facility/ci/{name}.yaml").read_text())
    return read_values({**content, **(yaml.safe_load(text) or {})})
