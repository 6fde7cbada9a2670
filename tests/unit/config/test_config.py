"""pools.yaml: what is read, every way it can be wrong, and where it is looked for."""

import inspect
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import jsonschema
import pytest
from pydantic import ValidationError

from facility import names
from facility.config import (
    BUILTIN_SOURCE,
    RESERVED_NAMES,
    Config,
    Pool,
    builtin,
    json_schema,
    load,
    name_problem,
)
from facility.config.problems import sentences
from facility.errors import ConfigError
from facility.system.machine import Machine

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples/pools.yaml"
SCHEMA = ROOT / "facility/pools.schema.json"
GIB = 2**30
CPU = {"cpu": 1, "memory": "4Gi", "maxWorkers": 10, "default": True}


def pool(**keys) -> dict:
    """A good file, with these keys of its pool changed."""
    return {"pools": {"cpu": {**CPU, **keys}}}


def problems(source) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(source)
    return caught.value.problems


def only_problem(source) -> str:
    found = problems(source)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def file(tmp_path):
    """Write a pools.yaml and give its path."""

    def write(content: str | bytes) -> Path:
        path = tmp_path / "pools.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run as a user who may enter no folder of this one, even where this one is root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def no_system_file(tmp_path, monkeypatch):
    monkeypatch.delenv(names.CONFIG_VARIABLE, raising=False)
    monkeypatch.setattr(names, "SYSTEM_CONFIG", tmp_path / "etc/pools.yaml")


# What is read.


def test_the_example():
    config = load(EXAMPLE)
    assert list(config.pools) == ["cpu", "gpu", "arm"]
    assert config.source == str(EXAMPLE)
    assert config.default is config.pools["cpu"]
    cpu, gpu, arm = config.pools.values()
    assert (cpu.name, cpu.memory, cpu.memory_max) == ("cpu", 4 * GIB, 16 * GIB)
    assert (gpu.gpus, gpu.scarce, gpu.threads) == (1, True, 4)
    assert gpu.gpu_resource == "nvidia.com/gpu"
    assert gpu.tolerations[0].operator == "Exists"
    assert (arm.architecture, arm.spot, arm.price_per_hour) == ("arm64", True, 0.03)


def test_defaults():
    cpu = load(pool(cpu="500m")).default
    assert cpu.cpu == 0.5
    assert cpu.threads == 1
    assert cpu.memory_max == cpu.memory == 4 * GIB
    assert (cpu.processes, cpu.grace, cpu.spill, cpu.gpus) == (1, 30.0, True, 0)
    assert (cpu.architecture, cpu.price_per_hour, cpu.image) == (None, None, None)
    assert (cpu.node_selector, cpu.tolerations, cpu.volumes, cpu.env) == ({}, (), (), {})


def test_all_keys():
    cpu = load(
        pool(
            description="general purpose",
            memoryMax="8Gi",
            processes=2,
            threads=3,
            gpus=1,
            gpuResource="amd.com/gpu",
            architecture="amd64",
            grace=5,
            pricePerHour=0.1,
            image="registry.example.org/analysis:1",
            priorityClass="facility-cpu",
            runtimeClass="nvidia",
            nodeSelector={"kubernetes.io/arch": "amd64"},
            tolerations=[{"key": "a", "effect": "NoExecute", "tolerationSeconds": 3}],
            affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}},
            env={"OMP_NUM_THREADS": "1"},
            annotations={"example.org/team": "a b"},
            volumes=[
                {
                    "name": "data",
                    "mountPath": "/data",
                    "readOnly": True,
                    "persistentVolumeClaim": {"claimName": "shared"},
                },
                {"name": "tmp", "mountPath": "/tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            ],
            spill="20Gi",
        )
    ).default
    assert cpu.spill == 20 * GIB
    assert cpu.disk == 30 * GIB, "as much more as it may spill"
    assert cpu.volumes[0].persistent_volume_claim.claim_name == "shared"
    assert cpu.volumes[1].empty_dir.size_limit == GIB
    assert cpu.model_dump(by_alias=True)["pricePerHour"] == 0.1


def test_frozen():
    config = load(pool())
    with pytest.raises(ValidationError):
        config.default.memory = 1
    with pytest.raises(ValidationError):
        config.source = "elsewhere"


