"""What the code relies on in other packages, though they do not promise it: each by its name."""

import ast
import dis
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import awkward as ak
import cloudpickle
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema, NanoEventsFactory
from distributed import Scheduler
from distributed.deploy.cluster import Cluster
from distributed.shuffle import ShuffleSchedulerPlugin

from facility.analysis.reading import relied_on as reading
from facility.private_api import PrivateApi
from facility.scheduler import relied_on as routing
from facility.scheduler.pooled import PooledScheduler
from facility.scheduler.routing import RoutedScheduler, RoutedShuffle

PACKAGE = Path(inspect.getfile(PooledScheduler)).parents[1]
SCHEDULER, MOVER = routing.SCHEDULER, "distributed.active_memory_manager"
CLUSTER, CLIENT = "distributed.deploy.cluster:Cluster", "distributed.client:Client"
KERNELS = "jupyter_server.services.kernels.handlers:MainKernelHandler"
SESSIONS = "jupyter_server.services.sessions.handlers"
PICKLE, XROOTD = "cloudpickle.cloudpickle", "fsspec_xrootd.xrootd:XRootDFileSystem"

DISTRIBUTED = (
    # scheduler/replacement, pooled
    PrivateApi(f"{SCHEDULER}.start_unsafe", "self", overridden=True),
    PrivateApi(f"{SCHEDULER}.close", "self, timeout, reason", overridden=True),
    PrivateApi(f"{SCHEDULER}.identity", "self, n_workers", overridden=True),
    PrivateApi(
        f"{SCHEDULER}.restart",
        "self, client=, timeout=, wait_for_workers=, stimulus_id=",
        overridden=True,
    ),
    PrivateApi(
        f"{SCHEDULER}.restart_workers",
        "self, workers, client=, timeout=, wait_for_workers=, on_error=, stimulus_id=",
        overridden=True,
    ),
    PrivateApi(f"{SCHEDULER}.broadcast", "self, msg=, workers=, hosts=, on_error="),
    PrivateApi(
        f"{SCHEDULER}.register_nanny_plugin",
        "self, comm, plugin, name, idempotent",
        overridden=True,
    ),
    PrivateApi(
        f"{SCHEDULER}.register_scheduler_plugin", "self, plugin, name, idempotent=", overridden=True
    ),
    PrivateApi("distributed.diagnostics.plugin:UploadDirectory"),
    PrivateApi("distributed.diagnostics.plugin:InstallPlugin"),
    PrivateApi(f"{SCHEDULER}.log_event", "self, topic, msg"),
    PrivateApi(f"{SCHEDULER}.remove_worker", "self, address, stimulus_id=, expected=, close="),
    # scheduler/demand, lifetime, retire
    PrivateApi(f"{SCHEDULER}._get_prefix_duration", "self, prefix"),
    PrivateApi(f"{SCHEDULER}.handle_worker_status_change", "self, status, worker, stimulus_id"),
    PrivateApi(f"{MOVER}:RetireWorker", "address"),
    PrivateApi(f"{MOVER}:RetireWorker.run", "self", overridden=True),
    PrivateApi(f"{MOVER}:RetireWorker.done", "self"),
    PrivateApi(f"{MOVER}:Suggestion", "op, ts, candidates"),
    PrivateApi(
        f"{MOVER}:ActiveMemoryManagerExtension",
        "scheduler, policies=, register=, start=, interval=",
    ),
    PrivateApi(f"{MOVER}:ActiveMemoryManagerExtension.run_once", "self"),
    PrivateApi(f"{MOVER}:ActiveMemoryManagerExtension.stop", "self"),
    PrivateApi("distributed.stealing:WorkStealing.move_task_request", "self, ts, victim, thief"),
    PrivateApi(
        "distributed.scheduler:WorkerState",
        "address=, status=, pid=, name=, memory_limit=, nthreads=, local_directory=, nanny=, "
        "server_id=, scheduler=",
    ),
    PrivateApi("distributed.scheduler:WorkerState.executing"),
    PrivateApi("distributed.metrics:time"),
    # dask_process, request
    PrivateApi("distributed.dashboard.scheduler:connect", "application, http_server, scheduler"),
    PrivateApi("distributed.dashboard.worker:connect", "application, http_server, worker, prefix="),
    PrivateApi("distributed.protocol.compression:compressions"),
    PrivateApi(
        "distributed.node:ServerNode.start_http_server",
        "self, routes, dashboard_address, default_port, ssl_options",
        overridden=True,
    ),
    PrivateApi("distributed.http.routing:RoutingApplication.find_handler", "self, request"),
    PrivateApi(
        "tornado.web:Application.get_handler_delegate", "self, request, target_class, target_kwargs"
    ),
    # worker
    PrivateApi("distributed.threadpoolexecutor:ThreadPoolExecutor.submit", "self, fn"),
    PrivateApi("distributed.worker:Worker.close", "self, timeout, executor_wait="),
    PrivateApi("distributed.worker:Worker", "scheduler_ip, nthreads=, executor="),
    PrivateApi("distributed.protocol.pickle:dumps", "x"),
    PrivateApi("distributed.protocol.pickle:loads", "x"),
    # environment
    PrivateApi("distributed.worker:Worker.plugin_add", "self, plugin, name"),
    PrivateApi(f"{SCHEDULER}.register_worker_plugin", "self, comm, plugin, name, idempotent="),
    # deploy
    PrivateApi(f"{CLIENT}._instances"),
    PrivateApi(f"{CLIENT}._close", "self, fast="),
    PrivateApi(f"{CLIENT}._inform_scheduler_of_futures", "self"),
    PrivateApi(f"{CLUSTER}._repr_html_", "self, cluster_status", overridden=True),
    PrivateApi(f"{CLUSTER}._scaling_status", "self", overridden=True),
    PrivateApi("distributed.core:rpc", "arg, connection_args="),
    PrivateApi("distributed.core:rpc.close_rpc", "self"),
    PrivateApi("distributed.objects:SchedulerInfo"),
    PrivateApi("distributed.utils:NoOpAwaitable", ""),
    PrivateApi("distributed.utils:sync", "loop, func"),
)
OTHERS = (
    # analysis/serialization
    PrivateApi(f"{PICKLE}:_DYNAMIC_CLASS_TRACKER_BY_CLASS"),
    PrivateApi(f"{PICKLE}:_DYNAMIC_CLASS_TRACKER_BY_ID"),
    PrivateApi(f"{PICKLE}:_DYNAMIC_CLASS_TRACKER_LOCK.__enter__"),
    PrivateApi(f"{PICKLE}:_class_setstate", "obj, state"),
    PrivateApi(
        f"{PICKLE}:_make_skeleton_class",
        "type_constructor, name, bases, type_kwargs, class_tracker_id, extra",
        overridden=True,
    ),
    PrivateApi(
        f"{PICKLE}:_make_skeleton_enum",
        "bases, name, qualname, members, module, class_tracker_id, extra",
        overridden=True,
    ),
    # analysis/files
    PrivateApi(f"{XROOTD}._cache"),
    PrivateApi(f"{XROOTD}.invalidate_cache", "self"),
    PrivateApi(f"{XROOTD}.clear_instance_cache", ""),
    PrivateApi("uproot.deserialization:DeserializationError"),
    PrivateApi("uproot.deserialization:numbytes_version", "chunk, cursor, context"),
    PrivateApi("uproot.behaviors.TBranch:HasBranches"),
    PrivateApi("uproot.reading:ReadOnlyDirectory.fSeekKeys"),
    PrivateApi("uproot.reading:ReadOnlyDirectory.key", "self, where"),
    PrivateApi("uproot.reading:ReadOnlyDirectory.iterclassnames", "self, recursive=, cycle="),
    PrivateApi("uproot.source.file:MultithreadedFileSource", "file_path"),
    # analysis: the Runner's executors, PHYSLITE
    PrivateApi("coffea.processor.executor:ExecutorBase", "status=, unit=, desc=, function_name="),
    PrivateApi("coffea.processor:list_accumulator"),
    PrivateApi("coffea.nanoevents.util:concat", "*keys", overridden=True),
    PrivateApi(
        "coffea.nanoevents:PHYSLITESchema._create_eventindex_form",
        "base_form, key",
        overridden=True,
    ),
    # hub/user_server
    PrivateApi(
        "jupyter_server_proxy.handlers:ProxyHandler.proxy",
        "self, host, port, proxied_path",
        overridden=True,
    ),
    PrivateApi(
        "jupyter_server_proxy.handlers:ProxyHandler.proxy_open",
        "self, host, port, proxied_path",
        overridden=True,
    ),
    PrivateApi("dask_labextension.manager:manager._clusters"),
    PrivateApi(
        "dask_labextension.manager:make_cluster_model",
        "cluster_id, cluster_name, cluster, adaptive",
        overridden=True,
    ),
    PrivateApi(
        "dask_labextension.clusterhandler:DaskClusterHandler.patch",
        "self, cluster_id",
        overridden=True,
    ),
    PrivateApi(f"{KERNELS}.get", "self"),
    PrivateApi(f"{KERNELS}.post", "self"),
    PrivateApi(f"{SESSIONS}:SessionRootHandler.get", "self"),
    PrivateApi(f"{SESSIONS}:SessionRootHandler.post", "self"),
    PrivateApi(f"{SESSIONS}:SessionHandler.patch", "self, session_id="),
)
READING = (*reading.LAZY_TREE, *reading.BASKETS, *reading.EVENTS)
ALL = (*routing.ROUTING, *READING, *DISTRIBUTED, *OTHERS)


