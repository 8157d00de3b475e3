//! Rows of the Interface table, and OVSDB's notation of maps and sets (RFC 7047, 5.1).

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A map in OVSDB's notation.
pub fn map(pairs: &[(&str, &str)]) -> Value {
    let pairs: Vec<Value> = pairs.iter().map(|(key, value)| json!([key, value])).collect();
    json!(["map", pairs])
}

/// What a row says in `external_ids`.
pub fn ids(row: &Value) -> impl Iterator<Item = (&str, &str)> {
    let pairs = row.pointer("/external_ids/1").and_then(Value::as_array);
    pairs.into_iter().flatten().filter_map(|pair| Some((pair.get(0)?.as_str()?, pair.get(1)?.as_str()?)))
}

/// What is watched of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// `external_ids`
    pub external_ids: BTreeMap<String, String>,
    /// Why Open vSwitch cannot use it.
    pub error: Option<String>,
}

/// All interfaces, by the uuid of their row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(BTreeMap<String, Interface>);

impl Interfaces {
    /// One by name.
    pub fn named(&self, name: &str) -> Option<&Interface> {
        self.0.values().find(|interface| interface.name == name)
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.0.values()
    }

    /// Takes `table-updates` (RFC 7047, 4.1.6): a row without `new` is gone. What is not understood is passed over.
    pub fn update(&mut self, tables: &Value) {
        for (uuid, row) in tables.get("Interface").and_then(Value::as_object).into_iter().flatten() {
            match row.get("new") {
                Some(new) => {
                    let known = self.0.entry(uuid.clone()).or_default();
                    known.take(new);
                }
                None => {
                    self.0.remove(uuid);
                }
            }
        }
    }
}

impl Interface {
    fn take(&mut self, row: &Value) {
        if let Some(name) = row.get("name").and_then(Value::as_str) {
            self.name = name.into();
        }
        if let Some(error) = row.get("error") {
            // a string, or the empty set
            self.error = error.as_str().map(Into::into);
        }
        if row.pointer("/external_ids/1").is_some_and(Value::is_array) {
            self.external_ids = ids(row).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_change_and_go() {
        let mut known = Interfaces::default();
        let row = json!({"name": "a", "error": ["set", []], "external_ids": ["map", [["iface-id", "p"]]]});
        known.update(&json!({"Interface": {"u": {"new": row}}}));
        assert_eq!(known.named("a").unwrap().external_ids["iface-id"], "p");
        known.update(&json!({"Interface": {"u": {"old": {}, "new": {"name": "a", "error": "no device"}}}}));
        assert_eq!(known.named("a").unwrap().error.as_deref(), Some("no device"));
        assert_eq!(
            known.named("a").unwrap().external_ids["iface-id"],
            "p",
            "what is not told has not changed"
        );
        known.update(&json!({"Interface": {"u": {"old": {}}}}));
        assert_eq!(known, Interfaces::default());
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        let mut known = Interfaces::default();
        for odd in [
            json!(null),
            json!([1]),
            json!({"Interface": 3}),
            json!({"Interface": {"u": {"new": {"external_ids": ["map", [1, ["a"]]]}}}}),
        ] {
            known.update(&odd);
        }
        assert_eq!(known.named(""), Some(&Interface::default()));
    }
}
