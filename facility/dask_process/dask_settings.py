"""Settings of Dask, from its YAML files and its environment: which are ours, which cannot work.

Users keep theirs for other Dask clusters too. What would end a Dask cluster of the facility, lose
its results or keep its parts from speaking with each other is ours alone (`OURS`); the rest is
theirs, and is checked before a start, since Dask itself fails over it much later.
"""

import importlib.util
import os
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import yaml
from dask.utils import parse_bytes, parse_timedelta

from facility import names
from facility.errors import RequestError

OURS: Mapping[str, Any] = {
    "distributed.scheduler.idle-timeout": None,
    "distributed.scheduler.no-workers-timeout": None,
    "distributed.worker.lifetime.duration": None,
    "distributed.comm.require-encryption": True,
    "distributed.scheduler.blocked-handlers": [],
    "distributed.worker.blocked-handlers": [],
    "distributed.scheduler.contact-address": None,
    "distributed.scheduler.dashboard.tls.ca-file": None,
    "distributed.scheduler.dashboard.tls.cert": None,
    "distributed.scheduler.dashboard.tls.key": None,
    "distributed.scheduler.pickle": True,
    "distributed.scheduler.preload": [],
    "distributed.scheduler.preload-argv": [],
}
"""What every scheduler and worker has, whatever the user's settings are."""
INSTEAD = {
    "distributed.adaptive": "pools adapt between the bounds of c.adapt(cpu=(0, 10))",
    "distributed.comm.default-scheme": "everything speaks TLS",
    "distributed.comm.require-encryption": "everything speaks TLS",
    "distributed.comm.tls.ca-file": "it has certificates of its own",
    "distributed.comm.tls.client": "it has certificates of its own",
    "distributed.comm.tls.scheduler": "it has certificates of its own",
    "distributed.comm.tls.worker": "it has certificates of its own",
    "distributed.deploy.lost-worker-timeout": "workers that are lost are replaced at once",
    "distributed.nanny.environ": "the environment of workers is `env` of the pool in pools.yaml",
    "distributed.nanny.preload": "workers have no nanny",
    "distributed.scheduler.blocked-handlers": "its parts speak by them",
    "distributed.scheduler.contact-address": "the scheduler's address is chosen for it",
    "distributed.scheduler.dashboard.tls": "the dashboard is reached through the hub or on this "
    "machine alone",
    "distributed.scheduler.idle-timeout": "`idle_timeout=` of cluster() says when it ends",
    "distributed.scheduler.no-workers-timeout": "tasks wait until there is a worker, and "
    "c.explain() says what for",
    "distributed.scheduler.pickle": "Dask does not start without",
    "distributed.scheduler.preload": "the scheduler runs what is the facility's own",
    "distributed.scheduler.worker-ttl": "workers are watched as processes or pods",
    "distributed.worker.blocked-handlers": "its parts speak by them",
    "distributed.worker.lifetime": "workers leave by c.scale and c.adapt",
    "distributed.worker.memory.terminate": "a worker is ended at 95 % of its memory",
    "distributed.worker.resources": "c.on(pool) and c.route(pool) say where tasks run",
}
"""What has no effect, by the beginning of its name, and what holds instead."""
UNREADABLE = (AttributeError, ImportError, LookupError, TypeError, ValueError)
"""What Dask raises over a value of the wrong kind."""
LEAST = {"distributed.comm.timeouts.connect": 1.0, "distributed.comm.timeouts.tcp": 11.0}
"""Seconds: a connection takes a moment on a busy machine, and Dask looks at one ten times."""
COMPRESSIONS = ("distributed.comm.compression", "distributed.worker.memory.spill-compression")
MODULES = (
    "distributed.client.preload",
    "distributed.scheduler.http.routes",
    "distributed.worker.http.routes",
    "distributed.worker.preload",
)
PERIODS = ("interval", "cycle", "heartbeat")
"""Endings of the names of times that must not be 0."""
SHOWN = ("distributed.", "logging", "temporary-directory")
"""Beginnings of the names of settings that are looked at: others may be passwords."""


