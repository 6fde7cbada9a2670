"""The Dask panel of JupyterLab, for Dask clusters of the facility.

The panel knows of a Dask cluster what it has done itself: one that adapts by itself would be shown
as of a fixed number, under the name of its class, and a number that is not granted without a word.
"""

import json
from typing import Any

import dask_labextension.manager
from dask_labextension.clusterhandler import DaskClusterHandler
from dask_labextension.manager import make_cluster_model, manager
from tornado import web

from facility.deploy.cluster import PooledCluster
from facility.errors import FacilityError


def described(identity: str, name: str, found: Any, adaptive: Any) -> dict[str, Any]:
    """Describe a Dask cluster as it is; a replacement of the panel's `make_cluster_model`.

    Parameters
    ----------
    identity
        Number by which the panel knows it.
    name
        What the panel calls it: its class and a number, unless it was configured otherwise.
    adaptive
        What the panel knows of its adapting.
    """
    if not isinstance(found, PooledCluster):
        return dict(make_cluster_model(identity, name, found, adaptive))
    if name.startswith(f"{PooledCluster.__name__} "):
        name = found.name
    if found._over:
        return dict(make_cluster_model(identity, str(found.explain()), found, None))
    return dict(make_cluster_model(identity, name, found, found._adaptive))


_patch = DaskClusterHandler.patch


@web.authenticated
async def rescaled(answering: DaskClusterHandler, cluster_id: str) -> None:
    """Scale or adapt a Dask cluster, and say what is not as asked; a replacement of ``PATCH``.

    The panel shows what an error says and nothing else, so that what is granted otherwise than
    asked is told as one.
    """
    found = manager._clusters.get(cluster_id)
    if not isinstance(found, PooledCluster):
        await _patch(answering, cluster_id)
        return
    asked = answering.get_json_body() or {}
    said: list[str] = []
    try:
        if adapt := asked.get("adapt"):
            bounds = adapt["minimum"], adapt["maximum"]
            found._rescale(bounds, {}, "adapt", say=said.append)
        else:
            found._rescale((asked["workers"],), {}, "scale", say=said.append)
    except FacilityError as error:
        said.append(str(error))
    if said:
        raise web.HTTPError(400, "\n".join(said))
    answering.finish(json.dumps(manager.get_cluster(cluster_id)))


def improve() -> None:
    """Have the panel show Dask clusters as they are, and tell what is not granted."""
    dask_labextension.manager.make_cluster_model = described
    DaskClusterHandler.patch = rescaled
