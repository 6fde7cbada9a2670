"""Run in a container of the image: the operator watches what it is to watch, and no more."""

import inspect
import ssl
from importlib.metadata import version

import daskcluster_operator
import kopf

assert tuple(map(int, version("kopf").split(".")[:2])) < (1, 42), version("kopf")
assert daskcluster_operator.adopt
assert not ssl.create_default_context().verify_flags & ssl.VERIFY_X509_STRICT
assert "ssl.create_default_context(" in inspect.getsource(kopf._cogs.clients.auth), "kopf's own"

registry = kopf.get_default_registry()
assert not registry._spawning.get_all_handlers(), "a timer connects to schedulers"
assert not registry._watching.get_all_handlers()
changing = registry._changing.get_all_handlers()
watched = sorted({handler.selector.any_name or handler.selector.plural for handler in changing})
assert len(changing) == 4, changing
assert all(handler.when for handler in changing), "it would write to what is not its users'"
names = {str(handler.selector) for handler in changing}
assert all("pod" not in name and "job" not in name and "autoscaler" not in name for name in names)
assert all(handler.timeout for handler in changing), "it would be tried for ever"
assert all(handler.fn.__code__.co_name == "guard" for handler in changing), (
    "it is tried every second"
)
assert not any(handler.requires_finalizer for handler in changing), "deletion would wait for it"
print(f"operator: watches {', '.join(sorted(names))}")
