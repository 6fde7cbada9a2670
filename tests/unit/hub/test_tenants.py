"""The hub on Kubernetes without one: quotas of a user, words of a start, what is swept."""

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
from jupyterhub.authenticators.shared import SharedPasswordAuthenticator
from jupyterhub.crypto import CryptKeeper
from traitlets.config import Config as Traits

from facility import names
from facility.errors import ConfigError, ProblemsError
from facility.hub.kubernetes import pod_identity, progress
from facility.hub.kubernetes.configuration import (
    SharedPassword,
    configure,
    database,
    profiles,
    user_domain,
)
from facility.hub.kubernetes.release import read_values
from facility.hub.kubernetes.shortage import shortage
from facility.hub.kubernetes.tenants import leftovers
from facility.hub.kubernetes.tenants.difference import is_as_made
from facility.hub.kubernetes.values.tenant_model import (
    Installation,
    api_server,
    manifests,
)
from facility.hub.local.jupyterhub_config import configure as configure_machine
from facility.hub.local.settings import HubSettings
from facility.kubernetes import deletion
from facility.kubernetes.manifests import SCHEDULER_RESOURCES
from facility.kubernetes.tenant import Tenant

CPU = {"default": True, "cpu": 1, "memory": "4Gi", "maxWorkers": 200}
GPU = {"cpu": 8, "memory": "64Gi", "gpus": 1, "maxWorkers": 8, "scarce": True}
SECRETS = {
    "proxy-token": "t",
    "cookie-secret": "ab" * 32,
    "crypt-key": "cd" * 32,
    "password": "only for tests",
}
SLICE = {
    "endpoints": [{"addresses": ["192.0.2.9"]}, {"addresses": ["192.0.2.8"]}],
    "ports": [{"port": 6443}],
}


def site(**values: Any) -> Installation:
    return Installation(read_values(whole(**values)), "af", "hub", "1.2")


def whole(**values: Any) -> dict[str, Any]:
    """Values, with what a site has to say."""
    images = {"registry": "registry.example/facility", **values.pop("images", {})}
    hub = {"domain": "af.example.org", **values.pop("hub", {})}
    return {"pools": {"cpu": CPU, "gpu": GPU}, "images": images, "hub": hub, **values}


def configured(chosen: Installation, **secrets: str) -> Any:
    found = Traits()
    configure(found, chosen, {**SECRETS, **secrets})
    return found


class Once:
    """A configuration of JupyterHub in which each setting may be set once."""

    def __init__(self) -> None:
        vars(self).update(sections={}, values={})

    def __getattr__(self, name: str) -> Any:
        if name[0].isupper():
            return self.sections.setdefault(name, Once())
        # The one that several add to.
        return self.values.setdefault(name, []) if name == "extra_handlers" else self.values[name]

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __iter__(self) -> Any:
        return iter(self.sections)

    def __setattr__(self, name: str, value: object) -> None:
        assert name not in self.values, f"{name} is set twice"
        self.values[name] = value


SAME = ({"Spawner", "LocalProcessSpawner", "OwnSpawner", "KubeSpawner"}, {"Authenticator"})
"""Sections that set the same things, since a class has what it inherits."""


def no_setting_twice(found: Once) -> None:
    for related in SAME:
        sections = [each for name, each in found.sections.items() if name in related]
        names_ = [name for section in sections for name in section.values]
        assert len(names_) == len(set(names_))
    assert len(found.sections["JupyterHub"].values) > 8


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"singleuser": {"storage": {"type": "none"}, "identity": {"uid": "a.uid", "gid": "a.gid"}}},
        {"sharedVolumes": {"cvmfs": {"mountPath": "/cvmfs", "storageClass": "cvmfs"}}},
    ],
)
def test_no_setting_of_the_hub_is_set_twice(values: dict[str, Any]) -> None:
    found = Once()
    configure(found, site(**values), SECRETS)
    no_setting_twice(found)


def test_no_setting_of_the_hub_on_one_machine_is_set_twice(tmp_path: Path) -> None:
    found = Once()
    chosen = HubSettings(tmp_path, tmp_path, "ada", 8000, 8081, 8082)
    configure_machine(found, chosen, "secret", {})
    no_setting_twice(found)