def test_made_in_python_by_attribute_names():
    cpu = Pool(name="cpu", cpu=2, memory="1Gi", max_workers=3, default=True)
    config = Config(pools={"cpu": cpu})
    assert config.default.threads == 2
    assert load(config) is config
    with pytest.raises(ValidationError, match="no pool is the default"):
        Config(pools={"cpu": cpu.model_copy(update={"default": False})})


def test_any_mapping():
    assert load(MappingProxyType({"pools": MappingProxyType({"cpu": CPU})})).default.cpu == 1
    assert load(pool()).source == "the argument config"


def test_merge_keys_may_override(file):
    config = load(
        file(
            "pools:\n"
            "  cpu: &cpu {cpu: 1, memory: 4Gi, maxWorkers: 3, default: true}\n"
            "  big: {<<: *cpu, memory: 8Gi, default: false}\n"
        )
    )
    assert config.pools["big"].memory == 8 * GIB


def test_a_byte_order_mark_is_no_key(file):
    assert load(file(b"\xef\xbb\xbf" + json.dumps(pool()).encode())).default.cpu == 1


# Where it is looked for.


def test_search_order(tmp_path, monkeypatch, no_system_file):
    assert load().source == BUILTIN_SOURCE
    names.SYSTEM_CONFIG.parent.mkdir()
    names.SYSTEM_CONFIG.write_text(json.dumps(pool()))
    assert load().source == str(names.SYSTEM_CONFIG)
    monkeypatch.setenv(names.CONFIG_VARIABLE, str(EXAMPLE))
    assert load().source == str(EXAMPLE)
    assert load(pool()).source == "the argument config"


def test_an_empty_variable_names_no_file(monkeypatch, no_system_file):
    monkeypatch.setenv(names.CONFIG_VARIABLE, "")
    assert load().source == BUILTIN_SOURCE


def test_a_variable_with_a_wrong_path_is_said(monkeypatch, tmp_path, no_system_file):
    monkeypatch.setenv(names.CONFIG_VARIABLE, str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match=r"named by FACILITY_CONFIG.*no such file"):
        load()


def test_a_broken_system_file_is_not_passed_over(no_system_file):
    names.SYSTEM_CONFIG.parent.mkdir()
    names.SYSTEM_CONFIG.symlink_to("nowhere.yaml")
    with pytest.raises(ConfigError, match="no such file"):
        load()


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(json.dumps(pool()))
    assert load("~/mine.yaml").default.name == "cpu"


# Files that cannot be read.


def test_no_such_file(tmp_path, file):
    file("")
    assert "did you mean 'pools.yaml'?" in only_problem(tmp_path / "pool.yaml")
    assert only_problem(tmp_path / "no/folder/pools.yaml") == "there is no such file"


def test_a_folder(tmp_path):
    assert only_problem(tmp_path) == "it is a folder; name the file in it"


def test_no_permission(file):
    path = file("pools: {}")
    path.chmod(0)
    with as_nobody():
        assert "you may not read it" in only_problem(path)


def test_not_utf8(file):
    assert only_problem(file(b"pools:\n  # Z\xfcrich")) == "it is not UTF-8 text (byte 12, line 2)"


def test_too_large(file):
    assert "larger than 1 MiB" in only_problem(file("#" * 2**20 + "\n"))
    assert "larger than 1 MiB" in only_problem("/dev/zero")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a\x00b", "embedded null byte"),
        ("~nobodyhere/pools.yaml", "home directory"),
        ("x" * 5000, "name too long"),
    ],
)
def test_no_path_at_all(path, said):
    assert said in only_problem(path)


def test_a_long_path_is_shortened():
    with pytest.raises(ConfigError) as caught:
        load("x" * 5000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "null", "---\n"])
def test_empty(file, content):
    assert only_problem(file(content)) == "it is empty; it must hold the key pools"


@pytest.mark.parametrize("content", ["- cpu", "cpu", "3"])
def test_no_mapping(file, content):
    assert "it must be a mapping with pools" in only_problem(file(content))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (3, "it is int; give the path"),
        (["cpu"], "it is list; give the path"),
        ("pools:\n  cpu: {}", "it holds the text of a file; give the path"),
    ],
)
def test_no_source(source, said):
    assert said in only_problem(source)


