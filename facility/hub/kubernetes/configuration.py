"""JupyterHub's configuration, from the chart's values and secrets alone."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from jupyterhub.authenticators.shared import SharedPasswordAuthenticator

from facility import names
from facility.hub import documentation
from facility.hub.kubernetes import audit, pod_identity, revocation
from facility.hub.kubernetes.kubespawner_check import check_kubespawner
from facility.hub.kubernetes.release import crypt_keys
from facility.hub.kubernetes.rotation import in_use
from facility.hub.kubernetes.spawner import TenantSpawner
from facility.hub.kubernetes.values.model import Values
from facility.hub.kubernetes.values.servers import Profile
from facility.hub.kubernetes.values.tenant_model import Installation
from facility.hub.login_pauses import PausingAuthenticator
from facility.kubernetes.tenant import slug
from facility.kubernetes.volumes import claim_of
from facility.quantity import format_memory

HUB_SERVICE, PROXY_API, PROXY_PODS = "hub", "proxy-api", "proxy-pods"
"""Services of the release's namespace."""
PROXY_PORT, PROXY_API_PORT = 8000, 8001
POOLS_FOLDER = "/etc/facility/pools"
"""Where user servers find the pools: a folder, since a single file would never be renewed."""
DATABASE = "sqlite:////srv/facility/hub.sqlite"
CULLER_SCOPES = ("list:users", "read:users:activity", "read:servers", "delete:servers")
LABEL_LENGTH = 63
"""Characters of one part of a host name."""
ENCODED, NOT_ENCODED = "xn--", "u-"
"""How parts of host names begin that stand for other letters, and what no such part begins with."""
HTTP_TIMEOUT = 120
DAY = 86400
DISK_REQUEST = {"ephemeral-storage": names.DISK_REQUEST}
CALL_SECONDS, CALLS_SECONDS = 20, 120
"""Seconds of a call of Kubernetes by KubeSpawner, and of all attempts. Its own 3 and 30 are too few
for a busy API server: a call that is given up may have made the pod, which the next one deletes;
and a start has to outlast the restart of an API server that is the only one."""
INHERITED = (
    *("FACILITY_RELEASE", "FACILITY_NAMESPACE", "FACILITY_VERSION", "HOME"),
    *("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"),
)
"""Variables of the hub's pod that the keeper needs too."""
ACTIVITY_INTERVAL = 300
"""Seconds between two reports of a server about its user's work."""
ROUTES_INTERVAL = 20
"""Seconds until a proxy that started anew is told again where all servers are, which JupyterHub
does when it looks for activity."""


def configure(c: Any, installation: Installation, secrets: Mapping[str, str]) -> None:
    """Set up JupyterHub.

    Parameters
    ----------
    c
        JupyterHub's configuration, changed in place.
    installation
        The release.
    secrets
        Content of the keys ``proxy-token``, ``cookie-secret`` and ``crypt-key`` (both
        hexadecimal), ``password`` and ``database-password``.

    Raises
    ------
    HubError
        Where the hub would start servers otherwise than it has to.
    """
    check_kubespawner()
    _hub(c, installation, secrets)
    _spawner(c, installation)
    hub = c.JupyterHub
    own = {"name": revocation.SERVICE, "api_token": revocation.token(secrets["cookie-secret"])}
    hub.services = [*services(installation.values), own]
    hub.load_roles = [
        {"name": "idle-culler", "scopes": list(CULLER_SCOPES), "services": ["idle-culler"]},
        revocation.ROLE,
    ]
    hub.custom_scopes = revocation.SCOPES
    hub.extra_handlers.extend([*revocation.HANDLERS, *in_use.HANDLERS])
    audit.configure(c)
    if "authenticator_class" not in installation.values.hub.config.get("JupyterHub", {}):
        # For trials: one password, which the notes of the installation tell how to read.
        hub.authenticator_class = SharedPassword
        c.SharedPasswordAuthenticator.user_password = secrets["password"]
        # Of this class alone: extraConfig may choose another, which lets in whom it is told to.
        c.SharedPasswordAuthenticator.allow_all = True
    c.PausingAuthenticator.trusted_proxies = list(installation.values.hub.trusted_proxies)
    c.PausingAuthenticator.proxy_host = f"{PROXY_PODS}.{installation.namespace}.svc"
    if installation.values.singleuser.identity is not None:
        c.Authenticator.enable_auth_state = True
    for class_name, settings in installation.values.hub.config.items():
        for key, value in settings.items():
            c[class_name][key] = value
    for _, text in sorted(installation.values.hub.extra_config.items()):
        exec(compile(text, "hub.extraConfig", "exec"), {"c": c})
    if hub.authenticator_class == "shared-password":  # whoever chose it
        hub.authenticator_class = SharedPassword
    audit.watch_logins(c, list(c))


class SharedPassword(PausingAuthenticator, SharedPasswordAuthenticator):
    """JupyterHub's shared password, with pauses between wrong ones."""