def test_the_largest_of_several_groups_counts_and_a_users_own_outweighs_them() -> None:
    quota = {"cpu": 10, "pools": {"gpu": 1}}
    groups = {"a": {"cpu": 20, "memory": "1Ti"}, "b": {"cpu": 30, "pools": {"gpu": 4}}}
    tenants = {"quota": quota, "groups": groups, "users": {"ada": {"cpu": 5}}}
    chosen = site(tenants=tenants)
    assert chosen.quota("bob", ()).cpu == 10
    both = chosen.quota("bob", ("a", "b", "unknown"))
    assert (both.cpu, both.memory, dict(both.pools)) == (30, 2**40, {"gpu": 4})
    own = chosen.quota("ada", ("a", "b"))
    assert (own.cpu, own.memory, dict(own.pools)) == (5, 2**40, {"gpu": 4})


def test_all_mistakes_are_told_together() -> None:
    wrong = {"pools": {"cpu": CPU}, "hub": {"imag": {}}, "cull": {"timeout": "1h"}, "hubs": 1}
    with pytest.raises(ConfigError) as caught:
        read_values(wrong)
    for told in ("hub.imag", "did you mean 'image'", "cull.timeout", "hubs"):
        assert told in str(caught.value)


def test_a_mistake_in_a_pool_is_told_as_in_a_pools_file() -> None:
    with pytest.raises(ConfigError, match=r"pools.cpu.memory: 4 must be at least 64Mi"):
        read_values(whole(pools={"cpu": {**CPU, "memory": 4}}))


@pytest.mark.parametrize("section", ["singleuser", "scheduler"])
def test_a_guarantee_above_its_limit_is_refused(section: str) -> None:
    with pytest.raises(ConfigError, match="memoryGuarantee is 8Gi, more than memoryLimit.* 4Gi"):
        site(**{section: {"memoryGuarantee": "8Gi"}})
    with pytest.raises(ConfigError, match="cpuGuarantee is 1500m, more than cpuLimit.* 500m"):
        site(**{section: {"cpuGuarantee": 1.5, "cpuLimit": "500m"}})


def test_what_schedulers_get_is_told_to_users_namespaces() -> None:
    chosen = site(scheduler={"memoryLimit": "16Gi", "cpuGuarantee": 1})
    assert chosen.release.scheduler_resources == {
        "requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "100Mi"},
        "limits": {"cpu": "2", "memory": "16Gi", "ephemeral-storage": "10Gi"},
    }


def test_without_a_word_schedulers_get_what_the_library_gives_them() -> None:
    assert site().release.scheduler_resources == SCHEDULER_RESOURCES


def test_the_api_servers_addresses_in_a_lasting_order() -> None:
    found = list(api_server([SLICE]))
    assert [(each.cidr, each.ports) for each in found] == [
        ("192.0.2.8/32", (6443,)),
        ("192.0.2.9/32", (6443,)),
    ]


def test_images_of_servers_and_profiles_are_permitted() -> None:
    other = {"displayName": "Next", "image": {"name": "b.io/next", "tag": "2"}}
    small = {"displayName": "Small", "image": "b.io/small:1", "images": {"next": other}}
    servers = {"image": {"name": "a.io/analysis"}, "profiles": {"small": small}}
    chosen = site(singleuser=servers, images={"permitted": ["c.io/"]})
    expected = ["a.io/analysis", "b.io/small", "b.io/next", "c.io/"]
    assert chosen.values.permitted_images == expected
    (profile,) = profiles(chosen.values, "1.2")
    choices = profile["profile_options"]["image"]["choices"]
    assert choices["default"]["kubespawner_override"] == {}
    assert choices["next"]["kubespawner_override"]["image"] == "b.io/next:2"


