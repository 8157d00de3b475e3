//! The plan: ordered operations from what is recorded and observed to what is desired.
//!
//! # Guarantees (each held by a property test)
//! - From any record and any resources, applying the plan reaches what is desired; the plan after that is empty. (What is
//!   retained refers to nothing that goes: the cloud would keep that.)
//! - Nothing is updated or deleted that does not carry this subject's mark on what was *observed*.
//! - What others refer to is not taken away, and what a running pod is on is not replaced, nor what either rests on.
//! - Operations name what they wait for; what does not depend on each other can run in parallel.

mod build;
mod cascade;
mod compare;
mod conclude;
mod entry;
mod order;
mod resolve;
mod whole;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::desired::DesiredList;
use crate::kinds::Kind;
use crate::observed::Observed;
use crate::record::Record;
use crate::value::Reference;

pub use build::plan;
pub use compare::satisfies;
pub use conclude::conclude;
pub use resolve::{External, Targets, applied_hash, resolve};

/// What a plan is made from.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// Cluster id of the mark.
    pub cluster: &'a str,
    /// Subject's uid of the mark.
    pub subject: &'a str,
    /// Our project: a resource in another one is not touched, unless its entry names that project.
    pub project: Option<&'a str>,
    /// What the module says.
    pub desired: &'a DesiredList,
    /// What the CloudMapping says.
    pub record: &'a Record,
    /// Everything that the cloud has with this subject's mark, by id.
    pub observed: &'a BTreeMap<String, Observed>,
    /// What references to other mappings and to existing resources stand for. One that is missing is waited for.
    pub external: &'a External,
    /// Ids of what other mappings refer to: not deleted while they do.
    pub held: &'a BTreeSet<String>,
    /// Ids of what a running pod is on (a port whose VIF is attached): neither replaced nor deleted now.
    pub pinned: &'a BTreeSet<String>,
}

/// Ordered operations, and what can't be done yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The operations. Each waits for those in its `after`, which are positions in this list.
    pub operations: Vec<Operation>,
    /// What is desired or to be removed and waits for something.
    pub blocked: Vec<Blocked>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Local name that it concerns.
    pub name: String,
    /// Kind of the resource.
    pub kind: Kind,
    /// What to do.
    pub act: Act,
    /// Entries below it that are made, or go, in the same call; of a create those first that others are below of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// Positions of the operations to wait for.
    pub after: BTreeSet<usize>,
}

impl Operation {
    /// The entries that it is about.
    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.with).map(String::as_str)
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Act {
    /// Make it, with all fields that resolve by then.
    Create,
    /// Change these fields of it; a field of an entry, or `tags`, `display_name`, `description`. A field that the entry
    /// does not have is cleared.
    Update {
        /// Its id; `None`: the one that this plan creates.
        id: Option<String>,
        /// Names of the fields.
        fields: BTreeSet<String>,
    },
    /// Record it: it carries our mark, and its create's answer was lost or its record.
    Adopt {
        /// Its id.
        id: String,
    },
    /// Mark and record it under this entry's name: the module renamed the entry.
    Rename {
        /// Its id.
        id: String,
        /// Its name until now.
        from: String,
    },
    /// Delete it.
    Delete {
        /// Its id.
        id: String,
        /// Another one takes its place.
        replaced: bool,
        /// Of a load balancer: what below it goes in the same call, those first that rest on others.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        below: Vec<Below>,
    },
    /// Let it go without deleting it: it loses our mark for `retained`.
    Retain {
        /// Its id.
        id: String,
    },
}

/// What goes with what it is below of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Below {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// Another one takes its place.
    pub replaced: bool,
}

/// Something that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// Local name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// For what.
    pub on: Wait,
}

/// What something waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Wait {
    /// A reference that stands for nothing yet.
    Reference(Reference),
    /// Another entry of the list, which waits itself.
    Entry(String),
    /// To be deleted, but another mapping refers to it.
    InUse,
    /// To be replaced, but it is in use by a running pod.
    ReplacePending,
    /// To be deleted, but a pod is on it still.
    Attached,
}

/// How much a plan changes: what a swap is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Resources made that were not there.
    pub added: usize,
    /// Resources changed in place.
    pub changed: usize,
    /// Resources deleted, those that are replaced left out.
    pub deleted: usize,
    /// Resources deleted and made anew, or that wait for it.
    pub replaced: usize,
}

impl Plan {
    /// Whether there is nothing to do and nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.blocked.is_empty()
    }

    /// How much it changes.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        let mut changed = BTreeSet::new();
        for operation in &self.operations {
            match &operation.act {
                Act::Create => summary.added += 1 + operation.with.len(),
                Act::Update { id: Some(_), .. } | Act::Rename { .. } => {
                    changed.insert(&operation.name);
                }
                Act::Delete { replaced, below, .. } => {
                    let again = below.iter().map(|below| below.replaced).chain([*replaced]);
                    let again = again.filter(|replaced| *replaced).count();
                    summary.replaced += again;
                    summary.deleted += 1 + below.len() - again;
                }
                Act::Retain { .. } => summary.deleted += 1,
                Act::Update { id: None, .. } | Act::Adopt { .. } => {}
            }
        }
        summary.changed = changed.len();
        summary.added -= summary.replaced.min(summary.added);
        let waiting = |on: Wait| self.blocked.iter().filter(|b| b.on == on).count();
        summary.replaced += waiting(Wait::ReplacePending);
        summary.deleted += waiting(Wait::Attached);
        summary
    }
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.added += other.added;
        self.changed += other.changed;
        self.deleted += other.deleted;
        self.replaced += other.replaced;
    }
}
