//! Objects of what is defined.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

use super::Definitions;
use crate::kubernetes::pair::plain;
use crate::normal::AGE;
use crate::side::Ask;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

impl Definitions {
    pub(super) fn collection(&self, version: &str) -> String {
        let namespace =
            if self.namespaced { format!("/namespaces/{}", self.namespace) } else { String::new() };
        format!("/apis/{}/{version}{namespace}/things", self.group)
    }

    /// An object that is valid by what was written last alone.
    pub(super) fn probe(&self, version: &str) -> Value {
        let marker = format!("m{}", self.marker);
        let version = format!("{}/{version}", self.group);
        json!({"apiVersion": version, "kind": "Thing", "metadata": {"name": "probe"}, "spec": {marker: 1}})
    }

    fn spec(&mut self) -> Value {
        let mut spec = json!({});
        for (name, right, wrong) in [
            ("size", [json!(1), json!(5)], [json!(10), json!("x")]),
            ("mode", [json!("Slow"), json!("Fast")], [json!("Medium"), json!(1)]),
            ("tags", [json!(["a"]), json!(["a", "b"])], [json!("a"), json!([1])]),
            ("free", [json!({"a": {"b": 1}}), json!({"c": [1]})], [json!(1), json!([])]),
            ("note", [json!("n"), json!("o")], [json!(5), json!({})]),
        ] {
            // Two that do not fit have no order in the real one.
            let values = if self.random.one_in(60) { &wrong } else { &right };
            let value = self.random.of(values);
            if let (true, Some(spec)) = (self.random.one_in(2), spec.as_object_mut()) {
                spec.insert(name.to_owned(), value);
            }
        }
        spec
    }

    /// A request about an object, in one of the versions.
    pub(super) async fn object(&mut self) -> Result<()> {
        let (version, name) =
            (self.random.of(&["v1", "v1", "v1", "v2", "v2", "v9"]), self.random.of(&["a", "b", "c"]));
        let (collection, spec) = (self.collection(version), self.spec());
        let of_group = format!("{}/{version}", self.group);
        let mut body =
            json!({"apiVersion": of_group, "kind": "Thing", "metadata": {"name": name}, "spec": spec});
        let one = format!("{collection}/{name}");
        let strict = self.random.of(&["", "", "?fieldValidation=Strict"]);
        let ask = match self.random.below(12) {
            0..4 => Ask::json(Method::POST, format!("{collection}{strict}"), Some(body)),
            4 => {
                let metadata = body.get_mut("metadata").and_then(Value::as_object_mut);
                metadata.map(|all| {
                    all.insert("resourceVersion".to_owned(), format!("<rv:things/{name}>").into())
                });
                Ask::json(Method::PUT, format!("{one}{strict}"), Some(body))
            }
            5 => Ask::merge(one, json!({"spec": spec})),
            6 => Ask::merge(
                format!("{one}/status"),
                json!({"status": {"phase": self.random.of(&["Old", "New"])}}),
            ),
            7 => Ask::json(Method::DELETE, one, None),
            8 => Ask::json(Method::GET, collection, None),
            9 => Ask { accept: TABLE, ..Ask::json(Method::GET, collection, None) },
            _ => Ask::json(Method::GET, one, None),
        };
        self.ask(ask, shown).await
    }
}

/// Ages differ, as do descriptions of columns.
fn shown(body: &mut Value) {
    plain(body);
    for column in body.get_mut("columnDefinitions").and_then(Value::as_array_mut).into_iter().flatten() {
        column.as_object_mut().map(|column| column.remove("description"));
    }
    for row in body.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        for cell in row.get_mut("cells").and_then(Value::as_array_mut).into_iter().flatten() {
            if cell.as_str().is_some_and(|text| AGE.is_match(text)) {
                *cell = "<age>".into();
            }
        }
    }
}