TRUST = {"usersTrustEachOther": True}
DIGEST = f"sha256:{'0a' * 32}"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (None, "registry.example/facility/analysis:1.2"),
        ({"tag": "3"}, "registry.example/facility/analysis:3"),
        ({"digest": DIGEST}, f"registry.example/facility/analysis@{DIGEST}"),
        ("here.example:5000/a/b", "here.example:5000/a/b:1.2"),
        ("here.example:5000/a/b:4", "here.example:5000/a/b:4"),
        (f"localhost/b@{DIGEST}", f"localhost/b@{DIGEST}"),
        (f"here.example/b:4@{DIGEST}", f"here.example/b@{DIGEST}"),
    ],
)
def test_an_image_is_the_registrys_or_what_is_given(image: Any, expected: str) -> None:
    chosen = site(singleuser={"image": image})
    assert configured(chosen).KubeSpawner.image == expected
    assert chosen.values.permitted_images == [re.split("@|:[^/]*$", expected)[0]]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"images": {}}, "images.registry is missing, .* image hub and analysis and operator"),
        ({"images": {}, "operator": {"enabled": False}}, "the image hub and analysis lies"),
        ({"images": {"registry": "team"}}, r"the image hub must begin with .*\.example/team/hub"),
        ({"hub": {**TRUST, "image": "team/hub:1"}}, "the image hub must begin with its registry"),
        ({"hub": {**TRUST, "image": "a.io/hub@sha256:1"}}, "must be the name of an image, such as"),
        ({"images": {"registry": "a.io", "permitted": ["b/"]}}, "images.permitted, b/ must begin"),
        ({"pools": {"cpu": {**CPU, "image": "a/b:1"}}}, "pools.cpu.image must begin with its"),
        (
            {"singleuser": {"profiles": {"a": {"displayName": "A", "image": "a/b:1"}}}},
            "an image of singleuser.profiles, a/b must begin",
        ),
    ],
)
def test_an_image_of_nobody_knows_whom_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_values({**whole(), **values})


def test_no_registry_is_needed_where_every_image_is_given() -> None:
    given = {
        section: {"image": f"a.io/{section}@{DIGEST}"}
        for section in ("hub", "operator", "singleuser")
    }
    given["hub"] |= TRUST
    assert read_values({"pools": {"cpu": CPU}, **given}).server_image.name == "a.io/singleuser"


@pytest.mark.parametrize("hub", [{}, {"domain": None}, {"baseUrl": "/a/"}])
def test_users_of_one_address_have_to_trust_each_other(hub: dict[str, Any]) -> None:
    told = r"values.* used: hub: domain is missing, .* name, .* or say usersTrustEachOther: true$"
    with pytest.raises(ConfigError, match=told):
        read_values({**whole(), "hub": hub})
    assert read_values({**whole(), "hub": hub | {"usersTrustEachOther": True}})
    values = {key: value for key, value in whole().items() if key != "hub"}
    with pytest.raises(ConfigError, match="hub: domain is missing"):
        read_values(values)


def test_with_a_domain_each_user_has_one_and_cookies_stay_in_it() -> None:
    hub = configured(site(hub={"domain": "af.example.org:8443", "baseUrl": "/a/"})).JupyterHub
    assert hub.subdomain_host == "https://af.example.org:8443"
    assert hub.subdomain_hook is user_domain
    assert hub.cookie_host_prefix_enabled is True
    alone = configured(site(hub={"domain": None, **TRUST})).JupyterHub
    assert not {"subdomain_host", "subdomain_hook", "cookie_host_prefix_enabled"} & set(alone)


@pytest.mark.parametrize(
    ("name", "kind", "label"),
    [
        ("ada", "user", "ada"),
        ("ann-lee", "user", "ann-lee"),
        ("Ann.Lee@site", "user", "ann-lee-site--[0-9a-f]{12}"),
        ("Ada", "user", "ada--[0-9a-f]{12}"),
        ("ada--service", "user", "ada-service--[0-9a-f]{12}"),
        ("ada", "service", "ada--service"),
        ("XN.", "user", "u-xn--[0-9a-f]{12}"),
        ("søren", "user", "s-ren--[0-9a-f]{12}"),
        ("x" * 90, "user", "x{47}--[0-9a-f]{12}"),
        ("x" * 90, "service", "x{38}--[0-9a-f]{12}--service"),
    ],
)
def test_nobody_else_gets_a_users_domain(name: str, kind: str, label: str) -> None:
    found, _, rest = user_domain(name, "af.example.org", kind).partition(".")
    assert rest == "af.example.org"
    assert re.fullmatch(label, found)
    assert len(found) <= 63
    others = ("ada", "Ada", "ADA", "a.da", "ann-lee", "ann.lee@site", "x" * 90 + "y")
    assert found not in {
        user_domain(other, rest, "user").partition(".")[0] for other in others if other != name
    }


