//! The dependency index against a brute-force re-run of all mappings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_model::deps::DependencyIndex;
use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::selector::{Labels, Selector};
use isthmus_model::snapshot::{Read, ReadSet};
use proptest::prelude::*;

type Objects = BTreeMap<ObjectKey, (Labels, u8)>;

/// A "mapping": what it reads, and what it makes of it (all that it saw).
#[derive(Clone, Debug)]
enum Formula {
    Get(u8, u8),
    List(Option<u8>, u8),
}

fn key(namespace: u8, name: u8) -> ObjectKey {
    ObjectKey::new(Gvk::new("", "v1", "Thing"), Some(&format!("ns{namespace}")), &format!("o{name}"))
}

fn selector(n: u8) -> Selector {
    ["", "app=a", "app!=a", "app in (a,b),tier", "!app"][n as usize % 5].parse().unwrap()
}

fn evaluate(formula: &Formula, objects: &Objects) -> (ReadSet, String) {
    match formula {
        Formula::Get(namespace, name) => {
            let key = key(*namespace, *name);
            let seen = format!("{:?}", objects.get(&key));
            (BTreeSet::from([Read::Get(key)]), seen)
        }
        Formula::List(namespace, pick) => {
            let (namespace, selector) = (namespace.map(|n| Arc::from(format!("ns{n}"))), selector(*pick));
            let inside = |k: &ObjectKey| namespace.is_none() || k.namespace == namespace;
            let seen: Vec<_> =
                objects.iter().filter(|(k, (l, _))| inside(k) && selector.matches(l)).collect();
            let seen = format!("{seen:?}");
            (
                BTreeSet::from([Read::List {
                    kind: Arc::new(Gvk::new("", "v1", "Thing")),
                    namespace,
                    selector,
                }]),
                seen,
            )
        }
    }
}

fn formulas() -> impl Strategy<Value = Formula> {
    prop_oneof![
        (0u8..2, 0u8..3).prop_map(|(ns, n)| Formula::Get(ns, n)),
        (proptest::option::of(0u8..2), 0u8..5).prop_map(|(ns, s)| Formula::List(ns, s)),
    ]
}

fn objects() -> impl Strategy<Value = Option<(Labels, u8)>> {
    let labels = proptest::collection::btree_map(prop_oneof!["app", "tier"], prop_oneof!["a", "b"], 0..3);
    proptest::option::of((labels, any::<u8>()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn names_all_that_change_and_none_outside_their_reads(
        formulas in proptest::collection::vec(formulas(), 1..8),
        changes in proptest::collection::vec(((0u8..2, 0u8..3), objects()), 1..12),
    ) {
        let mut world = Objects::new();
        let mut index = DependencyIndex::default();
        let mut seen = BTreeMap::new();
        for (id, formula) in formulas.iter().enumerate() {
            let (reads, value) = evaluate(formula, &world);
            index.set(&id, reads);
            seen.insert(id, value);
        }
        for ((namespace, name), new) in changes {
            let key = key(namespace, name);
            let old = match new.clone() {
                Some(object) => world.insert(key.clone(), object),
                None => world.remove(&key),
            };
            let touched = index.touched(&key, old.as_ref().map(|o| &o.0), new.as_ref().map(|o| &o.0));
            for (id, formula) in formulas.iter().enumerate() {
                let (reads, value) = evaluate(formula, &world);
                if value != seen[&id] {
                    prop_assert!(touched.contains(&id), "{formula:?} missed a change of {key}");
                }
                let inside = reads.iter().any(|r| match r {
                    Read::Get(k) => *k == key,
                    Read::List { namespace, .. } => namespace.is_none() || *namespace == key.namespace,
                    Read::Cloud => false,
                });
                prop_assert!(inside || !touched.contains(&id), "{formula:?} woken by {key}, which it never read");
                index.set(&id, reads);
                seen.insert(id, value);
            }
        }
        // Nothing is left of subjects that are gone.
        for id in 0..formulas.len() {
            index.remove(&id);
            prop_assert!(index.reads(&id).is_none());
        }
        let (namespace, name) = (0, 0);
        prop_assert!(index.touched(&key(namespace, name), Some(&Labels::new()), Some(&Labels::new())).is_empty());
    }
}
