//! From any record and any resources to what is desired: the planner relies on no history.

mod cases;
mod found;

use std::collections::{BTreeMap, BTreeSet};

use isthmus_model::desired::DesiredList;
use isthmus_model::observed::Observed;
use isthmus_model::plan::{Act, Plan, resolve, satisfies};
use proptest::collection::btree_set;
use proptest::prelude::*;
use serde_json::Value as Json;

use crate::world::World;
use found::{Start, is_ours, starts};

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, ..ProptestConfig::default() })]

    /// One apply reaches what is desired, the second plan is empty, and only what carries our mark is touched.
    #[test]
    fn any_state_reaches_desired(start in starts()) {
        let Start { desired, mut world } = start;
        let before = world.clone();
        let plan = world.plan(&desired);
        prop_assert!(plan.blocked.is_empty(), "{plan:?}");
        for (id, act) in touched(&plan) {
            prop_assert!(before.cloud.get(id).is_some_and(is_ours), "{act:?} of what is not ours");
            let name = &before.cloud[id].mark.as_ref().unwrap().name;
            let recorded = before.record.get(name).filter(|recorded| recorded.retain);
            match act {
                Act::Retain { .. } => prop_assert!(recorded.is_some(), "{id} is not to be kept: {plan:?}"),
                Act::Delete { replaced: false, .. } => {
                    let is_kept = recorded.is_some_and(|recorded| recorded.id.as_ref() == Some(id));
                    prop_assert!(!is_kept, "{id} is to be kept: {plan:?}");
                }
                _ => {}
            }
        }
        world.apply(&desired, &plan, usize::MAX, false);
        reached(&desired, &world)?;
        others_are_as_they_were(&before, &world, &plan)?;
        let second = world.plan(&desired);
        prop_assert!(second.is_empty(), "{second:?}\nafter {plan:?}");
    }

    /// What others refer to, and what a running pod is on, is not taken away; what can be done is done.
    #[test]
    fn what_is_held_stays(
        start in starts(),
        held in btree_set((0u8..16).prop_map(|id| format!("r{id}")), 0..4),
        pinned in btree_set((0u8..16).prop_map(|id| format!("r{id}")), 0..4),
    ) {
        let Start { desired, mut world } = start;
        world.forgiving = true;
        let external = world.external.clone();
        let plan = world.plan_with(&desired, &external, &held, &pinned);
        for (id, act) in touched(&plan) {
            let is_held = held.contains(id);
            match act {
                Act::Delete { .. } => {
                    prop_assert!(!is_held, "{id} is held: {plan:?}");
                    prop_assert!(!pinned.contains(id), "{id} is pinned: {plan:?}");
                }
                Act::Retain { .. } => prop_assert!(!is_held, "{id} is held: {plan:?}"),
                _ => {}
            }
        }
        world.apply(&desired, &plan, usize::MAX, false);
        // What something rests on by a record alone goes when that record is another's.
        let second = world.plan_with(&desired, &external, &held, &pinned);
        world.apply(&desired, &second, usize::MAX, false);
        let third = world.plan_with(&desired, &external, &held, &pinned);
        prop_assert!(third.operations.is_empty(), "{third:?}\nafter {second:?}\nafter {plan:?}");
    }
}

/// Ids of what is there and is written to, with what is done.
fn touched(plan: &Plan) -> impl Iterator<Item = (&String, &Act)> {
    plan.operations.iter().flat_map(|operation| {
        let ids: Vec<&String> = match &operation.act {
            Act::Delete { id, below, .. } => below.iter().map(|part| &part.id).chain([id]).collect(),
            Act::Update { id: Some(id), .. }
            | Act::Adopt { id }
            | Act::Rename { id, .. }
            | Act::Retain { id } => vec![id],
            Act::Create | Act::Update { id: None, .. } => Vec::new(),
        };
        ids.into_iter().map(|id| (id, &operation.act))
    })
}

/// Every entry has one resource of its own that says what the entry says, and there is no other of ours.
fn reached(desired: &DesiredList, world: &World) -> Result<(), TestCaseError> {
    let targets = world.targets(desired);
    let mut own = BTreeSet::new();
    for entry in desired.entries() {
        let id = world.record.get(&entry.name).and_then(|r| r.id.clone()).unwrap_or_default();
        let found = world.cloud.get(&id).filter(|o| is_ours(o) && o.kind == entry.kind);
        prop_assert!(found.is_some(), "{} is recorded as {id:?}", entry.name);
        let Some(found) = found else { continue };
        for (name, value) in &entry.fields {
            let wanted = resolve(name, value, &targets);
            let compare = entry.kind.field(name).unwrap().compare;
            let adds = |element: &Json| found.gives_itself(element);
            let says = wanted.is_ok_and(|wanted| satisfies(&wanted, found.fields.get(name), compare, adds));
            prop_assert!(says, "{name} of {} is {:?}", entry.name, found.fields.get(name));
        }
        prop_assert!(entry.tags.is_subset(&found.tags));
        prop_assert!(own.insert(id), "{} shares its resource", entry.name);
    }
    let ours: BTreeSet<String> = world.cloud.values().filter(|o| is_ours(o)).map(|o| o.id.clone()).collect();
    prop_assert_eq!(ours, own);
    Ok(())
}

/// What is not ours is as it was; what was let go lost its mark and nothing else.
fn others_are_as_they_were(before: &World, after: &World, plan: &Plan) -> Result<(), TestCaseError> {
    let others = |world: &World| -> BTreeMap<String, Observed> {
        world.cloud.values().filter(|o| !is_ours(o)).map(|o| (o.id.clone(), o.clone())).collect()
    };
    let mut expected = others(before);
    for operation in &plan.operations {
        if let Act::Retain { id } = &operation.act {
            let let_go = Observed { mark: None, ..before.cloud[id].clone() };
            expected.insert(id.clone(), let_go);
        }
    }
    prop_assert_eq!(others(after), expected);
    Ok(())
}
