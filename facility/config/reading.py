"""Finding a pools.yaml, and reading it with all its mistakes told at once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from facility import names
from facility.config.builtin import builtin
from facility.config.model import Config, across_pools, name_problems
from facility.config.problems import plain, sentences, show
from facility.config.strict_yaml import MalformedYamlError, read_yaml
from facility.errors import ConfigError, nearest
from facility.system.machine import this_machine

_MAX_BYTES = 2**20


def load(source: str | Path | Mapping[str, Any] | Config | None = None) -> Config:
    """Read the pools.

    Parameters
    ----------
    source
        Path of a pools.yaml, its content as a mapping, or a `Config` as it is.
        None searches: the variable `FACILITY_CONFIG`, `/etc/facility/pools.yaml`,
        and last the pools that fit this machine.

    Raises
    ------
    ConfigError
        With every mistake found.
    """
    if isinstance(source, Config):
        return source
    if isinstance(source, Mapping):
        return _from_value(source, "the argument config", [])
    if isinstance(source, str | Path):
        if "\n" in str(source):
            raise ConfigError(
                "The argument config cannot be used",
                ["it holds the text of a file; give the path of one, or a dict"],
            )
        return _from_file(Path(source), "")
    if source is not None:
        raise ConfigError(
            "The argument config cannot be used",
            [f"it is {type(source).__name__}; give the path of a pools.yaml, or a dict"],
        )
    named = os.environ.get(names.CONFIG_VARIABLE)
    if named:
        return _from_file(Path(named), f" (named by {names.CONFIG_VARIABLE})")
    if os.path.lexists(names.SYSTEM_CONFIG):
        return _from_file(names.SYSTEM_CONFIG, "")
    return builtin(this_machine())


def _from_file(path: Path, how: str) -> Config:
    """Read a file; `how` says in a message why this one."""
    summary = f"The pools file {_shown(path)}{how} cannot be used"
    content = b""
    try:
        path = path.expanduser()
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise MalformedYamlError("it is larger than 1 MiB, so it is no pools.yaml")
        value, problems = read_yaml(content.decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(summary, [f"there is no such file{_neighbour(path)}"]) from None
    except IsADirectoryError:
        raise ConfigError(summary, ["it is a folder; name the file in it"]) from None
    except PermissionError:
        raise ConfigError(
            summary, ["you may not read it; ask its owner for permission to"]
        ) from None
    except UnicodeDecodeError as error:
        place = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            summary, [f"it is not UTF-8 text (byte {error.start}, line {place})"]
        ) from None
    except MalformedYamlError as error:
        raise ConfigError(summary, [str(error)]) from None
    except (OSError, RuntimeError, ValueError) as error:
        # A name too long, a loop of links, an unknown ~user, a NUL in the path.
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(summary, [f"it cannot be read ({reason})"]) from None
    return _from_value(value, f"The pools file {_shown(path)}", problems)


def _shown(path: Path) -> str:
    """Write a path, shortened where nobody would read it."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]}...{text[-80:]}"


def _neighbour(path: Path) -> str:
    """Suggest a file beside a missing one."""
    try:
        return nearest(path.name, (beside.name for beside in path.parent.iterdir()))
    except OSError:
        return ""


def _from_value(value: object, source: str, problems: list[str]) -> Config:
    """Check the content of a file, adding to the problems found before."""
    summary = f"{source[:1].upper()}{source[1:]} cannot be used"
    name = source.removeprefix("The pools file ")
    if value is None:
        raise ConfigError(summary, ["it is empty; it must hold the key pools"])
    if not isinstance(value, Mapping):
        raise ConfigError(summary, [f"it holds {show(value)}; it must be a mapping with pools"])
    try:
        content = plain(value)
    except RecursionError:
        raise ConfigError(summary, ["it is nested too deeply, or refers to itself"]) from None
    problems = [*problems, *name_problems(content)]
    pools = content.get("pools")
    if isinstance(pools, dict):
        problems += across_pools(pools)
        content["pools"] = {
            key: {**pool, "name": key} if isinstance(pool, dict) else pool
            for key, pool in pools.items()
            if isinstance(key, str)
        }
    content = {key: item for key, item in content.items() if key != "source"}
    try:
        config = Config.model_validate({**content, "source": name}, by_alias=True, by_name=False)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # What concerns the whole was told above, also where a key is wrong.
        problems += sentences([one for one in found if one["loc"]], Config)
        raise ConfigError(summary, dict.fromkeys(problems)) from None
    if problems:
        raise ConfigError(summary, dict.fromkeys(problems))
    return config
