"""The facility where Cilium runs as it does by default: no address is that of the API server."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kube.bringup import site
from tests.kube.charts import Facility, User, installed_chart

pytestmark = [pytest.mark.kube, pytest.mark.cilium, pytest.mark.timeout(900)]
CILIUM = {"flavor": "cilium", "egress": {"internet": False}}


@pytest.fixture(scope="module")
def facility(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    assert state["policy_cidr_match_mode"] == "none"
    with installed_chart(state, tmp_path_factory.mktemp("chart"), networkPolicy=CILIUM) as found:
        yield found


@pytest.fixture(scope="module")
def ada(facility: Facility) -> User:
    user = facility.visitor("ada")
    user.open_server(200)
    return user


def test_one_call_starts_a_dask_cluster_on_both_architectures(ada: User) -> None:
    """Hub, notebook, scheduler and operator all have to reach the API server for it."""
    said = ada.python(
        """
import platform
from facility import cluster
with cluster(cpu=1, arm=1, wait=2, timeout=300) as c, c.get_client() as client:
    print(sorted({client.submit(platform.machine, pure=False, **c.route(pool)).result()
                  for pool in ("cpu", "arm")}))
"""
    )
    assert "['aarch64', 'x86_64']" in said
    ada.space.wait_until_gone("daskclusters")


def test_the_ports_beside_the_api_server_are_closed(ada: User) -> None:
    """The entity of the policy is the node's, where the registry listens too."""
    said = ada.python(
        f"""
import socket
for port in ({site.API_PORT}, {site.REGISTRY_PORT}):
    try:
        socket.create_connection(({site.FIRST.address!r}, port), timeout=5).close()
        print(port, "open")
    except OSError as error:
        print(port, "closed")
"""
    )
    assert said.splitlines() == [f"{site.API_PORT} open", f"{site.REGISTRY_PORT} closed"]
