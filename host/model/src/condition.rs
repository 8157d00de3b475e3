//! Conditions: what a CloudMapping says about itself, in Kubernetes' terms (`meta/v1 Condition` without its times).

use serde::{Deserialize, Serialize};

use crate::text::shortened;

/// Type of the condition that sums up the others: everything desired exists and is ready.
pub const READY: &str = "Ready";
/// Type: the module gave a list (or said that there is nothing to map).
pub const MAPPED: &str = "Mapped";
/// Type: the last apply of that list was complete.
pub const REALIZED: &str = "Realized";
/// Type, there once it was false: the subject says what its module reports.
pub const REPORTED: &str = "Reported";
/// Type, written by the node agent alone: the VIF is bound in the pod.
pub const ATTACHED: &str = "Attached";

/// Reason of [`MAPPED`]: the version that serves fails for the subject, and the last good one was called.
pub const LAST_GOOD: &str = "LastGoodVersion";

/// Most bytes of a message: what people read. (The API server refuses a status with a message over 32 KiB.)
const MESSAGE: usize = 4 << 10;

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
    /// A condition that holds. A message of more than 4 KiB is cut.
    pub fn yes(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self::new(kind, true, reason, message)
    }

    /// A condition that does not hold. A message of more than 4 KiB is cut.
    pub fn no(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self::new(kind, false, reason, message)
    }

    fn new(kind: &str, status: bool, reason: &str, message: impl Into<String>) -> Self {
        let message = shortened(message, MESSAGE);
        Self { kind: kind.into(), status: Some(status), reason: reason.into(), message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut() {
        for condition in [Condition::yes, Condition::no] {
            let message = condition(READY, "Ready", "ü".repeat(1 << 20)).message;
            assert!(message.len() <= MESSAGE && message.ends_with("ü…"), "{}", message.len());
            assert_eq!(condition(READY, "Ready", "short".to_owned()).message, "short");
        }
    }
}
