"""What is asked of an API server, over real HTTP, and what comes of its refusals."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from facility import cli
from facility.errors import ConfigError, FacilityError, KubernetesError
from facility.kubernetes.client.account import Account
from facility.kubernetes.client.api import Api
from facility.site.check import probe_manifests
from facility.site.check.examine import values_of
from facility.site.check.finding import State
from facility.site.check.images import NamedImage, named
from facility.site.check.probe import Probe, enforced, matched, settled, verdict
from facility.site.check.reading import MADE, MADE_FOR_ALL, needed_rights, read
from tests.unit.site.check.conftest import ROOT, values

Answers = dict[str, tuple[int, Any]]
NODE = {"metadata": {"name": "n1"}, "spec": {}, "status": {}}


class Server:
    """An API server that knows some paths, notes what it is told, and refuses the rest."""

    def __init__(self, answers: Answers):
        self.answers = answers
        self.told: list[tuple[str, str, Any]] = []
        server = self

        class Answering(BaseHTTPRequestHandler):
            def answer(self) -> None:
                path = self.path.partition("?")[0]
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                server.told.append((self.command, self.path, body))
                refused = {"kind": "Status", "message": "you may not", "reason": "Forbidden"}
                status, found = server.answers.get(path, (403, refused))
                if path.endswith("selfsubjectaccessreviews"):
                    wanted = body["spec"]["resourceAttributes"]
                    allowed = wanted["resource"] != "clusterroles" or "namespace" in wanted
                    status, found = 201, {**body, "status": {"allowed": allowed}}
                text = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *words: object) -> None:
                """Keep quiet."""

        for method in ("GET", "POST", "DELETE"):
            setattr(Answering, f"do_{method}", Answering.answer)
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    @property
    def api(self) -> Api:
        url = f"http://127.0.0.1:{self.http.server_port}"
        return Api(Account(url, "default", ssl.create_default_context()))

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server(
        {
            "/version": (200, {"gitVersion": "v1.35.4", "minor": "35"}),
            "/apis": (200, {"kind": "APIGroupList", "groups": [{"name": "apps"}, "odd"]}),
            "/apis/admissionregistration.k8s.io/v1": (
                200,
                {"kind": "APIResourceList", "resources": [{"name": "validatingadmissionpolicies"}]},
            ),
            "/api/v1/nodes": (200, {"kind": "NodeList", "items": [NODE]}),
            "/api/v1/namespaces/kube-system/configmaps/cilium-config": (
                200,
                {"metadata": {"name": "cilium-config"}, "data": {"enable-policy": "default"}},
            ),
            "/apis/crd.projectcalico.org/v1/felixconfigurations": (404, {"kind": "Status"}),
        }
    )
    yield found
    found.stop()


def test_what_may_be_read_is_read_and_the_rest_is_noted(server: Server) -> None:
    said: list[str] = []
    found = read(server.api, "af", needed_rights(), said.append)
    assert found.version == "v1.35.4"
    assert found.groups == {"apps"}
    assert found.admission == {"validatingadmissionpolicies"}
    assert found.names("Node") == {"n1"}
    assert found.names("StorageClass") is None
    assert found.why("StorageClass") == "StorageClass could not be read: you may not"
    assert found.settings == {"cilium-config": {"enable-policy": "default"}}
    # A right in one namespace is none for what is in no namespace.
    assert {each.resource for each in found.refused} == {"clusterroles"}
    assert {each.verb for each in found.refused} >= {"create", "delete", "escalate", "bind"}
    assert not {method for method, path, _ in server.told if "selfsubject" not in path} - {"GET"}
    assert said


def test_an_api_server_that_is_not_there_is_told(server: Server) -> None:
    api = server.api
    server.stop()
    with pytest.raises(KubernetesError, match="there was no answer"):
        read(api, "af", (), lambda text: None)


def is_plural(plural: str, singular: str) -> bool:
    return plural in (f"{singular}s", f"{singular}es", f"{singular.removesuffix('y')}ies")


def test_rights_are_asked_for_all_that_the_chart_makes() -> None:
    kinds: set[str] = set()
    for path in (ROOT / "tests/data").glob("chart/*.yaml"):
        kinds |= {each["kind"] for each in yaml.safe_load_all(path.read_text()) if each}
    full = (ROOT / "tests/data/tenant/release-full.yaml").read_text()
    kinds |= {each["kind"] for each in yaml.safe_load_all(full)}
    asked = {right.resource for right in needed_rights(ingress=True, cilium=True)}
    # A plural is its singular and s, es or ies.
    lost = [each for each in kinds if not any(is_plural(name, each.lower()) for name in asked)]
    assert not lost
    assert not set(MADE) & set(MADE_FOR_ALL)


# Values.


def test_a_later_file_of_values_counts_more_and_null_is_the_default(tmp_path: Path) -> None:
    first = ROOT / "helm/facility/ci/gpu-arm.yaml"
    second = tmp_path / "own.yaml"
    text = "hub: {domain: other.example.org}\nscheduler: null\nsharedVolumes: {cvmfs: null}"
    second.write_text(text)
    found = values_of([first, second])
    assert found is not None
    assert (found.hub.domain, found.scheduler.node_selector) == ("other.example.org", {})
    assert not found.shared_volumes
    assert set(found.pools) == {"cpu", "gpu", "arm"}
    assert values_of([]) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pools: {", "cannot be read"),
        ("[1, 2]", "it holds no mapping"),
        ("a: 1\na: 2", "the key stands twice"),
        ("pools: {}\nhub: {domain: a.example}", "images.registry is missing"),
    ],
)
def test_mistakes_in_values_are_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        values_of([path])


def test_a_try_without_an_image_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["site", "check", "--probe"]) == 1
    assert "--probe-image" in capsys.readouterr().err


def test_without_a_kubeconfig_the_command_says_what_to_do(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["site", "check"]) == 1
    assert "set KUBECONFIG" in capsys.readouterr().err


# The try.


def waiting(reason: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": "no such host"}}
    return {"status": {"containerStatuses": [{"state": state}]}}


def test_whether_an_image_was_fetched_is_seen_of_its_pod() -> None:
    assert verdict({"status": {}}) is None
    assert verdict(waiting("ContainerCreating")) is None
    assert verdict(waiting("ErrImagePull")) == "ErrImagePull: no such host"
    assert verdict(waiting("RunContainerError")) == ""
    assert verdict({"status": {"containerStatuses": [{"state": {"terminated": {}}}]}}) == ""


def test_answers_are_believed_once_they_agree() -> None:
    yes, no = {"server": True}, {"server": False}
    assert settled([yes] * 5, "server") is None
    assert settled([no] * 3 + [yes] * 6, "server") is True
    assert settled([yes] * 5 + [no], "server") is None
    assert settled([{}] * 6, "server") is None
    assert (enforced(True).state, enforced(False).state) == (State.GOOD, State.MISSING)
    assert matched(True, True).state is State.GOOD
    assert "flavor: cilium" in matched(True, False).todo
    assert matched(False, False).state is State.UNKNOWN


def test_pods_of_a_try_are_what_restricted_takes() -> None:
    tolerations = [{"operator": "Exists"}]
    image = NamedImage("registry.example/hub:1", {"tolerations": tolerations})
    for pod in (
        probe_manifests.server(image, ("pull",)),
        probe_manifests.client(image, (), {"api": ("192.0.2.1", 6443)}),
        probe_manifests.fetching("image-0", image, ()),
    ):
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert spec["activeDeadlineSeconds"] > 0
        assert spec["tolerations"] == tolerations
        kubernetes_validate.validate(pod, "1.30", strict=True)
        compile(container["command"][-1], "pod", "exec")
    policy = probe_manifests.only([("192.0.2.1", 6443), ("2001:db8::1", 6443)])
    blocks = [rule["to"][0]["ipBlock"]["cidr"] for rule in policy["spec"]["egress"]]
    assert blocks == ["192.0.2.1/32", "2001:db8::1/128"]


def test_images_are_fetched_where_they_are_to_run() -> None:
    found = named(values(name="gpu-arm"), "0.2.0")
    assert found["image hub"].name == "registry.example/facility/hub:0.2.0"
    gpu = found["pools.gpu.image"]
    assert gpu.name == "ghcr.io/example/analysis-gpu:0.2.0"
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert gpu.placement == {"nodeSelector": {}, "tolerations": [toleration]}
    assert "singleuser.profiles.gpu.image" in found


def test_a_try_ends_with_its_namespace_whatever_happens(server: Server) -> None:
    images = {"hub": NamedImage("registry.example/hub:1")}
    probe = Probe(server.api, images, "af", ("pull",), lambda text: None)
    space = f"/api/v1/namespaces/{probe.name}"
    server.answers["/api/v1/namespaces"] = (201, {"metadata": {"name": probe.name}})
    server.answers[f"{space}/serviceaccounts"] = (201, {"metadata": {"name": "probe"}})
    server.answers[space] = (200, {"kind": "Status", "status": "Success"})
    with pytest.raises(FacilityError, match="images.pullSecrets names pull, which cannot be read"):
        probe.run()
    methods = [(method, path.rstrip("?")) for method, path, _ in server.told]
    assert methods[0] == ("POST", "/api/v1/namespaces")
    assert methods[-1] == ("DELETE", space)
