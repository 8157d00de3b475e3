//! A set of field paths, as `fieldsV1` writes it: a path's elements are `f:NAME`, `k:{KEYS}`, `v:VALUE` and `i:INDEX`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::kubernetes::schema::Schema;

/// Paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set(pub(crate) BTreeMap<String, Node>);

/// What is below an element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Whether the path to here is in the set.
    pub(crate) member: bool,
    pub(crate) below: Set,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.0.is_empty()
    }
}

impl Set {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The node of an element, made if it is not there.
    pub(crate) fn child(&mut self, element: &str) -> &mut Node {
        if !self.0.contains_key(element) {
            self.0.insert(element.to_owned(), Node::default());
        }
        self.0.entry(element.to_owned()).or_default()
    }

    pub(crate) fn insert(&mut self, element: &str) {
        self.child(element).member = true;
    }

    /// Adds what is below an element, unless there is nothing.
    pub(crate) fn put(&mut self, element: &str, below: Set) {
        if !below.is_empty() {
            let node = self.child(element);
            node.below = node.below.union(&below);
        }
    }

    pub(crate) fn from_json(value: &Value) -> Self {
        let mut set = Self::default();
        for (key, below) in value.as_object().into_iter().flatten() {
            if key == "." {
                continue;
            }
            let map = below.as_object();
            let member = map.is_none_or(|m| m.is_empty() || m.contains_key("."));
            set.0.insert(key.clone(), Node { member, below: Self::from_json(below) });
        }
        set
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut map = Map::new();
        for (element, node) in &self.0 {
            let mut below = node.below.to_json();
            if let Some(below) = below.as_object_mut().filter(|b| node.member && !b.is_empty()) {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            map.insert(element.clone(), below);
        }
        Value::Object(map)
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (element, node) in &other.0 {
            let mine = all.child(element);
            mine.member |= node.member;
            mine.below = mine.below.union(&node.below);
        }
        all
    }

    fn combine(&self, other: &Self, member: impl Fn(bool, bool) -> bool + Copy) -> Self {
        let none = Node::default();
        let mut kept = BTreeMap::new();
        for (element, node) in &self.0 {
            let theirs = other.0.get(element).unwrap_or(&none);
            let node = Node {
                member: member(node.member, theirs.member),
                below: node.below.combine(&theirs.below, member),
            };
            if !node.is_empty() {
                kept.insert(element.clone(), node);
            }
        }
        Self(kept)
    }

    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && !theirs)
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && theirs)
    }

    /// Takes away a field and all below it.
    pub(crate) fn remove(&mut self, names: &[&str]) {
        match names {
            [] => {}
            [last] => {
                self.0.remove(&format!("f:{last}"));
            }
            [first, rest @ ..] => {
                let element = format!("f:{first}");
                if let Some(node) = self.0.get_mut(&element) {
                    node.below.remove(rest);
                    if node.is_empty() {
                        self.0.remove(&element);
                    }
                }
            }
        }
    }

    /// Takes away a field, not what is below it.
    pub(crate) fn remove_member(&mut self, names: &[&str]) {
        let Some((first, rest)) = names.split_first() else { return };
        let element = format!("f:{first}");
        let Some(node) = self.0.get_mut(&element) else { return };
        match rest {
            [] => node.member = false,
            rest => node.below.remove_member(rest),
        }
        if node.is_empty() {
            self.0.remove(&element);
        }
    }

    /// With the named fields of structs as members too, where something below them is in the set.
    pub(crate) fn with_named(&self, schema: Option<&Schema>) -> Self {
        let mut all = Self::default();
        for (element, node) in &self.0 {
            let field = element.strip_prefix("f:");
            let named = field.is_some_and(|f| schema.is_some_and(|s| s.is_named(f)));
            let inner = match field {
                Some(field) => schema.and_then(|s| s.property(field)),
                None => schema.and_then(|s| s.items.as_ref()),
            };
            let below = node.below.with_named(inner.map(|s| &**s));
            let member = node.member || named && !below.is_empty();
            all.0.insert(element.clone(), Node { member, below });
        }
        all
    }

    /// All member paths, as messages write them: `.spec.ports[port=80,protocol="TCP"].name`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.collect("", &mut all);
        all
    }

    fn collect(&self, prefix: &str, all: &mut Vec<String>) {
        let shown = |element: &str| format!("{prefix}{}", shown(element));
        for (element, _) in self.0.iter().filter(|(_, node)| node.member) {
            all.push(shown(element));
        }
        for (element, node) in &self.0 {
            node.below.collect(&shown(element), all);
        }
    }
}

fn shown(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", keys)) => {
            let keys: Value = serde_json::from_str(keys).unwrap_or_default();
            let parts: Vec<_> =
                keys.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", parts.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        Some((_, index)) => format!("[{index}]"),
        None => element.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Set;

    #[test]
    fn written_as_it_was_read() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:data": {"f:x": {}}});
        let set = Set::from_json(&fields);
        assert_eq!(set.to_json(), fields);
        assert_eq!(set.paths(), [".data.x", ".metadata.labels", ".metadata.labels.a"]);
    }

    #[test]
    fn difference_leaves_what_is_below() {
        let a = Set::from_json(&json!({"f:a": {".": {}, "f:b": {}}}));
        let b = Set::from_json(&json!({"f:a": {}}));
        assert_eq!(a.difference(&b).to_json(), json!({"f:a": {"f:b": {}}}));
        assert_eq!(a.intersection(&b).to_json(), json!({"f:a": {}}));
    }
}
