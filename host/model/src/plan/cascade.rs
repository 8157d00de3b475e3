//! One call for a tree that goes: a load balancer takes along what is below it (Octavia's cascade:
//! <https://docs.openstack.org/api-ref/load-balancer/v2/#remove-a-load-balancer>). One by one each deletion waits for the one before, and
//! some providers take seconds for a pool.

use std::collections::{BTreeMap, BTreeSet};

use super::order::renumbered;
use super::{Act, Below, Operation, Plan};
use crate::kinds::Kind;
use crate::observed::Observed;

/// Puts the operations that delete all that is below a load balancer into the one that deletes the load balancer.
pub(super) fn fold(mut plan: Plan, observed: &BTreeMap<String, Observed>) -> Plan {
    let roots: Vec<String> = plan.operations.iter().filter_map(root).map(Into::into).collect();
    for id in roots {
        let at = plan.operations.iter().position(|operation| root(operation) == Some(&id));
        let parts = below(&id, observed);
        if let Some(at) = at
            && let Some(positions) = deletions(&plan.operations, &parts)
            && !positions.is_empty()
            && !comes_between(&plan.operations, at, &positions)
        {
            plan.operations = folded(plan.operations, at, &positions);
        }
    }
    plan
}

fn root(operation: &Operation) -> Option<&str> {
    match &operation.act {
        Act::Delete { id, .. } if operation.kind == Kind::LoadBalancer => Some(id),
        _ => None,
    }
}

/// Ids of what is below a load balancer, whatever becomes of it.
fn below<'o>(id: &str, observed: &'o BTreeMap<String, Observed>) -> BTreeSet<&'o str> {
    let refers = |found: &Observed, field: &str, to: &dyn Fn(&str) -> bool| {
        found.fields.get(field).and_then(|value| value.as_str()).is_some_and(to)
    };
    let is_of = |found: &&Observed| {
        matches!(found.kind, Kind::Listener | Kind::Pool) && refers(found, "load_balancer", &|to| to == id)
    };
    let mut ids: BTreeSet<&str> = observed.values().filter(is_of).map(|found| found.id.as_str()).collect();
    let on_listeners = |found: &&Observed| {
        matches!(found.kind, Kind::L7Policy | Kind::ListenerCertificate)
            && refers(found, "listener", &|to| ids.contains(to))
    };
    let more: Vec<&str> = observed.values().filter(on_listeners).map(|found| found.id.as_str()).collect();
    ids.extend(more);
    ids
}

/// Where these are deleted; `None`: one of them is not.
fn deletions(operations: &[Operation], ids: &BTreeSet<&str>) -> Option<BTreeSet<usize>> {
    let deleted = operations.iter().enumerate().filter_map(|(at, operation)| match &operation.act {
        Act::Delete { id, .. } => ids.contains(id.as_str()).then_some(at),
        _ => None,
    });
    let positions: BTreeSet<usize> = deleted.collect();
    (positions.len() == ids.len()).then_some(positions)
}

/// Whether something waits for one of these and another of them for that.
fn comes_between(operations: &[Operation], root: usize, below: &BTreeSet<usize>) -> bool {
    let is_part = |at: &usize| *at == root || below.contains(at);
    // An operation comes after those that it waits for.
    let mut waits: BTreeSet<usize> = BTreeSet::new();
    for (at, operation) in operations.iter().enumerate() {
        let rests_on = |before: &usize| is_part(before) || waits.contains(before);
        if !is_part(&at) && operation.after.iter().any(rests_on) {
            waits.insert(at);
        }
    }
    let mut parts = below.iter().chain([&root]).filter_map(|at| operations.get(*at));
    parts.any(|part| part.after.iter().any(|before| waits.contains(before)))
}

fn folded(operations: Vec<Operation>, root: usize, below: &BTreeSet<usize>) -> Vec<Operation> {
    let within = |after: &BTreeSet<usize>| -> BTreeSet<usize> {
        after.iter().map(|at| if below.contains(at) { root } else { *at }).collect()
    };
    let (mut left, mut parts, mut names) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut needs = BTreeSet::new();
    for (at, mut operation) in operations.into_iter().enumerate() {
        operation.after = within(&operation.after);
        match operation.act {
            Act::Delete { id, replaced, .. } if below.contains(&at) => {
                needs.extend(operation.after);
                names.push(operation.name);
                parts.push(Below { kind: operation.kind, id, replaced });
            }
            _ => drop(left.insert(at, operation)),
        }
    }
    if let Some(operation) = left.get_mut(&root) {
        operation.after.extend(needs);
        operation.after.remove(&root);
        operation.with = names;
        if let Act::Delete { below, .. } = &mut operation.act {
            *below = parts;
        }
    }
    renumbered(left, &BTreeSet::new())
}