def _hub(c: Any, installation: Installation, secrets: Mapping[str, str]) -> None:
    values, hub = installation.values.hub, c.JupyterHub
    inside = f"{installation.namespace}.svc"
    hub.bind_url = f"http://:{PROXY_PORT}{values.base_url}"
    if values.domain is not None:
        # What a server sets or reads of cookies and pages ends at its own name.
        hub.subdomain_host = f"https://{values.domain}"
        hub.subdomain_hook = user_domain
        hub.cookie_host_prefix_enabled = True
    hub.hub_bind_url = f"http://:{names.HUB_PORT}"
    hub.hub_connect_url = f"http://{HUB_SERVICE}.{inside}:{names.HUB_PORT}"
    # Proxy and servers run on while the hub is replaced.
    hub.cleanup_servers = hub.cleanup_proxy = False
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = f"http://{PROXY_API}.{inside}:{PROXY_API_PORT}"
    c.ConfigurableHTTPProxy.auth_token = secrets["proxy-token"]
    hub.cookie_secret = bytes.fromhex(secrets["cookie-secret"])
    c.CryptKeeper.keys = crypt_keys(secrets["crypt-key"])
    hub.db_url = database(installation.values, secrets)
    hub.upgrade_db = True
    hub.cookie_max_age_days = values.lifetimes.session_days
    hub.token_expires_in_max_seconds = int(values.lifetimes.token_days * DAY)
    hub.allow_named_servers = values.allow_named_servers
    hub.named_server_limit_per_user = values.named_server_limit_per_user
    hub.concurrent_spawn_limit = values.concurrent_spawn_limit
    hub.active_server_limit = values.active_server_limit
    hub.log_level = "DEBUG" if installation.values.debug else "INFO"
    hub.last_activity_interval = ROUTES_INTERVAL
    c.Spawner.consecutive_failure_limit = values.consecutive_failure_limit


def user_domain(name: str, domain: str, kind: str) -> str:
    """Return the host name of a user's servers, or of a service, which nobody else gets.

    JupyterHub's own has 7 digits of a hash, which whoever chooses a name can match.
    """
    # Names of users end otherwise.
    suffix = "" if kind == "user" else f"--{kind}"
    label = slug(name, LABEL_LENGTH - len(NOT_ENCODED) - len(suffix))
    if label.startswith(ENCODED):
        label = NOT_ENCODED + label
    return f"{label}{suffix}.{domain}"


def database(values: Values, secrets: Mapping[str, str]) -> str:
    """Return where the hub keeps its state, as SQLAlchemy writes it."""
    db = values.hub.db
    if db.url is None:
        return "sqlite://" if db.type == "sqlite-memory" else DATABASE
    from sqlalchemy.engine import make_url

    url = make_url(db.url)
    if "database-password" in secrets:
        url = url.set(password=secrets["database-password"])
    return url.render_as_string(hide_password=False)


def _spawner(c: Any, installation: Installation) -> None:
    values, release, version = installation.values, installation.release, installation.version
    servers, image, spawner = values.singleuser, values.server_image, c.KubeSpawner
    c.JupyterHub.spawner_class = TenantSpawner
    spawner.enable_user_namespaces = True
    spawner.events_enabled = False
    spawner.handle_legacy_names = False
    spawner.component_label = names.USER_SERVER_COMPONENT
    spawner.extra_labels = {names.HUB_LABEL: release.name}
    spawner.pod_name_template = "notebook-{servername}"
    spawner.pvc_name_template = "home"
    spawner.service_account = names.NOTEBOOK_ACCOUNT
    spawner.automount_service_account_token = True
    spawner.priority_class_name = release.notebook_class
    spawner.image = image.reference(version)
    spawner.image_pull_policy = image.pull_policy
    spawner.image_pull_secrets = list(values.images.pull_secrets)
    spawner.cmd = ["python", "-m", "facility.hub.user_server.pod"]
    spawner.ip, spawner.port = "0.0.0.0", names.USER_SERVER_PORT
    spawner.start_timeout, spawner.http_timeout = servers.start_timeout, HTTP_TIMEOUT
    spawner.cpu_limit, spawner.cpu_guarantee = servers.cpu_limit, servers.cpu_guarantee
    spawner.mem_limit, spawner.mem_guarantee = servers.memory_limit, servers.memory_guarantee
    disk = {"ephemeral-storage": format_memory(servers.disk_limit)}
    spawner.extra_resource_limits = disk
    spawner.extra_resource_guarantees = DISK_REQUEST
    spawner.node_selector = dict(servers.node_selector)
    spawner.tolerations = [as_manifest(each) for each in servers.tolerations]
    spawner.runtime_class_name = servers.runtime_class
    spawner.k8s_api_request_timeout = CALL_SECONDS
    spawner.k8s_api_request_retry_timeout = CALLS_SECONDS
    spawner.default_url = servers.default_url or ""
    spawner.environment = {
        "HOME": servers.storage.home_mount_path,
        names.CONFIG_VARIABLE: f"{POOLS_FOLDER}/{names.POOLS_KEY}",
        "JUPYTERHUB_ACTIVITY_INTERVAL": str(ACTIVITY_INTERVAL),
        **documentation.serve(c, values.hub.base_url),
        **servers.extra_env,
    }
    everybody = pod_identity.fixed(servers)
    spawner.uid, spawner.fs_gid = everybody.uid, everybody.volumes
    spawner.container_security_context = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    spawner.pod_security_context = {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        **servers.profiles_of_pods,
    }
    _storage(spawner, values)
    spawner.profile_list = profiles(values, version)


