//! Why a mapping returned no list (the contract's `outcome`).

use serde::{Deserialize, Serialize};

/// What a module answers instead of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "outcome", content = "detail")]
pub enum Outcome {
    /// Nothing to map, and that is right (a hostNetwork pod): the same as an empty list.
    NotMapped(String),
    /// Not now: mapped again as soon as something that was read changes.
    Waiting(String),
    /// The subject or the config is wrong: no retry until it changes.
    Invalid {
        /// What is wrong, for the subject's owner.
        message: String,
        /// Path of the wrong field, when the module knows it.
        field: Option<String>,
    },
}
