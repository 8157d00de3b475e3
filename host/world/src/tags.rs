//! Filters by tag, as Neutron and Octavia have them.

use serde_json::{Map, Value};

/// `tags`, `tags-any`, `not-tags` and `not-tags-any` of a list; none filters nothing.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    pub(crate) all: Vec<String>,
    pub(crate) any: Vec<String>,
    pub(crate) not_all: Vec<String>,
    pub(crate) not_any: Vec<String>,
}

impl Tags {
    /// Whether an object with these `tags` is asked for.
    pub(crate) fn match_object(&self, object: &Map<String, Value>) -> bool {
        let tagged = |tag: &String| {
            object.get("tags").and_then(Value::as_array).is_some_and(|all| all.iter().any(|t| t == tag))
        };
        self.all.iter().all(tagged)
            && (self.any.is_empty() || self.any.iter().any(tagged))
            && (self.not_all.is_empty() || !self.not_all.iter().all(tagged))
            && !self.not_any.iter().any(tagged)
    }
}
