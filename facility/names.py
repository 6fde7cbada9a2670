"""Every name that more than one module uses: variables, paths, tags, ports."""

import os
from pathlib import Path

CONFIG_VARIABLE = "FACILITY_CONFIG"
"""Environment variable with the path of a pools.yaml."""
BACKEND_VARIABLE = "FACILITY_BACKEND"
"""Environment variable that overrides where Dask clusters run."""
XCACHE_VARIABLE = "FACILITY_XCACHE"
"""Environment variable with the caches through which files are read."""
SITES_VARIABLE = "FACILITY_SITES"
"""Environment variable with beginnings of names of Rucio's storage, the nearest first."""
POOLS_VARIABLE = "FACILITY_POOLS"
"""Environment variable with counts of workers that stand above those of a call: cpu=0:200,gpu=2."""
DOCUMENTATION_VARIABLE = "FACILITY_DOCUMENTATION"
"""Where users find the documentation, on their hub."""
JOB_VARIABLE = "FACILITY_JOB"
"""Environment variable with the name of the job that a process belongs to."""
SYSTEM_CONFIG = Path("/etc/facility/pools.yaml")
"""Where images and administrators put the pools.yaml."""

LOOPBACK = "127.0.0.1"

TAG_PREFIX = "pool-"
TAG_CAPACITY = 1e9
"""What a worker advertises of its pool's tag; no number of tasks exhausts it."""
GPU_RESOURCE = "GPU"
"""Dask resource of a GPU device, apart from the pool's tag."""
POOL_ANNOTATION = "pool"
"""Dask annotation that `on` sets around what is submitted or computed."""


def pool_tag(pool: str) -> str:
    """Name of the Dask resource that routes a task to a pool."""
    return TAG_PREFIX + pool


def data_folder() -> Path:
    """Folder of the user's persistent data (certificates, the hub's state)."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "facility"


def cache_folder() -> Path:
    """Folder of what can be made again (what is known of files)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "facility"


def clusters_folder() -> Path:
    """Folder with one folder for each Dask cluster of this user on this machine."""
    return data_folder() / "clusters"


def jobs_folder() -> Path:
    """Folder with one folder for each job of this user on this machine."""
    return data_folder() / "jobs"


def certificates_folder() -> Path:
    """Folder of the user's certificate authority."""
    return data_folder() / "tls"


# On Kubernetes.

TENANT_LABEL = "facility/tenant"
"""Label of a user's namespace: the user's part of its name."""
HUB_LABEL = "facility/hub"
"""Label of a user's namespace, and of what is in it and of user servers: the release of the hub."""
USER_ANNOTATION = "facility/user"
"""Annotation of a user's namespace: the user's name as the hub knows it."""
UID_ANNOTATION, GID_ANNOTATION = "facility/uid", "facility/gid"
GIDS_ANNOTATION = "facility/gids"
"""Annotations of a user's namespace: as whom its pods run, and of which groups they may be."""
APP_COMPONENT_LABEL = "app.kubernetes.io/component"
"""Label by which network policies know the pods of the hub, the proxy and user servers."""
HUB_SECRET = "hub-secrets"
"""The Secret with the hub's keys that is made at the installation."""
AUTHORITY_ANNOTATION = "facility/authority-after"
"""Annotation of a user's namespace: the time before which no certificate authority is used."""
AUTHORITY_VARIABLE = "FACILITY_AUTHORITY_AFTER"
"""The same, for the user's server."""
AUTHORITY_PATH = "facility/authority"
"""Where a user's server is asked for a new certificate authority."""
HUB_COMPONENT = "hub"
PROXY_COMPONENT = "proxy"
USER_SERVER_COMPONENT = "user-server"

CLUSTER_LABEL = "dask.org/cluster-name"
COMPONENT_LABEL = "dask.org/component"
"""Labels of dask-kubernetes, whose tools look for them."""
SCHEDULER_COMPONENT = "scheduler"
WORKER_COMPONENT = "worker"
POOL_LABEL = "facility/pool"
GROUP_LABEL = "facility/group"
"""Label of a worker pod: the name of the group in it, by which many are ended with one call."""