def volumes_of(chosen: Installation) -> list[dict[str, Any]]:
    tenant = Tenant("ada", chosen.release, chosen.quota("ada", ()), chosen.network([SLICE]))
    return [each for each in manifests(tenant) if each["kind"].startswith("PersistentVolume")]


def test_shared_volumes_are_claims_that_servers_mount() -> None:
    chosen = site(sharedVolumes={"cvmfs": {"mountPath": "/cvmfs", "storageClass": "cvmfs"}})
    (claim,) = volumes_of(chosen)
    assert claim["spec"]["storageClassName"] == "cvmfs"
    assert claim["spec"]["accessModes"] == ["ReadOnlyMany"]
    assert claim["metadata"]["namespace"] == "af-ada"
    spawner = configured(chosen).KubeSpawner
    assert {"name": "cvmfs", "mountPath": "/cvmfs", "readOnly": True} in spawner.volume_mounts
    # Workers mount what the server does: pools have volumes of their own alone.
    assert chosen.release.config.pools["gpu"].volumes == ()


def test_what_nobody_may_write_is_mounted_read_only_on_the_node() -> None:
    """Else a pod that a user makes without the library could write it."""
    nfs = {"nfs": {"server": "nfs.example.org", "path": "/a"}}
    csi = {"csi": {"driver": "d.example.org", "volumeHandle": "a-{namespace}"}}
    shared = {
        "a": {"mountPath": "/a", "volume": nfs},
        "b": {"mountPath": "/b", "volume": {**csi, "mountOptions": ["nodev"]}, "readOnly": False},
    }
    chosen = site(sharedVolumes=shared)
    first, _, second, claim = volumes_of(chosen)
    assert first["spec"]["nfs"] == {**nfs["nfs"], "readOnly": True}
    assert second["spec"]["csi"]["readOnly"] is False
    assert second["spec"]["csi"]["volumeHandle"] == "a-af-ada"
    assert second["spec"]["mountOptions"] == ["nodev"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_mounts_on_demand_are_propagated() -> None:
    cvmfs = {"mountPath": "/cvmfs", "mountPropagation": "HostToContainer"}
    mounts = configured(site(sharedVolumes={"cvmfs": cvmfs})).KubeSpawner.volume_mounts
    (mount,) = (each for each in mounts if each["name"] == "cvmfs")
    assert mount["mountPropagation"] == "HostToContainer"


@pytest.mark.parametrize(
    ("name", "shared", "told"),
    [
        ("home", {"mountPath": "/x"}, "cannot have the shared volume 'home'"),
        ("A", {"mountPath": "/x"}, "cannot have the shared volume 'A'"),
        ("a", {"mountPath": "/home/jovyan"}, "mount both the home and the shared volume 'a'"),
        ("a", {"mountPath": "/tmp"}, "mount both scratch and the shared volume 'a'"),
        ("a", {"mountPath": "x"}, "sharedVolumes.a.mountPath"),
        ("a", {"mountPath": "/x", "volume": {"hostPath": {}}}, "hostPath"),
        ("a", {"mountPath": "/x", "volume": {}}, "has the sources none"),
        ("a", {"mountPath": "/x", "accessModes": []}, "accessModes"),
    ],
)
def test_shared_volumes_that_cannot_be(name: str, shared: dict[str, Any], told: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        site(sharedVolumes={name: shared})
    assert told in str(caught.value)


# As whom pods run.

KEYS = {"uid": "oauth_user.uidNumber", "gid": "oauth_user.gid", "groups": "oauth_user.gids"}


def who(state: Any, **keys: Any) -> pod_identity.Identity:
    servers = site(singleuser={"identity": keys or KEYS, "fsGid": "none"}).values.singleuser
    return pod_identity.identity(servers, "ada", state)


def test_the_login_says_as_whom_pods_run() -> None:
    said = {"oauth_user": {"uidNumber": 5001, "gid": "5000", "gids": [88, "77", 88]}}
    found = who(said)
    assert (found.uid, found.gid, found.groups) == (5001, 5000, (88, 77))
    assert found.notes == {
        "facility/uid": "5001",
        "facility/gid": "5000",
        "facility/gids": "77 88 5000",
    }
    # Two people may be one on file systems.
    assert who(said) == found


def test_keys_may_count_lists_and_hold_dots() -> None:
    state = {"user_attributes": {"uid": ["5007"]}, "claims": {"https://example.org/gid": 8}}
    found = who(state, uid="user_attributes.uid.0", gid="claims.https://example.org/gid")
    assert (found.uid, found.gid, found.groups) == (5007, 8, ())


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (None, ["holds no oauth_user.uidNumber", "no oauth_user.gid,", "no oauth_user.gids"]),
        (
            {"oauth_user": {"uidNumber": 0, "gid": "0", "gids": [0]}},
            ["uidNumber is 0", "gid is '0'"],
        ),
        (
            {"oauth_user": {"uidNumber": True, "gid": 1.5, "gids": "5"}},
            ["is true", "1.5", "a list"],
        ),
        ({"oauth_user": {"uidNumber": "ada", "gid": -1, "gids": [[]]}}, ["'ada'", "-1", "is []"]),
        ({"oauth_user": {"uidNumber": 2**31, "gid": "٣", "gids": []}}, ["2147483648", "'٣'"]),
        ({"oauth_user": [5]}, ["holds no oauth_user.uidNumber"]),
    ],
)
def test_a_login_that_does_not_say_it_is_refused(state: Any, told: list[str]) -> None:
    with pytest.raises(pod_identity.IdentityError) as caught:
        who(state)
    for each in (*told, "The login of 'ada'", "Log out and in again", "singleuser.identity"):
        assert each in str(caught.value)


