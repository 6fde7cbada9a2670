"""The control plane: what each of its programs is told."""

import http.client
import json
import ssl
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.kube.bringup import site
from tests.kube.bringup.image import tar_of
from tests.kube.bringup.places import Places
from tools.building import BuildError


def flags(**values: str | int | bool) -> list[str]:
    """Flags of a Kubernetes program."""
    return [
        f"--{name.replace('_', '-')}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in values.items()
    ]


def etcd(where: Places) -> list[str]:
    """A store that lives as long as the Kubernetes, so that it need not wait for the disk."""
    client = f"http://127.0.0.1:{site.ETCD_PORT}"
    peer = f"http://127.0.0.1:{site.ETCD_PEER_PORT}"
    return [
        *flags(
            data_dir=str(where.run / "etcd"),
            listen_client_urls=client,
            advertise_client_urls=client,
            listen_peer_urls=peer,
            initial_advertise_peer_urls=peer,
            initial_cluster=f"default={peer}",
        ),
        "--unsafe-no-fsync",
    ]


def apiserver(where: Places) -> list[str]:
    """Admission as strict as any site's: OpenShift's check of owner references is on."""
    keys = where.keys
    return flags(
        etcd_servers=f"http://127.0.0.1:{site.ETCD_PORT}",
        bind_address=site.FIRST.address,
        advertise_address=site.FIRST.address,
        secure_port=site.API_PORT,
        service_cluster_ip_range=site.SERVICE_RANGE,
        authorization_mode="Node,RBAC",
        client_ca_file=f"{keys}/ca.crt",
        tls_cert_file=f"{keys}/apiserver.crt",
        tls_private_key_file=f"{keys}/apiserver.key",
        service_account_key_file=f"{keys}/accounts.pub",
        service_account_signing_key_file=f"{keys}/accounts.key",
        service_account_issuer="https://kubernetes.default.svc.cluster.local",
        kubelet_client_certificate=f"{keys}/apiserver-kubelet.crt",
        kubelet_client_key=f"{keys}/apiserver-kubelet.key",
        kubelet_certificate_authority=f"{keys}/ca.crt",
        kubelet_preferred_address_types="InternalIP",
        requestheader_client_ca_file=f"{keys}/ca.crt",
        requestheader_allowed_names="front-proxy",
        requestheader_username_headers="X-Remote-User",
        requestheader_group_headers="X-Remote-Group",
        requestheader_extra_headers_prefix="X-Remote-Extra-",
        proxy_client_cert_file=f"{keys}/front-proxy.crt",
        proxy_client_key_file=f"{keys}/front-proxy.key",
        enable_admission_plugins="NodeRestriction,OwnerReferencesPermissionEnforcement",
        # For the label of the emulated node; on by default from 1.36.
        feature_gates="MutatingAdmissionPolicy=true",
        runtime_config="admissionregistration.k8s.io/v1beta1=true",
        allow_privileged=True,
    )


def common(where: Places, name: str) -> dict[str, str | int | bool]:
    """What scheduler and controllers are both told."""
    config = str(where.run / f"{name}.json")
    return {
        "kubeconfig": config,
        "authentication_kubeconfig": config,
        "authorization_kubeconfig": config,
        "bind_address": "127.0.0.1",
        "leader_elect": False,
    }


POLICY_CHECKER = "validatingadmissionpolicy-status-controller"
"""It says in the status of an admission policy what is wrong with its expressions' types."""


def controllers(where: Places) -> list[str]:
    """Controllers, each under its own service account."""
    return flags(
        **common(where, "controllers"),
        use_service_account_credentials=True,
        service_account_private_key_file=f"{where.keys}/accounts.key",
        root_ca_file=f"{where.keys}/ca.crt",
        cluster_signing_cert_file=f"{where.keys}/ca.crt",
        cluster_signing_key_file=f"{where.keys}/ca.key",
        cluster_cidr=site.POD_RANGE,
        # A test waits for a node to be missed; Kubernetes itself gives it 50 s.
        node_monitor_grace_period="25s",
        # Each policy that any test makes cost seconds to check; a test of that has it checked.
        controllers=f"*,-{POLICY_CHECKER}",
    )


def scheduler(where: Places) -> list[str]:
    """The default scheduler."""
    return flags(**common(where, "scheduler"))


def registry_config(where: Places) -> str:
    """Settings of Debian's docker-registry, in YAML, of which JSON is a part."""
    return json.dumps(
        {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(where.registry)},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"{site.FIRST.address}:{site.REGISTRY_PORT}"},
        }
    )


def trust(where: Places) -> ssl.SSLContext:
    """An administrator's certificate, and trust in this Kubernetes' authority alone."""
    # A Kubernetes that is brought up again has other keys.
    return _trust(where, (where.keys / "ca.crt").read_bytes())


@lru_cache(maxsize=1)
def _trust(where: Places, _authority: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(where.keys / "ca.crt"))
    context.load_cert_chain(where.keys / "admin.crt", where.keys / "admin.key")
    return context


def get(where: Places, path: str) -> tuple[int, bytes]:
    """Ask the API server; status 0 if it does not answer."""
    address = (site.FIRST.address, site.API_PORT)
    connection = http.client.HTTPSConnection(*address, timeout=5, context=trust(where))
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def read(where: Places, path: str) -> Mapping[str, Any] | None:
    """An object of the API server, None if it is not there (yet)."""
    status, body = get(where, path)
    return json.loads(body) if status == 200 else None


def kubectl(program: Path, where: Places, *words: str, text: str | None = None) -> str:
    """What kubectl says.

    Raises
    ------
    BuildError
        It failed; with what it said.
    """
    done = subprocess.run(
        [str(program), f"--kubeconfig={where.kubeconfig}", *words],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"kubectl {' '.join(words)} failed: {done.stderr.strip()[:1000]}")
    return done.stdout


def coredns_layer(kubernetes: Path) -> Path:
    """A layer with CoreDNS, which is the one program by another name."""
    layer = kubernetes / "coredns.tar"
    return tar_of(kubernetes / "coredns", layer)
