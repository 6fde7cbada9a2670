"""User alice against user bob on every path, and what the hub's own accounts may not.

What the rules of a user's namespace refuse is in test_tenant.py; here it is what the chart has
installed, and tokens, cookies and pods are those that users have.
"""

import copy
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from facility import names
from facility.hub.login_pauses import FREE
from tests.kube import outside
from tests.kube.bringup import site
from tests.kube.charts import Facility, User, installed_chart
from tests.kube.conftest import Kubernetes, until
from tests.kube.tenants import asks, may, refused
from tests.kube.test_tenant import binding

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]
SITE = {"cidr": f"{outside.OF_THE_SITE}/32", "ports": [outside.PORTS[0]]}
KUBELET = 10250
REACH = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def reached(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
    except OSError:
        return False
    return True
with ThreadPoolExecutor(len(sys.argv)) as pool:
    found = pool.map(reached, sys.argv[1:])
    print(json.dumps([each for each, answer in zip(sys.argv[1:], found) if answer]))
"""


@pytest.fixture(scope="module")
def facility(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    folder = tmp_path_factory.mktemp("chart")
    policy = {"egress": {"site": [SITE]}, "hub": {"ports": [outside.PORTS[1]]}}
    with installed_chart(state, folder, helm="4", networkPolicy=policy) as found:
        found.open_shortly()
        yield found


@pytest.fixture(scope="module")
def users(facility: Facility) -> dict[str, User]:
    """Alice and bob, each with a server and a Dask cluster of one worker."""
    found = {name: facility.visitor(name) for name in ("alice", "bob")}

    def begin(user: User) -> None:
        user.spawn()
        user.python(
            "from facility import cluster\n"
            f'c = cluster(cpu=1, name="{user.user}s", wait=1, timeout=240)',
            keep=True,
        )

    with ThreadPoolExecutor() as pool:
        list(pool.map(begin, found.values()))
    return found


@pytest.fixture(scope="module")
def alice(users: dict[str, User]) -> User:
    return users["alice"]


@pytest.fixture(scope="module")
def bob(users: dict[str, User]) -> User:
    return users["bob"]


@pytest.fixture(scope="module")
def token(alice: User) -> Kubernetes:
    """Kubernetes with the token that lies in alice's server."""
    file = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    found = alice.space.run("exec", "notebook", "--", "cat", file).strip()
    return alice.facility.with_token(found, alice.space.namespace)


def pods(user: User, component: str) -> list[dict[str, Any]]:
    """Pods of a user's Dask cluster."""
    selector = f"{names.COMPONENT_LABEL}={component}"
    found = json.loads(user.space.run("get", "pods", "-l", selector, "-o", "json"))
    return list(found["items"])


def pod_of(user: User, component: str) -> str:
    (found,) = pods(user, component)
    return str(found["metadata"]["name"])


def ip(space: Kubernetes, pod: str) -> str:
    return str(space.get("pod", pod)["status"]["podIP"])


def reached(space: Kubernetes, pod: str, *targets: str) -> list[str]:
    """Which addresses a pod reaches."""
    return list(json.loads(space.run("exec", pod, "--", "python", "-c", REACH, *targets)))


# --- the API server ----------------------------------------------------------------------------


def test_the_api_server_shows_a_user_nothing_of_another(
    alice: User, bob: User, token: Kubernetes
) -> None:
    other = Kubernetes(token.state, bob.space.namespace)
    kinds = "pods secrets configmaps services persistentvolumeclaims daskclusters resourcequotas"
    for kind in kinds.split():
        assert bob.space.run("get", kind, "-o", "name").strip(), kind
        assert "Forbidden" in other.run("get", kind, fail=True)
    tls = bob.space.run("get", "secrets", "-o", "name").split()[0]
    worker = pod_of(bob, names.WORKER_COMPONENT)
    for words in (
        ("get", tls),
        ("get", "configmap", names.POOLS_CONFIG_MAP),
        ("logs", worker),
        ("delete", "pod", worker),
        ("delete", "daskcluster", "bobs"),
        ("exec", "notebook", "--", "id"),
        ("attach", "notebook"),
        ("create", "secret", "generic", "mine"),
        ("create", "token", names.NOTEBOOK_ACCOUNT),
        ("label", "pod", "notebook", "mine=yes"),
    ):
        assert "forbidden" in other.run(*words, fail=True).lower(), words
    said = other.run("port-forward", "pod/notebook", ":8888", fail=True)
    assert "forbidden" in said.lower()
    # All that is left are questions about oneself.
    rights = [line.split()[0] for line in other.run("auth", "can-i", "--list").splitlines()[1:]]
    assert [each for each in rights if each[0] != "[" and "selfsubject" not in each] == []
    hub = Kubernetes(token.state, alice.facility.namespace)
    for words in (
        ("get", "secret", "hub-secrets"),
        ("get", "secret", "hub-values"),
        ("get", "pods"),
    ):
        assert "Forbidden" in hub.run(*words, fail=True)
    assert token.get("pod", "notebook")["metadata"]["namespace"] == alice.space.namespace


def test_crafted_dask_clusters_do_nothing_to_another_user(
    alice: User, bob: User, token: Kubernetes
) -> None:
    made = alice.space.get("daskcluster", "alices")
    good = {**made, "metadata": {"name": "bold"}}
    good.pop("status")
    assert asks(token, good).strip() == "daskcluster.kubernetes.dask.org/bold"

    def change(*path: str, to: Any) -> dict[str, Any]:
        bold = copy.deepcopy(good)
        inner = bold["spec"]
        for key in path[:-1]:
            inner = inner[0] if key == "0" else inner[key]
        inner[path[-1]] = to
        return bold

    image = change("scheduler", "spec", "containers", "0", "image", to="evil.example/miner:1")
    assert "an image is not permitted" in refused(token, image)
    assert "idleTimeout is not permitted" in refused(token, change("idleTimeout", to=60))
    assert "worker.replicas must be 0" in refused(token, change("worker", "replicas", to=2))
    balancer = change("scheduler", "service", "type", to="LoadBalancer")
    assert "must be of type ClusterIP" in refused(token, balancer)
    service = {"kind": "Service", "metadata": {"name": "mine"}, "spec": {"ports": [{"port": 80}]}}
    assert "cannot create resource" in refused(token, {"apiVersion": "v1", **service})

    # A selector finds pods of the own namespace alone.
    selector = {names.APP_COMPONENT_LABEL: names.USER_SERVER_COMPONENT}
    token.apply(change("scheduler", "service", "selector", to=selector))
    ours = ip(alice.space, "notebook")

    def found() -> list[str]:
        words = ("get", "endpointslices", "-l", "kubernetes.io/service-name=bold-scheduler")
        slices = json.loads(alice.space.run(*words, "-o", "json"))["items"]
        return [
            address
            for each in slices
            for endpoint in each["endpoints"] or ()
            for address in endpoint["addresses"]
        ]

    until(lambda: found() == [ours], 60)
    token.run("delete", "daskcluster", "bold")

    # An owner in another namespace is none: what names it goes, and the owner stays.
    uid = bob.space.get("pod", "notebook")["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "notebook", "uid": uid}
    owned = {**good, "metadata": {"name": "owned", "ownerReferences": [owner]}}
    token.apply(owned)
    until(lambda: "owned" not in alice.space.run("get", "daskclusters", "-o", "name"), 90)
    assert bob.space.get("pod", "notebook")["metadata"]["uid"] == uid
    assert pod_of(bob, names.SCHEDULER_COMPONENT)


# --- ways out of a container -------------------------------------------------------------------

ESCAPES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "privileged": lambda _, container: container["securityContext"].update(
        privileged=True, allowPrivilegeEscalation=True
    ),
    "host-path": lambda spec, _: spec.update(
        volumes=[*spec["volumes"], {"name": "host", "hostPath": {"path": "/"}}]
    ),
    "host-network": lambda spec, _: spec.update(hostNetwork=True),
    "host-pid": lambda spec, _: spec.update(hostPID=True),
    "host-ipc": lambda spec, _: spec.update(hostIPC=True),
    "host-port": lambda _, container: container.update(
        ports=[{"containerPort": 8080, "hostPort": 8080}]
    ),
    "capability": lambda _, container: container["securityContext"].update(
        capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}
    ),
    "kept-capabilities": lambda _, container: container["securityContext"].pop("capabilities"),
    "root": lambda spec, container: (
        spec["securityContext"].update(runAsNonRoot=False, runAsUser=0),
        container["securityContext"].pop("runAsUser", None),
    ),
    "escalation": lambda _, container: container["securityContext"].update(
        allowPrivilegeEscalation=True
    ),
    "proc": lambda spec, container: (
        spec.update(hostUsers=False),
        container["securityContext"].update(procMount="Unmasked"),
    ),
    "seccomp": lambda spec, _: spec["securityContext"].update(
        seccompProfile={"type": "Unconfined"}
    ),
    "sysctl": lambda spec, _: spec["securityContext"].update(
        sysctls=[{"name": "kernel.msgmax", "value": "1"}]
    ),
}


