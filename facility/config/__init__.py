"""`pools.yaml`, read into a frozen `Config` of `Pool`, or told what is wrong with it.

The chart's values are in `facility.hub.kubernetes.values`, Dask's own settings in
`facility.dask_process`.
"""

from facility.config.builtin import BUILTIN_SOURCE, builtin
from facility.config.model import POOL_NAME, RESERVED_NAMES, Config, json_schema, name_problem
from facility.config.overview import names_of, pools_table
from facility.config.pool import Pool
from facility.config.reading import load

__all__ = [
    "BUILTIN_SOURCE",
    "POOL_NAME",
    "RESERVED_NAMES",
    "Config",
    "Pool",
    "builtin",
    "json_schema",
    "load",
    "name_problem",
    "names_of",
    "pools_table",
]
