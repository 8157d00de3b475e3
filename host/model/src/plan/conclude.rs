//! What is recorded of a list once its plan was carried out, as far as it came.

use std::collections::BTreeSet;

use super::resolve::{Targets, applied_hash};
use crate::desired::{DesiredList, Entry, Removal};
use crate::record::{Record, Recorded};

/// The record after an apply. An entry with nothing left to do is recorded as it was applied. One that is `undone` (it failed,
/// waits, or was held back by one that failed) keeps what it was made with: the fields that are to be cleared, and the
/// references that hold others, are not forgotten before it is done.
pub fn conclude(
    desired: &DesiredList,
    mut record: Record,
    targets: &Targets,
    undone: &BTreeSet<String>,
) -> Record {
    for entry in desired.entries() {
        let id = match record.get(&entry.name) {
            _ if !entry.kind.in_cloud() => None,
            Some(_) if undone.contains(&entry.name) => continue,
            Some(recorded) => recorded.id.clone(),
            None => continue,
        };
        record.insert(entry.name.clone(), as_applied(entry, id, targets));
    }
    record.retain(|name, recorded| desired.get(name).is_some() || recorded.kind.in_cloud());
    record
}

fn as_applied(entry: &Entry, id: Option<String>, targets: &Targets) -> Recorded {
    Recorded {
        kind: entry.kind,
        id,
        hash: applied_hash(entry, targets).unwrap_or_default(),
        fields: entry.set(),
        references: targets.recorded(entry),
        retain: entry.kind.in_cloud() && entry.on_removal == Removal::Retain,
    }
}
