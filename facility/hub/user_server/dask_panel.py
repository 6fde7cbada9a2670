"""The Dask panel of JupyterLab, for Dask clusters of the facility.

The panel knows of a Dask cluster what it has done itself: one that adapts by itself would be shown
as of a fixed number, under the name of its class, and a number that is not granted without a word.

The panel's package makes a future when it is imported, which wants an event loop: it is imported
in a server that has one, and not with this module.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tornado import web

from facility.deploy.cluster import PooledCluster
from facility.errors import FacilityError

Model = Callable[[str, str, Any, Any], dict[str, Any]]
"""What the panel describes a Dask cluster with."""


def described(model: Model, identity: str, name: str, found: Any, adaptive: Any) -> dict[str, Any]:
    """Describe a Dask cluster as it is, for a replacement of the panel's `make_cluster_model`.

    Parameters
    ----------
    model
        The panel's own.
    identity
        Number by which the panel knows it.
    name
        What the panel calls it: its class and a number, unless it was configured otherwise.
    adaptive
        What the panel knows of its adapting.
    """
    if not isinstance(found, PooledCluster):
        return dict(model(identity, name, found, adaptive))
    if name.startswith(f"{PooledCluster.__name__} "):
        name = found.name
    if found._over:
        return dict(model(identity, str(found.explain()), found, None))
    return dict(model(identity, name, found, found._adaptive))


async def rescaled(manager: Any, patch: Any, answering: Any, cluster_id: str) -> None:
    """Scale or adapt a Dask cluster, and say what is not as asked, for a replacement of ``PATCH``.

    The panel shows what an error says and nothing else, so that what is granted otherwise than
    asked is told as one.

    Parameters
    ----------
    manager
        What holds the panel's Dask clusters.
    patch
        The panel's own method, for Dask clusters that are not of the facility.
    answering
        Its handler.
    """
    found = manager._clusters.get(cluster_id)
    if not isinstance(found, PooledCluster):
        await patch(answering, cluster_id)
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
    import dask_labextension.manager as panel
    from dask_labextension.clusterhandler import DaskClusterHandler

    own_patch = DaskClusterHandler.patch

    @web.authenticated
    async def patch(self: Any, cluster_id: str) -> None:
        await rescaled(panel.manager, own_patch, self, cluster_id)

    panel.make_cluster_model = partial(described, panel.make_cluster_model)
    DaskClusterHandler.patch = patch
