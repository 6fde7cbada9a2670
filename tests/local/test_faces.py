"""The ways in which other software uses a Dask cluster: clients, widget, panel, async."""

import asyncio
import html
import math
import os
import re
import signal
import urllib.request
from functools import partial
from pathlib import Path
from urllib.parse import urljoin

import dask
import pytest
from distributed import Client
from distributed.core import Status

from facility import cluster
from facility.deploy import adaptive
from facility.deploy.cluster import PooledCluster
from facility.errors import ClusterFailedError, RequestError
from facility.hub.user_server.dask_panel import described
from facility.request.bounds import Bounds
from facility.system.machine import this_machine
from tests.local.pools import POOLS, SMALL, until, where


def test_client_by_object_and_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster(1, config=POOLS) as c:
        assert c.scheduler_address.startswith("tls://127.0.0.1:")
        with Client(c) as client:
            assert client.submit(where, pure=False).result() == "cpu"
            assert c.get_client() is client
        with Client(c.scheduler_address) as client:
            assert client.submit(where, pure=False).result() == "cpu"


async def test_await() -> None:
    c = await cluster(1, config=POOLS, asynchronous=True)
    assert c.status == Status.running
    async with Client(c, asynchronous=True) as client:
        assert await client.submit(where, pure=False) == "cpu"
        c.scale(arm=1)
        with c.on("arm"):
            assert await client.submit(where, pure=False) == "arm"
    await c.close()
    assert c.status == Status.closed


async def test_await_after_scale_waits_and_a_client_does_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    slow = {"DASK_DISTRIBUTED__WORKER__PRELOAD": "['import time; time.sleep(5)']"}
    config = {"pools": POOLS["pools"] | {"arm": {**SMALL, "env": slow}}}
    async with cluster(1, config=config, asynchronous=True) as c:
        assert await c is c
        await c.scale(arm=1, cpu=2)
        async with Client(c, asynchronous=True):
            assert "arm-0" not in c.observed
        await c
        assert c.observed == {"cpu-0", "cpu-1", "arm-0"}
        c.scale(arm=0, cpu=1)
        await c
        assert len(c.observed) == 1
        c.adapt(arm=(0, 2))
        await c
    said = capsys.readouterr().err
    assert re.search(r": [12] of 3 workers, \d+ s\n", said)
    assert re.search(r": 3 of 3 workers, \d+ s: ready\n", said)


async def test_who_awaits_workers_that_cannot_start_is_told(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit(1)")
    broken = {**SMALL, "env": {"PYTHONPATH": str(tmp_path)}}
    async with cluster(config={"pools": POOLS["pools"] | {"arm": broken}}, asynchronous=True) as c:
        c.scale(arm=1)
        with pytest.raises(ClusterFailedError, match="cannot start its workers"):
            await c


def test_words_of_dasks_other_classes() -> None:
    with cluster(n=0, config=POOLS) as c, c.get_client() as client:
        c.scale(n=1)
        assert client.submit(where, pure=False).result() == "cpu"
        c.scale(n_workers=2)
        until(lambda: len(c.observed) == 2)
        assert str(c.adapt(0, 2)) == str(c.adapt((0, 2))) == str(c.adapt(minimum=0, maximum=2))
        assert c.adapt(maximum=math.inf).maximum == 20
        for pool, called in (("cpu-0", c.logs), ("gpu", c.route), (["cpu"], c.route), (1, c.logs)):
            with pytest.raises(RequestError, match="; there are cpu, arm, "):
                called(pool)  # type: ignore[operator]
        with pytest.raises(RequestError, match=r"^logs\('cup'\) cannot be shown: there is no pool"):
            c.logs("cup")
        with pytest.raises(RequestError, match="cores=3: .*\n.*memory='1GB': ") as caught:
            c.scale(cores=3, memory="1GB")
        assert len(caught.value.problems) == 2
        with pytest.raises(AttributeError, match=r"no 'shutdown'; c\.close\(\) ends it"):
            c.shutdown()
        assert not hasattr(c, "scheduler")


async def test_async_with() -> None:
    async with cluster(1, config=POOLS, asynchronous=True) as c:
        assert len(c.scheduler_info["workers"]) == 1
    assert c.status == Status.closed


class Fields:
    """What the widget of a Dask cluster has."""

    def __init__(self, c: PooledCluster) -> None:
        self.page, scaling = c._widget().children
        self.state, accordion = scaling.children
        manual, adaptive = accordion.children
        self.workers, self.scale, self.scaled = manual.children
        self.minimum, self.maximum, self.adapt, self.adapted = adaptive.children

    def answers(self) -> list[str]:
        """What stands beside the fields, without its markup."""
        both = (self.scaled.value, self.adapted.value)
        return [html.unescape(re.sub("<[^>]*>", "", each)) for each in both]


def test_the_widgets_buttons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "DOWN_AFTER", 1.0)
    with cluster(1, config=POOLS) as c:
        shown = Fields(c)
        assert c.name in shown.page.value
        assert (shown.workers.value, shown.minimum.value, shown.maximum.value) == (1, 1, 1)
        shown.workers.value = 2
        shown.scale.click()
        until(lambda: len(c.scheduler_info["workers"]) == 2)
        until(lambda: "Scaling mode: Manual" in shown.state.value)
        shown.minimum.value, shown.maximum.value = 0, 1
        shown.adapt.click()
        until(lambda: "Scaling mode: Adaptive" in shown.state.value)
        until(lambda: len(c.scheduler_info["workers"]) == 0)
        shown.workers.value = 1
        shown.scale.click()
        until(lambda: len(c.scheduler_info["workers"]) == 1)
        assert "Scaling mode: Manual" in c._scaling_status()
        assert shown.answers() == ["", ""]


