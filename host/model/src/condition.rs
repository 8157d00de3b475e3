//! Conditions: what a CloudMapping says about itself, in Kubernetes' terms (`meta/v1 Condition` without its times).

use serde::{Deserialize, Serialize};

/// Type of the condition that sums up the others: everything desired exists and is ready.
pub const READY: &str = "Ready";
/// Type: the module gave a list (or said that there is nothing to map).
pub const MAPPED: &str = "Mapped";
/// Type: the last apply of that list was complete.
pub const REALIZED: &str = "Realized";
/// Type, written by the node agent alone: the VIF is bound in the pod.
pub const ATTACHED: &str = "Attached";

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Its type.
    pub kind: String,
    /// True, False, or `None` for Unknown.
    pub status: Option<bool>,
    /// Why, in CamelCase, for machines.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

impl Condition {
    /// A condition that holds.
    pub fn yes(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), status: Some(true), reason: reason.into(), message: message.into() }
    }

    /// A condition that does not hold.
    pub fn no(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), status: Some(false), reason: reason.into(), message: message.into() }
    }
}
