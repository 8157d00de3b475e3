//! What `metadata` must be.

use serde_json::{Map, Value};

use super::registry::{Behaviour, Resource};
use super::status::Cause;
use super::store::meta;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !text.is_empty()
        && text.chars().all(|c| plain(c) || c == '-')
        && text.starts_with(plain)
        && text.ends_with(plain)
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// A DNS label (RFC 1123); what is wrong with it.
pub(crate) fn label_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push("must be no more than 63 bytes".to_owned());
    }
    if !is_label(text) {
        wrong.push(LABEL.to_owned());
    }
    wrong
}

fn label_1035(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push("must be no more than 63 bytes".to_owned());
    }
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        wrong.push(LABEL_1035.to_owned());
    }
    wrong
}

/// A DNS subdomain; what is wrong with it.
pub(crate) fn subdomain_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 253 {
        wrong.push("must be no more than 253 bytes".to_owned());
    }
    if !is_subdomain(text) {
        wrong.push(SUBDOMAIN.to_owned());
    }
    wrong
}

fn path_segment(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if matches!(text, "." | "..") {
        wrong.push(format!("may not be '{text}'"));
    }
    for bad in ['/', '%'] {
        if text.contains(bad) {
            wrong.push(format!("may not contain '{bad}'"));
        }
    }
    wrong
}

/// What is wrong with a name of that kind.
fn name(resource: &Resource, text: &str, prefix: bool) -> Vec<String> {
    // a prefix may end with a dash, which what follows makes whole
    let text = if prefix {
        text.strip_suffix('-').map(|t| format!("{t}a")).unwrap_or_else(|| text.to_owned())
    } else {
        text.to_owned()
    };
    match resource.behaviour {
        Behaviour::Namespace => label_name(&text),
        Behaviour::Service => label_1035(&text),
        Behaviour::Other => path_segment(&text),
        _ => subdomain_name(&text),
    }
}

/// What is wrong with the metadata of a new object.
pub(crate) fn check(resource: &Resource, value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let text = |field: &str| meta(value, field).and_then(Value::as_str).unwrap_or_default();
    let (given, prefix) = (text("name"), text("generateName"));
    if !prefix.is_empty() {
        for wrong in name(resource, prefix, true) {
            causes.push(Cause::invalid("metadata.generateName", &Value::from(prefix), &wrong));
        }
    }
    if given.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    } else {
        for wrong in name(resource, given, false) {
            causes.push(Cause::invalid("metadata.name", &Value::from(given), &wrong));
        }
    }
    causes.extend(common(value));
    causes
}

fn common(value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(labels) = meta(value, "labels").and_then(Value::as_object) {
        causes.extend(check_labels(labels, "metadata.labels"));
    }
    if let Some(annotations) = meta(value, "annotations").and_then(Value::as_object) {
        for key in annotations.keys() {
            for wrong in qualified_name(&key.to_ascii_lowercase()) {
                causes.push(Cause::invalid("metadata.annotations", &Value::from(key.as_str()), &wrong));
            }
        }
        let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
        if size > 256 << 10 {
            causes.push(Cause::too_long("metadata.annotations", 256 << 10));
        }
    }
    causes.extend(owners(value));
    causes.extend(finalizers(value));
    causes
}

/// What is wrong with labels at a path.
pub(crate) fn check_labels(labels: &Map<String, Value>, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in labels {
        for wrong in qualified_name(key) {
            causes.push(Cause::invalid(path, &Value::from(key.as_str()), &wrong));
        }
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 {
            causes.push(Cause::invalid(path, value, "must be no more than 63 bytes"));
        }
        if !text.is_empty() && !is_name_part(text) {
            causes.push(Cause::invalid(path, value, LABEL_VALUE));
        }
    }
    causes
}

fn is_name_part(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    !text.is_empty()
        && text.chars().all(|c| plain(c) || "-_.".contains(c))
        && text.starts_with(plain)
        && text.ends_with(plain)
}

/// What is wrong with a key of labels, annotations or finalizers.
fn qualified_name(key: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let parts: Vec<&str> = key.split('/').collect();
    let part = match &*parts {
        [part] => *part,
        [prefix, part] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(subdomain_name(prefix).into_iter().map(|w| format!("prefix part {w}")));
            }
            *part
        }
        _ => {
            return vec![format!(
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if part.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if part.len() > 63 {
        wrong.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name_part(part) {
        wrong.push(QUALIFIED.to_owned());
    }
    wrong
}

fn owners(value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let list = meta(value, "ownerReferences").and_then(Value::as_array);
    let path = "metadata.ownerReferences";
    for owner in list.into_iter().flatten() {
        let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or_default();
        let empty = Value::from("");
        if text("apiVersion").is_empty() {
            causes.push(Cause::invalid(&format!("{path}.apiVersion"), &empty, "version must not be empty"));
        }
        for key in ["kind", "name", "uid"] {
            if text(key).is_empty() {
                causes.push(Cause::invalid(&format!("{path}.{key}"), &empty, "must not be empty"));
            }
        }
    }
    causes
}

fn finalizers(value: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let list = meta(value, "finalizers").and_then(Value::as_array);
    for finalizer in list.into_iter().flatten() {
        let text = finalizer.as_str().unwrap_or_default();
        for wrong in qualified_name(text) {
            causes.push(Cause::invalid("metadata.finalizers", finalizer, &wrong));
        }
    }
    causes
}

/// What is wrong with the metadata of a changed object.
pub(crate) fn check_update(_resource: &Resource, value: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let list = |v: &Value| -> Vec<String> {
        let list = meta(v, "finalizers").and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    if meta(old, "deletionTimestamp").is_some() {
        let before = list(old);
        let mut added: Vec<_> = list(value).into_iter().filter(|f| !before.contains(f)).collect();
        added.sort();
        if !added.is_empty() {
            let quoted: Vec<_> = added.iter().map(|f| format!("{f:?}")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                quoted.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &why));
        }
    }
    for field in ["name", "namespace"] {
        let (new, before) = (meta(value, field), meta(old, field));
        if new != before {
            let new = new.cloned().unwrap_or_else(|| Value::from(""));
            causes.push(Cause::invalid(&format!("metadata.{field}"), &new, "field is immutable"));
        }
    }
    causes.extend(common(value));
    causes
}

/// Sets a label.
pub(crate) fn label(value: &mut Value, key: &str, to: Value) {
    let mut labels = meta(value, "labels").and_then(Value::as_object).cloned().unwrap_or_default();
    labels.insert(key.to_owned(), to);
    super::store::set(value, "labels", Value::Object(labels));
}