def test_the_widget_says_beside_its_fields_what_is_not_as_asked() -> None:
    large = {"cpu": this_machine().cores, "memory": "400Mi", "maxWorkers": 9, "default": True}
    with cluster(0, config={"pools": {"cpu": large}}) as c:
        shown = Fields(c)
        shown.workers.value = 50
        shown.scale.click()
        assert shown.answers() == ["scale(50): pool cpu allows at most 9 workers", ""]
        shown.minimum.value, shown.maximum.value = 3, 2
        shown.adapt.click()
        wrong = "minimum=3, maximum=2: the minimum is above the maximum; did you mean (2, 3)?"
        assert shown.answers() == ["", wrong]
        shown.workers.value = -1
        shown.scale.click()
        assert "cannot be negative" in shown.answers()[0]
        assert c._controller.pools["cpu"].bounds == Bounds(0, 0)
        shown.minimum.value, shown.maximum.value = 0, 9
        shown.adapt.click()
        assert shown.answers()[0] == ""
        assert re.match("pool cpu gets at most 1 workers? instead of 9: ", shown.answers()[1])
        shown.workers.value = 0
        shown.scale.click()
        assert shown.answers() == ["", ""]


def test_the_widget_of_one_that_has_ended_shows_nothing_that_is_gone() -> None:
    with cluster(1, config=POOLS) as c:
        shown = Fields(c)
        until(lambda: "Workers:</strong> 1" in shown.page.value)
        assert c.dashboard_link in shown.page.value
    assert f"Dask cluster {c.name} is closed." in shown.page.value
    assert not re.search("<a |Workers", shown.page.value + shown.state.value)
    assert c.dashboard_link == ""
    assert c.workers == {}
    assert all(field.disabled for field in (shown.workers, shown.scale, shown.adapt))
    assert Fields(c).page.value == shown.page.value


