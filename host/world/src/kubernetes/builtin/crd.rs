//! CustomResourceDefinitions: what they must be (a structural schema most of all), and the status that their controllers write.

use serde_json::{Value, json};

use super::rules::{list, text};
use crate::kubernetes::metadata::subdomain_name;
use crate::kubernetes::schema;
use crate::kubernetes::status::Cause;
use crate::kubernetes::store::{meta, set};

const LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// What the CRD controllers write within a moment: names are accepted, it is established.
pub(crate) fn establish(value: &mut Value, now: &str) {
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now});
    let status = json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "storedVersions": [],
    });
    if let Some(map) = value.as_object_mut() {
        map.insert("status".to_owned(), status);
    }
    keep_up(value);
    set(value, "finalizers", json!(["customresourcecleanup.apiextensions.k8s.io"]));
}

/// What they write after a change of the spec: names are accepted, a storage version is remembered.
pub(crate) fn keep_up(value: &mut Value) {
    let names = value.pointer("/spec/names").cloned().unwrap_or_default();
    let stored: Vec<Value> = list(value, "/spec/versions")
        .iter()
        .filter(|v| is(v, "storage"))
        .map(|v| text(v, "/name").into())
        .collect();
    let Some(status) = value.get_mut("status").and_then(Value::as_object_mut) else { return };
    status.insert("acceptedNames".to_owned(), names);
    if let Some(all) = status.entry("storedVersions").or_insert_with(|| json!([])).as_array_mut() {
        all.extend(stored.into_iter().filter(|v| !all.contains(v)).collect::<Vec<_>>());
    }
}

/// What a deletion writes: its objects go first.
pub(crate) fn terminate(value: &mut Value, now: &str) {
    let condition = json!({
        "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending", "lastTransitionTime": now,
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    });
    if let Some(all) = value.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        all.push(condition);
    }
}

fn is(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// What is wrong with a new one.
pub(super) fn check(value: &Value, causes: &mut Vec<Cause>) {
    let name = meta(value, "name").cloned().unwrap_or_default();
    if name != format!("{}.{}", text(value, "/spec/names/plural"), text(value, "/spec/group")) {
        causes.push(Cause::invalid("metadata.name", &name, "must be spec.names.plural+\".\"+spec.group"));
    }
    spec(value, causes);
}

/// What is wrong with a changed one.
pub(super) fn check_update(value: &Value, old: &Value, causes: &mut Vec<Cause>) {
    spec(value, causes);
    for field in ["scope", "names/kind", "group", "names/plural"] {
        let path = format!("/spec/{field}");
        if value.pointer(&path) != old.pointer(&path) {
            let found = value.pointer(&path).cloned().unwrap_or_default();
            let field = format!("spec.{}", field.replace('/', "."));
            causes.push(Cause::invalid(&field, &found, "field is immutable"));
        }
    }
    let versions: Vec<&str> = list(value, "/spec/versions").iter().map(|v| text(v, "/name")).collect();
    for (i, stored) in list(value, "/status/storedVersions").iter().enumerate() {
        let name = stored.as_str().unwrap_or_default();
        if !versions.contains(&name) {
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            causes.push(Cause::invalid(&format!("status.storedVersions[{i}]"), stored, &why));
        }
    }
}

fn spec(value: &Value, causes: &mut Vec<Cause>) {
    let group = text(value, "/spec/group");
    if group.is_empty() {
        causes.push(Cause::required("spec.group", ""));
    } else if let Some(wrong) = subdomain_name(group).into_iter().next() {
        causes.push(Cause::invalid("spec.group", &group.into(), &wrong));
    } else if !group.contains('.') {
        causes.push(Cause::invalid("spec.group", &group.into(), "should be a domain with at least one dot"));
    }
    match text(value, "/spec/scope") {
        "" => causes.push(Cause::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => causes.push(Cause::not_supported("spec.scope", &other.into(), &["Cluster", "Namespaced"])),
    }
    versions(value, causes);
    names(value, causes);
}

fn versions(value: &Value, causes: &mut Vec<Cause>) {
    let all = list(value, "/spec/versions");
    let shown = Value::from(all.to_vec());
    let mut seen = Vec::new();
    for (i, version) in all.iter().enumerate() {
        let (path, name) = (format!("spec.versions[{i}]"), text(version, "/name"));
        label(&format!("{path}.name"), name, causes);
        if i == 0 {
            // Of v1beta1, where the first one had a place of its own.
            label("spec.version", name, causes);
        }
        if seen.contains(&name) {
            causes.push(Cause::invalid("spec.versions", &shown, "must contain unique version names"));
        }
        seen.push(name);
        let path = format!("{path}.schema.openAPIV3Schema");
        match version.pointer("/schema/openAPIV3Schema") {
            Some(schema) => structural(schema, &path, Level::Root, causes),
            None => causes.push(Cause::required(&path, "schemas are required")),
        }
    }
    if all.iter().filter(|version| is(version, "storage")).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &shown, why));
    }
}