@pytest.mark.parametrize("api", ALL, ids=lambda api: api.name)
async def test_private_api(api: PrivateApi) -> None:
    # In an event loop, which a package of the Dask panel wants when it is imported.
    assert api.problem() is None


# What stands on no class: attributes that come with an instance, and what functions give.


async def test_instance_distributed_scheduler_Scheduler_active_graph_updates() -> None:
    async with Scheduler(port=0, dashboard=False, dashboard_address=":0") as scheduler:
        assert scheduler._active_graph_updates == 0
        assert scheduler.transition_counter == 0
        assert scheduler.extensions["shuffle"].active_shuffles == {}
        for name in ("stealing", "shuffle"):
            assert name in scheduler.extensions
        for name in ("idle_task_count", "queued", "running", "unrunnable", "client_comms"):
            assert not getattr(scheduler, name)
        for name in ("stream_comms", "aliases", "clients", "workers", "tasks", "handlers"):
            assert isinstance(getattr(scheduler, name), dict), name
        assert scheduler.rootish_tg_threshold > 0
        assert scheduler.rootish_tg_dependencies_threshold > 0


def test_instance_distributed_deploy_cluster_Cluster_loop_runner_and_adaptive() -> None:
    stored = {each.argval for each in dis.get_instructions(Cluster.__init__)}
    assert {"_loop_runner", "_adaptive", "scheduler_comm", "scheduler_info"} <= stored