# Files that are no YAML.


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("pools: [1", "line 1, column 10: expected ',' or ']'"),
        ("pools:\n\tcpu: 1", "line 2, column 1: there is a tab, and YAML is indented with spaces"),
        ("a: b: c", "line 1, column 5: there is a ': ' where no value can stand"),
        ("a: 1\nb\n", "there is a line without ': ' after its key"),
        ("a: 1\n---\nb: 2", "line 2, column 1: a second document begins"),
        ("a: &a [*a]", "an alias refers to itself"),
        ("a: *b", "undefined alias 'b'"),
        ("a: !!python/object:os.system x", "tags ('!...') are not allowed"),
        ("? [1]\n: 2", "a key must be text, not a mapping or a list"),
        ("? {a: 1}\n: 2", "a key must be text, not a mapping or a list"),
        ("[" * 1000, "nested too deeply"),
        ("a: 2026-99-99", "a value cannot be read (month must be in 1..12)"),
        ("a: 1\nb: \x01", "line 2, column 4: a character that YAML does not allow"),
        ("%x", "line 1"),
    ],
)
def test_malformed(file, content, said):
    assert said in only_problem(file(content))


def test_the_malformed_line_is_shown(file):
    assert "(the line is 'a: b: c')" in only_problem(file("x: 1\na: b: c\n"))


def test_repeated_keys(file):
    path = file(
        "pools:\n"
        "  cpu: {cpu: 1, memory: 4Gi, maxWorkers: 3, default: true}\n"
        "  cpu: {cpu: 2, memory: 4Gi, maxWorkers: 3, default: true,\n"
        "    tolerations: [{key: a, key: b}]}\n"
    )
    assert problems(path) == (
        "pools.cpu: the key stands twice (lines 2 and 3); keep one",
        "pools.cpu.tolerations.0.key: the key stands twice (line 4); keep one",
    )


