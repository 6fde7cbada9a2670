"""From the chart's values to what `facility.kubernetes.tenant` makes manifests of: pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from facility import names
from facility.hub.kubernetes.values.model import Values
from facility.hub.kubernetes.values.tenancy import PermittedValues, QuotaValues
from facility.kubernetes.tenant import (
    Address,
    CsiVolume,
    Network,
    Permitted,
    Quota,
    Release,
    Tenant,
    tenant_set,
    volume_set,
)

Manifest = dict[str, Any]
LIMITS = ("cpu", "memory", "gpus", "pods", "storage", "disk", "clusters", "servers")


@dataclass(frozen=True)
class Installation:
    """The release as it is installed.

    Parameters
    ----------
    values
        The chart's values.
    name, namespace
        Of the Helm release.
    version
        Of the chart: the tag of images that have none.
    """

    values: Values
    name: str
    namespace: str
    version: str

    @property
    def release(self) -> Release:
        """What all users' namespaces have in common."""
        values = self.values
        shapes = values.node_shapes
        return Release(
            name=self.name,
            namespace=self.namespace,
            config=values.config,
            images=tuple(values.permitted_images),
            operator_account=values.operator.account,
            operator_namespace=values.operator.namespace,
            prefix=values.tenants.prefix,
            notebook=shapes["notebook"],
            scheduler=shapes["scheduler"],
            scheduler_resources=values.scheduler.resources,
            volumes=values.volumes,
            permitted=permitted(values.tenants.permitted),
            batch=values.batch.enabled,
            earlier_classes=values.batch.earlier_classes,
        )

    def network(self, endpoints: Iterable[Mapping[str, Any]]) -> Network:
        """What users' pods may reach.

        Parameters
        ----------
        endpoints
            The EndpointSlices of the Service ``default/kubernetes``.
        """
        policy = self.values.network_policy
        return Network(
            api_server=tuple(api_server(endpoints)),
            site=tuple(Address(each.cidr, each.ports) for each in policy.egress.site),
            internet=policy.egress.internet,
            private=tuple(Address(cidr) for cidr in policy.egress.private),
            dns_namespace=policy.dns.namespace,
            dns_labels=policy.dns.labels,
            dns_port=policy.dns.port,
            flavor=policy.flavor,
        )

    def quota(self, user: str, groups: Collection[str]) -> Quota:
        """How much a user may have: as the user, as a member of groups, as everybody."""
        tenants = self.values.tenants
        chosen: dict[str, Any] = _said(tenants.quota)
        of_groups = [_said(tenants.groups[each]) for each in groups if each in tenants.groups]
        for key in LIMITS:
            found = [each[key] for each in of_groups if key in each]
            if found:
                chosen[key] = max(found)
        pools = dict(tenants.quota.pools)
        for name in {name for each in of_groups for name in each["pools"]}:
            pools[name] = max(each["pools"][name] for each in of_groups if name in each["pools"])
        if user in tenants.users:
            own = _said(tenants.users[user])
            pools |= own["pools"]
            chosen |= own
        return Quota(**{**chosen, "pools": pools})


def _said(quota: QuotaValues) -> dict[str, Any]:
    return quota.model_dump(exclude_none=True)


def permitted(values: PermittedValues) -> Permitted:
    """Return what users' pods may have beside what the facility gives them."""
    return Permitted(
        annotations=values.annotations,
        finalizers=values.finalizers,
        csi=tuple(
            CsiVolume(each.driver, each.read_only, each.volume_attributes)
            for each in values.csi_volumes
        ),
    )


def api_server(endpoints: Iterable[Mapping[str, Any]]) -> Iterable[Address]:
    """Yield the addresses and ports in EndpointSlices, in a lasting order."""
    found = {
        (address, tuple(sorted(port["port"] for port in each.get("ports") or ())))
        for each in endpoints
        for endpoint in each.get("endpoints") or ()
        for address in endpoint["addresses"]
    }
    for address, ports in sorted(found):
        yield Address(address, ports)


def manifests(tenant: Tenant) -> list[Manifest]:
    """Return all that the hub makes for a user before a server starts, volumes last."""
    return [*tenant_set(tenant), *volume_set(tenant)]


def is_tenant_of(namespace: Mapping[str, Any], release: Release) -> bool:
    """Tell whether a namespace is a user's of this release."""
    labels = namespace["metadata"].get("labels") or {}
    return labels.get(names.HUB_LABEL) == release.name and names.TENANT_LABEL in labels
