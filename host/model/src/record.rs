//! What the CloudMapping says we made.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::kinds::Kind;
use crate::value::Reference;

/// Everything recorded for one subject, by local name.
pub type Record = BTreeMap<String, Recorded>;

/// One recorded resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// What it is.
    pub kind: Kind,
    /// Its id in the cloud; `None` before it is made, and for kinds that are only recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What was applied last, as [`crate::plan::applied_hash`]. Empty before.
    #[serde(default)]
    pub hash: String,
    /// Names of the fields that were applied: one that the module sets no longer is cleared.
    #[serde(default)]
    pub fields: BTreeSet<String>,
    /// Every reference that it was made with: deletion looks here, not at the module.
    #[serde(default)]
    pub references: Vec<RecordedReference>,
    /// What happens to it when its entry goes: `true`, it stays.
    #[serde(default)]
    pub retain: bool,
}

/// A reference and what it resolved to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordedReference {
    /// As the module gave it.
    pub reference: Reference,
    /// The id that it stood for.
    pub id: String,
}
