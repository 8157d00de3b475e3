//! What is no resource of its own but a part of another one: known by what it is a part of, and what is attached there.

use isthmus_model::kinds::Kind;
use isthmus_model::observed::Observed;
use serde::Serialize;

use super::untyped;

/// The id that host and drivers give one.
pub(super) fn id(whole: &str, part: &str) -> String {
    format!("{whole}/{part}")
}

/// The ids that it is made of.
pub(super) fn parts(id: &str) -> (&str, &str) {
    id.split_once('/').unwrap_or((id, ""))
}

/// One with these fields, and no mark yet.
pub(super) fn observed(kind: Kind, (whole, part): (&str, &str), fields: &impl Serialize) -> Observed {
    Observed { fields: untyped(fields), ..Observed::of(kind, id(whole, part)) }
}
