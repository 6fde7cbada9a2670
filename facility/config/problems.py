"""What pydantic found wrong, as sentences for the person who wrote the file."""

import re
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from facility.config.shapes import OF_THE_WHOLE
from facility.errors import nearest
from facility.system.machine import architecture_name

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60

_CLAUSES = {
    "missing": "is missing",
    "bool_type": "must be true or false (without quotes)",
    "int_type": "must be a whole number (without quotes)",
    "float_type": "must be a number (without quotes)",
    "finite_number": "must be a finite number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "dict_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "tuple_type": "must be a list ([...])",
    "recursion_loop": "must not refer to itself",
}
# Consequences of another error of the same pool, which is reported by itself.
_CONSEQUENCES = {"default_factory_not_called"}


def dotted(path: tuple[int | str, ...]) -> str:
    """Write a path in the file: `pools.gpu.tolerations.0.key`."""
    return ".".join(str(step) for step in path)


def show(value: object) -> str:
    """Write a value of the file, shortened where it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _SHORT.repr(value)


def sentences(errors: list[ErrorDetails], model: type[BaseModel]) -> Iterator[str]:
    """Say each error with its path, the value, and what is valid.

    Parameters
    ----------
    errors
        What a validation of `model` found.
    model
        The model, of which unknown and missing keys are explained.
    """
    wrong_keys = {error["loc"][:-1] for error in errors if error["loc"][-1:] == ("[key]",)}
    for error in errors:
        kind, path = error["type"], error["loc"]
        if kind in _CONSEQUENCES or path in wrong_keys:
            continue
        if path and path[-1] == "[key]":
            yield f"{dotted(path[:-2])}: the key {show(error['input'])} must be text, so quote it"
        elif kind == OF_THE_WHOLE:
            yield f"{dotted(path[:-1])}: {error['msg']}"
        elif kind == "extra_forbidden":
            yield f"{dotted(path)}: {_unknown(str(path[-1]), model_at(model, path[:-1]))}"
        elif kind == "value_error" and isinstance(error["input"], Mapping):
            # Of several keys together, which would be too much to show.
            yield ": ".join(part for part in (dotted(path), _clause(error)) if part)
        elif kind == "missing":
            yield f"{dotted(path)}: is missing{_wanted(model_at(model, path[:-1]), path[-1])}"
        else:
            value = "has no value and" if error["input"] is None else show(error["input"])
            yield f"{dotted(path)}: {value} {_clause(error)}"


def file_keys(model: type[BaseModel]) -> dict[str, str]:
    """Keys of a model in a file, each with its attribute."""
    schema = model.model_json_schema()
    described = schema.get("properties", {})
    aliases = {info.alias or name: name for name, info in model.model_fields.items()}
    return {key: name for key, name in aliases.items() if key in described}


def model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """Find the model of the mapping at a path, which is one of models only.

    Steps that are no key of a model (a pool's name, an index of a list) lead to
    the items of the field before.
    """
    for step in path:
        fields = {info.alias or name: info for name, info in model.model_fields.items()}
        if step in fields:
            found = _inner_model(fields[str(step)].annotation)
            model = found or model
    return model


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """Find the model in `dict[str, M]`, `tuple[M, ...]` and `M | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _inner_model(part)
        if found is not None:
            return found
    return None


def _unknown(key: str, model: type[BaseModel]) -> str:
    valid = sorted(file_keys(model))
    return f"unknown key{nearest(key, valid)}; valid are {', '.join(valid)}"


def _wanted(model: type[BaseModel], key: int | str) -> str:
    """Say what belongs under a missing key."""
    for name, info in model.model_fields.items():
        if key in (name, info.alias):
            example = f", for example {info.examples[0]}" if info.examples else ""
            return f" ({(info.description or '').rstrip('.').split(':')[0]}{example})"
    return ""


def _clause(error: ErrorDetails) -> str:
    """Say what is valid instead of the value."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_type":
        hint = ""
        if isinstance(value, bool | int | float):
            hint = f', so quote it: "{show(value)}"'
        return f"must be text{hint}"
    hint = ""
    if kind == "literal_error" and isinstance(value, str):
        # Some know only the kernel's names of architectures.
        hint = nearest(value, re.findall("'([^']+)'", context["expected"]))
        if value in ("x86_64", "aarch64"):
            hint = f" (did you mean {architecture_name(value)!r}?)"
    if kind in _CLAUSES:
        return _CLAUSES[kind].format(**context) + hint
    # A kind that no model raises today still reads as a sentence.
    return str(error["msg"][:1].lower() + error["msg"][1:])


def plain(value: Any) -> Any:
    """Copy nested mappings and sequences as the dicts and lists that YAML gives."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