fn names(value: &Value, causes: &mut Vec<Cause>) {
    for (key, mixed) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        let (path, found) = (format!("spec.names.{key}"), text(value, &format!("/spec/names/{key}")));
        if found.is_empty() {
            causes.push(Cause::required(&path, ""));
        } else if mixed && !is_label(&found.to_ascii_lowercase()) {
            let why = format!("may have mixed case, but should otherwise match: {LABEL}");
            causes.push(Cause::invalid(&path, &found.into(), &why));
        } else if !mixed {
            label(&path, found, causes);
        }
    }
    for key in ["shortNames", "categories"] {
        for (i, name) in list(value, &format!("/spec/names/{key}")).iter().enumerate() {
            label(&format!("spec.names.{key}[{i}]"), name.as_str().unwrap_or_default(), causes);
        }
    }
    let (kind, listed) = (text(value, "/spec/names/kind"), text(value, "/spec/names/listKind"));
    if !kind.is_empty() && kind == listed {
        let why = "kind and listKind may not be the same";
        causes.push(Cause::invalid("spec.names.listKind", &listed.into(), why));
    }
}

fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || c == '-')
}

fn label(path: &str, found: &str, causes: &mut Vec<Cause>) {
    if !is_label(found) {
        causes.push(Cause::invalid(path, &found.into(), LABEL));
    }
}

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Whether every value has a type, and only one.
fn structural(raw: &Value, path: &str, level: Level, causes: &mut Vec<Cause>) {
    kind(raw, path, level, causes);
    if is(raw, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        causes.push(Cause::forbidden(&format!("{path}.uniqueItems"), why));
    }
    if raw.get("$ref").is_some() {
        causes.push(Cause::forbidden(&format!("{path}.$ref"), "$ref is not supported"));
    }
    let properties = raw.get("properties").and_then(Value::as_object);
    if let Some(additional) = raw.get("additionalProperties") {
        if properties.is_some_and(|p| !p.is_empty()) {
            let why = "additionalProperties and properties are mutual exclusive";
            causes.push(Cause::forbidden(&format!("{path}.additionalProperties"), why));
        }
        if additional.is_object() {
            structural(additional, &format!("{path}.additionalProperties"), Level::Field, causes);
        }
    }
    for (name, inner) in properties.into_iter().flatten() {
        structural(inner, &format!("{path}.properties[{name}]"), Level::Field, causes);
    }
    match raw.get("items") {
        Some(items) => structural(items, &format!("{path}.items"), Level::Item, causes),
        None if text(raw, "/type") == "array" => {
            causes.push(Cause::required(&format!("{path}.items"), "must be specified"));
        }
        None => {}
    }
    if let Some(default) = raw.get("default") {
        for cause in schema::validate(&schema::parse(raw, None), default, None, false) {
            let below = if cause.field.is_empty() { String::new() } else { format!(".{}", cause.field) };
            causes.push(Cause { field: format!("{path}.default{below}"), ..cause });
        }
    }
}

fn kind(raw: &Value, path: &str, level: Level, causes: &mut Vec<Cause>) {
    let field = format!("{path}.type");
    let any = is(raw, "x-kubernetes-int-or-string") || is(raw, "x-kubernetes-preserve-unknown-fields");
    match (text(raw, "/type"), level) {
        ("", Level::Root) => causes.push(Cause::required(&field, "must not be empty at the root")),
        ("", _) if any => {}
        ("", Level::Field) => {
            causes.push(Cause::required(&field, "must not be empty for specified object fields"));
        }
        ("", Level::Item) => {
            causes.push(Cause::required(&field, "must not be empty for specified array items"));
        }
        (found, _) => {
            let known = ["array", "boolean", "integer", "number", "object", "string"];
            if !known.contains(&found) {
                causes.push(Cause::not_supported(&field, &found.into(), &known));
            }
            if level == Level::Root && found != "object" {
                causes.push(Cause::invalid(&field, &found.into(), "must be object at the root"));
            }
        }
    }
}
