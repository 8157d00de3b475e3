//! One call for a tree: a load balancer that is made takes along what is made below it (Octavia's fully populated create:
//! <https://docs.openstack.org/api-ref/load-balancer/v2/#create-a-load-balancer>). Either all of it is made, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::order::renumbered;
use super::{Act, Operation, Plan};
use crate::desired::{DesiredList, Entry, local};
use crate::kinds::Kind;
use crate::value::{Reference, Value};

/// Puts the operations that make something below a load balancer into the one that makes the load balancer, with the updates
/// that would follow them.
pub(super) fn fold(mut plan: Plan, desired: &DesiredList) -> Plan {
    let is_root = |o: &Operation| o.kind == Kind::LoadBalancer && o.act == Act::Create;
    let roots: Vec<String> = plan.operations.iter().filter(|o| is_root(o)).map(|o| o.name.clone()).collect();
    for root in roots {
        let at = plan.operations.iter().position(|o| is_root(o) && o.name == root);
        if let Some(tree) = at.and_then(|at| Tree::of(&plan.operations, at, desired)) {
            plan.operations = tree.folded(plan.operations);
        }
    }
    plan
}

/// What goes into one call.
struct Tree {
    root: usize,
    /// Positions of the creates below it, with their names, in order.
    below: BTreeMap<usize, String>,
    /// Positions of updates of which nothing is left.
    absorbed: BTreeSet<usize>,
    /// Updates of which these fields are left.
    kept: BTreeMap<usize, BTreeSet<String>>,
}

impl Tree {
    /// `None`: there is nothing below it.
    fn of(operations: &[Operation], root: usize, desired: &DesiredList) -> Option<Self> {
        let mut tree =
            Self { root, below: BTreeMap::new(), absorbed: BTreeSet::new(), kept: BTreeMap::new() };
        let mut names: BTreeMap<&str, Kind> = BTreeMap::new();
        names.extend(operations.get(root).map(|o| (o.name.as_str(), o.kind)));
        // What can be done only when the tree is there.
        let mut later: BTreeSet<usize> = BTreeSet::new();
        let mut made_later: BTreeSet<&str> = BTreeSet::new();
        for (at, operation) in operations.iter().enumerate() {
            let Some(entry) = desired.get(&operation.name).filter(|_| at != root) else { continue };
            let waits = operation.after.iter().any(|before| later.contains(before));
            match &operation.act {
                Act::Create if !waits && parent(entry).is_some_and(|p| names.contains_key(p)) => {
                    tree.below.insert(at, operation.name.clone());
                    names.insert(&operation.name, entry.kind);
                    continue;
                }
                Act::Update { id: None, fields } if names.contains_key(operation.name.as_str()) => {
                    let fits = |f: &&String| fits(entry, f, &names, &made_later);
                    let left: BTreeSet<String> = fields.iter().filter(|f| !fits(f)).cloned().collect();
                    if left.is_empty() {
                        tree.absorbed.insert(at);
                        continue;
                    }
                    tree.kept.insert(at, left);
                }
                _ => {}
            }
            if waits || operation.after.iter().any(|before| tree.holds(*before)) {
                later.insert(at);
                made_later.extend(operation.names());
            }
        }
        (!tree.below.is_empty()).then_some(tree)
    }

    fn holds(&self, at: usize) -> bool {
        at == self.root || self.below.contains_key(&at) || self.absorbed.contains(&at)
    }

    /// The operations with this tree as one of them. What it needs may stand behind it: they are put in order anew.
    fn folded(&self, operations: Vec<Operation>) -> Vec<Operation> {
        let within = |after: &BTreeSet<usize>| -> BTreeSet<usize> {
            after.iter().map(|at| if self.holds(*at) { self.root } else { *at }).collect()
        };
        let mut needs: BTreeSet<usize> = operations
            .iter()
            .enumerate()
            .filter(|(at, _)| self.holds(*at))
            .flat_map(|(_, o)| within(&o.after))
            .collect();
        needs.remove(&self.root);
        let mut left: BTreeMap<usize, Operation> = BTreeMap::new();
        for (at, mut operation) in operations.into_iter().enumerate() {
            if at == self.root {
                operation.with = self.below.values().cloned().collect();
                operation.after = std::mem::take(&mut needs);
            } else if self.holds(at) {
                continue;
            } else {
                operation.after = within(&operation.after);
            }
            if let (Some(kept), Act::Update { fields, .. }) = (self.kept.get(&at), &mut operation.act) {
                fields.clone_from(kept);
            }
            left.insert(at, operation);
        }
        renumbered(left, &BTreeSet::new())
    }
}

/// The entry that this one is below of.
fn parent(entry: &Entry) -> Option<&str> {
    let field = match entry.kind {
        Kind::Listener | Kind::Pool => "load_balancer",
        Kind::L7Policy => "listener",
        _ => return None,
    };
    match entry.fields.get(field) {
        Some(Value::Ref(reference @ Reference::Local(_))) => local(reference),
        _ => None,
    }
}

/// Whether a field that is written after creation can be part of the call. Of the tree itself it can name pools.
fn fits(entry: &Entry, field: &str, tree: &BTreeMap<&str, Kind>, made_later: &BTreeSet<&str>) -> bool {
    let Some(value) = entry.fields.get(field) else { return false };
    let names_pools = matches!(field, "default_pool" | "action");
    let mut fits = true;
    value.references(field, &mut |_, reference| {
        let Some(name) = local(reference) else { return };
        fits &= match tree.get(name) {
            Some(kind) => names_pools && *kind == Kind::Pool,
            None => !made_later.contains(name),
        };
    });
    fits
}
