"""The objects of a try, in a namespace of its own: pure."""

import ipaddress
import json
from collections.abc import Iterable, Mapping
from typing import Any

from facility.site.check.images import NamedImage

Manifest = dict[str, Any]
SERVER, CLIENT = "server", "client"
ACCOUNT = "probe"
PORT = 8080
LABELS = {"app.kubernetes.io/managed-by": "facility-site-check"}
APP = "app.kubernetes.io/name"
SECONDS = 900
"""After which no pod of a try runs any more, whatever became of who made it."""
SERVING = """
import os, socket
address = os.environ["ADDRESS"]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.create_server((address, int(os.environ["PORT"])), family=family) as server:
    while True:
        server.accept()[0].close()
"""
ASKING = """
import json, os, socket, time
targets = json.loads(os.environ["TARGETS"])
def answers(target):
    try:
        socket.create_connection(target, timeout=1).close()
    except OSError:
        return False
    return True
while True:
    print(json.dumps({name: answers(target) for name, target in targets.items()}), flush=True)
    time.sleep(0.5)
"""
FETCHED = "pass"


def namespace(name: str) -> Manifest:
    """Return the namespace of a try; its pods are to be as confined as users'."""
    labels = {**LABELS, "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def pull_secret(found: Manifest, name: str) -> Manifest:
    """Return a copy of a Secret with which images are fetched."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": LABELS},
        "type": found.get("type", "kubernetes.io/dockerconfigjson"),
        "data": found["data"],
    }


def account() -> Manifest:
    """Return the account of a try's pods: that of a new namespace may not be there yet."""
    metadata = {"name": ACCOUNT, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def server(image: NamedImage, pull_secrets: Iterable[str]) -> Manifest:
    """Return the pod that is asked."""
    environment: list[Manifest] = [
        {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "PORT", "value": str(PORT)},
    ]
    return _pod(SERVER, image, SERVING, pull_secrets, environment)


def client(
    image: NamedImage, pull_secrets: Iterable[str], targets: Mapping[str, tuple[str, int]]
) -> Manifest:
    """Return the pod that asks again and again, and prints who has answered.

    Parameters
    ----------
    targets
        Address and port of each of whom is asked.
    """
    environment = [{"name": "TARGETS", "value": json.dumps(targets)}]
    return _pod(CLIENT, image, ASKING, pull_secrets, environment)


def fetching(name: str, image: NamedImage, pull_secrets: Iterable[str]) -> Manifest:
    """Return a pod whose node has to fetch an image."""
    return _pod(name, image, FETCHED, pull_secrets, [])


def unconfined(image: NamedImage) -> Manifest:
    """Return a pod that Pod Security has to refuse."""
    pod = fetching("unconfined", image, ())
    pod["spec"]["hostPID"] = True
    return pod


def closed() -> Manifest:
    """Return the policy by which nobody reaches the server."""
    return _policy("closed", SERVER, {"policyTypes": ["Ingress"], "ingress": []})


def only(addresses: Iterable[tuple[str, int]]) -> Manifest:
    """Return the policy by which the client reaches nothing but some addresses."""
    rules = [
        {
            "to": [{"ipBlock": {"cidr": str(ipaddress.ip_network(address))}}],
            "ports": [{"protocol": "TCP", "port": port}],
        }
        for address, port in addresses
    ]
    return _policy("only", CLIENT, {"policyTypes": ["Egress"], "egress": rules})


def _policy(name: str, of: str, rules: Manifest) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {"podSelector": {"matchLabels": {APP: of}}, **rules},
    }


def _pod(
    name: str,
    image: NamedImage,
    code: str,
    pull_secrets: Iterable[str],
    environment: list[Manifest],
) -> Manifest:
    container = {
        "name": "main",
        "image": image.name,
        "command": ["python", "-c", code],
        "env": environment,
        "resources": {
            "requests": {"cpu": "20m", "memory": "32Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {**LABELS, APP: name}},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": SECONDS,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "serviceAccountName": ACCOUNT,
            **image.placement,
            "imagePullSecrets": [{"name": each} for each in pull_secrets],
            "containers": [container],
        },
    }
