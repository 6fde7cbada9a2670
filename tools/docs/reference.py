"""Text of the reference pages, from the code: functions, command, values, metrics, errors."""

import argparse
import importlib
import inspect
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import facility
from facility import analysis, cli, config, errors
from tools.chart import described

RETURNED = {
    "PooledCluster": "facility.deploy.cluster",
    "Adapting": "facility.deploy.cluster",
    "Report": "facility.analysis.results.report",
    "Record": "facility.analysis.results.record",
    "Weights": "facility.analysis.inputs.cut_bookkeepers",
    "BackgroundRun": "facility.analysis.background",
    "Comparison": "facility.analysis.results.comparison",
    "Difference": "facility.analysis.results.comparison",
    "Written": "facility.analysis.results.skim",
    "SkimFile": "facility.analysis.results.skim",
    "Fileset": "facility.analysis.inputs.fileset",
    "GoodRuns": "facility.analysis.inputs.good_runs",
    "PeakFit": "facility.analysis.samples.peak_fit",
    "Table": "facility.table",
    "Text": "facility.table",
}
"""What public functions return: classes with a page, and the modules that they are in."""
WARNINGS = (
    ("RoutingWarning", "facility.deploy.cluster"),
    ("SkippedFilesWarning", "facility.analysis.inputs.fileset"),
    ("PlainReadingWarning", "facility.analysis.run"),
    ("MetadataWarning", "facility.analysis.run"),
    ("PartialResultsWarning", "facility.analysis.run"),
    ("CheckpointWarning", "facility.analysis.runner.checkpoint"),
)
VARIABLES = {
    "FACILITY_CONFIG": "path of a pools.yaml",
    "FACILITY_BACKEND": "where Dask clusters run: `local` or `kubernetes`",
    "FACILITY_IMAGE": "outside of Kubernetes: the image that scheduler and workers run",
    "FACILITY_DATA": "the files that the notebook *The Z boson's peak* reads",
    "FACILITY_SITES": "names with which the nearest storage in Rucio begins, the nearest first",
    "FACILITY_XCACHE": "caches through which files on XRootD servers are read",
    "FACILITY_SEND": "how much of the folder beside the notebook workers on Kubernetes are sent: "
    "of a file, and in all; `50M:500M`",
    "FACILITY_POOLS": "counts of workers that stand above those of a call: `cpu=0:200,gpu=2`",
}
"""Environment variables that a user may set."""


def public(module: ModuleType) -> dict[str, Any]:
    """Return what a module offers, each under its name."""
    return {name: getattr(module, name) for name in module.__all__}


def api(module: ModuleType) -> str:
    """Describe the functions and classes of a module that are no errors."""
    return "\n".join(
        directive(value, f"{module.__name__}.{name}")
        for name, value in public(module).items()
        if not (inspect.isclass(value) and issubclass(value, BaseException))
    )


def returned() -> str:
    """Describe the classes of what public functions return."""
    found = [getattr(importlib.import_module(module), name) for name, module in RETURNED.items()]
    return "\n".join(directive(each, arguments="()") for each in found)


def directive(value: Any, path: str = "", arguments: str = "") -> str:
    """Have autodoc describe a function or a class with its own public members.

    Parameters
    ----------
    path
        Its name with the module that users import it from; by default where it is.
    arguments
        What stands for its arguments where they concern no user.
    """
    path = path or f"{value.__module__}.{value.__name__}"
    kind = "autofunction"
    options: list[str] = []
    if inspect.isclass(value):
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
        members = ", ".join(members_of(value))
        options = [f"   :members: {members}", "   :member-order: bysource"] if members else []
    name = path.rpartition(".")[2]
    described = ["```{eval-rst}", f".. {kind}:: {path}{arguments}", *options, "```"]
    return "\n".join([f"### {name}", "", *described, ""])


def members_of(value: type) -> Iterator[str]:
    """Name the methods and properties that a class itself adds, and says something about."""
    for name, member in vars(value).items():
        described = isinstance(member, property) or inspect.isfunction(member)
        if described and not name.startswith("_") and inspect.getdoc(member):
            yield name


def exceptions() -> str:
    """Describe every error that is raised on purpose, and every warning."""
    found = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    warnings = [getattr(importlib.import_module(module), name) for name, module in WARNINGS]
    parts = ["## Errors", "", *map(directive, found), "## Warnings", "", *map(directive, warnings)]
    return "\n".join(parts)


def command() -> str:
    """Describe the command `facility`, from its parser."""
    return "\n".join(_command(cli.build_parser(["hub"]), 2))


