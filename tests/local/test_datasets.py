"""Names in Rucio and keys of ATLAS Open Data, as the real clients resolve them.

Rucio's server and ATLAS' metadata server cannot be reached from here: what they answer, in the form
in which they do, comes from servers on loopback. The files are on real XRootD servers.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import atlasopenmagic
import pytest
import rucio.common.config

import facility
from facility import FilesetError, names
from facility.analysis.inputs import fileset as filesets
from facility.analysis.inputs.fileset import fileset
from facility.analysis.inputs.rucio_dids import is_did
from facility.analysis.samples.physlite_files import write_files
from tests.local.recorded import Answer, Recorded, recorded
from tests.local.xrootd_servers import ORIGIN, Server

SCOPE, DATASET = "mc20_13TeV", "mc20_13TeV.700320.Sh_2211_Zee.deriv.DAOD_PHYSLITE.e8351_p6026"
DID = f"{SCOPE}:{DATASET}"
EVENTS = 200
LIST_FILES = f"GET /dids/{SCOPE}/{DATASET}/files"
LIST_REPLICAS = "POST /replicas/list"

pytestmark = pytest.mark.skipif(
    shutil.which("xrootd") is None and os.environ.get("CI") != "true",
    reason="XRootD's server is not installed: tools/xrootd",
)


@pytest.fixture(scope="module")
def origin() -> Iterator[Server]:
    server = Server(ORIGIN)
    try:
        write_files(server.data / "atlas" / "data", 3, EVENTS)
        yield server.start()
    finally:
        server.clean_up()


@pytest.fixture(autouse=True)
def new_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CONNECTIONWINDOW", "CONNECTIONRETRY", "TIMEOUTRESOLUTION"):
        monkeypatch.setenv(f"XRD_{name}", "1")


def files_of(origin: Server) -> list[str]:
    return sorted(path.name for path in (origin.data / "atlas" / "data").iterdir())


def at(origin: Server, name: str) -> str:
    return f"root://{origin.host}//atlas/data/{name}"


# Rucio.


@pytest.fixture
def server() -> Iterator[Recorded]:
    with recorded() as found:
        yield found


@pytest.fixture
def rucio_server(
    server: Recorded, origin: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Recorded]:
    """Rucio's server with one dataset, a configuration that names it, and a proxy."""
    (tmp_path / "rucio.cfg").write_text(
        f"[client]\nrucio_host = {server.address}\nauth_host = {server.address}\n"
        "auth_type = x509_proxy\naccount = ada\n"
        f"auth_token_file_path = {tmp_path}/token/one\n"
    )
    (tmp_path / "proxy").write_text("the proxy of a user")
    monkeypatch.setenv("RUCIO_CONFIG", str(tmp_path / "rucio.cfg"))
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "proxy"))
    rucio.common.config.clean_cached_config()
    server.answers["GET /auth/x509_proxy"] = Answer(headers={"X-Rucio-Auth-Token": "a token"})
    listed = [
        {"scope": SCOPE, "name": name, "bytes": 10, "adler32": "0a", "guid": None, "events": None}
        for name in files_of(origin)
    ]
    server.answers[LIST_FILES] = Answer.lines(listed)
    server.answers[LIST_REPLICAS] = Answer.lines(
        [
            replica(name, {
                f"root://127.0.0.1:9//{name}": ("FAR_DATADISK", "wan", 2, "DISK"),
                at(origin, name): ("NEAR_DATADISK", "wan", 1, "DISK"),
                f"root://127.0.0.1:7//{name}": ("NEAR_DATATAPE", "lan", 3, "TAPE"),
            })
            for name in files_of(origin)
        ]
    )  # fmt: skip
    yield server
    rucio.common.config.clean_cached_config()


