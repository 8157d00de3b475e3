//! What comes first: of entries those that others need, of what goes those that refer to others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{Input, Operation};
use crate::desired::Entry;
use crate::observed::Observed;
use crate::order;

/// The entries with those first that others need, else in the order of kinds: what becomes of a subnet is known when it comes to
/// the ports, which may be on it without naming it. A list holds no circle of needs ([`crate::desired::DesiredList`]).
pub(super) fn in_order(entries: &[Entry]) -> Vec<&Entry> {
    let mut by_kind: Vec<&Entry> = entries.iter().collect();
    by_kind.sort_by_key(|entry| entry.kind);
    order::by_needs(by_kind.iter().copied()).unwrap_or(by_kind)
}

/// Something to be removed, the operation to be waited for, and whether another one takes its place.
pub(super) type Going<'a> = (&'a Observed, Option<usize>, bool);

/// What is to be removed, with those first that refer to others: by the record, else by the order of kinds.
pub(super) fn referrers_first<'a>(input: &Input<'_>, mut going: Vec<Going<'a>>) -> Vec<Going<'a>> {
    going.sort_by(|(a, ..), (b, ..)| (b.kind, &b.id).cmp(&(a.kind, &a.id)));
    let uses = uses(input, &going);
    // For each, how many that refer to it are still there.
    let mut users = vec![0usize; going.len()];
    for used in uses.iter().flatten() {
        users.get_mut(*used).into_iter().for_each(|n| *n += 1);
    }
    let mut left: BTreeSet<usize> = (0..going.len()).collect();
    let is_free = |at: &usize, users: &[usize]| users.get(*at) == Some(&0);
    let mut free: BTreeSet<usize> = left.iter().filter(|at| is_free(at, &users)).copied().collect();
    let mut ordered = Vec::with_capacity(going.len());
    // Two that refer to each other (groups by late rules): any order, the rules go with their group.
    while let Some(at) = free.pop_first().or_else(|| left.first().copied()) {
        left.remove(&at);
        ordered.extend(going.get(at).copied());
        for used in uses.get(at).into_iter().flatten() {
            users.get_mut(*used).into_iter().for_each(|n| *n = n.saturating_sub(1));
            if is_free(used, &users) && left.contains(used) {
                free.insert(*used);
            }
        }
    }
    ordered
}

/// For each that goes, which others that go it refers to: by the record or by what is observed.
fn uses(input: &Input<'_>, going: &[Going<'_>]) -> Vec<BTreeSet<usize>> {
    let at: BTreeMap<&str, usize> =
        going.iter().enumerate().map(|(at, (found, ..))| (found.id.as_str(), at)).collect();
    let mut recorded: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for record in input.record.values() {
        if let Some(id) = record.id.as_deref() {
            let used = record.references.iter().filter_map(|r| at.get(r.id.as_str()));
            recorded.entry(id).or_default().extend(used);
        }
    }
    let of = |(own, (found, ..)): (usize, &Going<'_>)| {
        let mut used = recorded.remove(found.id.as_str()).unwrap_or_default();
        found.fields.values().for_each(|value| texts(value, &mut |text| used.extend(at.get(text))));
        used.remove(&own);
        used
    };
    going.iter().enumerate().map(of).collect()
}

/// Operations by their positions: each after what it waits for, else in the order that they have; renumbered. `loose`: who waits
/// for whom where it need not be, should all that is left wait for each other.
pub(super) fn renumbered(
    mut left: BTreeMap<usize, Operation>,
    loose: &BTreeSet<(usize, usize)>,
) -> Vec<Operation> {
    let mut users: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, operation) in &left {
        operation.after.iter().for_each(|before| users.entry(*before).or_default().push(*at));
    }
    let mut free: BTreeSet<usize> =
        left.iter().filter(|(_, o)| o.after.is_empty()).map(|(at, _)| *at).collect();
    let mut waits: BTreeMap<usize, usize> = left.iter().map(|(at, o)| (*at, o.after.len())).collect();
    let (mut ordered, mut numbers) = (Vec::with_capacity(left.len()), BTreeMap::new());
    while let Some(at) = free.pop_first().or_else(|| loosely_bound(&left, loose)) {
        let Some(mut operation) = left.remove(&at) else { continue };
        operation.after = operation.after.iter().filter_map(|before| numbers.get(before).copied()).collect();
        numbers.insert(at, ordered.len());
        ordered.push(operation);
        for user in users.remove(&at).into_iter().flatten() {
            if let Some(n) = waits.get_mut(&user) {
                *n = n.saturating_sub(1);
                if *n == 0 {
                    free.insert(user);
                }
            }
        }
    }
    ordered
}

/// The first of those left that wait only loosely, where all wait for each other: a port that a floating IP is moved away from,
/// on a subnet in whose place the floating IP's new port has its own. No operation is left out.
fn loosely_bound(left: &BTreeMap<usize, Operation>, loose: &BTreeSet<(usize, usize)>) -> Option<usize> {
    let is_loose = |(at, o): &(&usize, &Operation)| {
        o.after.iter().all(|b| !left.contains_key(b) || loose.contains(&(**at, *b)))
    };
    left.iter().find(is_loose).or_else(|| left.first_key_value()).map(|(at, _)| *at)
}

/// Whether it can't be without the other. What is written late the cloud itself takes away with what it refers to.
pub(super) fn rests_on(found: &Observed, id: &str) -> bool {
    let is_late = |field: &str| found.kind.field(field).is_some_and(|spec| spec.change.is_late());
    found.fields.iter().any(|(field, value)| !is_late(field) && mentions(value, id))
}

/// Whether a value holds this id.
pub(super) fn mentions(value: &Json, id: &str) -> bool {
    let mut found = false;
    texts(value, &mut |text| found |= text == id);
    found
}

/// Sees all texts of a value.
pub(super) fn texts<'a>(value: &'a Json, see: &mut impl FnMut(&'a str)) {
    match value {
        Json::String(text) => see(text),
        Json::Array(items) => items.iter().for_each(|v| texts(v, see)),
        Json::Object(map) => map.values().for_each(|v| texts(v, see)),
        _ => {}
    }
}