@pytest.mark.parametrize("uid", [1, 33, "999"])
def test_a_login_as_a_system_account_is_refused_unless_the_admin_says_so(uid: Any) -> None:
    state = {"oauth_user": {"uidNumber": uid, "gid": 100, "gids": [10]}}
    told = rf"uidNumber is {uid}, a system account's, .*smallestUid accepts is 1000\. Log out"
    with pytest.raises(pod_identity.IdentityError, match=told):
        who(state)
    assert who(state, **KEYS, smallestUid=1).uid == int(uid)
    assert who({"oauth_user": {"uidNumber": 1000, "gid": 100, "gids": []}}).uid == 1000


def test_without_keys_all_users_are_one_and_it_is_told_to_their_namespaces() -> None:
    found = pod_identity.identity(site().values.singleuser, "ada", None)
    assert found.notes == {"facility/uid": "1000", "facility/gids": "100"}
    openshift = site(singleuser={"uid": "none", "fsGid": "none"}).values.singleuser
    assert pod_identity.identity(openshift, "ada", None).notes == {}
    spawner = configured(site(singleuser={"uid": "none", "fsGid": "none"})).KubeSpawner
    assert spawner.uid is None
    assert spawner.fs_gid is None


def test_what_logins_say_is_kept_encrypted() -> None:
    plain = configured(site())
    assert "enable_auth_state" not in plain.Authenticator
    keys = configured(site(singleuser={"identity": KEYS}))
    assert keys.Authenticator.enable_auth_state is True
    assert keys.CryptKeeper["keys"] == [SECRETS["crypt-key"]]
    CryptKeeper.clear_instance()
    try:
        keeper = CryptKeeper.instance(config=keys)
        keeper.check_available()
        assert keeper._decrypt(keeper._encrypt({"uid": 5})) == {"uid": 5}
    finally:
        CryptKeeper.clear_instance()