def _command(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    groups = [each for each in shown if isinstance(each, argparse._SubParsersAction)]
    options = [each for each in shown if each not in groups and each.dest != "help"]
    if level > 2:
        yield f"{'#' * (level - 1)} `{parser.prog}`\n"
    yield f"{parser.description}\n"
    if not groups or options:
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
        yield f"```text\n{usage}\n```\n"
    for action in options:
        yield _option(parser, action)
    if parser.epilog:
        yield f"{parser.epilog}\n"
    for group in groups:
        for child in group.choices.values():
            yield from _command(child, level + 1)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    named = ", ".join(f"`{each}`" for each in action.option_strings)
    metavar = action.metavar or (action.dest.upper() if named else action.dest)
    if action.choices is not None and not action.metavar:
        metavar = ", ".join(map(str, action.choices))
    takes = action.nargs != 0
    head = f"{named} `{metavar}`" if named and takes else named or f"`{metavar}`"
    told = (action.help or "").replace("%(default)s", str(action.default))
    return f"{head}\n: {told}\n"


def pools() -> str:
    """Describe the keys of a pool, from the JSON schema of pools.yaml."""
    whole = config.json_schema()
    rows = ["| key | type | default | what it is |", "|---|---|---|---|"]
    shape = whole["$defs"]["Pool"]
    for key, found in shape["properties"].items():
        default = "required" if key in shape["required"] else _default(found)
        rows.append(f"| `{key}` | {_type(found)} | {default} | {_described(found)} |")
    return "\n".join(rows)


def _default(found: Any) -> str:
    value = found.get("default")
    return "" if value in (None, "", [], {}) else f"`{json.dumps(value)}`"


def _described(found: Any) -> str:
    text: str = found.get("description", "").replace("|", "\\|").replace("\n", " ")
    # A string's own quotes would not be needed in YAML.
    examples = [
        each if isinstance(each, str) else json.dumps(each) for each in found.get("examples", ())
    ]
    return text + (f" For example `{'`, `'.join(examples)}`." if examples else "")


def _type(found: Any) -> str:
    """Name the type of a value as people do."""
    choices = found.get("anyOf", [found])
    if any("pattern" in each and "i|" in each["pattern"] for each in choices):
        switched = any(each.get("type") == "boolean" for each in choices)
        return "true, false or bytes" if switched else "bytes"
    if any("pattern" in each and each["pattern"].endswith("m?)$") for each in choices):
        return "cores"
    plain = {"string": "text", "integer": "whole number", "number": "number", "object": "mapping"}
    plain |= {"boolean": "true or false", "array": "list"}
    kinds = []
    for each in choices:
        if "enum" in each:
            kinds.append(" or ".join(f"`{value}`" for value in each["enum"]))
        elif "$ref" in each:
            kinds.append("mapping")
        elif each.get("type") != "null":
            kinds.append(plain[each["type"]])
    return " or ".join(dict.fromkeys(kinds))


def values() -> str:
    """Describe the values of the chart, from their model and their defaults."""
    found = {path: (default, shape) for path, default, shape in described()}
    lines = []
    for path, (default, shape) in found.items():
        shown = _default({"default": default})
        inside = any(other.startswith(f"{path}.") for other in found)
        if "." not in path:
            lines += ["", f"## `{path}`", "", _described(shape), ""]
            if inside:
                lines += ["| value | type | default | what it is |", "|---|---|---|---|"]
            elif shown:
                lines += [f"It is {_type(shape)}, by default {shown}."]
        elif not inside or "$ref" not in shape:
            of = path.rpartition(".")[0]
            text = _described(shape)
            if "." in of and not of.endswith(".NAME"):
                text = f"{_described(found[of][1]).rstrip('.')}: {_within(text)}"
            lines.append(f"| `{path}` | {_type(shape)} | {shown} | {text} |")
    return "\n".join(lines)


def _within(sentence: str) -> str:
    """Begin a sentence as it would within another one."""
    word = sentence.partition(" ")[0]
    return sentence[:1].lower() + sentence[1:] if word[1:].islower() else sentence


def variables() -> str:
    """Describe the environment variables that a user may set."""
    rows = ["| variable | what it is |", "|---|---|"]
    rows += [f"| `{name}` | {text} |" for name, text in VARIABLES.items()]
    return "\n".join(rows)


def metrics() -> str:
    """Describe what JupyterHub tells Prometheus, from its own module."""
    from jupyterhub import metrics as hub
    from prometheus_client.metrics import MetricWrapperBase

    found = [each for each in vars(hub).values() if isinstance(each, MetricWrapperBase)]
    rows = ["| metric | type | labels | what it is |", "|---|---|---|---|"]
    for each in sorted(found, key=lambda each: each._name):
        labels = ", ".join(f"`{label}`" for label in each._labelnames)
        rows.append(f"| `{each._name}` | {each._type} | {labels} | {each._documentation} |")
    return "\n".join(rows)


def audit() -> str:
    """Describe the lines of the hub's audit trail, from their schema."""
    from facility.hub.kubernetes import audit as trail

    rows = ["| field | what it is |", "|---|---|"]
    rows += [f"| `{name}` | {text} |" for name, text in trail.FIELDS.items()]
    rows += ["", "| `action` | when |", "|---|---|"]
    rows += [f"| `{name}` | {text} |" for name, text in trail.ACTIONS.items()]
    rows += ["", "| `outcome` | when |", "|---|---|"]
    rows += [f"| `{name}` | {text} |" for name, text in trail.OUTCOMES.items()]
    return "\n".join(rows)


PARTS = {
    "facility": lambda: api(facility),
    "facility.analysis": lambda: api(analysis),
    "returned": returned,
    "errors": exceptions,
    "command": command,
    "pools": pools,
    "values": values,
    "variables": variables,
    "metrics": metrics,
    "audit": audit,
}
"""What pages may have generated, each under the name by which they ask for it."""
