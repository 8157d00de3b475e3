//! What can't go now, and what that keeps in its place.

use std::collections::BTreeSet;

use super::Builder;
use crate::kinds::Change;
use crate::observed::Observed;
use crate::plan::Act;
use crate::plan::order::mentions;

impl<'a> Builder<'a> {
    /// What must not be replaced now, and what that keeps: of a resource that an entry has, what it can't be moved away from, of
    /// one that has no entry any more all that it refers to. `has`: resources that entries have.
    pub(super) fn bind(&mut self, has: &BTreeSet<&'a str>) {
        let input = self.input;
        let ours: Vec<&Observed> = input.observed.values().filter(|o| self.ours(o)).collect();
        let must_stay = |o: &&&Observed| {
            input.held.contains(&o.id) || input.pinned.contains(&o.id) && has.contains(o.id.as_str())
        };
        let mut open: Vec<&Observed> = ours.iter().filter(must_stay).copied().collect();
        let mut bound = BTreeSet::new();
        while let Some(found) = open.pop() {
            if bound.insert(found.id.as_str()) {
                let keeps = |under: &&&Observed| match has.contains(found.id.as_str()) {
                    true => is_fixed_to(found, &under.id),
                    false => self.refers_to(found, &under.id),
                };
                open.extend(ours.iter().filter(keeps));
            }
        }
        self.bound = bound;
    }

    /// Whether one refers to the other, by the record or by what is observed.
    fn refers_to(&self, found: &Observed, id: &str) -> bool {
        let mut records = self.input.record.values().filter(|r| r.id.as_deref() == Some(&found.id));
        found.fields.values().any(|value| mentions(value, id))
            || records.any(|r| r.references.iter().any(|r| r.id == id))
    }

    /// Whether an entry that waits has a resource that goes on resting on this one.
    pub(super) fn is_kept(&self, id: &str) -> bool {
        self.waits.iter().any(|found| {
            let update = self.updates.get(found.id.as_str()).and_then(|at| self.plan.operations.get(*at));
            let is_changed = |field: &String| {
                update.is_some_and(|o| matches!(&o.act, Act::Update { fields, .. } if fields.contains(field)))
            };
            let is_late = |field: &str| found.kind.field(field).is_some_and(|spec| spec.change.is_late());
            let mut left = found.fields.iter().filter(|(field, _)| !is_late(field) && !is_changed(field));
            left.any(|(_, value)| mentions(value, id))
        })
    }
}

/// Whether it refers to the other in a field that can't change.
fn is_fixed_to(found: &Observed, id: &str) -> bool {
    let is_fixed = |field: &str| found.kind.field(field).is_some_and(|spec| spec.change == Change::Replace);
    found.fields.iter().any(|(field, value)| is_fixed(field) && mentions(value, id))
}
