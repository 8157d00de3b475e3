//! What must differ, made the same: an answer in normal form.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

/// Uids, versions and the like of one side, by the order in which they appeared.
#[derive(Debug, Default)]
pub struct Names(BTreeMap<String, String>, BTreeMap<&'static str, usize>);

#[expect(clippy::unwrap_used, reason = "constant patterns")]
static PATTERNS: LazyLock<[(&str, Regex); 4]> = LazyLock::new(|| {
    [
        ("uid", Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap()),
        ("time", Regex::new(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?Z").unwrap()),
        ("address", Regex::new(r"\b10\.96\.[0-9]{1,3}\.[0-9]{1,3}\b").unwrap()),
        ("name", Regex::new(r"\bgen-[a-z0-9]{5}\b").unwrap()),
    ]
});

/// A version that no answer has shown.
#[expect(clippy::unwrap_used, reason = "a constant pattern")]
static UNSEEN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"in record \([0-9]+\)").unwrap());

#[expect(clippy::unwrap_used, reason = "a constant pattern")]
static AGE: LazyLock<Regex> = LazyLock::new(|| Regex::new("^([0-9]+[smhd]){1,2}$").unwrap());

/// What comes before it: the model says it without the dump.
const DUMP: &str = " (allow it to be set to 1 if it was previously negative)";

impl Names {
    fn of(&mut self, kind: &'static str, found: &str) -> String {
        if kind == "time" {
            return "<time>".to_owned();
        }
        if let Some(name) = self.0.get(found) {
            return name.clone();
        }
        let count = self.1.entry(kind).or_default();
        *count += 1;
        let name = format!("<{kind} {count}>");
        self.0.insert(found.to_owned(), name.clone());
        name
    }

    /// The normal form of an answer.
    pub fn normal(&mut self, mut body: Value) -> Value {
        let list = body.get("items").is_some() || body.get("kind").and_then(Value::as_str) == Some("Table");
        if list && let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
            // of a list: others write too
            if metadata.contains_key("resourceVersion") {
                metadata.insert("resourceVersion".to_owned(), "<list>".into());
            }
        }
        if let Some(items) = body.get_mut("items").and_then(Value::as_array_mut) {
            let before = items.len();
            items.retain(|i| i.pointer("/metadata/name").and_then(Value::as_str) != Some("kube-root-ca.crt"));
            // as an empty list of metadata is written
            let emptied = items.is_empty() && before > 0;
            if emptied
                && body.get("kind").and_then(Value::as_str) == Some("PartialObjectMetadataList")
                && let Some(map) = body.as_object_mut()
            {
                map.insert("items".to_owned(), Value::Null);
            }
        }
        if let Some(rows) = body.get_mut("rows").and_then(Value::as_array_mut) {
            rows.retain(|r| r.pointer("/cells/0").and_then(Value::as_str) != Some("kube-root-ca.crt"));
        }
        for event in body.as_array_mut().into_iter().flatten() {
            if event.get("type").and_then(Value::as_str) == Some("BOOKMARK")
                && let Some(metadata) = event.pointer_mut("/object/metadata").and_then(Value::as_object_mut)
            {
                metadata.insert("resourceVersion".to_owned(), "<list>".into());
            }
        }
        self.value(&mut body, "");
        sort_causes(&mut body);
        body
    }

    fn value(&mut self, value: &mut Value, key: &str) {
        match value {
            Value::Object(map) => self.object(map),
            Value::Array(list) => {
                for item in list.iter_mut() {
                    self.value(item, key);
                }
                if key == "managedFields" {
                    list.sort_by_key(Value::to_string);
                }
            }
            Value::String(text) => *text = self.text(text, key),
            _ => {}
        }
    }

    fn object(&mut self, map: &mut Map<String, Value>) {
        if map.contains_key("columnDefinitions") {
            for column in map.get_mut("columnDefinitions").and_then(Value::as_array_mut).into_iter().flatten()
            {
                if let Some(column) = column.as_object_mut() {
                    column.remove("description");
                }
            }
        }
        // versions are taken in the order of keys, which both sides share
        let keys: Vec<String> = map.keys().cloned().collect();
        for key in keys {
            let renamed = self.text(&key, "");
            if let Some(mut value) = map.remove(&key) {
                self.value(&mut value, &key);
                map.insert(renamed, value);
            }
        }
    }

    fn text(&mut self, text: &str, key: &str) -> String {
        match key {
            "resourceVersion" if !text.is_empty() && !text.starts_with('<') => {
                return self.of("version", text);
            }
            "continue" if !text.is_empty() => return "<continue>".to_owned(),
            "cells" if AGE.is_match(text) => return "<age>".to_owned(),
            _ => {}
        }
        // a dump of the server's internal types follows
        let text = UNSEEN.replace_all(text, "in record (<version>)");
        let text = text.split_once(DUMP).map_or(&*text, |(before, _)| before);
        let mut text = text.to_owned();
        for (kind, pattern) in PATTERNS.iter() {
            if pattern.is_match(&text) {
                text = pattern
                    .replace_all(&text, |found: &regex::Captures<'_>| {
                        self.of(kind, found.get(0).map_or("", |m| m.as_str()))
                    })
                    .into_owned();
            }
        }
        if key == "message" {
            // a version that was seen, within a sentence
            for (found, name) in self.0.iter().filter(|(_, name)| name.starts_with("<version")) {
                text = text.replace(&format!("({found})"), &format!("({name})"));
            }
        }
        text
    }
}

/// Of several causes the real server has no order.
fn sort_causes(body: &mut Value) {
    let Some(causes) =
        body.pointer_mut("/details/causes").and_then(Value::as_array_mut).filter(|c| c.len() > 1)
    else {
        return;
    };
    causes.sort_by_key(Value::to_string);
    if let Some(Value::String(message)) = body.get_mut("message")
        && let Some((head, _)) = message.split_once(" is invalid: ")
    {
        *message = format!("{head} is invalid: ...");
    }
}

/// The places where two answers differ: path, real, model.
pub fn differences(real: &Value, model: &Value) -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    collect(real, model, "", &mut found);
    found
}

fn collect(real: &Value, model: &Value, path: &str, found: &mut Vec<(String, Value, Value)>) {
    match (real, model) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let missing = Value::from("<absent>");
                let (x, y) = (a.get(key).unwrap_or(&missing), b.get(key).unwrap_or(&missing));
                collect(x, y, &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                collect(x, y, &format!("{path}[{i}]"), found);
            }
        }
        (x, y) if x == y => {}
        (x, y) => found.push((path.to_owned(), x.clone(), y.clone())),
    }
}