# Pools that are wrong.


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"memory": "4GB"}, "pools.cpu.memory: '4GB' must be a quantity such as 4Gi"),
        ({"memory": 4}, "pools.cpu.memory: 4 must be at least 64Mi; a number alone counts bytes"),
        ({"memory": None}, "pools.cpu.memory: has no value and must be a quantity"),
        ({"memoryMax": "1Gi"}, "pools.cpu.memoryMax: '1Gi' must be at least memory, which is 4Gi"),
        ({"cpu": "many"}, "pools.cpu.cpu: 'many' must be a number of cores"),
        ({"cpu": 0}, "pools.cpu.cpu: 0 must be more than 0"),
        ({"maxWorkers": 0}, "pools.cpu.maxWorkers: 0 must be at least 1"),
        ({"maxWorkers": 10_001}, "pools.cpu.maxWorkers: 10001 must be at most 10000"),
        ({"maxWorkers": "5"}, "pools.cpu.maxWorkers: '5' must be a whole number"),
        ({"maxWorkers": 2.5}, "pools.cpu.maxWorkers: 2.5 must be a whole number"),
        ({"maxWorkers": 3, "processes": 4}, "3 must be at least processes, which is 4"),
        ({"processes": 0}, "pools.cpu.processes: 0 must be at least 1"),
        ({"threads": 0}, "pools.cpu.threads: 0 must be at least 1"),
        ({"gpus": -1}, "pools.cpu.gpus: -1 must be at least 0"),
        ({"gpuResource": "gpu"}, "pools.cpu.gpuResource: 'gpu' must have a domain"),
        ({"gpuResource": "a b/c"}, "must be a name of an extended resource"),
        ({"architecture": "x86_64"}, "must be 'amd64' or 'arm64' (did you mean 'amd64'?)"),
        ({"architecture": "aarch64"}, "(did you mean 'arm64'?)"),
        ({"architecture": "arm"}, "(did you mean 'arm64'?)"),
        ({"architecture": 64}, "pools.cpu.architecture: 64 must be 'amd64' or 'arm64'"),
        ({"grace": -1}, "pools.cpu.grace: -1 must be at least 0"),
        ({"grace": "30s"}, "pools.cpu.grace: '30s' must be a number"),
        ({"pricePerHour": -0.1}, "pools.cpu.pricePerHour: -0.1 must be at least 0"),
        ({"pricePerHour": float("nan")}, "pools.cpu.pricePerHour: nan must be a finite number"),
        ({"spot": "true"}, "pools.cpu.spot: 'true' must be true or false (without quotes)"),
        ({"scarce": 1}, "pools.cpu.scarce: 1 must be true or false"),
        ({"spill": "20Gi", "disk": "10Gi"}, "must be at least spill, which is 20Gi"),
        ({"spill": 0}, "pools.cpu.spill: 0 must be true, false, or how much disk"),
        ({"description": 3}, 'pools.cpu.description: 3 must be text, so quote it: "3"'),
        ({"description": "a\nb"}, "must be text on one line"),
        ({"image": "my image"}, "must be the name of an image, without spaces"),
        ({"image": ""}, "must be the name of an image"),
        ({"image": "http://r.example/a:1"}, "must be the name of an image, without http://"),
        ({"priorityClass": "High!"}, "must be a Kubernetes name"),
        ({"env": {"A": 1}}, 'pools.cpu.env.A: 1 must be text, so quote it: "1"'),
        ({"env": {"A": True}}, 'pools.cpu.env.A: true must be text, so quote it: "true"'),
        ({"env": {True: "a"}}, "pools.cpu.env: the key true must be text, so quote it"),
        ({"env": {"a b": "c"}}, "has the key 'a b', and a key must be a variable's name"),
        ({"env": ["A=1"]}, "pools.cpu.env: ['A=1'] must be a mapping"),
        ({"nodeSelector": {"a b": "c"}}, "has the key 'a b', and a key must be a label"),
        ({"nodeSelector": {"a": "b c"}}, "pools.cpu.nodeSelector.a: 'b c' must be a label's value"),
        ({"nodeSelector": {"a": None}}, "pools.cpu.nodeSelector.a: has no value and must be text"),
        ({"annotations": {"": "c"}}, "has the key '', and a key must be a label"),
        ({"tolerations": {"key": "a"}}, "pools.cpu.tolerations: {'key': 'a'} must be a list"),
        ({"tolerations": [5]}, "pools.cpu.tolerations.0: 5 must be a mapping"),
        ({"tolerations": [{"value": "x"}]}, "tolerations.0.operator: 'Equal' must be Exists"),
        (
            {"tolerations": [{"key": "a", "operator": "exists"}]},
            "must be 'Equal' or 'Exists' (did you mean 'Exists'?)",
        ),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
            "tolerations.0.value: 'b' must be left out with the operator Exists",
        ),
        (
            {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 3}]},
            "tolerationSeconds: 3 must be left out unless the effect is NoExecute",
        ),
        (
            {"tolerations": [{"key": "a", "efect": "NoSchedule"}]},
            "tolerations.0.efect: unknown key (did you mean 'effect'?)",
        ),
        (
            {"affinity": {"nodeAfinity": {}}},
            "affinity.nodeAfinity: unknown key (did you mean 'nodeAffinity'?)",
        ),
        ({"volumes": "data"}, "pools.cpu.volumes: 'data' must be a list"),
        (
            {"volumes": [{"name": "a", "mountPath": "/a"}]},
            "pools.cpu.volumes.0: must have exactly one source",
        ),
        (
            {
                "volumes": [
                    {
                        "name": "a",
                        "mountPath": "/a",
                        "secret": {"secretName": "s"},
                        "configMap": {"name": "c"},
                    }
                ]
            },
            "pools.cpu.volumes.0: must have exactly one source",
        ),
        (
            {"volumes": [{"name": "a", "mountPath": "a", "emptyDir": {}}]},
            "volumes.0.mountPath: 'a' must be an absolute path",
        ),
        (
            {"volumes": [{"name": "a_b", "mountPath": "/a", "emptyDir": {}}]},
            "volumes.0.name: 'a_b' must be lower-case letters",
        ),
        (
            {
                "volumes": [
                    {"name": "a", "mountPath": "/a", "emptyDir": {}},
                    {"name": "b", "mountPath": "/a", "emptyDir": {}},
                ]
            },
            "must differ in their mountPath, and '/a' is twice",
        ),
        (
            {"volumes": [{"name": "a", "mountPath": "/a", "persistentVolumeClaim": {}}]},
            "persistentVolumeClaim.claimName: is missing (Its name, for example shared-data)",
        ),
        ({"maxworkers": 3}, "pools.cpu.maxworkers: unknown key (did you mean 'maxWorkers'?)"),
        ({"max_workers": 3}, "pools.cpu.max_workers: unknown key (did you mean 'maxWorkers'?)"),
        ({"name": "cpu"}, "pools.cpu.name: unknown key; the name of a pool is its key"),
    ],
)
def test_a_wrong_key(keys, said):
    assert said in only_problem(pool(**keys))


