//! The dependency index against a brute-force re-run of all that was read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_model::deps::DependencyIndex;
use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::projection::Mask;
use isthmus_model::selector::{Labels, Selector};
use isthmus_model::snapshot::{Read, ReadSet};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

/// Objects with their labels and what of them is shown.
type Objects = BTreeMap<ObjectKey, (Labels, u8)>;

const LABELS: [&str; 3] = ["app", "tier", "example.com/zone"];
/// A label may be there and empty.
const VALUES: [&str; 3] = ["a", "b", ""];

/// What objects are listed by.
const FIELD: &str = "spec.zone";

/// How it stands among the labels of an object that has this value.
fn field(value: &str) -> impl Iterator<Item = (String, String)> {
    let mask = Mask::new([]).unwrap().listed_by([FIELD]).unwrap();
    mask.labels(&json!({"spec": {"zone": value}}), Labels::new()).into_iter()
}

/// A requirement of a label selector, with a meaning of its own: that of Kubernetes' documentation, word by word.
#[derive(Clone, Debug)]
enum Requirement {
    In(&'static str, Vec<&'static str>),
    NotIn(&'static str, Vec<&'static str>),
    Exists(&'static str),
    Absent(&'static str),
}

impl Requirement {
    fn selects(&self, labels: &Labels) -> bool {
        let is_one_of =
            |key: &str, values: &[&str]| values.iter().any(|v| labels.get(key).is_some_and(|l| l == v));
        match self {
            Self::In(key, values) => is_one_of(key, values),
            Self::NotIn(key, values) => !is_one_of(key, values),
            Self::Exists(key) => labels.contains_key(*key),
            Self::Absent(key) => !labels.contains_key(*key),
        }
    }

    /// As somebody may write it.
    fn text(&self, spelling: u8) -> String {
        let space = if spelling.is_multiple_of(2) { " " } else { "" };
        match self {
            Self::In(key, values) if values.len() == 1 && spelling < 3 => {
                format!("{key}{space}={}{space}{}", if spelling == 0 { "=" } else { "" }, values[0])
            }
            Self::NotIn(key, values) if values.len() == 1 && spelling < 3 => {
                format!("{key}{space}!={}", values[0])
            }
            Self::In(key, values) => format!("{space}{key} in{space}({})", values.join(&format!(",{space}"))),
            Self::NotIn(key, values) => format!("{key} notin ({}{space})", values.join(",")),
            Self::Exists(key) => format!("{key}{space}"),
            Self::Absent(key) => format!("!{key}"),
        }
    }
}

/// Something that a mapping reads.
#[derive(Clone, Debug)]
enum Formula {
    Get(ObjectKey),
    List(Gvk, Option<&'static str>, Vec<(Requirement, u8)>),
    /// By the value of [`FIELD`].
    ListBy(Gvk, Option<&'static str>, &'static str),
    Cloud,
}

impl Formula {
    fn read(&self) -> Read {
        match self {
            Self::Get(key) => Read::Get(key.clone()),
            Self::List(kind, namespace, requirements) => {
                let texts: Vec<String> = requirements.iter().map(|(r, spelling)| r.text(*spelling)).collect();
                let selector = texts.join(",").parse().unwrap();
                Read::List { kind: Arc::new(kind.clone()), namespace: namespace.map(Arc::from), selector }
            }
            Self::ListBy(kind, namespace, value) => {
                let selector = Selector::of_field(FIELD, value).unwrap();
                Read::List { kind: Arc::new(kind.clone()), namespace: namespace.map(Arc::from), selector }
            }
            Self::Cloud => Read::Cloud,
        }
    }

    /// Whether the object is part of the answer, if it is there with these labels.
    fn holds(&self, key: &ObjectKey, labels: &Labels) -> bool {
        match self {
            Self::Get(own) => own == key,
            Self::List(kind, namespace, requirements) => {
                *key.kind == *kind
                    && namespace.is_none_or(|namespace| key.namespace.as_deref() == Some(namespace))
                    && requirements.iter().all(|(requirement, _)| requirement.selects(labels))
            }
            Self::ListBy(kind, namespace, value) => {
                *key.kind == *kind
                    && namespace.is_none_or(|namespace| key.namespace.as_deref() == Some(namespace))
                    && field(value).all(|(key, value)| labels.get(&key) == Some(&value))
            }
            Self::Cloud => false,
        }
    }

    /// What is answered: what is shown of all that the answer holds, in order.
    fn answer(&self, objects: &Objects) -> Vec<u8> {
        let held = objects.iter().filter(|(key, (labels, _))| self.holds(key, labels));
        held.map(|(_, (_, shown))| *shown).collect()
    }
}

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    /// An object appears, changes or goes.
    Change(ObjectKey, Option<(Labels, u8)>),
    /// Only the labels of an object change, or only what is shown of it.
    Part(ObjectKey, Result<Labels, u8>),
    /// A subject is mapped anew, and reads this.
    Map(u8, Vec<Formula>),
    /// A subject reads more.
    Add(u8, Vec<Formula>),
    Forget(u8),
}

/// Two namespaced kinds of one name, and a cluster-scoped one.
fn kinds() -> impl Strategy<Value = Gvk> {
    select(vec![
        Gvk::new("", "v1", "Thing"),
        Gvk::new("a.example", "v1", "Thing"),
        Gvk::new("", "v1", "Zone"),
    ])
}

fn keys() -> impl Strategy<Value = ObjectKey> {
    (kinds(), select(vec!["red", "blue"]), select(vec!["x", "y", "z"])).prop_map(|(kind, namespace, name)| {
        let namespace = (kind.kind == "Thing").then_some(namespace);
        ObjectKey::new(kind, namespace, name)
    })
}

fn labels() -> impl Strategy<Value = Labels> {
    let all =
        btree_map(select(LABELS.as_slice()).prop_map_into(), select(VALUES.as_slice()).prop_map_into(), 0..4);
    (all, option::of(select(VALUES.as_slice()))).prop_map(|(mut labels, value): (Labels, _)| {
        labels.extend(value.into_iter().flat_map(field));
        labels
    })
}

fn requirements() -> impl Strategy<Value = Requirement> {
    let (key, values) = (|| select(LABELS.as_slice()), || vec(select(VALUES.as_slice()), 1..4));
    prop_oneof![
        (key(), values()).prop_map(|(key, values)| Requirement::In(key, values)),
        (key(), values()).prop_map(|(key, values)| Requirement::NotIn(key, values)),
        key().prop_map(Requirement::Exists),
        key().prop_map(Requirement::Absent),
    ]
}

fn formulas() -> impl Strategy<Value = Vec<Formula>> {
    let namespace = option::of(select(vec!["red", "blue"]));
    let list = (kinds(), namespace.clone(), vec((requirements(), 0u8..6), 0..4));
    let list_by = (kinds(), namespace, select(VALUES.as_slice()));
    let one = prop_oneof![
        3 => keys().prop_map(Formula::Get),
        8 => list.prop_map(|(kind, namespace, requirements)| Formula::List(kind, namespace, requirements)),
        4 => list_by.prop_map(|(kind, namespace, value)| Formula::ListBy(kind, namespace, value)),
        1 => Just(Formula::Cloud),
    ];
    vec(one, 0..4)
}

fn steps() -> impl Strategy<Value = Step> {
    let part = prop_oneof![labels().prop_map(Ok), (0u8..3).prop_map(Err)];
    prop_oneof![
        6 => (keys(), option::weighted(0.7, (labels(), 0u8..3))).prop_map(|(key, new)| Step::Change(key, new)),
        6 => (keys(), part).prop_map(|(key, part)| Step::Part(key, part)),
        3 => (0u8..6, formulas()).prop_map(|(subject, formulas)| Step::Map(subject, formulas)),
        1 => (0u8..6, formulas()).prop_map(|(subject, formulas)| Step::Add(subject, formulas)),
        1 => (0u8..6).prop_map(Step::Forget),
    ]
}

#[derive(Default)]
struct World {
    objects: Objects,
    subjects: BTreeMap<u8, Vec<Formula>>,
    index: DependencyIndex<u8>,
}

impl World {
    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let reads = |formulas: &[Formula]| -> ReadSet { formulas.iter().map(Formula::read).collect() };
        match step {
            Step::Change(key, new) => self.change(&key, new)?,
            Step::Part(key, part) => {
                if let Some((labels, shown)) = self.objects.get(&key).cloned() {
                    let new = part.map_or_else(|shown| (labels, shown), |labels| (labels, shown));
                    self.change(&key, Some(new))?;
                }
            }
            Step::Map(subject, formulas) => {
                self.index.set(&subject, reads(&formulas));
                self.subjects.insert(subject, formulas);
            }
            Step::Add(subject, more) => {
                self.index.add(&subject, &reads(&more));
                if !more.is_empty() {
                    self.subjects.entry(subject).or_default().extend(more);
                }
            }
            Step::Forget(subject) => {
                self.index.remove(&subject);
                self.subjects.remove(&subject);
            }
        }
        for (subject, formulas) in &self.subjects {
            prop_assert_eq!(self.index.reads(subject), Some(&reads(formulas)));
        }
        Ok(())
    }

    fn change(&mut self, key: &ObjectKey, new: Option<(Labels, u8)>) -> Result<(), TestCaseError> {
        let before = self.objects.clone();
        let old = match new.clone() {
            Some(object) => self.objects.insert(key.clone(), object),
            None => self.objects.remove(key),
        };
        if old.is_none() && new.is_none() {
            return Ok(());
        }
        let labels = |object: &Option<(Labels, u8)>| object.as_ref().map(|(labels, _)| labels.clone());
        let (was, is) = (labels(&old), labels(&new));
        let touched = self.index.touched(key, was.as_ref(), is.as_ref());
        let shown_alike = old.is_some_and(|(_, old)| new.is_some_and(|(_, new)| old == new));
        let expected = self.subjects.iter().filter(|(_, formulas)| {
            formulas.iter().any(|formula| {
                let holds = |labels: &Option<Labels>| labels.as_ref().is_some_and(|l| formula.holds(key, l));
                let written_alike = shown_alike && holds(&was) && holds(&is);
                formula.answer(&before) != formula.answer(&self.objects) || written_alike
            })
        });
        let expected: BTreeSet<u8> = expected.map(|(subject, _)| *subject).collect();
        prop_assert_eq!(touched, expected, "{} from {:?} to {:?}: {:?}", key, was, is, &self.subjects);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// A change names exactly the subjects of which a read is answered otherwise after it, and those that read the object before
    /// and after it, where what is shown of it is the same: the index knows labels and not what is shown.
    #[test]
    fn names_exactly_whom_a_change_touches(steps in vec(steps(), 1..40)) {
        let mut world = World::default();
        for step in steps {
            world.step(step)?;
            let reads_cloud = |formulas: &[Formula]| formulas.iter().any(|f| matches!(f, Formula::Cloud));
            let expected: BTreeSet<u8> =
                world.subjects.iter().filter(|(_, f)| reads_cloud(f)).map(|(subject, _)| *subject).collect();
            prop_assert_eq!(world.index.touched_by_cloud(), &expected);
        }
        // Nothing is left of subjects that are gone.
        for subject in 0..6 {
            world.index.remove(&subject);
            prop_assert!(world.index.reads(&subject).is_none());
        }
        world.subjects.clear();
        for key in world.objects.keys().cloned().collect::<Vec<_>>() {
            world.change(&key, None)?;
        }
        prop_assert!(world.index.touched_by_cloud().is_empty());
    }

    /// A selector chooses what Kubernetes says, however it is spelt.
    #[test]
    fn a_selector_chooses_what_its_requirements_say(
        requirements in vec((requirements(), 0u8..6), 0..4),
        labels in labels(),
    ) {
        let formula = Formula::List(Gvk::new("", "v1", "Zone"), None, requirements);
        let Read::List { selector, .. } = formula.read() else { return Ok(()) };
        let key = ObjectKey::new(Gvk::new("", "v1", "Zone"), None, "x");
        prop_assert_eq!(selector.matches(&labels), formula.holds(&key, &labels), "{}", selector);
        prop_assert_eq!(selector.to_string().parse(), Ok(selector));
    }
}
