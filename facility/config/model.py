"""The frozen `Config`, the names its pools may have, and its JSON schema."""

import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from facility.config.pool import Pool
from facility.config.problems import dotted, show
from facility.config.shapes import Strict

RESERVED_NAMES = frozenset(
    (
        *("n", "config", "backend", "memory", "wait", "timeout", "idle_timeout", "untagged"),
        *("name", "asynchronous", "minimum", "maximum", "force", "interval", "pools"),
        *("self", "cls"),
    )
)
"""Arguments of the call and its methods, which no pool may be called."""
POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,19}")
"""Form of a pool's name, which is an argument of the call and part of object names."""


class Config(Strict):
    """The pools that Dask clusters are made of."""

    pools: Mapping[str, Pool] = Field(description="Each pool under its name.")
    source: SkipJsonSchema[str] = Field(
        "the argument config", description="Where it was read from."
    )

    @property
    def default(self) -> Pool:
        """The pool of work that names none."""
        return next(pool for pool in self.pools.values() if pool.default)

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        shapes = {
            name: {"default": pool.default, "scarce": pool.scarce}
            for name, pool in self.pools.items()
        }
        for problem in across_pools(shapes):
            raise ValueError(problem)
        return self


def json_schema() -> dict[str, Any]:
    """Describe a pools.yaml for editors and for the chart's values.

    Returns
    -------
    dict
        A JSON schema, generated from the models.
    """
    schema = cast(dict[str, Any], _without_titles(Config.model_json_schema()))
    pools = schema["properties"]["pools"]
    pools["minProperties"] = 1
    pools["propertyNames"] = {
        "pattern": f"^{POOL_NAME.pattern}$",
        "not": {"enum": sorted(RESERVED_NAMES | set(keyword.kwlist))},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pools.yaml of the analysis facility",
        **schema,
    }


def name_problem(name: object) -> str | None:
    """Say why a pool cannot have this name, None if it can."""
    if not isinstance(name, str):
        return (
            "the name of a pool must be text, so quote it "
            "(YAML reads on, off, yes and no as true and false)"
        )
    if not POOL_NAME.fullmatch(name):
        return (
            "the name of a pool must be a lower-case letter and up to 19 more lower-case letters "
            "or digits"
        )
    if keyword.iskeyword(name):
        return "the name of a pool must not be a Python keyword, because it is an argument"
    if name in RESERVED_NAMES:
        return "this name is an argument of cluster() already; choose another"
    return None


def name_problems(content: Mapping[Any, Any]) -> Iterator[str]:
    """Yield what is wrong with names, which no model of a pool sees."""
    if "source" in content:
        yield "source: unknown key; valid are pools"
    pools = content.get("pools")
    for key, pool in pools.items() if isinstance(pools, dict) else ():
        problem = name_problem(key)
        if problem:
            shown = key if isinstance(key, str) else show(key)
            yield f"{dotted(('pools', shown))}: {problem}"
        if isinstance(pool, dict) and "name" in pool:
            path = dotted(("pools", str(key), "name"))
            yield f"{path}: unknown key; the name of a pool is its key under pools"


def across_pools(pools: Mapping[Any, Any]) -> Iterator[str]:
    """Yield what is wrong with the pools together, though one may be wrong in itself."""
    if not pools:
        yield "pools: there is none; describe at least one, with default: true"
        return
    shapes = {str(key): pool for key, pool in pools.items() if isinstance(pool, dict)}
    defaults = [key for key, pool in shapes.items() if pool.get("default") is True]
    # Where a value is neither true nor false, that is told instead.
    clear = all(isinstance(pool.get("default", False), bool) for pool in shapes.values())
    listed = ", ".join(shapes)
    if not defaults and clear and shapes:
        yield f"pools: no pool is the default; add default: true to one of {listed}"
    if len(defaults) > 1:
        yield (
            f"pools: more than one is the default ({', '.join(defaults)}); "
            "keep default: true in exactly one"
        )
    for key in defaults:
        if shapes[key].get("scarce") is True and len(shapes) > 1:
            yield (
                f"pools.{key}.scarce: true contradicts default: true, because work that names no "
                "pool goes to the default pool; take one of them away"
            )


def _without_titles(value: Any) -> Any:
    """Drop the titles that pydantic makes from names, which say nothing more."""
    if isinstance(value, dict):
        return {
            key: _without_titles(item)
            for key, item in value.items()
            if key != "title" or not isinstance(item, str)
        }
    return [_without_titles(item) for item in value] if isinstance(value, list) else value
