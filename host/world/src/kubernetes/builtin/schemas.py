#!/usr/bin/env python3
"""Makes schemas.json: what the model knows of the types of built-in kinds. Usage: schemas.py MODULES VERSION >schemas.json,
where MODULES is the folder `k8s.io` of a Go module cache and VERSION is as `36.3`.

Types, defaults, list types and merge keys are those of the OpenAPI documents in the source; `x-go` says what these lack: `p` a
pointer (a zero value is kept), `z` a field that is written although it is zero (no omitempty); `x-proto` is its number in protobuf.
"""
import json
import re
import sys
from pathlib import Path

MODULES, VERSION = Path(sys.argv[1]), sys.argv[2]
DOCUMENTS = ["api__v1", "apis__coordination.k8s.io__v1", "apis__discovery.k8s.io__v1", "apis__events.k8s.io__v1",
             "apis__networking.k8s.io__v1", "apis__rbac.authorization.k8s.io__v1", "apis__apiextensions.k8s.io__v1"]
KINDS = ["core.v1.Namespace", "core.v1.Node", "core.v1.Pod", "core.v1.Service", "core.v1.ConfigMap", "core.v1.Secret",
         "core.v1.ServiceAccount", "core.v1.Event", "coordination.v1.Lease", "discovery.v1.EndpointSlice", "events.v1.Event",
         "networking.v1.NetworkPolicy", "rbac.v1.Role", "rbac.v1.RoleBinding", "rbac.v1.ClusterRole", "rbac.v1.ClusterRoleBinding"]
CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
KEEP = ["type", "format", "required", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
        "x-kubernetes-patch-merge-key", "x-kubernetes-patch-strategy", "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields"]
GO = ["api@v0.{}/*/v1/types.go", "apimachinery@v0.{}/pkg/apis/meta/v1/types.go",
      "apiextensions-apiserver@v0.{}/pkg/apis/apiextensions/v1/types*.go"]


def go_fields():
    """(folder, struct, json name) -> the field's Go type and its json tag's options"""
    found = {}
    for pattern in GO:
        for path in MODULES.glob(pattern.format(VERSION)):
            struct = None
            for line in path.read_text().splitlines():
                if m := re.match(r"type (\w+) struct", line):
                    struct = m[1]
                elif line == "}":
                    struct = None
                elif struct and (m := re.match(r"\t(\w+)?\s*(\S+)\s+`.*json:\"([^\"]*)\"", line)):
                    name, *options = m[3].split(",")
                    number = re.search(r'protobuf:"\w+,(\d+)', line)
                    found[path.parent.parent.name + "." + path.parent.name, struct, name] = (m[2], options, number and int(number[1]))
    return found


FIELDS = go_fields()
schemas = {}
for document in DOCUMENTS:
    schemas |= json.loads((MODULES / f"kubernetes@v1.{VERSION}/api/openapi-spec/v3/{document}_openapi.json").read_text())["components"]["schemas"]


def folder(name):
    return ".".join(name.split(".")[-3:-1])


def small(schema, where):
    out = {k: schema[k] for k in KEEP if k in schema}
    refs = [schema] if "$ref" in schema else schema.get("allOf", [])
    for ref in refs:
        name = ref["$ref"].rsplit("/", 1)[1]
        out["$ref"] = "#/components/schemas/" + name
        need(name)
    if schema.get("default") not in (None, "", 0, False, {}):
        out["default"] = schema["default"]
    if "oneOf" in schema:  # Quantity and IntOrString
        out["x-kubernetes-int-or-string"] = True
    if "items" in schema:
        out["items"] = small(schema["items"], None)
    if isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = small(schema["additionalProperties"], None)
    properties = {}
    for key, value in schema.get("properties", {}).items():
        properties[key] = small(value, None)
        go = FIELDS.get((folder(where), where.rsplit(".", 1)[1], key)) if where else None
        if go:
            kind, options, number = go
            if number:
                properties[key]["x-proto"] = number
            if kind.startswith("*"):
                properties[key]["x-go"] = "p"
            elif "omitzero" not in options and ("omitempty" not in options or is_struct(properties[key])):
                properties[key]["x-go"] = "z"
    if properties:
        out["properties"] = properties
    return out


def is_struct(schema):
    ref = schema.get("$ref")
    return ref is not None and (ref.endswith("Time") or "properties" in schemas[ref.rsplit("/", 1)[1]])


done = {}


def need(name):
    if name in done:
        return
    done[name] = None
    if name.startswith(CRD + "JSONSchemaProps"):
        done[name] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return
    if name.endswith(".FieldsV1") or name.startswith(CRD + "JSON"):
        done[name] = {"x-kubernetes-preserve-unknown-fields": True}
        return
    done[name] = small(schemas[name], name)


for kind in KINDS:
    need("io.k8s.api." + kind)
need(CRD + "CustomResourceDefinition")
print(json.dumps(dict(sorted(done.items())), separators=(",", ":"), sort_keys=True).replace('},"io.k8s', '},\n"io.k8s'))