# The hub's configuration.


def test_without_an_authenticator_one_password_lets_everybody_in() -> None:
    found = configured(site())
    assert found.JupyterHub.authenticator_class is SharedPassword
    assert found.SharedPasswordAuthenticator.user_password == SECRETS["password"]
    assert found.SharedPasswordAuthenticator.allow_all is True


def test_an_authenticator_of_extra_config_lets_in_nobody_whom_it_is_not_told_to() -> None:
    chosen = "from jupyterhub.auth import PAMAuthenticator\n"
    chosen += "c.JupyterHub.authenticator_class = PAMAuthenticator"
    found = configured(site(hub={"extraConfig": {"login": chosen}}))
    made = found.JupyterHub.authenticator_class(config=found)
    assert made.allow_all is False
    assert SharedPasswordAuthenticator(config=found).allow_all is True


def test_the_shared_password_has_pauses_whoever_chooses_it() -> None:
    chosen = {"login": "c.JupyterHub.authenticator_class = 'shared-password'"}
    found = configured(site(hub={"extraConfig": chosen, "trustedProxies": ["192.0.2.16/28"]}))
    assert found.JupyterHub.authenticator_class is SharedPassword
    assert found.PausingAuthenticator.trusted_proxies == ["192.0.2.16/28"]
    assert found.PausingAuthenticator.proxy_host.startswith("proxy-pods.")


def test_a_trusted_proxy_is_an_address_range() -> None:
    with pytest.raises(ValueError, match="ingress"):
        site(hub={"trustedProxies": ["ingress"]})


def test_a_sites_own_authenticator_and_settings_come_last() -> None:
    config = {
        "JupyterHub": {"authenticator_class": "dummy"},
        "KubeSpawner": {"start_timeout": 7},
    }
    extra = {"b": "c.JupyterHub.x = c.JupyterHub.y + 1", "a": "c.JupyterHub.y = 1"}
    found = configured(site(hub={"config": config, "extraConfig": extra}))
    assert found.JupyterHub.authenticator_class == "dummy"
    assert "SharedPasswordAuthenticator" not in found
    assert found.KubeSpawner.start_timeout == 7
    assert found.JupyterHub.x == 2


def test_servers_of_users_outlive_the_hub_and_no_other_pods_are_followed() -> None:
    found = configured(site())
    assert found.JupyterHub.cleanup_servers is False
    assert found.KubeSpawner.events_enabled is False
    assert found.JupyterHub.hub_connect_url == "http://hub.hub.svc:8081"


def test_servers_obey_pod_security() -> None:
    spawner = configured(site()).KubeSpawner
    assert spawner.container_security_context["capabilities"] == {"drop": ["ALL"]}
    assert spawner.pod_security_context["runAsNonRoot"] is True
    assert spawner.priority_class_name == "af-notebook"
    assert spawner.service_account == "notebook"


def test_the_pools_are_a_folder_since_a_single_file_is_never_renewed() -> None:
    mounts = configured(site()).KubeSpawner.volume_mounts
    (pools,) = (each for each in mounts if each["name"] == "pools")
    assert "subPath" not in pools


@pytest.mark.parametrize(
    ("db", "secrets", "url"),
    [
        ({}, {}, "sqlite:////srv/facility/hub.sqlite"),
        ({"type": "sqlite-memory"}, {}, "sqlite://"),
        (
            {"type": "postgres", "url": "postgresql+psycopg2://hub@db:5432/hub"},
            {"database-password": "p@ss/word"},
            "postgresql+psycopg2://hub:p%40ss%2Fword@db:5432/hub",
        ),
    ],
)
def test_databases(db: dict[str, str], secrets: dict[str, str], url: str) -> None:
    assert database(site(hub={"db": db}).values, secrets) == url


