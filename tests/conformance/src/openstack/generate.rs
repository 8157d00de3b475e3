//! What the generators of requests share.

use serde_json::Value;

use crate::random::Random;

/// An id that nothing has.
pub(super) const NOBODY: &str = "11111111-1111-4111-8111-111111111111";

/// Now and then something odd in place of, or beside, what is right.
pub(super) fn spice(object: &mut Value, random: &mut Random, with: &[(&str, Value)]) {
    if random.one_in(2) {
        let (name, value) = random.of(with);
        set(object, name, value);
    }
}

/// Sets a field of an object.
pub(super) fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

/// The id of what an answer says was made.
pub(super) fn made(body: &Value) -> Option<&str> {
    body.as_object()?.values().next()?.get("id")?.as_str()
}