def test_the_widget_follows_a_dask_cluster_that_fails() -> None:
    with cluster(1, config=POOLS) as c:
        shown = Fields(c)
        os.kill(c._controller.backend._scheduler.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        until(lambda: "has failed" in shown.page.value)
        until(lambda: shown.scale.disabled)
        assert "<a " not in shown.page.value


def test_pictures_and_words() -> None:
    with cluster(1, config=POOLS) as c:
        assert "cpu (default)" in str(c.pools)
        assert "<td>cpu (default)</td>" in c.pools._repr_html_()
        assert c.name in c._repr_html_()
        assert c.dashboard_link.startswith("http://127.0.0.1:")
        assert c.plan == c.requested == c.observed == {"cpu-0"}
        assert "Scheduler at: " in c.logs()
        assert "Registered to: " in c.logs("cpu")
        assert "has had no workers yet" in c.logs("arm")
        assert str(c.explain()).endswith("cpu: 1 of 1 worker running.")


def test_who_opens_the_dashboard_at_once_waits_for_it() -> None:
    with cluster(1, config=POOLS) as c, urllib.request.urlopen(c.dashboard_link) as answer:
        assert (answer.status, answer.url) == (200, c.dashboard_link)
        assert b"bokeh" in answer.read()


def test_every_page_that_the_info_pages_link_to_is_there() -> None:
    with cluster(1, config=POOLS) as c, c.get_client() as client:
        kept = client.submit(where)
        assert kept.result() == "cpu"
        root, _, query = c.dashboard_link.partition("status?")
        seen: dict[str, int] = {}
        wanted = [f"{root}info/main/workers.html"]
        while wanted:
            address = wanted.pop()
            with urllib.request.urlopen(f"{address}?{query}") as answer:
                seen[address] = answer.status
                page = answer.read().decode() if "/info/" in answer.url else ""
            links = [urljoin(answer.url, link) for link in re.findall('href="([^"#]+)"', page)]
            wanted += {link for link in links if link.startswith(root)} - {*seen, *wanted}
        assert set(seen.values()) == {200}
        assert [address for address in seen if re.search(r"/proxy/\d+/127.0.0.1/status$", address)]


def test_what_is_missing_stands_in_the_widget_until_it_is_there() -> None:
    slow = {"DASK_DISTRIBUTED__WORKER__PRELOAD": "['import time; time.sleep(5)']"}
    with cluster(1, config={"pools": POOLS["pools"] | {"arm": {**SMALL, "env": slow}}}) as c:
        assert "1 of 1 worker running" not in c._widget().children[0].value
        c.scale(arm=1)
        until(lambda: "arm: 0 of 1 worker running" in c._widget().children[0].value)
        until(lambda: "<pre>" not in c._widget().children[0].value)
    assert "<pre>Dask cluster" in c._repr_html_()


def test_modules_are_imported_anew_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "cuts_of_a_test.py"
    module.write_text("def least(): return 25")
    monkeypatch.syspath_prepend(str(tmp_path))
    import cuts_of_a_test  # type: ignore[import-not-found]

    with cluster(2, config=POOLS, wait=2) as c, c.get_client() as client:
        assert client.submit(cuts_of_a_test.least, pure=False).result() == 25
        module.write_text("def least(): return 30")
        assert str(c.send_code()) == f"workers import anew: cuts_of_a_test of {tmp_path}"
        both = client.run(lambda: __import__("cuts_of_a_test").least())
        assert list(both.values()) == [30, 30]
        assert client.submit(cuts_of_a_test.least, pure=False).result() == 30
    with pytest.raises(ClusterFailedError, match="send_code comes too late"):
        c.send_code()


async def test_the_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drive the JupyterLab panel's own code: new, scale, adapt, list, stop."""
    from dask_labextension import manager

    settings = {
        "labextension.factory.module": "facility",
        "labextension.factory.class": "cluster",
        "labextension.factory.args": [1],
        "labextension.factory.kwargs": {"config": POOLS, "idle-timeout": "1h"},
        "labextension.default": {"workers": None, "adapt": None},
        "labextension.initial": [],
    }
    model = partial(described, manager.make_cluster_model)
    monkeypatch.setattr(manager, "make_cluster_model", model)
    with dask.config.set(settings):
        async with manager.DaskClusterManager() as panel:
            model = await panel.start_cluster()
            assert model["workers"] == 1
            assert "adapt" not in model
            assert model["scheduler_address"].startswith("tls://")
            # This is all that the panel writes into a notebook.
            async with Client(model["scheduler_address"], asynchronous=True) as client:
                assert await client.submit(where) == "cpu"
                await panel.scale_cluster(model["id"], 2)
                await client.wait_for_workers(2, timeout=30)
            adapted = panel.adapt_cluster(model["id"], 0, 2)
            assert adapted["adapt"] == {"minimum": 0, "maximum": 2}
            (c,) = panel._clusters.values()
            assert [each["name"] for each in panel.list_clusters()] == [c.name]
            os.kill(c._controller.backend._scheduler.pid, signal.SIGKILL)
            while c.status == Status.running:
                await asyncio.sleep(0.05)
            (failed,) = panel.list_clusters()
            assert failed["name"].startswith(f"Dask cluster {c.name} has failed: ")
            assert (failed["workers"], failed["dashboard_link"]) == (0, "")
            await panel.close_cluster(model["id"])
            assert panel.list_clusters() == []