def _storage(spawner: Any, values: Values) -> None:
    storage = values.singleuser.storage
    volumes: list[dict[str, Any]] = [
        {"name": "pools", "configMap": {"name": names.POOLS_CONFIG_MAP}},
        {"name": "tmp", "emptyDir": {"sizeLimit": format_memory(values.singleuser.disk_limit)}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "pools", "mountPath": POOLS_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "home", "mountPath": storage.home_mount_path},
    ]
    spawner.storage_pvc_ensure = storage.type == "dynamic"
    if storage.type == "dynamic":
        volumes.append({"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}})
        spawner.storage_capacity = str(storage.capacity)
        spawner.storage_class = storage.storage_class
        spawner.storage_access_modes = list(storage.access_modes)
    else:
        size = {"sizeLimit": format_memory(storage.capacity)}
        volumes.append({"name": "home", "emptyDir": size})
    for name, shared in values.shared_volumes.items():
        claim = claim_of(name, shared.read_only)
        volumes.append({"name": name, "persistentVolumeClaim": claim})
        mounts.append(shared.mount(name))
    spawner.volumes, spawner.volume_mounts = volumes, mounts


def profiles(values: Values, version: str) -> list[dict[str, Any]]:
    """Return the kinds of servers to choose from, as KubeSpawner takes them."""
    servers = values.singleuser
    gpu = next((pool.gpu_resource for pool in values.config.pools.values() if pool.gpus), "")
    found = []
    for name, profile in servers.profiles.items():
        override: dict[str, Any] = {
            "node_selector": {**servers.node_selector, **profile.node_selector},
            "tolerations": [
                as_manifest(each) for each in (*servers.tolerations, *profile.tolerations)
            ],
        }
        if profile.image is not None:
            override["image"] = profile.image.reference(version)
            override["image_pull_policy"] = profile.image.pull_policy
        if profile.cpu_limit is not None:
            override["cpu_limit"] = profile.cpu_limit
            override["cpu_guarantee"] = min(profile.cpu_limit, servers.cpu_guarantee)
        if profile.memory_limit is not None:
            override["mem_limit"] = profile.memory_limit
            override["mem_guarantee"] = min(profile.memory_limit, servers.memory_guarantee)
        if profile.gpus:
            count = {gpu or "nvidia.com/gpu": str(profile.gpus)}
            disk = {"ephemeral-storage": format_memory(servers.disk_limit)}
            override["extra_resource_limits"] = {**count, **disk}
            override["extra_resource_guarantees"] = {**count, **DISK_REQUEST}
        entry: dict[str, Any] = {
            "slug": name,
            "display_name": profile.display_name,
            "description": profile.description,
            "default": profile.default,
            "kubespawner_override": override,
        }
        if profile.images:
            entry["profile_options"] = {"image": _choices(profile, version)}
        found.append(entry)
    # Helm hands them on in the order of their names.
    return sorted(found, key=lambda entry: not entry["default"])


def _choices(profile: Profile, version: str) -> dict[str, Any]:
    """Return the images of a profile, its own first."""
    choices: dict[str, Any] = {
        "default": {"display_name": "Default", "default": True, "kubespawner_override": {}}
    }
    for name, choice in profile.images.items():
        override = {
            "image": choice.image.reference(version),
            "image_pull_policy": choice.image.pull_policy,
        }
        choices[name] = {"display_name": choice.display_name, "kubespawner_override": override}
    return {"display_name": "Image", "choices": choices}


def services(values: Values) -> list[dict[str, Any]]:
    """Return what the hub runs beside itself: order in the namespaces, and the culler."""
    # A service inherits nothing of the hub's environment that is not named.
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    command = [sys.executable, "-m", "facility.hub.kubernetes.tenants.keeper"]
    found: list[dict[str, Any]] = [
        {"name": "keeper", "command": command, "environment": environment}
    ]
    cull = values.cull
    if cull.enabled:
        words = [f"--timeout={cull.timeout}", f"--cull-every={cull.every}"]
        words += [f"--max-age={cull.max_age}"] if cull.max_age else []
        command = [sys.executable, "-m", "facility.hub.culler", *words]
        found.append({"name": "idle-culler", "command": command})
    return found


def as_manifest(model: Any) -> dict[str, Any]:
    """Write a part of a pod as Kubernetes takes it."""
    found: dict[str, Any] = model.model_dump(by_alias=True, exclude_none=True)
    return found