def test_no_pod_of_a_user_gets_out_of_its_container(alice: User, token: Kubernetes) -> None:
    """Each a worker of her own but for one thing."""
    (worker,) = pods(alice, names.WORKER_COMPONENT)
    worker["metadata"] = {"name": "bold", "labels": worker["metadata"]["labels"]}
    worker["spec"].pop("nodeName")
    worker.pop("status")
    assert asks(token, worker).strip() == "pod/bold"
    for name, change in ESCAPES.items():
        bold = copy.deepcopy(worker)
        change(bold["spec"], bold["spec"]["containers"][0])
        assert "violates PodSecurity" in refused(token, bold), name


# --- the network -------------------------------------------------------------------------------


def test_nothing_of_another_user_is_reached_by_the_network(alice: User, bob: User) -> None:
    scheduler = ip(bob.space, pod_of(bob, names.SCHEDULER_COMPONENT))
    service = f"bobs-scheduler.{bob.space.namespace}.svc"
    theirs = [
        *(f"{scheduler}:{port}" for port in (names.SCHEDULER_PORT, names.DASHBOARD_PORT)),
        *(f"{service}:{port}" for port in (names.SCHEDULER_PORT, names.DASHBOARD_PORT)),
        f"{ip(bob.space, 'notebook')}:{names.USER_SERVER_PORT}",
    ]
    until(lambda: reached(bob.space, "notebook", *theirs) == theirs)
    proxy = alice.facility.kube.run(
        "get", "pods", "-l", "app.kubernetes.io/component=proxy", "-o", "name"
    ).strip()
    behind = ip(alice.facility.kube, proxy.partition("/")[2])
    inside = f"{alice.facility.namespace}.svc"
    ours = [f"{behind}:8000", f"{behind}:8001", f"proxy-api.{inside}:8001"]
    api = f"hub.{inside}:{names.HUB_PORT}"
    # A user's server speaks to the hub, a worker not even to that.
    until(lambda: reached(alice.space, "notebook", api) == [api])
    assert reached(alice.space, "notebook", *theirs, *ours, api) == [api]
    worker = pod_of(alice, names.WORKER_COMPONENT)
    own = f"alices-scheduler.{alice.space.namespace}.svc:{names.SCHEDULER_PORT}"
    assert reached(alice.space, worker, *theirs, *ours, api, own) == [own]


