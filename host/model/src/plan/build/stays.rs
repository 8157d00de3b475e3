//! What can't go now, and what that keeps in its place.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::Builder;
use crate::kinds::Change;
use crate::observed::Observed;
use crate::plan::Act;
use crate::plan::order::{mentions, texts};

impl<'a> Builder<'a> {
    /// What must not be replaced now, and what that keeps: of a resource that an entry has, what it can't be moved away from, of
    /// one that has no entry any more all that it refers to. `has`: resources that entries have.
    pub(super) fn bind(&mut self, has: &BTreeSet<&'a str>) {
        let input = self.input;
        let ours: Vec<&Observed> = input.observed.values().filter(|o| self.ours(o)).collect();
        let must_stay = |o: &&&Observed| self.is_needed(&o.id);
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

    /// Whether it can't be without something that goes, although all that its entry says is so: a port with the address that
    /// is asked for, on a subnet in whose place there is another. What comes later in the order of kinds is not told.
    pub(super) fn is_on_what_goes(&self, found: &Observed) -> bool {
        let mut any = false;
        fixed_texts(found, &mut |text| {
            let under = self.input.observed.get(text).filter(|under| under.kind < found.kind);
            any |= under.is_some_and(|under| self.goes(under));
        });
        any
    }

    /// Whether it is replaced, or no entry speaks for it.
    fn goes(&self, found: &'a Observed) -> bool {
        let id = found.id.as_str();
        if self.taken.contains(id) {
            return self.first.contains_key(id) || self.replaced.iter().any(|(o, _)| o.id == id);
        }
        let name = self.name_of(found);
        let is_let_go = self.is_retained(name, found) && !self.is_duplicate(name, found);
        let in_project = self.in_project(found, self.input.desired.get(name));
        self.ours(found) && in_project && !is_let_go && !self.is_needed(id)
    }

    /// Whether another mapping refers to it, or a running pod is on it.
    fn is_needed(&self, id: &str) -> bool {
        self.input.held.contains(id) || self.input.pinned.contains(id)
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
    let mut any = false;
    fixed_texts(found, &mut |text| any |= text == id);
    any
}

/// The texts of what can't change about it. An address that Neutron gives it unasked goes with its subnet.
fn fixed_texts<'o>(found: &'o Observed, see: &mut impl FnMut(&'o str)) {
    let is_fixed = |field: &str| found.kind.field(field).is_some_and(|spec| spec.change == Change::Replace);
    for (_, value) in found.fields.iter().filter(|(field, _)| is_fixed(field)) {
        match value {
            Json::Array(items) => {
                items.iter().filter(|item| !found.gives_itself(item)).for_each(|item| texts(item, see));
            }
            value => texts(value, see),
        }
    }
}
