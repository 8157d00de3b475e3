//! What of a CustomResourceDefinition is not modelled: such a one is refused by its name, so that no rule of it is ignored in silence.

use regex::Regex;
use serde_json::{Value, json};

use super::cel::Program;
use super::jsonpath::JsonPath;

/// Of a schema: what is kept, or only informs.
const KEYWORDS: [&str; 36] = [
    "$schema",
    "additionalProperties",
    "default",
    "description",
    "enum",
    "example",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "externalDocs",
    "id",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "nullable",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    // Refused as the real server does (`builtin/crd`).
    "$ref",
    "uniqueItems",
    // Looked at below.
    "anyOf",
    "format",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-validations",
];
/// Formats that are looked at, and those that allow everything.
const FORMATS: [&str; 5] = ["date-time", "double", "int32", "int64", "password"];

/// The first thing of it that is not modelled, with its place.
pub(crate) fn in_definition(crd: &Value) -> Option<String> {
    let spec = crd.get("spec")?;
    if spec.pointer("/conversion/strategy").is_some_and(|strategy| strategy == "Webhook") {
        return Some("the conversion of versions by a webhook (spec.conversion)".to_owned());
    }
    if is_set(spec.get("preserveUnknownFields")) {
        return Some("spec.preserveUnknownFields".to_owned());
    }
    let versions = spec.get("versions").and_then(Value::as_array).into_iter().flatten();
    versions.enumerate().find_map(|(at, version)| of_version(version, &format!("spec.versions[{at}]")))
}

/// Whether a field says something: a false, an empty list or a null is as good as none.
fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    }
}

fn of_version(version: &Value, path: &str) -> Option<String> {
    for (field, what) in [
        ("/deprecated", "warnings of a deprecated version"),
        ("/subresources/scale", "the subresource scale"),
        ("/selectableFields", "field selectors of custom resources"),
    ] {
        if is_set(version.pointer(field)) {
            return Some(format!("{what} ({path}{})", field.replace('/', ".")));
        }
    }
    let columns = version.get("additionalPrinterColumns").and_then(Value::as_array).into_iter().flatten();
    for column in columns.filter_map(|column| column.get("jsonPath")?.as_str()) {
        if JsonPath::parse(column).is_none() {
            return Some(format!("the path {column} of a column ({path}.additionalPrinterColumns)"));
        }
    }
    of_schema(version.pointer("/schema/openAPIV3Schema")?, &format!("{path}.schema.openAPIV3Schema"), false)
}

/// `in_list`: whether it is of elements of a list, which have no value before them here.
fn of_schema(raw: &Value, path: &str, in_list: bool) -> Option<String> {
    let map = raw.as_object()?;
    let own = map.iter().find_map(|(key, value)| of_keyword(raw, key, value, in_list));
    if let Some(what) = own {
        return Some(format!("{what} ({path})"));
    }
    let properties = map.get("properties").and_then(Value::as_object).into_iter().flatten();
    let of_property =
        |(name, inner): (&String, &Value)| of_schema(inner, &format!("{path}.properties[{name}]"), in_list);
    let below = |key: &str, in_list| of_schema(map.get(key)?, &format!("{path}.{key}"), in_list);
    properties
        .into_iter()
        .find_map(of_property)
        .or_else(|| below("additionalProperties", in_list))
        .or_else(|| below("items", true))
}

fn of_keyword(raw: &Value, key: &str, value: &Value, in_list: bool) -> Option<String> {
    if !is_set(Some(value)) {
        return None;
    }
    let text = value.as_str().unwrap_or_default();
    match key {
        "format" if !FORMATS.contains(&text) => Some(format!("the format {text}")),
        "pattern" if Regex::new(text).is_err() => Some(format!("the pattern {text}")),
        // What generators write beside `x-kubernetes-int-or-string`, and which says the same.
        "anyOf" => {
            let either = json!([{"type": "integer"}, {"type": "string"}]);
            let is_said = is_set(raw.get("x-kubernetes-int-or-string")) && *value == either;
            (!is_said).then(|| key.to_owned())
        }
        "x-kubernetes-embedded-resource" => Some(key.to_owned()),
        "x-kubernetes-validations" => {
            value.as_array().into_iter().flatten().find_map(|rule| of_rule(rule, in_list))
        }
        _ => (!KEYWORDS.contains(&key)).then(|| key.to_owned()),
    }
}

