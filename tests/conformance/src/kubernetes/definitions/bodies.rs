//! Random definitions, right and wrong.

use serde_json::{Map, Value, json};

use super::{Definitions, Version};

/// Fields that a schema may have.
fn field(name: &str) -> Value {
    match name {
        "size" => json!({"type": "integer", "minimum": 1, "maximum": 9}),
        "mode" => json!({"type": "string", "enum": ["Fast", "Slow"], "default": "Fast"}),
        "tags" => json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
        "free" => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        _ => json!({"type": "string"}),
    }
}

impl Definitions {
    pub(super) fn choose_fields(&mut self) {
        let all = ["size", "mode", "tags", "free", "note"];
        self.fields = all.into_iter().filter(|_| !self.random.one_in(3)).collect();
        self.marker += 1;
    }

    pub(super) fn choose_versions(&mut self) {
        let second = Version { name: "v2", served: true, storage: false };
        let [first, rest @ ..] = self.versions.as_mut_slice() else { return };
        match (self.random.below(4), rest) {
            (0 | 1, []) => self.versions.push(second),
            // Which is stored, and whether the first is served.
            (0, [second]) => (first.storage, second.storage) = (second.storage, first.storage),
            (1, [_]) => first.served = !first.served,
            _ => {}
        }
    }

    /// The definition as it is to be.
    pub(super) fn definition(&mut self) -> Value {
        let mut names = json!({"kind": "Thing", "plural": "things"});
        if let Some(names) = names.as_object_mut() {
            if self.random.one_in(2) {
                names.insert("shortNames".to_owned(), self.random.of(&[json!(["th"]), json!(["th", "tg"])]));
            }
            if self.random.one_in(2) {
                names.insert("categories".to_owned(), json!(["all"]));
            }
        }
        let mut properties: Map<String, Value> =
            self.fields.iter().map(|name| ((*name).to_owned(), field(name))).collect();
        properties.insert(format!("m{}", self.marker), json!({"type": "integer"}));
        let status = json!({"type": "object", "properties": {"phase": {"type": "string"}}});
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": properties}, "status": status}});
        let versions: Vec<Value> = self
            .versions
            .iter()
            .map(|version| {
                json!({
            "name": version.name, "served": version.served, "storage": version.storage,
            "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}})
            })
            .collect();
        let scope = if self.namespaced { "Namespaced" } else { "Cluster" };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("things.{}", self.group)},
            "spec": {"group": self.group, "scope": scope, "names": names, "versions": versions},
        })
    }

    /// Makes one thing of a definition wrong.
    pub(super) fn spoil(&mut self, definition: &mut Value) {
        let (of_schema, of_field) = ("/spec/versions/0/schema/openAPIV3Schema", self.random.one_in(2));
        let (place, key, value) = match of_field {
            true => (format!("{of_schema}/properties/spec/properties"), "wrong", self.wrong_field()),
            false => {
                let (place, key, value) = self.random.of(&[
                    ("/spec", "scope", json!("Global")),
                    ("/spec", "scope", json!("")),
                    ("/spec", "group", json!("other.example")),
                    ("/spec", "group", json!("Other.example")),
                    ("/spec/names", "kind", json!("Thing-")),
                    ("/spec/names", "plural", json!("stuff")),
                    ("/spec/names", "shortNames", json!(["not good"])),
                    ("/spec/names", "categories", json!(["Good"])),
                    ("/spec/names", "listKind", json!("Thing")),
                    ("/spec/versions/0", "storage", json!(false)),
                    ("/spec/versions/0", "name", json!("V_1")),
                    ("/spec/versions/0", "name", json!("v3")),
                    ("/spec/versions/0", "schema", json!({})),
                    (of_schema, "type", json!("string")),
                    (of_schema, "type", Value::Null),
                ]);
                (place.to_owned(), key, value)
            }
        };
        let at = definition.pointer_mut(&place).and_then(Value::as_object_mut);
        at.map(|at| at.insert(key.to_owned(), value));
    }

    fn wrong_field(&mut self) -> Value {
        self.random.of(&[
            json!({}),
            json!({"type": "strin"}),
            json!({"type": "array"}),
            json!({"type": "array", "items": {}}),
            json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
            json!({"type": "integer", "default": "x"}),
            json!({"type": "integer", "maximum": 3, "default": 5}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "properties": {"a": {}}}),
        ])
    }
}