@dataclass(frozen=True)
class Setting:
    """A setting of Dask that is not Dask's own default."""

    key: str
    value: Any
    source: str
    """File or variable that it is from."""

    def __str__(self) -> str:
        return f"{self.key} = {self.value!r} ({self.source})"


def settings() -> list[Setting]:
    """Return the user's settings: those of new processes, and those of this process alone."""
    found: dict[str, Setting] = {}
    places = [place for place in (*dask.config.paths, os.environ.get("DASK_CONFIG")) if place]
    for path, content in dask.config.collect_yaml(places, return_paths=True):
        found |= {key: Setting(key, value, str(path)) for key, value in _flat(content)}
    for name, text in os.environ.items():
        key = _canonical(name.removeprefix("DASK_").lower().replace("__", "."))
        if name.startswith("DASK_") and key.startswith(SHOWN):
            # A variable may hold a whole section.
            value = dask.config.interpret_value(text)
            found |= {each: Setting(each, value, name) for each, value in _flat({key: value})}
    defaults = dict(_flat(_defaults()))
    inherited = {**defaults, **{key: each.value for key, each in found.items()}}
    loaded = dask.config.config if "distributed" in sys.modules else {}
    here = [
        Setting(key, value, "dask.config.set")
        for key, value in _flat(loaded)
        if value not in (inherited.get(key), defaults.get(key))
    ]
    differing = [each for each in found.values() if each.value != defaults.get(each.key, each)]
    return sorted([*differing, *here], key=lambda each: each.key)