def test_profiles_override_only_what_they_say() -> None:
    small = {"displayName": "Small", "cpuLimit": 0.05, "memoryLimit": "512Mi", "default": True}
    gpu = {"displayName": "GPU", "gpus": 1, "image": {"name": "a.io/gpu"}}
    chosen = site(singleuser={"profiles": {"gpu": gpu, "small": small}})
    first, second = profiles(chosen.values, "1.2")
    assert first["kubespawner_override"] == {
        "node_selector": {},
        "tolerations": [],
        "cpu_limit": 0.05,
        "cpu_guarantee": 0.05,
        "mem_limit": 2**29,
        "mem_guarantee": 2**29,
    }
    assert second["kubespawner_override"]["image"] == "a.io/gpu:1.2"
    assert second["kubespawner_override"]["extra_resource_limits"] == {
        "nvidia.com/gpu": "1",
        "ephemeral-storage": "10Gi",
    }


# Room for a server.

ALL = {
    "metadata": {"name": "all"},
    "spec": {},
    "status": {
        "hard": {"limits.cpu": "10", "limits.memory": "8Gi", "pods": "9"},
        "used": {"limits.cpu": "8500m", "limits.memory": "1Gi", "pods": "3"},
    },
}


def scoped(operator: str, *classes: str, hard: str, used: str) -> dict[str, Any]:
    term = {"scopeName": "PriorityClass", "operator": operator, "values": list(classes)}
    spec = {"scopeSelector": {"matchExpressions": [term]}}
    status = {"hard": {"pods": hard}, "used": {"pods": used}}
    return {"metadata": {"name": operator}, "spec": spec, "status": status}


def server(cpu: float, memory: int, gpus: int = 0) -> dict[str, Any]:
    limits = {"cpu": cpu, "memory": memory, "nvidia.com/gpu": str(gpus)}
    requests = {"cpu": 0.5, "memory": 2**20}
    containers = [{"resources": {"limits": limits, "requests": requests}}]
    return {"spec": {"priorityClassName": "af-notebook", "containers": containers}}


def test_a_server_that_fits() -> None:
    others = [
        scoped("In", "af-pool-cpu", hard="1", used="1"),
        scoped("NotIn", "af-notebook", hard="0", used="0"),
        scoped("In", "af-notebook", hard="2", used="1"),
    ]
    assert shortage([ALL, *others], server(1.5, 2**30)) is None


def test_all_that_is_short_is_told() -> None:
    quotas = [ALL, scoped("In", "af-notebook", hard="2", used="2")]
    told = shortage(quotas, server(2, 2**33, gpus=1))
    assert told is not None
    assert "2 cores asked, 8.5 of 10 in use" in told
    assert "8Gi memory asked, 1Gi of 8Gi in use" in told
    assert "1 server asked, 2 of 2 in use" in told
    assert "gpu" not in told


def limiting(used: str = "0", **hard: str) -> dict[str, Any]:
    """A quota without scopes."""
    status = {"hard": hard, "used": dict.fromkeys(hard, used)}
    return {"metadata": {"name": "q"}, "spec": {}, "status": status}


@pytest.mark.parametrize(
    ("hard", "told"),
    [
        ({"pods": "0"}, "1 pod asked, 0 of 0 in use"),
        ({"count/pods": "0"}, "1 pod asked, 0 of 0 in use"),
        ({"limits.cpu": "0"}, "1 core asked, 0 of 0 in use"),
        ({"requests.cpu": "0"}, "0.5 guaranteed cores asked, 0 of 0 in use"),
        ({"memory": "0"}, "1Mi guaranteed memory asked, 0 of 0 in use"),
        ({"requests.nvidia.com/gpu": "0"}, "1 nvidia.com/gpu asked, 0 of 0 in use"),
    ],
)
def test_what_is_short_is_told_as_one_says_it(hard: dict[str, str], told: str) -> None:
    assert f": {told}. End a server" in str(shortage([limiting(**hard)], server(1, 2**30, gpus=1)))


def test_a_quota_of_pods_without_requests_holds_up_no_server() -> None:
    only = limiting(pods="0")
    assert shortage([only], server(1, 2**30)) is not None
    only["spec"] = {"scopes": ["BestEffort"]}
    assert shortage([only], server(1, 2**30)) is None


# Words of a start.


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "notebook"}, "spec": {}, "status": status}