def test_the_proxys_api_asks_for_its_token(facility: Facility) -> None:
    """From where it can be reached, which is the hub alone."""
    script = (
        "import urllib.error, urllib.request\n"
        "try: urllib.request.urlopen('http://proxy-api:8001/api/routes')\n"
        "except urllib.error.HTTPError as error: print(error.code)"
    )
    assert facility.hub("python", "-c", script).strip() == "403"


TLS = """
import socket, ssl, dask.config
with_certificate = {certificate}
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
if with_certificate:
    client = dask.config.get("distributed.comm.tls.client")
    context.load_cert_chain(client["cert"], client["key"])
with socket.create_connection(("{address}", 8786), 10) as connection:
    try:
        with context.wrap_socket(connection) as encrypted:
            print("answered", len(encrypted.recv(1)))
    except ssl.SSLError as error:
        print(error.reason)
"""


def test_with_the_network_open_a_scheduler_refuses_another_users_certificate(
    alice: User, bob: User
) -> None:
    address = ip(bob.space, pod_of(bob, names.SCHEDULER_COMPONENT))
    everywhere = [{"namespaceSelector": {}}]
    policies = {
        bob: {"policyTypes": ["Ingress"], "ingress": [{"from": everywhere}]},
        alice: {"policyTypes": ["Egress"], "egress": [{"to": everywhere}]},
    }
    for user, rule in policies.items():
        policy = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "opened"},
            "spec": {"podSelector": {}, **rule},
        }
        user.space.apply(policy)
    try:
        target = f"{address}:{names.SCHEDULER_PORT}"
        until(lambda: reached(alice.space, "notebook", target) == [target])
        with_it = TLS.format(certificate=True, address=address)
        # Both authorities have one name, so that it is the signature that does not fit.
        assert alice.python(with_it).strip() == "TLSV1_ALERT_DECRYPT_ERROR"
        without = TLS.format(certificate=False, address=address)
        assert alice.python(without).strip() == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        assert bob.python(with_it).strip() == "answered 1"
    finally:
        for user in policies:
            user.space.run("delete", "networkpolicy", "opened")