def replica(name: str, places: dict[str, tuple[str, str, int, str]]) -> dict[str, Any]:
    """One row of what Rucio says to list_replicas."""
    pfns = {
        address: {"rse_id": "00", "rse": rse, "type": kind, "volatile": False, "domain": domain,
                  "priority": priority, "client_extract": False}
        for address, (rse, domain, priority, kind) in places.items()
    }  # fmt: skip
    return {
        "adler32": "0cc737eb", "name": name, "scope": SCOPE, "bytes": 1234, "md5": None,
        "states": {facts["rse"]: "AVAILABLE" for facts in pfns.values()}, "pfns": pfns,
        "rses": {facts["rse"]: [address] for address, facts in pfns.items()},
    }  # fmt: skip


@pytest.mark.parametrize("source", [DID, f"rucio://{DID}", f"{DID}/"])
def test_a_name_in_rucio_gives_files_and_replicas_by_distance(
    rucio_server: Recorded, origin: Server, source: str
) -> None:
    program = sys.argv[0]
    found = fileset({"zee": source})
    assert sys.argv[0] == program
    assert list(found["zee"]["files"]) == [at(origin, name) for name in files_of(origin)]
    assert found.total == 3 * EVENTS
    for name in files_of(origin):
        assert found.replicas[at(origin, name)] == (f"root://127.0.0.1:9//{name}",)
    assert rucio_server.paths() == ["GET /auth/x509_proxy", LIST_FILES, LIST_REPLICAS]
    headers, asked = rucio_server.asked[-1][1:]
    assert (headers["X-Rucio-Account"], headers["X-Rucio-Auth-Token"]) == ("ada", "a token")
    assert asked["dids"] == [{"scope": SCOPE, "name": DATASET}]
    assert (asked["schemes"], asked["sort"]) == (["root"], "geoip")
    assert asked["client_location"]["fqdn"]


def test_sites_of_the_users_come_first(
    rucio_server: Recorded, origin: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.SITES_VARIABLE, "NOWHERE, FAR")
    monkeypatch.setattr(filesets, "PAUSE", 0.0)
    found = fileset(DID)
    # The far ones do not answer, and the others do.
    name = files_of(origin)[0]
    assert next(iter(found["data"]["files"])) == f"root://127.0.0.1:9//{name}"
    assert found.replicas[f"root://127.0.0.1:9//{name}"] == (at(origin, name),)
    assert found.total == 3 * EVENTS


def test_a_run_over_a_name_reads_from_another_replica(
    rucio_server: Recorded, origin: Server
) -> None:
    other = Server(ORIGIN)
    try:
        shutil.copytree(origin.data / "atlas/data", other.data / "atlas/data")
        other.start()
        rows = [
            replica(name, {
                at(other, name): ("NEAR_DATADISK", "lan", 2, "DISK"),
                at(origin, name): ("FAR_DATADISK", "wan", 1, "DISK"),
            })
            for name in files_of(origin)
        ]  # fmt: skip
        rucio_server.answers[LIST_REPLICAS] = Answer.lines(rows)
        found = fileset(DID)
        assert list(found["data"]["files"]) == [at(other, name) for name in files_of(origin)]
        other.end()
        pools = {"pools": {"cpu": {"cpu": "100m", "memory": "600Mi", "maxWorkers": 2,
                                   "default": True}}}  # fmt: skip
        with facility.cluster(1, config=pools) as c:
            events, report = facility.run(len, found, c, progress=False)
        assert events == 3 * EVENTS
        assert any(other.host in text for record in report.records for text in record.setbacks)
    finally:
        other.clean_up()


def test_what_is_on_no_disk_is_told(rucio_server: Recorded, origin: Server) -> None:
    first, second, third = files_of(origin)
    rucio_server.answers[LIST_REPLICAS] = Answer.lines(
        [
            replica(first, {at(origin, first): ("NEAR_DATADISK", "wan", 1, "DISK")}),
            replica(second, {at(origin, second): ("NEAR_DATATAPE", "lan", 1, "TAPE")}),
        ]
    )
    with pytest.raises(FilesetError, match=f"2 of 3 files of {DID} cannot be read") as caught:
        fileset(DID)
    assert f"({second}, {third})" in str(caught.value)
    with pytest.warns(filesets.SkippedFilesWarning, match="2 of 3 files"):
        found = fileset(DID, on_error="skip")
    assert found.total == EVENTS
    assert "2 of 3 files" in found.skipped[0]