fn of_rule(rule: &Value, in_list: bool) -> Option<String> {
    let text = rule.get("rule").and_then(Value::as_str).unwrap_or_default().trim();
    let why = match Program::parse(text) {
        Err(why) => Some(why),
        Ok(program) if in_list && program.is_transition() => Some("`oldSelf` of a list's element".to_owned()),
        Ok(_) => ["messageExpression", "reason", "fieldPath", "optionalOldSelf"]
            .into_iter()
            .find(|key| is_set(rule.get(key)))
            .map(|key| format!("its {key}")),
    };
    why.map(|why| format!("the CEL rule {text:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_schema(schema: Value) -> Value {
        let spec = json!({"type": "object", "properties": {"a": schema}});
        let whole = json!({"type": "object", "properties": {"spec": spec}});
        json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": whole}}]}})
    }

    fn with_version(field: &str, value: Value) -> Value {
        json!({"spec": {"versions": [{"name": "v1", field: value}]}})
    }

    #[test]
    fn what_is_not_modelled_is_named_with_its_place() {
        let rule = |rule: &str| json!({"type": "string", "x-kubernetes-validations": [{"rule": rule}]});
        let with = |key: &str| json!({"x-kubernetes-validations": [{"rule": "self == 1", key: "x"}]});
        let either = json!([{"type": "integer"}, {"type": "string"}]);
        let a = "(spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[a])";
        let table = [
            (rule("self.matches('a')"), "the CEL rule \"self.matches('a')\": `matches` in it"),
            (with("messageExpression"), "the CEL rule \"self == 1\": its messageExpression"),
            (with("reason"), "its reason"),
            (with("fieldPath"), "its fieldPath"),
            (with("optionalOldSelf"), "its optionalOldSelf"),
            (json!({"type": "string", "format": "ipv4"}), "the format ipv4"),
            (json!({"type": "string", "pattern": "a(?=b)"}), "the pattern a(?=b)"),
            (json!({"anyOf": either}), "anyOf"),
            (json!({"allOf": [{"minimum": 1}]}), "allOf"),
            (json!({"oneOf": [{"minimum": 1}]}), "oneOf"),
            (json!({"not": {"minimum": 1}}), "not"),
            (json!({"type": "integer", "multipleOf": 2}), "multipleOf"),
            (
                json!({"type": "object", "x-kubernetes-embedded-resource": true}),
                "x-kubernetes-embedded-resource",
            ),
            (json!({"x-kubernetes-new-thing": 1}), "x-kubernetes-new-thing"),
        ];
        for (schema, named) in table {
            let told = in_definition(&with_schema(schema)).unwrap();
            assert!(told.contains(named) && told.ends_with(a), "{named}: {told}");
        }
        let below = json!({"type": "array", "items": {"additionalProperties": {"format": "uuid"}}});
        let told = in_definition(&with_schema(below)).unwrap();
        assert!(told.ends_with("properties[a].items.additionalProperties)"), "{told}");
        let old = json!({"type": "array", "items": rule("self == oldSelf")});
        assert!(in_definition(&with_schema(old)).unwrap().contains("`oldSelf` of a list's element"));
    }

    #[test]
    fn what_a_version_has_beside_its_schema_is_looked_at() {
        let column = json!([{"name": "A", "type": "string", "jsonPath": "..a"}]);
        let table = [
            (
                with_version("selectableFields", json!([{"jsonPath": ".spec.a"}])),
                "spec.versions[0].selectableFields",
            ),
            (with_version("subresources", json!({"scale": {}})), "spec.versions[0].subresources.scale"),
            (with_version("deprecated", json!(true)), "spec.versions[0].deprecated"),
            (with_version("additionalPrinterColumns", column), "the path ..a of a column"),
            (json!({"spec": {"conversion": {"strategy": "Webhook"}}}), "spec.conversion"),
            (json!({"spec": {"preserveUnknownFields": true}}), "spec.preserveUnknownFields"),
        ];
        for (crd, named) in table {
            let told = in_definition(&crd).unwrap();
            assert!(told.contains(named), "{named}: {told}");
        }
    }

    #[test]
    fn what_is_modelled_is_taken() {
        let port =
            json!({"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true});
        let rule =
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "has(self.a)", "message": "a"}]});
        for schema in [port, rule, json!({"uniqueItems": false, "format": "date-time", "pattern": "^a$"})] {
            assert_eq!(in_definition(&with_schema(schema.clone())), None, "{schema}");
        }
        let none = json!({"spec": {"conversion": {"strategy": "None"}, "preserveUnknownFields": false}});
        assert_eq!(in_definition(&none), None);
    }
}
