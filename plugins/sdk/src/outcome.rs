//! Reasons for no list, so that `?` reads well.

use crate::records::types::{Invalid, Outcome};

/// There is nothing to map, and that is right. What was mapped before is deleted.
pub fn not_mapped(reason: impl Into<String>) -> Outcome {
    Outcome::NotMapped(reason.into())
}

/// Not now. Mapped again as soon as anything changes that this call read.
pub fn waiting(reason: impl Into<String>) -> Outcome {
    Outcome::Waiting(reason.into())
}

/// The subject or the config is wrong.
pub fn invalid(message: impl Into<String>) -> Outcome {
    Outcome::Invalid(Invalid { message: message.into(), field: None })
}

/// The subject or the config is wrong at this path: `spec.ports[0]`, or `config.network`. "" for the subject as a whole.
pub fn invalid_field(message: impl Into<String>, field: &str) -> Outcome {
    Outcome::Invalid(Invalid { message: message.into(), field: (!field.is_empty()).then(|| field.into()) })
}

/// Gives what is absent a reason.
pub trait OrOutcome<T> {
    /// The value, or `waiting` for this reason.
    ///
    /// # Errors
    /// `waiting` when there is no value.
    fn or_waiting(self, reason: &str) -> Result<T, Outcome>;

    /// The value, or `invalid` at this path.
    ///
    /// # Errors
    /// `invalid` when there is no value.
    fn or_invalid(self, message: &str, field: &str) -> Result<T, Outcome>;
}

impl<T> OrOutcome<T> for Option<T> {
    fn or_waiting(self, reason: &str) -> Result<T, Outcome> {
        self.ok_or_else(|| waiting(reason))
    }

    fn or_invalid(self, message: &str, field: &str) -> Result<T, Outcome> {
        self.ok_or_else(|| invalid_field(message, field))
    }
}
