"""The Kubernetes of `make kube-up` is one as a site has it.

That nothing is left of it is checked by `make test-kube` itself, whose exit code says so: it takes
the Kubernetes down after the last test and compares the machine with what it was before.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from facility import names
from tests.browser import browser_page
from tests.kube.bringup import site
from tests.kube.conftest import Kubernetes, until

pytestmark = pytest.mark.kube
NAMES = [node.name for node in site.NODES]
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
SERVER = """python3 -c '
import socket
server = socket.create_server(("", 8000))
while True:
    client, _ = server.accept()
    client.recv(999)
    client.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nhi")
    client.close()
'"""
STRICT = {
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def policy(name: str, selector: dict, **spec: object) -> dict:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": selector} | spec,
    }


@pytest.mark.parametrize("node", site.NODES, ids=NAMES)
def test_a_node_is_as_described_and_stays_so(kube: Kubernetes, node: site.Node) -> None:
    # Its kubelet writes the label anew with each heartbeat, every five seconds.
    for _ in range(7):
        found = kube.get("node", node.name)
        labels = found["metadata"]["labels"]
        assert labels["kubernetes.io/arch"] == node.name
        assert found["status"]["nodeInfo"]["architecture"] == node.name
        conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        time.sleep(1)
    assert dict(node.labels).items() <= labels.items()
    taints = [f"{t['key']}={t['value']}:{t['effect']}" for t in found["spec"].get("taints", [])]
    assert taints == list(node.taints)
    assert found["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.35.")


@pytest.mark.parametrize("arch", NAMES)
def test_a_pod_of_each_architecture_from_the_registry_by_digest(
    kube: Kubernetes, arch: str
) -> None:
    assert "@sha256:" in kube.images["base"]
    kube.apply(kube.pod("machine", "uname -m", arch))
    assert kube.output("machine") == MACHINES[arch]
    status = kube.get("pod", "machine")["status"]["containerStatuses"][0]
    assert status["imageID"] == kube.images["base"]


@pytest.mark.parametrize("arch", NAMES)
def test_cluster_dns_answers(kube: Kubernetes, arch: str) -> None:
    kube.apply(kube.pod("asks", "getent hosts kubernetes.default.svc.cluster.local", arch))
    assert kube.output("asks").split()[0] == site.API_SERVICE


@pytest.mark.long
@pytest.mark.parametrize("arch", NAMES)
def test_pods_that_come_and_go_disturb_no_other(kube: Kubernetes, arch: str) -> None:
    curl = f"curl -sk --connect-timeout 3 -m 10 https://{site.API_SERVICE}/version"
    ask = f"{curl} >/dev/null || echo lost $i"
    loop = f"i=0; while [ $i -lt 20 ]; do {ask}; sleep .1; i=$((i+1)); done; echo end"
    kube.apply(kube.pod("asks", loop, arch))
    kube.ready("asks")
    kube.apply(*(kube.pod(f"other-{number}", "true", arch) for number in range(4)))
    assert kube.output("asks", 180) == "end"


class Slow(BaseHTTPRequestHandler):
    """Answers after two seconds."""

    def do_GET(self) -> None:
        time.sleep(2)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.long
def test_pods_that_come_and_go_disturb_no_browser(kube: Kubernetes) -> None:
    """When addresses change, it gives up what it waits for, as it does for a new interface's."""
    server = ThreadingHTTPServer((names.LOOPBACK, 0), Slow)
    asked = 24  # six at a time
    ask = f"Promise.all([...Array({asked}).keys()].map(i => fetch('/?' + i).then(r => r.text())))"
    pods = [kube.pod(f"other-{number}", "true") for number in range(3)]
    with browser_page() as page, ThreadPoolExecutor(2) as beside:
        beside.submit(server.serve_forever)
        try:
            page.goto(f"http://{names.LOOPBACK}:{server.server_port}")
            applied = beside.submit(kube.apply, *pods)
            assert page.evaluate(ask) == ["ok"] * asked
            applied.result()
        finally:
            server.shutdown()
            server.server_close()
    assert all(kube.output(pod["metadata"]["name"]) == "" for pod in pods)


