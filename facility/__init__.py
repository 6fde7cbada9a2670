"""Private Dask clusters with several worker pools, for columnar ATLAS analysis.

>>> from facility import cluster
>>> with cluster(4) as c, c.get_client() as client:  # doctest: +SKIP
...     client.submit(sum, range(10)).result()
45
"""

from typing import TYPE_CHECKING, Any

from facility import moved
from facility.errors import (
    ClusterFailedError,
    ClusterTimeoutError,
    ConfigError,
    FacilityError,
    FilesetError,
    HubError,
    RequestError,
    RunError,
    RunInterrupted,
)

if TYPE_CHECKING:
    from facility.analysis.executor import Executor
    from facility.analysis.run import run
    from facility.deploy.launch import cluster, clusters, pools

__version__ = "0.2.0"

moved.install()

__all__ = [
    "cluster",
    "pools",
    "clusters",
    "run",
    "Executor",
    "FacilityError",
    "RequestError",
    "ConfigError",
    "ClusterFailedError",
    "ClusterTimeoutError",
    "FilesetError",
    "HubError",
    "RunError",
    "RunInterrupted",
]

_LATER = {
    "cluster": "facility.deploy.launch",
    "pools": "facility.deploy.launch",
    "clusters": "facility.deploy.launch",
    "run": "facility.analysis.run",
    "Executor": "facility.analysis.executor",
}
"""Modules of what is loaded when it is first asked for."""


def __getattr__(name: str) -> Any:
    """Load what starts Dask clusters and runs analyses when it is first asked for.

    The schedulers and workers that import this package need none of it.
    """
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from facility.dask_process.loading import with_dask

    with with_dask(importing=True):
        module = import_module(_LATER[name])
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER])