def test_an_unknown_key_is_told_the_valid_ones():
    assert only_problem(pool(color="red")).endswith(
        "valid are affinity, annotations, appArmorProfile, architecture, cpu, default, "
        "description, disk, env, gpuResource, gpus, grace, image, maxWorkers, memory, "
        "memoryMax, nodeSelector, passEnv, pricePerHour, priorityClass, processes, "
        "runtimeClass, scarce, seccompProfile, spill, "
        "spot, threads, tolerations, volumes"
    )


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("cpu", "(Cores of a worker process, for example 1)"),
        ("memory", "(Memory of a worker process, for example 4Gi)"),
        ("maxWorkers", "(Most worker processes of one Dask cluster in this pool, for example 100)"),
    ],
)
def test_a_missing_key(key, said):
    content = pool()
    del content["pools"]["cpu"][key]
    assert only_problem(content) == f"pools.cpu.{key}: is missing {said}"


@pytest.mark.parametrize("value", [None, 3, "cpu", ["cpu"]])
def test_a_pool_that_is_no_mapping(value):
    said = only_problem({"pools": {"cpu": CPU, "big": value}})
    assert said.startswith("pools.big: ")
    assert said.endswith("must be a mapping (key: value)")


@pytest.mark.parametrize("value", [[], "cpu", None])
def test_pools_that_are_no_mapping(value):
    assert "must be a mapping" in only_problem({"pools": value})


def test_no_pools():
    assert only_problem({"pools": {}}) == (
        "pools: there is none; describe at least one, with default: true"
    )
    assert only_problem({}).startswith("pools: is missing")


def test_unknown_top_level_keys():
    assert only_problem({**pool(), "pool": {}}) == (
        "pool: unknown key (did you mean 'pools'?); valid are pools"
    )
    assert only_problem({**pool(), "source": "x"}) == "source: unknown key; valid are pools"


def test_exactly_one_default():
    plain = {**CPU, "default": False}
    assert only_problem({"pools": {"cpu": plain}}) == (
        "pools: no pool is the default; add default: true to one of cpu"
    )
    assert only_problem({"pools": {"cpu": plain, "big": plain}}) == (
        "pools: no pool is the default; add default: true to one of cpu, big"
    )
    assert only_problem({"pools": {"cpu": CPU, "big": CPU}}) == (
        "pools: more than one is the default (cpu, big); keep default: true in exactly one"
    )


def test_a_scarce_default_beside_others():
    said = only_problem({"pools": {"cpu": {**CPU, "scarce": True}, "b": {**CPU, "default": False}}})
    assert said.startswith("pools.cpu.scarce: true contradicts default: true")
    assert load(pool(scarce=True)).default.scarce


@pytest.mark.parametrize("name", ["GPU", "", "1a", "a-b", "a_b", "a" * 21, "gpü", "cpu\n"])
def test_names_of_another_form(name):
    assert "lower-case letter" in name_problem(name)
    found = problems({"pools": {"cpu": CPU, name: {**CPU, "default": False}}})
    assert any("the name of a pool must be" in problem for problem in found)


@pytest.mark.parametrize("name", ["lambda", "in", "class"])
def test_keywords(name):
    assert "Python keyword" in name_problem(name)


def test_arguments_of_the_calls_are_reserved():
    from facility import cluster
    from facility.deploy.cluster import PooledCluster

    calls = (cluster, PooledCluster.scale, PooledCluster.adapt)
    arguments = {
        name
        for call in calls
        for name, parameter in inspect.signature(call).parameters.items()
        if parameter.kind != parameter.VAR_POSITIONAL
    }
    assert arguments <= RESERVED_NAMES


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_reserved_names(name):
    assert name_problem(name) is not None