def test_shape_coffea_NanoEventsFactory_schema_form(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("tree", {"x": np.float32}).extend({"x": np.arange(3, dtype=np.float32)})
    with uproot.open(tmp_path / "a.root") as file:
        factory = NanoEventsFactory.from_root(file, treepath="tree", schemaclass=BaseSchema)
        assert factory._schema.form["parameters"]["metadata"] == {}
        assert callable(factory._schema.behavior)
        assert "@form" in factory.events().attrs
        assert ak.forms.from_dict(dict(factory._schema.form)).fields == ["x"]


def test_shape_cloudpickle_makes_dynamic_classes_by_these_functions() -> None:
    class Local:
        pass

    pickled = cloudpickle.dumps(Local)
    for name in (b"_make_skeleton_class", b"_class_setstate"):
        assert name in pickled


def test_shape_uproot_Model_TTree_known_versions() -> None:
    assert {19, 20} <= set(uproot.models.TTree.Model_TTree.known_versions)


# None is left out.

ELSEWHERE = {
    "_conns": "aiohttp",
    "_exit": "os",
    "_getframe": "sys",
    "_replace": "collections.namedtuple",
    "_repr_html_": "IPython",
    "_run_exitfuncs": "atexit",
    "_selector": "asyncio",
    "_start": "kubespawner",
    "_watch_and_update": "kubespawner",
}
"""Private names that the code uses of what is no concern of this file."""


def own_names(tree: ast.AST) -> Iterator[str]:
    """Private names that the package gives itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and of_self(node):
            yield node.attr


def others_names(tree: ast.AST) -> Iterator[str]:
    """Private names that the package uses of other objects and of base classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not of_self(node):
            name = node.attr
            if name.startswith("_") and not name.startswith("__"):
                yield name


def of_self(node: ast.Attribute) -> bool:
    return ast.unparse(node.value) in ("self", "cls")


def test_every_private_name_that_the_package_uses_has_a_test() -> None:
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")]
    own = {name for tree in trees for name in own_names(tree)}
    of_base_classes = {api.name.rpartition(".")[2] for api in ALL if api.overridden}
    used = {name for tree in trees for name in others_names(tree)}
    text = Path(__file__).read_text() + " ".join(f"{api.name} {api.sets}" for api in ALL)
    tested = set(re.findall(r"\w+", text))
    assert used - (own - of_base_classes) - set(ELSEWHERE) <= tested
    assert {"_apply_annotations", "_inform_scheduler_of_futures", "_refs", "_schema"} <= used


@pytest.mark.parametrize(
    ("api", "problem"),
    [
        (PrivateApi("distributed.gone:x"), "distributed.gone:x is missing"),
        (PrivateApi("distributed.core:Server.gone"), "distributed.core:Server.gone is missing"),
        (PrivateApi(f"{SCHEDULER}.valid_workers", "self"), "takes (self, ts) and not (self)"),
        (PrivateApi(f"{SCHEDULER}.valid_workers", "ts, self"), "and not (ts, self)"),
        (PrivateApi(f"{SCHEDULER}.close", "self, why="), "(self, timeout, reason) and not"),
        (PrivateApi(f"{SCHEDULER}.remove_worker", "self, address"), "stimulus_id=, expected="),
        (PrivateApi(f"{SCHEDULER}.close", "self", overridden=True), "and not (self)"),
        (PrivateApi("builtins:iter", ""), "iter tells no parameters"),
        (PrivateApi(f"{reading.CURSOR}.move_to", sets="_refs"), "sets _index and not _refs"),
    ],
)
def test_what_is_not_as_expected_is_told(api: PrivateApi, problem: str) -> None:
    assert problem in str(api.problem())


async def test_a_scheduler_refuses_to_start_without_what_routing_relies_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(Scheduler, "_apply_annotations")
    routing.refuse_others.cache_clear()
    expected = r"cannot keep tasks in their pools: .*Scheduler\._apply_annotations is missing"
    with pytest.raises(RuntimeError, match=expected):
        PooledScheduler({}, port=0, dashboard=False, dashboard_address=":0")
    monkeypatch.undo()
    await PooledScheduler({}, port=0, dashboard=False, dashboard_address=":0").close()


def test_all_that_RoutedScheduler_overrides_of_distributed_is_compared_at_its_start() -> None:
    def overridden(kind: type, base: type) -> set[str]:
        return {name for name in vars(kind) if hasattr(base, name) and not name.startswith("__")}

    compared = {api.name.rpartition(".")[2] for api in routing.ROUTING if api.overridden}
    found = overridden(RoutedScheduler, Scheduler)
    found |= overridden(RoutedShuffle, ShuffleSchedulerPlugin)
    assert found == compared