JOB_LABEL = "facility/job"
"""Label of a job and of what is its own: the job's name."""
SCRIPT_ANNOTATION = "facility/script"
"""Annotation of a job: the script as it was submitted."""
JOB_SETTINGS_VARIABLE = "FACILITY_JOB_SETTINGS"
"""Environment variable with what a job's container is to run, as JSON."""

HUB_VARIABLE = "FACILITY_HUB"
"""Set in every process of a hub on one machine to the folder of its state, which tells the
processes of one hub from all others, whoever their parent is by now."""

SCHEDULER_PORT = 8786
DASHBOARD_PORT = 8787
WORKER_DASHBOARD_PORT = 8790
"""Of the first worker process of a pod; the next one has the next port."""
WORKER_DASHBOARD = "dashboard"
"""What the names of such ports begin with in a worker pod's manifest; their number follows."""
USER_SERVER_PORT = 8888
HUB_PORT = 8081

POOLS_CONFIG_MAP = "facility-pools"
"""ConfigMap of a user's namespace with the pools, and the release that made it."""
POOLS_KEY = "pools.yaml"
RELEASE_KEY = "release"
SCHEDULER_KEY = "scheduler.json"
"""Key of that ConfigMap with the nodes that schedulers may run on, as in a pod's specification."""

NOTEBOOK_ACCOUNT = "notebook"
"""ServiceAccount of user servers, with which the library works."""
SCHEDULER_ACCOUNT = "scheduler"
"""ServiceAccount of schedulers, which may end what belongs to a Dask cluster."""
WORKER_ACCOUNT = "default"
"""ServiceAccount of workers, which may do nothing and whose token they do not get."""
DEFAULT_RELEASE = "facility"
"""Release whose names are meant where no release is known."""

DISK_REQUEST = "100Mi"
"""Disk that the node of each container of ours must have free, whatever its limit is."""

SCHEDULER_VARIABLE = "FACILITY_SCHEDULER"
"""Environment variable with the settings of a scheduler's container, as JSON."""
WORKER_VARIABLE = "FACILITY_WORKER"
"""Environment variable with what a worker's container is to run, as JSON."""
POD_ADDRESS_VARIABLE = "FACILITY_POD_IP"
SECRET_BYTES = 64 * 1024
"""Bytes that a Secret of a user may hold, with the names of what is in it."""
BELONGINGS = {"X.509 proxy": "x509up", "bearer token": "bearer_token"}
"""Files in which a worker gets the user's credentials."""


def variables_file(pool: str) -> str:
    """Name of the file in which a pool's workers get variables of the notebook."""
    return f"variables-{pool}.json"


def scheduler_name(cluster: str) -> str:
    """Name of the Deployment and the Service that dask-kubernetes makes."""
    return f"{cluster}-scheduler"


def scheduler_address(cluster: str, namespace: str) -> str:
    """Address at which workers and clients find the scheduler."""
    return f"tls://{scheduler_name(cluster)}.{namespace}.svc:{SCHEDULER_PORT}"


def pool_priority_class(pool: str, release: str = DEFAULT_RELEASE) -> str:
    """Name of the PriorityClass by which a pool's quota counts its pods.

    PriorityClasses are in no namespace, so that their names carry the release.
    """
    return f"{release}-pool-{pool}"


def scheduler_priority_class(release: str = DEFAULT_RELEASE) -> str:
    """Name of the PriorityClass of schedulers."""
    return f"{release}-scheduler"


def notebook_priority_class(release: str = DEFAULT_RELEASE) -> str:
    """Name of the PriorityClass of user servers, which the hub alone may use."""
    return f"{release}-notebook"


def job_priority_class(release: str = DEFAULT_RELEASE) -> str:
    """Name of the PriorityClass of what `facility submit` starts."""
    return f"{release}-job"
