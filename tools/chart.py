"""Write what of the chart follows from the package: schema, table of values, roles and policies.

`make chart` runs it, and the tests compare what it writes with what is there. Texts of roles and
policies are those of `facility.kubernetes.tenant`; what differs between releases stands in them
as what Helm fills in.
"""

import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from facility.config import json_schema, load
from facility.hub.kubernetes.values.model import Values
from facility.kubernetes.tenant import Release, SharedVolume, release_set
from facility.kubernetes.tenant.network import NOT_PUBLIC

CHART = Path(__file__).resolve().parents[1] / "helm" / "facility"
BEGIN, END = "<!-- values -->", "<!-- end of values -->"
DATA = (
    *("selectors", "tolerated", "gpusOf", "runtimes", "images", "imagePrefixes"),
    *("selectable", "nodeAffinity", "annotations", "annotationsOf", "longestGrace"),
    *("readOnlyClaims", "csiVolumes", "finalizers"),
    *("sources", "attributes", "mountOptions"),
)
"""Variables of the policies that templates/_pools.tpl makes from the values."""
FILLED = {
    "zzname": "{{ .Release.Name }}",
    "zzhub": "{{ .Release.Namespace }}",
    "zzoperator": "{{ default .Release.Namespace .Values.operator.namespace }}",
    "zzaccount": "{{ .Values.operator.account }}",
    "zzprefix-": "{{ .Values.tenants.prefix }}",
}
"""What stands for a release's names while the manifests are made."""


def schema() -> str:
    """Return the JSON schema of the values."""
    found = _plain(Values.model_json_schema())
    pools = json_schema()
    definitions = {**found.pop("$defs"), **pools.pop("$defs")}
    found["properties"]["pools"] = pools["properties"]["pools"]
    # Helm hands it to every chart.
    found["properties"]["global"] = {"type": "object"}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart facility",
        "$defs": dict(sorted(definitions.items())),
        **found,
    }
    return json.dumps(whole, indent=1) + "\n"


def _plain(value: Any) -> Any:
    """Drop titles and defaults, which values.yaml says better."""
    if isinstance(value, dict):
        return {
            key: _plain(item)
            for key, item in value.items()
            if key not in ("title", "default") or isinstance(item, dict)
        }
    return [_plain(item) for item in value] if isinstance(value, list) else value


def release_template(kinds: tuple[str, ...]) -> str:
    """Return the manifests of a release that are of some kinds, as a template."""
    config = load({"pools": {"cpu": {"default": True, "cpu": 1, "memory": "1Gi", "maxWorkers": 1}}})
    release = Release(
        name="zzname",
        namespace="zzhub",
        config=config,
        images=("none/none",),
        operator_account="zzaccount",
        operator_namespace="zzoperator",
        prefix="zzprefix-",
    )
    always = {_name(each) for each in release_set(release)}
    template = {"nfs": {"server": "none", "path": "/"}}
    volume = SharedVolume("none", 1, ("ReadOnlyMany",), source=template)
    texts = ["{{- /* Written by `make chart`. */}}\n"]
    for manifest in release_set(dataclasses.replace(release, volumes=(volume,))):
        if manifest["kind"] not in kinds:
            continue
        for variable in manifest.get("spec", {}).get("variables", ()):
            if variable["name"] in DATA:
                variable["expression"] = f"zzdata.{variable['name']}"
        text = yaml.safe_dump(manifest, sort_keys=False, width=10_000, explicit_start=True)
        assert "{{" not in text, "Helm would take it for its own"
        for word, filled in FILLED.items():
            text = text.replace(word, filled)
        # A quote is doubled within quotes.
        data = """{{ include "facility.data.\\1" . | replace "'" "''" | squote }}"""
        text = re.sub(r"zzdata\.(\w+)", data, text)
        if _name(manifest) not in always:
            text = f'{{{{- if include "facility.templates" . }}}}\n{text}{{{{- end }}}}\n'
        texts.append(text)
    return "".join(texts)


def _name(manifest: Mapping[str, Any]) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def table() -> str:
    """Return the table of values for the chart's README."""
    rows = ["| value | default | |", "|---|---|---|"]
    for path, default, found in described():
        shown = json.dumps(default) if default is not None else ""
        text = found.get("description", "").replace("|", "\\|").replace("\n", " ")
        rows.append(f"| `{path}` | {f'`{shown}`' if shown else ''} | {text} |")
    return "\n".join(rows)


def described() -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield each value's path, its default (None where it has none) and its part of the schema."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    whole = json.loads(schema())
    yield from _rows(whole, whole["properties"], defaults, "")


def _rows(
    whole: Mapping[str, Any], properties: Mapping[str, Any], defaults: Any, path: str
) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    for key, found in properties.items():
        if key == "global":
            continue
        default = defaults.get(key) if isinstance(defaults, dict) else None
        shape = _shape(whole, found)
        each = found.get("additionalProperties")
        # pydantic leaves out what the model's own description says too.
        told = {"description": shape["description"], **found} if shape else found
        yield f"{path}{key}", None if shape else default, told
        if shape:
            yield from _rows(whole, shape["properties"], default, f"{path}{key}.")
        elif isinstance(each, dict) and key != "pools":
            inner = _shape(whole, each)
            if inner:
                yield from _rows(whole, inner["properties"], None, f"{path}{key}.NAME.")


def _shape(whole: Mapping[str, Any], found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the object that a property is, None if it is a plain value."""
    for option in (found, *found.get("anyOf", ())):
        name = option.get("$ref", "").removeprefix("#/$defs/")
        shape = whole["$defs"].get(name, {})
        each: Mapping[str, Any]
        for each in (shape, *shape.get("anyOf", ())):
            if "properties" in each:
                return each
    return None


def readme() -> str:
    """Return the chart's README with the table of values as it has to be."""
    text = (CHART / "README.md").read_text()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def internet() -> str:
    """Return the public addresses, each range with those in it that are not public."""
    return (
        "{{- /* Written by `make chart`: public addresses, without those that are not. */}}\n"
        f'{{{{- define "facility.internet" -}}}}\n{json.dumps(NOT_PUBLIC)}\n{{{{- end }}}}\n'
    )


def written() -> dict[Path, str]:
    """Return all that follows from the package, each under its path."""
    policies = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    templates = CHART / "templates" / "release"
    return {
        CHART / "values.schema.json": schema(),
        CHART / "README.md": readme(),
        CHART / "templates" / "_internet.tpl": internet(),
        templates / "roles.yaml": release_template(("ClusterRole", "ClusterRoleBinding")),
        templates / "policies.yaml": release_template(policies),
    }


def main() -> int:
    """Write it."""
    for path, text in written().items():
        path.write_text(text)
        print(path.relative_to(CHART.parents[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