@pytest.mark.usefixtures("here")
def test_metadata_and_foreign_networks_are_not_reached(alice: User) -> None:
    nodes = [f"{site.FIRST.address}:{port}" for port in (KUBELET, site.REGISTRY_PORT)]
    private = [*outside.targets(outside.METADATA, *outside.PRIVATE), *nodes]
    open_ = outside.targets(outside.PUBLIC)
    of_the_site = outside.targets(outside.OF_THE_SITE)
    expected = [of_the_site[0], *open_]
    with outside.outside():
        for pod in ("notebook", pod_of(alice, names.WORKER_COMPONENT)):
            until(lambda pod=pod: reached(alice.space, pod, *expected) == expected)
            assert reached(alice.space, pod, *of_the_site, *open_, *private) == expected
        # Where no policy is, all of it can be reached.
        space = alice.facility.kube
        sleeping = {"image": space.images["hub"], "command": ["sleep", "600"]}
        space.apply(space.pod("free", "", container=sleeping))
        space.ready("free")
        everything = [*of_the_site, *open_, *private]
        until(lambda: reached(space, "free", *everything) == everything)
        space.run("delete", "pod", "free")
        # The hub reaches the ports of its logins alone.
        hub = space.run("get", "pods", "-l", "app.kubernetes.io/component=hub", "-o", "name")
        of_logins = [each for each in everything if each.endswith(f":{outside.PORTS[1]}")]
        until(lambda: reached(space, hub.strip(), *everything) == of_logins)


# --- the hub -----------------------------------------------------------------------------------

ADMIN = {"admin": True}
CALLS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "users/bob", None),
    ("PATCH", "users/bob", ADMIN),
    ("DELETE", "users/bob", None),
    ("POST", "users/bob/server", {}),
    ("DELETE", "users/bob/server", None),
    ("GET", "users/bob/server/progress", None),
    ("GET", "users/bob/tokens", None),
    ("POST", "users/bob/tokens", {}),
    ("POST", "users/bob/activity", {"servers": {"": {"last_activity": "2026-01-01T00:00:00Z"}}}),
    ("GET", "shares/bob/", None),
    ("POST", "share-codes/bob/", {}),
    ("POST", "users/mallory", {}),
    ("PATCH", "users/alice", ADMIN),
    ("POST", "users/alice/tokens", {"roles": ["admin"]}),
    ("GET", "proxy", None),
    ("POST", "proxy", {}),
    ("PATCH", "proxy", {"ip": "192.0.2.1"}),
    ("POST", "groups/mine", {}),
    ("GET", "services", None),
    ("POST", "shutdown", {}),
)
PATHS = (
    "api/contents",
    "api/kernels",
    "api/terminals",
    "lab",
    "proxy/8787/status",
    "dask/clusters",
)


GUESS = """
import http.cookiejar, urllib.error, urllib.parse, urllib.request
cookies = http.cookiejar.CookieJar()
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
login = "{hub}/hub/login"
for number in range(20):
    forged = {{"X-Forwarded-For": f"192.0.2.{{number}}", "X-Real-Ip": f"192.0.2.{{number}}"}}
    # JupyterHub's form is for who asked for it, which goes by that too.
    browser.open(urllib.request.Request(login, headers=forged), timeout=30)
    xsrf = next(each.value for each in cookies if (each.name, each.path) == ("_xsrf", "/hub/"))
    form = urllib.parse.urlencode({{"username": "vera", "password": "wrong", "_xsrf": xsrf}})
    try:
        browser.open(urllib.request.Request(login, form.encode(), forged), timeout=30)
    except urllib.error.HTTPError as error:
        said = error.read().decode()
        assert "Login form invalid" not in said
        print(error.code)
"""
"""Run by a user's notebook: it says to be somewhere else each time."""


def test_who_guesses_passwords_has_to_wait_wherever_they_say_to_be(
    facility: Facility, alice: User
) -> None:
    guesser = User(facility, "victor")
    codes = []
    for number in range(30):
        forged = {"X-Forwarded-For": f"192.0.2.{number}", "X-Real-Ip": f"192.0.2.{number}"}
        guesser.http.headers.update(forged)
        codes.append(guesser.log_in(password="wrong").status_code)
    assert codes[: FREE + 1] == [403] * (FREE + 1)
    assert codes.count(429) > 15
    assert facility.visitor("newcomer").user == "newcomer"
    assert facility.visitor("alice").user == "alice"
    # Straight to the hub, which believes the proxy alone.
    hub = f"http://hub.{facility.kube.namespace}.svc:{names.HUB_PORT}"
    found = [int(code) for code in alice.python(GUESS.format(hub=hub)).split()]
    assert found[: FREE + 1] == [403] * (FREE + 1)
    assert found.count(429) > 5


