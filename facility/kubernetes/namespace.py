"""Dask clusters as pods of a namespace: the one that this process runs in, or a kubeconfig's."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from facility import config as configuration
from facility import names
from facility.backend import runs_in_pod
from facility.config import Config
from facility.errors import KubernetesError
from facility.kubernetes import deletion, pool_limits
from facility.kubernetes.backend import KubernetesBackend
from facility.kubernetes.client.account import pod_account
from facility.kubernetes.client.api import Api
from facility.kubernetes.client.kinds import CONFIG_MAP, LEASE, POD, QUOTA
from facility.kubernetes.client.kubeconfig import kubeconfig_account
from facility.kubernetes.lease import Lease, holder, outside
from facility.kubernetes.pod_template import PodTemplate, own_pod
from facility.request.checked_request import Limit
from facility.table import Table
from facility.wording import counted


class ThisNamespace:
    """Dask clusters as pods, asked for with this pod's service account or with a kubeconfig.

    Raises
    ------
    FacilityError
        Where there is neither, or what there is cannot be used.
    """

    def __init__(self) -> None:
        self.outside = not runs_in_pod()
        self.api = Api(kubeconfig_account() if self.outside else pod_account())

    def pools(self, source: "str | Path | Mapping[str, Any] | Config | None") -> Config:
        """Read the pools; those of the namespace where a process outside names none.

        Raises
        ------
        ConfigError
            With every mistake found.
        """
        found = configuration.load(source)
        if not self.outside or found.source != configuration.BUILTIN_SOURCE:
            return found
        try:
            kept = self.api.now(self.api.reading(CONFIG_MAP, names.POOLS_CONFIG_MAP))
        except KubernetesError as error:
            if error.status not in (403, 404):
                raise
            return found
        pools = configuration.load(yaml.safe_load(kept["data"][names.POOLS_KEY]))
        where = f"ConfigMap {names.POOLS_CONFIG_MAP} of namespace {self.api.namespace}"
        return pools.model_copy(update={"source": where})

    def _template(self) -> PodTemplate:
        return outside(self.api) if self.outside else own_pod(self.api)

    def facts(self) -> list[tuple[str, str]]:
        """Return what a diagnosis names.

        Raises
        ------
        FacilityError
            Where Dask clusters could not be made here.
        """
        template = self._template()
        running = len(deletion.dask_clusters(self.api))
        return [
            ("Namespace", f"{template.namespace}, with {counted(running, 'Dask cluster')}"),
            ("Image of workers", template.image),
            ("Folders of workers", folders(template)),
        ]

    def limits(self, config: Config) -> dict[str, Limit]:
        """Return how many workers of each pool there can be."""
        try:
            quotas = self.api.now(self.api.reading(QUOTA))["items"]
        except KubernetesError as error:
            if error.status != 403:
                raise
            # What may not be read still counts; then a pod's refusal tells it.
            quotas = []
        return pool_limits.limits(config, quotas)

    def notes(self, config: Config, asked: Mapping[str, object]) -> list[str]:
        """Say how pools differ here from what they are: they do not."""
        return []

    def start(self, name: str, config: Config) -> KubernetesBackend:
        """Return what starts the pods of a new Dask cluster.

        Raises
        ------
        FacilityError
            Where the own pod cannot be found, or outside of one no image is named.
        """
        lease = Lease(self.api, name) if self.outside else None
        return KubernetesBackend(name, self.api, self._template(), config, lease)

    def clusters(self) -> Table:
        """List the DaskClusters of the namespace."""
        pods = self.api.now(self.api.reading(POD, labelSelector=names.POOL_LABEL))["items"]
        workers: dict[str, Counter[str]] = {}
        for pod in pods:
            labels = pod["metadata"]["labels"]
            counted = workers.setdefault(labels.get(names.CLUSTER_LABEL, ""), Counter())
            counted[labels[names.POOL_LABEL]] += 1
        return Table(
            ("name", "workers", "started", "scheduler", "owner"),
            tuple(
                (
                    one["metadata"]["name"],
                    _counts(workers.get(one["metadata"]["name"], Counter())),
                    one["metadata"]["creationTimestamp"],
                    names.scheduler_address(one["metadata"]["name"], self.api.namespace),
                    ", ".join(map(self._owner, one["metadata"].get("ownerReferences", ()))),
                )
                for one in deletion.dask_clusters(self.api)
            ),
            empty=f"no Dask cluster is in namespace {self.api.namespace}",
        )

    def _owner(self, reference: Mapping[str, str]) -> str:
        """Name a pod, or for a Lease who holds it and whether they still do."""
        if reference["kind"] != LEASE.name:
            return reference["name"]
        try:
            return holder(self.api.now(self.api.reading(LEASE, reference["name"])))
        except KubernetesError as error:
            if error.status not in (403, 404):
                raise
            return reference["name"]

    def stop(self, name: str) -> None:
        """End one of them.

        Raises
        ------
        ClusterFailedError
            Where there is none of that name.
        """
        deletion.stop(self.api, name)


def folders(template: PodTemplate) -> str:
    """Say which of the notebook's lasting folders scheduler and workers have too."""
    there, missing = (
        ", ".join(each.path for each in mounts) for mounts in (template.shared, template.unshared)
    )
    if not missing:
        return there or "none of their own; what the notebook keeps is in no claim either"
    why = f"not {missing}, since a single node may mount it (access mode ReadWriteOnce)"
    return f"{there}; {why}" if there else why


def _counts(workers: "Counter[str]") -> str:
    return ", ".join(f"{count} {pool}" for pool, count in sorted(workers.items())) or "none"
