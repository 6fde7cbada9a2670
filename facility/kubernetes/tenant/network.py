"""What pods of a user's namespace may reach, and what may reach them: nothing that is not here.

The scheduler's HTTP port cannot ask for a certificate, so that only the own namespace may reach
it; its comm port demands one, and is closed to others all the same.
"""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

from facility import names
from facility.kubernetes.tenant.model import Address, Tenant

Manifest = dict[str, Any]
NOT_PUBLIC = {
    "0.0.0.0/0": (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # among them the metadata of Alibaba's cloud
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's platform, which hands a node its secrets
        "169.254.0.0/16",  # among them the clouds' metadata, which holds the nodes' credentials
        "172.16.0.0/12",
        "192.0.0.0/24",  # among them the metadata of Oracle's cloud
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",  # which some clouds and sites use as their own
    ),
    # Those that stand for an address of IPv4 lead to the ones above.
    "::/0": (
        "::1/128",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2002::/16",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    ),
}
"""Ranges of the internet's addresses, each without those that are a site's, a node's or a cloud's
own (IANA's registries of special addresses, and what the clouds document)."""
NAMESPACE_NAME = "kubernetes.io/metadata.name"


def policies(tenant: Tenant) -> list[Manifest]:
    """Return the NetworkPolicies of a namespace.

    Those that concern the hub apply to pods that are labelled as user servers, which a user may
    do too: what they open is the hub's API, which asks for a token.
    """
    network = tenant.network
    dns = _pods(network.dns_namespace, network.dns_labels)
    hub = tenant.release.namespace
    servers = {names.APP_COMPONENT_LABEL: names.USER_SERVER_COMPONENT}
    found = [
        _policy(tenant, "deny-others", ingress=[], egress=[]),
        _policy(tenant, "own-namespace", ingress=[{"from": [_own()]}], egress=[{"to": [_own()]}]),
        _policy(
            tenant,
            "dns",
            egress=[{"to": [dns], "ports": _ports(network.dns_port, protocols=("UDP", "TCP"))}],
        ),
        _policy(
            tenant,
            "hub",
            servers,
            ingress=[
                {
                    "from": [
                        _pods(hub, {names.APP_COMPONENT_LABEL: component})
                        for component in (names.HUB_COMPONENT, names.PROXY_COMPONENT)
                    ],
                    "ports": _ports(names.USER_SERVER_PORT),
                }
            ],
            egress=[
                {
                    "to": [_pods(hub, {names.APP_COMPONENT_LABEL: names.HUB_COMPONENT})],
                    "ports": _ports(names.HUB_PORT),
                }
            ],
        ),
    ]
    if network.flavor == "cilium":
        found.append(_cilium_api_server(tenant))
    else:
        found.append(_policy(tenant, "api-server", egress=_to(network.api_server)))
    if network.site:
        found.append(_policy(tenant, "site", egress=_to(network.site)))
    if network.internet:
        blocks = [
            {"ipBlock": {"cidr": cidr, "except": [*private, *_of_family(cidr, network.private)]}}
            for cidr, private in NOT_PUBLIC.items()
        ]
        found.append(_policy(tenant, "internet", egress=[{"to": blocks}]))
    return found


def _policy(
    tenant: Tenant,
    name: str,
    labels: Mapping[str, str] | None = None,
    *,
    ingress: list[Manifest] | None = None,
    egress: list[Manifest] | None = None,
) -> Manifest:
    spec: Manifest = {"podSelector": {"matchLabels": dict(labels)} if labels else {}}
    rules = {"ingress": ingress, "egress": egress}
    spec["policyTypes"] = [kind.title() for kind, rule in rules.items() if rule is not None]
    # A direction without a rule is closed by being among the types.
    spec |= {kind: rule for kind, rule in rules.items() if rule}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": tenant.namespace, "labels": tenant.labels},
        "spec": spec,
    }


def _own() -> Manifest:
    return {"podSelector": {}}


def _pods(namespace: str, labels: Mapping[str, str]) -> Manifest:
    return {
        "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: namespace}},
        "podSelector": {"matchLabels": dict(labels)},
    }


def _ports(*ports: int, protocols: tuple[str, ...] = ("TCP",)) -> list[Manifest]:
    return [{"protocol": protocol, "port": port} for port in ports for protocol in protocols]


def _of_family(cidr: str, addresses: tuple[Address, ...]) -> list[str]:
    """Return the ranges of the same version of the Internet Protocol that are not closed anyway."""
    closed = [ip_network(each) for each in NOT_PUBLIC[cidr]]
    found = [ip_network(address.cidr) for address in addresses]
    version = ip_network(cidr).version
    return [
        str(each)
        for each in found
        if each.version == version and not any(each.subnet_of(other) for other in closed)  # type: ignore[arg-type]
    ]


def _to(addresses: tuple[Address, ...]) -> list[Manifest]:
    return [
        {"to": [{"ipBlock": {"cidr": address.cidr}}]}
        | ({"ports": _ports(*address.ports)} if address.ports else {})
        for address in addresses
    ]


def _cilium_api_server(tenant: Tenant) -> Manifest:
    """Return the way to the API server where no block of addresses matches it.

    Its ports alone: its address is often that of a node, on which other things listen too.
    """
    ports = sorted({port for address in tenant.network.api_server for port in address.ports})
    rule: Manifest = {"toEntities": ["kube-apiserver"]}
    if ports:
        rule["toPorts"] = [{"ports": [{"port": str(port), "protocol": "TCP"} for port in ports]}]
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "api-server", "namespace": tenant.namespace, "labels": tenant.labels},
        "spec": {"endpointSelector": {}, "egress": [rule]},
    }