def failing(body: dict[str, str], status: int) -> Answer:
    return Answer.json(body, status, **body)


@pytest.mark.parametrize(
    ("question", "answer", "told"),
    [
        (
            LIST_FILES,
            failing(
                {"ExceptionClass": "DataIdentifierNotFound", "ExceptionMessage": "Not found."}, 404
            ),
            r"\(DataIdentifierNotFound: .*Not found\): `rucio did list` finds",
        ),
        (
            "GET /auth/x509_proxy",
            failing(
                {"ExceptionClass": "CannotAuthenticate", "ExceptionMessage": "No such account"}, 401
            ),
            r"\(CannotAuthenticate: .*No such account.*\): a proxy is made with voms-proxy-init",
        ),
        (LIST_REPLICAS, Answer(b"<html>", 500), r"does not resolve .* \(RucioException: "),
        (LIST_FILES, Answer.lines([]), "holds no files"),
    ],
)
def test_what_rucio_refuses_is_told(
    rucio_server: Recorded, question: str, answer: Answer, told: str
) -> None:
    rucio_server.answers[question] = answer
    with pytest.raises(FilesetError, match=told):
        fileset(DID)


def test_a_proxy_that_is_missing(
    rucio_server: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("X509_USER_PROXY", str(tmp_path / "none"))
    with pytest.raises(FilesetError, match="a proxy is made with voms-proxy-init -voms atlas"):
        fileset(DID)
    assert rucio_server.asked == []


def test_without_a_configuration_servers_of_atlas_are_asked(
    rucio_server: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RUCIO_CONFIG", "RUCIO_HOME", "VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    rucio.common.config.clean_cached_config()
    ours = {"rucio_host": rucio_server.address, "auth_host": rucio_server.address}
    monkeypatch.setattr("facility.analysis.inputs.rucio_dids.ATLAS", ours)
    monkeypatch.setattr("rucio.client.baseclient.BaseClient.TOKEN_PATH_PREFIX", f"{tmp_path}/t-")
    assert fileset(DID).total == 3 * EVENTS
    # Where there is a token alone, Rucio gets that.
    monkeypatch.delenv("X509_USER_PROXY")
    monkeypatch.setenv("BEARER_TOKEN", "my token")
    rucio_server.asked.clear()
    assert fileset(DID).total == 3 * EVENTS
    assert {headers["X-Rucio-Auth-Token"] for _, headers, _ in rucio_server.asked} == {"my token"}


def test_names_are_told_from_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_did(DID)
    assert is_did("user.ada:my.dataset_v1")
    for other in (
        "data.root",
        "/a:b",
        "a/b:c",
        "root://host//x",
        "https://x:80/y",
        "a:b/c.root",
        "x.root:tree",
        "x.pool.root.1:tree",
    ):
        assert not is_did(other)
    write_files(tmp_path / "made", 1, 40)[0].rename(tmp_path / "scope:name.root")
    assert not is_did("scope:name.root")
    assert fileset("scope:name.root").total == 40
    with pytest.raises(FilesetError, match="no name in Rucio; the form is rucio://SCOPE:NAME"):
        fileset("rucio://nothing")


# ATLAS Open Data.


def known(origin: Server, key: str, **more: Any) -> dict[str, Any]:
    """What ATLAS' server says of a key."""
    return {
        "dataset_number": key, "physics_short": f"Sh_2211_{key}", "e_tag": "e8351",
        "cross_section_pb": 2221.2, "genFiltEff": 0.5, "kFactor": 1.0, "nEvents": 600,
        "sumOfWeights": 1234.5, "sumOfWeightsSquared": None, "process": "Z -> ee",
        "generator": "Sherpa", "keywords": ["Z"], "description": "", "release": {"name": "r"},
        "file_list": [at(origin, name) for name in files_of(origin)],
        "skims": [{"skim_type": "2lep", "file_list": [at(origin, files_of(origin)[0])]}],
        **more,
    }  # fmt: skip


@pytest.fixture
def open_data(
    server: Recorded, origin: Server, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Recorded]:
    monkeypatch.setattr(atlasopenmagic.metadata, "API_BASE_URL", server.address)
    monkeypatch.setattr(atlasopenmagic.metadata, "current_release", "2024r-pp")
    monkeypatch.setattr(atlasopenmagic.metadata, "_metadata", {})
    atlasopenmagic.set_verbosity("error")

    def answer(key: str, **more: Any) -> Recorded:
        question = f"GET /metadata/2024r-pp/{key}"
        server.answers[question] = Answer.json(known(origin, key, **more))
        return server

    return answer


def test_a_key_gives_files_and_the_cross_section(
    open_data: Callable[..., Recorded], origin: Server
) -> None:
    server = open_data("700320")
    found = fileset({"zee": {"files": "opendata://700320", "metadata": {"kFactor": 1.1}}})
    assert list(found["zee"]["files"]) == [at(origin, name) for name in files_of(origin)]
    assert found.total == 3 * EVENTS
    assert found["zee"]["metadata"] == {
        "cross_section_pb": 2221.2, "genFiltEff": 0.5, "kFactor": 1.1, "nEvents": 600,
        "sumOfWeights": 1234.5, "dataset_number": "700320", "physics_short": "Sh_2211_700320",
        "process": "Z -> ee", "generator": "Sherpa",
    }  # fmt: skip
    assert server.paths() == ["GET /metadata/2024r-pp/700320"]
    assert len(fileset("opendata://700320?skim=2lep")["data"]["files"]) == 1


def test_a_release_before_the_key(open_data: Callable[..., Recorded], origin: Server) -> None:
    server = open_data("none")
    release = "2025e-13tev-beta"
    server.answers[f"GET /datasets/count?release_name={release}"] = Answer.json({"count": 1})
    server.answers[f"GET /datasets?release_name={release}&skip=0&limit=1000"] = Answer.json(
        [known(origin, "301204")]
    )
    assert fileset(f"opendata://{release}/301204").total == 3 * EVENTS
    assert atlasopenmagic.get_current_release() == release


def test_several_keys_in_a_dataset(open_data: Callable[..., Recorded], origin: Server) -> None:
    first, second, _ = files_of(origin)
    open_data("1", file_list=[at(origin, first)])
    open_data("2", file_list=[at(origin, second)])
    open_data("3", file_list=[at(origin, second)], cross_section_pb=7.0)
    metadata = fileset(["opendata://1", "opendata://2"])["data"]["metadata"]
    assert (metadata["nEvents"], metadata["sumOfWeights"]) == (1200, 2469.0)
    assert metadata["cross_section_pb"] == 2221.2
    assert "dataset_number" not in metadata
    with pytest.raises(FilesetError, match="opendata://1 and opendata://3 have different cross-"):
        fileset(["opendata://1", "opendata://3"])
    with pytest.warns(filesets.SkippedFilesWarning, match="different cross-sections"):
        found = fileset(["opendata://1", "opendata://3"], on_error="skip")
    assert "cross_section_pb" not in found["data"]["metadata"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("opendata://404404", r"opendata://404404 gives no files \(Dataset '404404' not found"),
        ("opendata://700320?skim=5lep", "Skim '5lep' not found for dataset .* 2lep, noskim"),
        ("opendata://700320?protocol=ftp", "Invalid protocol 'ftp'"),
        ("opendata://nonsense/700320", "Invalid release 'nonsense'"),
        ("opendata://a/b/c", "is no key of ATLAS Open Data; the form is opendata://KEY"),
        ("opendata://1?flavour=x", "is no key of ATLAS Open Data"),
        ("opendata://", "is no key of ATLAS Open Data"),
    ],
)
def test_keys_that_give_nothing(open_data: Callable[..., Recorded], source: str, told: str) -> None:
    open_data("700320")
    with pytest.raises(FilesetError, match=told):
        fileset(source)
