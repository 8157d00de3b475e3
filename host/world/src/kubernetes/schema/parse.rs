//! From OpenAPI v3, as in a CRD or in `builtin/schemas.json`.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

use super::{CelRule, Field, ListType, Presence, Rules, Schema, Type};
use crate::kubernetes::cel::Program;

/// Types by name, parsed once.
pub(crate) struct Definitions<'a> {
    raw: &'a Value,
    parsed: BTreeMap<String, Arc<Schema>>,
}

impl<'a> Definitions<'a> {
    pub(crate) fn new(raw: &'a Value) -> Self {
        Self { raw, parsed: BTreeMap::new() }
    }

    /// The type of that name; one that is not there keeps everything.
    pub(crate) fn get(&mut self, name: &str) -> Arc<Schema> {
        if let Some(schema) = self.parsed.get(name) {
            return schema.clone();
        }
        let raw = self.raw.get(name).cloned().unwrap_or_default();
        let schema = Arc::new(parse(&raw, Some(self)));
        self.parsed.insert(name.to_owned(), schema.clone());
        schema
    }
}

/// A schema; `$ref` is looked up in the definitions.
pub(crate) fn parse(raw: &Value, mut definitions: Option<&mut Definitions<'_>>) -> Schema {
    let flag = |key: &str| raw.get(key).and_then(Value::as_bool).unwrap_or(false);
    let text = |key: &str| raw.get(key).and_then(Value::as_str).unwrap_or_default();
    let reference = text("$ref").rsplit('/').next().unwrap_or_default();
    let mut schema = match (&mut definitions, reference) {
        (_, "") | (None, _) => Schema::default(),
        (Some(definitions), name) => Schema::clone(&definitions.get(name)),
    };
    let kind = match text("type") {
        "object" => Type::Object,
        "array" => Type::Array,
        "string" => Type::String,
        "integer" => Type::Integer,
        "number" => Type::Number,
        "boolean" => Type::Boolean,
        _ if flag("x-kubernetes-int-or-string") => Type::IntOrString,
        _ => schema.kind,
    };
    schema.kind = kind;
    if !text("format").is_empty() {
        schema.format = text("format").to_owned();
    }
    schema.nullable |= flag("nullable");
    schema.preserve |= flag("x-kubernetes-preserve-unknown-fields") || kind == Type::Any;
    schema.atomic |= text("x-kubernetes-map-type") == "atomic";
    let strategy = text("x-kubernetes-patch-strategy");
    schema.merge |= strategy.contains("merge");
    schema.retain_keys |= strategy.contains("retainKeys");
    schema.merge_key = raw
        .get("x-kubernetes-patch-merge-key")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .or(schema.merge_key);
    if let Some(list) = list_type(raw) {
        schema.list = list;
    }
    schema.default = raw.get("default").cloned().or(schema.default);
    for (name, raw) in raw.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let presence = match raw.get("x-go").and_then(Value::as_str) {
            Some("p") => Presence::Pointer,
            Some("z") => Presence::Always,
            _ => Presence::OmitEmpty,
        };
        let number = raw.get("x-proto").and_then(Value::as_u64).unwrap_or_default();
        let field = Field { schema: Arc::new(parse(raw, definitions.as_deref_mut())), presence, number };
        schema.properties.insert(name.clone(), field);
    }
    match raw.get("additionalProperties") {
        Some(Value::Object(_)) => {
            let inner = raw.get("additionalProperties").unwrap_or(&Value::Null);
            schema.additional = Some(Arc::new(parse(inner, definitions.as_deref_mut())));
        }
        Some(Value::Bool(true)) => schema.preserve = true,
        _ => {}
    }
    if let Some(items) = raw.get("items") {
        schema.items = Some(Arc::new(parse(items, definitions)));
    }
    schema.rules = rules(raw, schema.rules);
    schema
}

fn list_type(raw: &Value) -> Option<ListType> {
    match raw.get("x-kubernetes-list-type")?.as_str()? {
        "set" => Some(ListType::Set),
        "map" => Some(ListType::Map(strings(raw.get("x-kubernetes-list-map-keys")))),
        _ => Some(ListType::Atomic),
    }
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn rules(raw: &Value, base: Rules) -> Rules {
    let number = |key: &str| raw.get(key).and_then(Value::as_f64);
    let count = |key: &str| raw.get(key).and_then(Value::as_u64);
    let flag = |key: &str| raw.get(key).and_then(Value::as_bool).unwrap_or(false);
    let pattern = raw.get("pattern").and_then(Value::as_str);
    let cel = raw.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
    let required = strings(raw.get("required"));
    Rules {
        required: if required.is_empty() { base.required } else { required },
        any_of: raw.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        minimum: number("minimum"),
        maximum: number("maximum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        pattern: pattern.and_then(|p| Some((p.to_owned(), Regex::new(p).ok()?))),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        cel: cel.filter_map(cel_rule).collect(),
    }
}

/// A CRD with a rule that can't be read was refused (`crd`).
fn cel_rule(raw: &Value) -> Option<CelRule> {
    let text = |key: &str| raw.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let program = Program::parse(&text("rule")).ok()?;
    let (message, name) = match text("message") {
        message if message.is_empty() => (format!("failed rule: {}", text("rule")), text("rule")),
        message => (message.clone(), message),
    };
    Some(CelRule { program, message, name })
}