def test_the_hub_gives_a_user_nothing_of_another(alice: User, bob: User) -> None:
    """With cookies, with the token of the server, and with the most that a user may ask for."""
    base = alice.base
    words = ("exec", "notebook", "--", "printenv", "JUPYTERHUB_API_TOKEN")
    asked = alice.api("POST", "users/alice/tokens", json={"note": "all that there is"})
    assert asked.status_code == 201
    keys = {"server": alice.space.run(*words).strip(), "own": asked.json()["token"]}

    def by(key: str, method: str, path: str, **more: Any) -> requests.Response:
        if key == "cookies" and path.startswith("hub/api/"):
            return alice.api(method, path.removeprefix("hub/api/"), **more)
        if key == "cookies":
            return alice.http.request(method, f"{base}/{path}", timeout=60, **more)
        headers = {"Authorization": f"token {keys[key]}"}
        return requests.request(method, f"{base}/{path}", headers=headers, timeout=60, **more)

    assert by("own", "GET", "hub/api/user").json()["name"] == "alice"
    before = bob.space.get("pod", "notebook")["metadata"]["uid"]
    for key in ("cookies", *keys):
        for method, path, body in CALLS:
            answer = by(key, method, f"hub/api/{path}", json=body)
            # One of them only asks for more than she has herself.
            codes = (400, 403) if path == "users/alice/tokens" else (403, 404)
            assert answer.status_code in codes, (key, method, path, answer.text)
        assert "bob" not in by(key, "GET", "hub/api/users").text
        for path in PATHS:
            answer = by(key, "GET", f"user/bob/{path}")
            assert answer.status_code in (403, 404), (key, path, answer.status_code, answer.url)
    for page in ("admin", "spawn/bob", "user/bob"):
        assert by("cookies", "GET", f"hub/{page}").status_code in (403, 404), page
    assert bob.space.get("pod", "notebook")["metadata"]["uid"] == before
    assert by("own", "GET", "hub/api/user").json()["admin"] is False
    assert bob.python("print(6 * 7)").strip() == "42"


# --- the accounts of hub and operator ----------------------------------------------------------


def test_the_accounts_of_hub_and_operator_stay_in_their_users_namespaces(
    facility: Facility, alice: User, kube: Kubernetes
) -> None:
    pod = kube.pod("bold", "id")
    hub, operator = facility.account("hub"), facility.account("operator")
    role = f"{facility.name}-hub-tenant"
    for who, account in ((hub, "hub"), (operator, "operator")):
        for foreign in ("kube-system", "default", facility.namespace, kube.namespace):
            there = Kubernetes(who.state, foreign)
            assert "cannot create resource" in refused(there, pod)
            bold = binding(foreign, role, account, facility.namespace)
            said = refused(there, bold)
            assert "makes no RoleBinding" in said or "cannot create resource" in said
            label = f"{names.HUB_LABEL}={facility.name}"
            said = there.run("label", "namespace", foreign, label, "--dry-run=server", fail=True)
            assert "only namespaces of its own users" in said or "cannot patch resource" in said
            assert not may(there, "get secrets", foreign)
        bold = binding(alice.space.namespace, "cluster-admin", account, facility.namespace)
        said = refused(Kubernetes(who.state, alice.space.namespace), bold)
        assert "attempting to grant RBAC" in said or "cannot create resource" in said
        for words in (
            "create clusterrolebindings.rbac.authorization.k8s.io",
            "patch clusterroles.rbac.authorization.k8s.io",
            "delete nodes",
            "create persistentvolumes",
            "impersonate users",
            "patch validatingadmissionpolicies.admissionregistration.k8s.io",
            "delete validatingadmissionpolicybindings.admissionregistration.k8s.io",
        ):
            assert not may(who, words), (account, words)
    # Of its own users it may make a server, which obeys the same rules as everybody's.
    assert may(hub, "create pods", alice.space.namespace)
    assert "violates PodSecurity" in refused(Kubernetes(hub.state, alice.space.namespace), pod)


def test_the_rights_of_the_installation_end_with_it(facility: Facility) -> None:
    left = facility.kube.run("get", "roles,rolebindings,serviceaccounts,jobs", "-o", "name")
    assert "prepare" not in left
    everywhere = facility.kube.run("get", "clusterroles,clusterrolebindings", "-o", "name")
    assert f"{facility.name}-prepare" not in everywhere


def test_nothing_is_left_of_what_they_had(users: dict[str, User]) -> None:
    """The last one."""
    for user in users.values():
        user.stop_server()
    for user in users.values():
        user.space.wait_until_gone("daskclusters,pods,services,secrets", seconds=120)