@pytest.mark.parametrize("name", ["cpu", "a", "a1", "a" * 20, "gpu80gb"])
def test_good_names(name):
    assert name_problem(name) is None


def test_names_that_yaml_reads_as_something_else(file):
    path = file(
        "pools:\n  cpu: {cpu: 1, memory: 4Gi, maxWorkers: 3, default: true}\n"
        "  on: {cpu: 1, memory: 4Gi, maxWorkers: 3}\n"
    )
    assert "pools.true: the name of a pool must be text, so quote it" in only_problem(path)


def test_all_mistakes_of_a_file_at_once(file):
    path = file(
        "pools:\n"
        "  cpu: {cpu: 1, memory: 4Gi, memoryMax: 1Gi, maxWorkers: 3}\n"
        "  GPU: {cpu: 4, memory: 16GB, gpus: one, maxWorkers: 4, spot: no, spot: yes}\n"
        "  arm: {architecture: arm, maxworkers: 3}\n"
        "workers: 3\n"
    )
    found = problems(path)
    assert [problem.split(": ")[0] for problem in found] == [
        "pools.GPU.spot",
        "pools.GPU",
        "pools",
        "pools.cpu.memoryMax",
        "pools.GPU.memory",
        "pools.GPU.gpus",
        "pools.arm.cpu",
        "pools.arm.memory",
        "pools.arm.maxWorkers",
        "pools.arm.architecture",
        "pools.arm.maxworkers",
        "workers",
    ]


def test_a_mapping_that_holds_itself():
    affinity: dict = {}
    affinity["nodeAffinity"] = affinity
    assert "refers to itself" in only_problem(pool(affinity=affinity))


def test_a_kind_of_error_without_its_own_words():
    error = {"type": "url_type", "loc": ("pools",), "msg": "Should be a URL", "input": 3}
    assert list(sentences([error], Config)) == ["pools: 3 should be a URL"]


# Pools of this machine.


def test_builtin():
    config = builtin(Machine(8, 32 * GIB, (), "amd64"))
    assert list(config.pools) == ["cpu"]
    cpu = config.default
    assert (cpu.cpu, cpu.threads) == (1, 1)
    assert cpu.memory * 8 <= 0.8 * 32 * GIB
    assert cpu.memory % (64 * 2**20) == 0
    assert cpu.memory > 3 * GIB
    assert 25 * GIB < cpu.memory_max < 26 * GIB


def test_builtin_with_gpus():
    config = builtin(Machine(8, 32 * GIB, ("0", "1"), "amd64"))
    gpu = config.pools["gpu"]
    assert (gpu.gpus, gpu.scarce, gpu.cpu) == (1, True, 4)
    assert not gpu.default


@pytest.mark.parametrize("cores", [1, 3, 64, 50_000])
@pytest.mark.parametrize("memory", [50 * 2**20, 700 * 2**20, 2 * GIB, 4000 * GIB])
@pytest.mark.parametrize("gpus", [(), ("0",), tuple(map(str, range(100)))])
def test_builtin_fits_any_machine(cores, memory, gpus):
    config = builtin(Machine(cores, memory, gpus, "arm64"))
    cpu = config.default
    if memory > 700 * 2**20:
        assert cpu.memory * min(cores, memory * 0.8 // cpu.memory) <= 0.8 * memory
        assert cpu.memory >= 512 * 2**20


# The schema.


def test_the_committed_schema_is_the_model():
    assert json.loads(SCHEMA.read_text()) == json_schema(), (
        "refresh it: .venv/bin/facility config schema > facility/pools.schema.json"
    )


@pytest.mark.parametrize(
    ("content", "good"),
    [
        (pool(), True),
        (pool(cpu="500m", spill="20Gi", memory=2**30), True),
        (pool(memory="4GB"), False),
        (pool(cpu="4Gi"), False),
        (pool(maxworkers=3), False),
        (pool(name="cpu"), False),
        ({"pools": {}}, False),
        ({"pools": {"GPU": CPU}}, False),
        ({"pools": {"lambda": CPU}}, False),
        ({"pools": {"memory": CPU}}, False),
        ({**pool(), "source": "x"}, False),
    ],
)
def test_the_schema_agrees_with_the_model(content, good):
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid(content) is good
    if good:
        load(content)
    else:
        assert problems(content)
