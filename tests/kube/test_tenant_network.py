"""Who reaches whom, and what of the site."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from facility import names
from facility.kubernetes.tenant import Address
from tests.kube import tenancy
from tests.kube.bringup import site
from tests.kube.conftest import Kubernetes, until
from tests.kube.tenancy import Space
from tests.kube.tenants import alice, bob, spaces

__all__ = ["alice", "bob", "spaces"]
pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]
LISTEN = """exec python3 -c '
import selectors, socket
chosen = selectors.DefaultSelector()
for port in (8786, 8787, 8888, 8081):
    chosen.register(socket.create_server(("", port)), selectors.EVENT_READ)
while True:
    for key, _ in chosen.select():
        client, _ = key.fileobj.accept()
        client.recv(9999)
        client.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nhi")
        client.close()
'"""


def reaches(who: Kubernetes, pod: str, address: str) -> bool:
    ask = f"curl -sk -m 2 -o /dev/null http://{address}/ && echo reached || true"
    return "reached" in who.run("exec", pod, "--", "sh", "-c", ask)


def beside_the_hub(space: Space, name: str, component: str) -> Kubernetes:
    """A pod in the namespace of the hub."""
    hub = Kubernetes(space.state, space.release.namespace)
    pod = hub.pod(name, LISTEN)
    pod["metadata"]["labels"][names.APP_COMPONENT_LABEL] = component
    hub.apply(pod)
    return hub


def test_another_user_reaches_neither_scheduler_nor_server(alice: Space, bob: Space) -> None:
    # As the hub makes it, which alone may.
    server = alice.pod("server", LISTEN, priorityClassName=alice.release.notebook_class)
    server["metadata"]["labels"][names.APP_COMPONENT_LABEL] = names.USER_SERVER_COMPONENT
    alice.admin.run("create", "-f", "-", text=yaml.safe_dump(server))
    alice.notebook.run("create", "-f", "-", text=yaml.safe_dump(alice.pod("friend")))
    bob.notebook.run("create", "-f", "-", text=yaml.safe_dump(bob.pod("stranger")))
    hub = beside_the_hub(alice, "hub", names.HUB_COMPONENT)
    beside_the_hub(alice, "other", "monitoring")
    alice.admin.ready("server")
    alice.admin.ready("friend")
    bob.admin.ready("stranger")
    hub.ready("hub")
    hub.ready("other")
    address = alice.admin.get("pod", "server")["status"]["podIP"]
    ports = (names.SCHEDULER_PORT, names.DASHBOARD_PORT, names.USER_SERVER_PORT)

    def open_to(who: Kubernetes, pod: str) -> list[int]:
        return [port for port in ports if reaches(who, pod, f"{address}:{port}")]

    until(lambda: open_to(alice.admin, "friend") == list(ports))
    assert open_to(bob.admin, "stranger") == []
    until(lambda: open_to(hub, "hub") == [names.USER_SERVER_PORT])
    assert open_to(hub, "other") == []
    # The other way: a user server reaches the hub's API, other pods do not.
    api = hub.get("pod", "hub")["status"]["podIP"]
    until(lambda: reaches(alice.admin, "server", f"{api}:{names.HUB_PORT}"))
    assert not reaches(alice.admin, "server", f"{api}:{names.DASHBOARD_PORT}")
    assert not reaches(alice.admin, "friend", f"{api}:{names.HUB_PORT}")
    assert reaches(hub, "other", f"{api}:{names.HUB_PORT}")
    for who, pod in ((alice, "server"), (alice, "friend"), (bob, "stranger")):
        who.notebook.run("delete", "pod", pod, "--wait=false")


@pytest.mark.parametrize("flavor", ["standard", "cilium"])
def test_names_and_the_api_server_answer_and_the_site_where_it_is_allowed(
    state: dict[str, Any], tmp_path: Path, flavor: str
) -> None:
    # A registry that listens beside the API server, in a private range.
    registry = f"{site.FIRST.address}:{site.REGISTRY_PORT}"
    opened = Address(site.FIRST.address, (site.REGISTRY_PORT,))
    script = (
        "getent hosts kubernetes.default.svc.cluster.local && "
        f"curl -sk -m 5 https://{site.API_SERVICE}/version | grep gitVersion && sleep 600"
    )
    with tenancy.installed(state, tenancy.release()) as made:
        hub = Kubernetes(state, made.namespace)
        hub.apply(hub.pod("outside", "sleep 600"))
        with (
            tenancy.space(state, tmp_path, made, flavor=flavor) as closed,
            tenancy.space(state, tmp_path, made, flavor=flavor, site=(opened,)) as other,
        ):
            for each in (closed, other):
                text = yaml.safe_dump(each.pod("asks", script))
                each.notebook.run("create", "-f", "-", text=text)
                each.admin.ready("asks")
                until(lambda each=each: "gitVersion" in each.notebook.run("logs", "asks"))
            hub.ready("outside")
            assert reaches(hub, "outside", registry)
            assert not reaches(closed.admin, "asks", registry)
            if state["policy_cidr_match_mode"] == "nodes":
                until(lambda: reaches(other.admin, "asks", registry))
            assert not reaches(closed.admin, "asks", registry)