def _flat(section: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        key = within + _canonical(str(name))
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{key}.")
        elif key.startswith(SHOWN):
            yield key, value


def _canonical(name: str) -> str:
    return name.replace("_", "-")


def _defaults() -> Mapping[str, Any]:
    """Return Dask's defaults, read from where they lie while distributed cannot be loaded."""
    if any("distributed" in each for each in dask.config.defaults):
        return dask.config.merge(*dask.config.defaults)
    spec = importlib.util.find_spec("distributed")
    if spec is None or spec.origin is None:
        return {}
    own: Mapping[str, Any] = yaml.safe_load(
        Path(spec.origin).with_name("distributed.yaml").read_text()
    )
    return own


def temporary_directory() -> Path | None:
    """Return the folder that the user has chosen for what does not fit into memory, if one is."""
    chosen = [each.value for each in settings() if each.key == "temporary-directory"]
    return Path(str(chosen[-1])).expanduser() if chosen and chosen[-1] else None


# What has no effect.


def overridden(found: list[Setting]) -> list[str]:
    """Say which settings have no effect on Dask clusters of the facility, and what holds."""
    certificates = str(names.certificates_folder())
    said = []
    for each in found:
        why = next((why for key, why in INSTEAD.items() if _within(each.key, key)), None)
        if why is None or OURS.get(each.key, each) == each.value:
            continue
        if str(each.value).startswith(certificates):
            continue  # of the hub, or of this process's own Dask cluster
        said.append(f"Dask's setting {each} has no effect on Dask clusters made here: {why}")
    return said


def _within(key: str, section: str) -> bool:
    return key == section or key.startswith((f"{section}.", f"{section}-"))


# What cannot work.


def check() -> None:
    """Refuse settings with which no Dask cluster can start.

    Raises
    ------
    RequestError
        With each of them, where it stands, and what is valid.
    """
    if wrong := problems(settings()):
        raise RequestError("No Dask cluster can start with these settings of Dask", wrong)


def problems(found: Iterable[Setting]) -> list[str]:
    """Say which settings cannot work, where they stand, and what is valid."""
    usual = dict(_flat(_defaults()))
    said = []
    for each in found:
        default = usual.get(each.key)
        if each.key not in OURS and (wrong := _wrong(each, default)):
            valid = f"; Dask's default is {default!r}" if default is not None else ""
            said.append(f"{each}: {wrong}{valid}")
    return said


def _wrong(each: Setting, default: Any) -> str | None:
    if each.key == "temporary-directory":
        return _wrong_folder(each.value)
    if each.key in COMPRESSIONS:
        return _wrong_compression(each.value)
    if each.key in MODULES:
        return _wrong_modules(each.value)
    if each.key == "distributed.admin.event-loop":
        return _wrong_event_loop(each.value)
    if each.key.startswith("distributed.comm.tls."):
        return _wrong_tls(each.key.rpartition(".")[2], each.value)
    return _wrong_kind(each, default)


def _wrong_folder(value: Any) -> str | None:
    folder = Path(str(value)).expanduser()
    if value and not folder.is_dir():
        return "there is no such folder; make it, or choose another one"
    if value and not os.access(folder, os.W_OK | os.X_OK):
        return "you may not write there; choose another folder"
    return None


def _wrong_compression(value: Any) -> str | None:
    try:
        from distributed.protocol.compression import compressions
    except UNREADABLE:  # of another setting
        return None
    if value in compressions:
        return None
    return f"it has to be one of {', '.join(map(repr, compressions))}"


def _wrong_modules(value: Any) -> str | None:
    for name in [value] if isinstance(value, str) else value or ():
        if not isinstance(name, str):
            return f"{name!r} is no name of a module"
        if name.endswith(".py"):
            there = "://" in name or Path(name).is_file()
        else:
            there = not name.replace(".", "").isidentifier() or _is(_found, name)
        if not there:
            return f"{name} is not found"
    return None


def _found(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise ModuleNotFoundError(name)


def _wrong_tls(name: str, value: Any) -> str | None:
    if name in ("min-version", "max-version"):
        return None if value in (None, 1.2, 1.3) else "it has to be 1.2 or 1.3"
    if name == "ciphers" and value is not None:
        try:
            ssl.create_default_context().set_ciphers(value)
        except (ssl.SSLError, TypeError):
            return "OpenSSL knows no such cipher"
    return None


def _wrong_event_loop(value: Any) -> str | None:
    loops = ["asyncio", "tornado", *(["uvloop"] if _is(_found, "uvloop") else [])]
    return None if value in loops else f"it has to be one of {', '.join(map(repr, loops))}"


def _wrong_kind(each: Setting, default: Any) -> str | None:
    """Compare with the kind of value that the default is."""
    value = each.value
    if isinstance(default, bool) or default is None:
        return None
    if isinstance(default, int | float):
        fits = value is None or value == "inf" or isinstance(value, int | float)
        return None if fits else "it has to be a number"
    if isinstance(default, list):
        return None if isinstance(value, list | tuple | str) else "it has to be a list"
    if _is(parse_timedelta, default):
        return _wrong_time(each.key, value)
    if _is(parse_bytes, default) and value is not False and not _is(parse_bytes, value):
        return "it has to be a size such as '50MB'"
    return None


def _wrong_time(key: str, value: Any) -> str | None:
    least = LEAST.get(key, 0.0)
    if value is None and not least:
        return None
    if value is None or isinstance(value, bool) or not _is(parse_timedelta, value):
        return "it has to be a time such as '30s'"
    seconds = parse_timedelta(value)
    if seconds < least:
        return f"Dask needs at least {least:.0f} s"
    return "it has to be more than 0" if seconds <= 0 and key.endswith(PERIODS) else None


def _is(parse: Callable[[Any], Any], value: Any) -> bool:
    """Whether Dask can read a value so."""
    try:
        parse(value)
    except UNREADABLE:
        return False
    return True


# What may be the reason of a failure.


def suspects() -> str:
    """Name the user's settings that have an effect; nothing where there is none."""
    idle = (*INSTEAD, "distributed.dashboard.link")
    found = [each for each in settings() if not any(_within(each.key, key) for key in idle)]
    if not found:
        return ""
    return f"Your own settings of Dask may be the reason: {'; '.join(map(str, found))}."