def test_a_network_policy_is_enforced_between_nodes(kube: Kubernetes) -> None:
    kube.apply(
        kube.pod("server", SERVER, "arm64"),
        kube.pod("friend", "sleep 600"),
        kube.pod("stranger", "sleep 600"),
    )
    for name in ("server", "friend", "stranger"):
        kube.ready(name)
    address = kube.get("pod", "server")["status"]["podIP"]

    def reaches(name: str) -> bool:
        ask = f"curl -s -m 2 http://{address}:8000/ || echo no"
        return kube.run("exec", name, "--", "sh", "-c", ask).strip() == "hi"

    until(lambda: reaches("friend") and reaches("stranger"))
    friend = [{"podSelector": {"matchLabels": {"app": "friend"}}}]
    kube.apply(policy("deny", {}, policyTypes=["Ingress"]))
    kube.apply(policy("friend", {"matchLabels": {"app": "server"}}, ingress=[{"from": friend}]))
    until(lambda: not reaches("stranger"))
    assert reaches("friend")
    assert not reaches("stranger")


@pytest.mark.parametrize("arch", NAMES)
def test_a_block_of_addresses_matches_nodes_as_asked_for(kube: Kubernetes, arch: str) -> None:
    address = site.FIRST.address
    kube.apply(kube.pod("asks", "sleep 600", arch))
    kube.ready("asks")

    def reaches() -> bool:
        ask = f"curl -sk -m 2 https://{address}:{site.API_PORT}/version >/dev/null && echo yes"
        return "yes" in kube.run("exec", "asks", "--", "sh", "-c", f"{ask} || true")

    assert reaches()
    kube.apply(policy("deny", {}, policyTypes=["Egress"]))
    until(lambda: not reaches())
    block = {"ipBlock": {"cidr": f"{address}/32"}}
    kube.apply(policy("api", {}, policyTypes=["Egress"], egress=[{"to": [block]}]))
    if kube.state["policy_cidr_match_mode"] == "nodes":
        until(reaches)
    else:
        time.sleep(5)
        assert not reaches()


@pytest.mark.parametrize("arch", NAMES)
def test_a_claim_binds_and_its_volume_belongs_to_the_pods_group(
    kube: Kubernetes, arch: str
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "home"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    pod = kube.pod(
        "writer",
        "echo kept >/home/user/file && cat /home/user/file && stat -c %g /home/user/file",
        arch,
        securityContext=STRICT,
        volumes=[{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}],
        container={"volumeMounts": [{"name": "home", "mountPath": "/home/user"}]},
    )
    kube.apply(claim, pod)
    assert kube.output("writer").split() == ["kept", "1000"]
    assert kube.get("pvc", "home")["status"]["phase"] == "Bound"


def test_a_gpu_is_given_out_once(kube: Kubernetes) -> None:
    limits = {"container": {"resources": {"limits": {site.GPU: "1"}}}}
    kube.apply(kube.pod("first", "sleep 600", **limits))
    kube.ready("first")
    kube.apply(kube.pod("second", "sleep 600", **limits))

    def reason() -> str:
        conditions = kube.get("pod", "second")["status"].get("conditions", [])
        return "".join(each.get("message", "") for each in conditions)

    until(lambda: f"Insufficient {site.GPU}" in reason())
    assert kube.get("pod", "second")["status"]["phase"] == "Pending"


def test_pod_security_refuses_a_privileged_pod(kube: Kubernetes) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    kube.run("label", "namespace", kube.namespace, label)
    pod = kube.pod("bold", "true", container={"securityContext": {"privileged": True}})
    assert "violates PodSecurity" in kube.apply(pod, fail=True)


def test_who_may_not_delete_an_owner_may_not_block_its_deletion(kube: Kubernetes) -> None:
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}
    group = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": kube.namespace}
    kube.apply(
        group | {"kind": "Role", "metadata": {"name": "maker"}, "rules": [rule]},
        group
        | {
            "kind": "RoleBinding",
            "metadata": {"name": "maker"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maker"},
            "subjects": [subject],
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "owner"}},
    )
    owner = {
        "apiVersion": "v1",
        "kind": "Secret",
        "name": "owner",
        "uid": kube.get("secret", "owner")["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
    owned = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "owned", "ownerReferences": [owner]},
    }
    who = f"--as=system:serviceaccount:{kube.namespace}:default"
    text = str(owned).replace("'", '"').replace("True", "true")
    said = kube.run("create", who, "-f", "-", text=text, fail=True)
    assert "cannot set blockOwnerDeletion" in said