def test_words_of_a_start() -> None:
    assert "prepared" in progress.stage(None, ())[1]
    waits = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/2 nodes are available: 2 Insufficient cpu.",
    }
    assert "cpu" in progress.stage(pod(conditions=[waits]), ())[1]
    scheduled = pod(conditions=[{"type": "PodScheduled", "status": "True"}])
    scheduled["spec"]["nodeName"] = "node"
    percent, text = progress.stage(scheduled, [{"reason": "Pulling", "message": "..."}])
    assert (percent, "pulling the image" in text) == (50, True)
    running = pod(containerStatuses=[{"name": "notebook", "state": {"running": {}}}])
    assert progress.stage(running, ())[1] == "JupyterLab starts."


# The sweep.


QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "all", "labels": {"a": "b"}},
    "spec": {"hard": {"limits.cpu": "8"}, "scopes": [], "rules": [{"from": [{}], "ports": [1]}]},
}


def as_listed(**changes: Any) -> dict[str, Any]:
    """What Kubernetes lists of it: more than was asked for, nothing that is empty, no kind."""
    metadata = {"name": "all", "labels": {"a": "b", "x": "of others"}, "uid": "1"}
    spec = {"hard": {"limits.cpu": "8"}, "rules": [{"from": [{}], "ports": [1], "more": 1}]}
    return {"metadata": metadata, "spec": spec | changes, "status": {}}


@pytest.mark.parametrize(
    ("there", "same"),
    [
        ([as_listed()], True),
        ([], False),
        ([as_listed() | {"metadata": {"name": "another"}}], False),
        ([as_listed() | {"metadata": {"name": "all", "labels": {"x": "y"}}}], False),
        ([as_listed(hard={"limits.cpu": "9"})], False),
        ([as_listed(hard=None)], False),
        ([as_listed(scopes=["Terminating"])], False),
        ([as_listed(rules=[{"from": [{}], "ports": [1, 2]}])], False),
        ([as_listed(rules=[{"from": [{"podSelector": {}}], "ports": [1]}])], False),
        ([as_listed(rules=[{"from": [{}], "ports": [1]}] * 2)], False),
    ],
)
def test_only_what_is_no_longer_as_it_was_made_is_made_again(
    there: list[dict[str, Any]], same: bool
) -> None:
    assert is_as_made(QUOTA, there) is same


def test_what_is_being_deleted_is_made_again() -> None:
    going = as_listed()
    going["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    assert not is_as_made(QUOTA, [going])


def test_what_is_swept() -> None:
    assert leftovers.ended(pod(phase="Failed"))
    assert not leftovers.ended(pod(phase="Running"))
    leaving = pod(phase="Failed")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not leftovers.ended(leaving)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, False),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, False),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]}, True),
        ({"deletionTimestamp": "2026-01-01T00:01:30Z", "finalizers": ["x"]}, False),
    ],
)
def test_what_an_operator_holds(metadata: dict[str, Any], expected: bool) -> None:
    now = datetime.datetime(2026, 1, 1, 0, 2, tzinfo=datetime.UTC)
    assert leftovers.held({"metadata": metadata}, now) is expected


@pytest.mark.parametrize(("minutes", "expected"), [(4, False), (9, False), (11, True)])
def test_whose_client_has_gone(minutes: int, expected: bool) -> None:
    now = datetime.datetime(2026, 1, 1, 0, minutes, tzinfo=datetime.UTC)
    spec = {"renewTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 300}
    assert leftovers.run_out({"spec": spec}, now) is expected
    owners = [{"kind": "Pod", "name": "notebook"}, {"kind": "Lease", "name": "mine-abc"}]
    assert deletion.owning_lease({"metadata": {"ownerReferences": owners}}) == "mine-abc"
    assert deletion.owning_lease({"metadata": {"ownerReferences": owners[:1]}}) is None


def test_the_names_of_files_are_those_that_the_hub_mounts() -> None:
    environment = configured(site()).KubeSpawner.environment
    assert environment[names.CONFIG_VARIABLE] == "/etc/facility/pools/pools.yaml"
