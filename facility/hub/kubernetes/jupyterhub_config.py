"""Configuration of the hub on Kubernetes, which JupyterHub executes."""

from facility.hub.kubernetes.configuration import configure
from facility.hub.kubernetes.release import read_secrets, read_site
from facility.hub.kubernetes.spawner import TenantSpawner, trust_the_authority
from facility.hub.kubernetes.tenants.tenants import Tenants
from facility.kubernetes.client.account import pod_account
from facility.kubernetes.client.api import Api

if "get_config" in globals():
    _site = read_site()
    trust_the_authority()
    TenantSpawner.tenants = Tenants(_site, Api(pod_account()))
    configure(
        get_config(),  # type: ignore[name-defined]  # noqa: F821
        _site,
        read_secrets(),
    )
