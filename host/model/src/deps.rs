//! The dependency index: which subjects a change can touch (design, section 1: objects are cells, modules formulas).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use crate::object::{Gvk, ObjectKey};
use crate::selector::{Labels, Selector};
use crate::snapshot::{Read, ReadSet};

/// Who read what. `S` names a subject; clones of it should be cheap.
///
/// Guarantee: a change of an object names exactly the subjects of which a read is answered otherwise after it, and those
/// of which a read holds the object before and after it, where what is shown of it is the same (labels are told, what is
/// shown is not). A property test holds it against a brute-force re-run of all reads.
#[derive(Debug)]
pub struct DependencyIndex<S> {
    reads: HashMap<S, Arc<ReadSet>>,
    /// All different sets: many subjects read the same (the Pods of a namespace), and each set costs some KiB.
    sets: BTreeSet<Arc<ReadSet>>,
    gets: HashMap<ObjectKey, BTreeSet<S>>,
    lists: HashMap<Arc<Gvk>, Lists<S>>,
    cloud: BTreeSet<S>,
}

type Scope = (Option<Arc<str>>, Selector);

/// The lists of a kind that were read.
#[derive(Debug)]
struct Lists<S> {
    /// Those that ask for one value of a key, by both: a change finds them by what its object has, however many others there are.
    exact: HashMap<String, HashMap<String, Readers<S>>>,
    others: Readers<S>,
}

type Readers<S> = BTreeMap<Scope, BTreeSet<S>>;

impl<S> Default for Lists<S> {
    fn default() -> Self {
        Self { exact: HashMap::new(), others: BTreeMap::new() }
    }
}

impl<S: Clone + Ord> Lists<S> {
    fn insert(&mut self, scope: Scope, subject: S) {
        let readers = match scope.1.exact() {
            None => &mut self.others,
            Some((key, value)) => self.exact.entry(key.into()).or_default().entry(value.into()).or_default(),
        };
        readers.entry(scope).or_default().insert(subject);
    }

    fn remove(&mut self, scope: &Scope, subject: &S) {
        let Some((key, value)) = scope.1.exact() else {
            drop_from(&mut self.others, scope, subject);
            return;
        };
        let Some(values) = self.exact.get_mut(key) else { return };
        if let Some(readers) = values.get_mut(value) {
            drop_from(readers, scope, subject);
            if readers.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.exact.remove(key);
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.others.is_empty()
    }

    /// Those that may choose an object with these labels.
    fn candidates(&self, labels: &Labels) -> impl Iterator<Item = (&Scope, &BTreeSet<S>)> {
        let of = |(key, value): (&String, &String)| self.exact.get(key)?.get(value);
        labels.iter().filter_map(of).flatten().chain(&self.others)
    }
}

impl<S> Default for DependencyIndex<S> {
    fn default() -> Self {
        let (reads, sets, gets, lists) = (HashMap::new(), BTreeSet::new(), HashMap::new(), HashMap::new());
        Self { reads, sets, gets, lists, cloud: BTreeSet::new() }
    }
}

impl<S: Clone + Ord + Hash> DependencyIndex<S> {
    /// Replaces what this subject has read.
    pub fn set(&mut self, subject: &S, reads: ReadSet) {
        if self.reads.get(subject).is_some_and(|old| **old == reads) {
            return;
        }
        self.remove(subject);
        for read in &reads {
            match read {
                Read::Get(key) => {
                    self.gets.entry(key.clone()).or_default().insert(subject.clone());
                }
                Read::List { kind, namespace, selector } => {
                    let scope = (namespace.clone(), selector.clone());
                    self.lists.entry(kind.clone()).or_default().insert(scope, subject.clone());
                }
                Read::Cloud => {
                    self.cloud.insert(subject.clone());
                }
            }
        }
        let shared = self.sets.get(&reads).cloned().unwrap_or_else(|| Arc::new(reads));
        self.sets.insert(shared.clone());
        self.reads.insert(subject.clone(), shared);
    }

    /// Adds to what this subject has read.
    pub fn add(&mut self, subject: &S, reads: &ReadSet) {
        let before = self.reads.get(subject).map(|before| ReadSet::clone(before)).unwrap_or_default();
        if !reads.is_subset(&before) {
            self.set(subject, before.union(reads).cloned().collect());
        }
    }

    /// Forgets a subject.
    pub fn remove(&mut self, subject: &S) {
        let Some(reads) = self.reads.remove(subject) else { return };
        for read in reads.iter() {
            match read {
                Read::Get(key) => {
                    if let Some(readers) = self.gets.get_mut(key) {
                        readers.remove(subject);
                        if readers.is_empty() {
                            self.gets.remove(key);
                        }
                    }
                }
                Read::List { kind, namespace, selector } => {
                    if let Some(lists) = self.lists.get_mut(kind) {
                        lists.remove(&(namespace.clone(), selector.clone()), subject);
                        if lists.is_empty() {
                            self.lists.remove(kind);
                        }
                    }
                }
                Read::Cloud => {
                    self.cloud.remove(subject);
                }
            }
        }
        // Ours and that of `sets`: nobody else has it.
        if Arc::strong_count(&reads) == 2 {
            self.sets.remove(&reads);
        }
    }

    /// What this subject has read.
    pub fn reads(&self, subject: &S) -> Option<&ReadSet> {
        self.reads.get(subject).map(Arc::as_ref)
    }

    /// The subjects that a change of this object touches. Labels are those before and after; `None`: it was not there.
    pub fn touched(&self, key: &ObjectKey, old: Option<&Labels>, new: Option<&Labels>) -> BTreeSet<S> {
        let mut touched = self.gets.get(key).cloned().unwrap_or_default();
        let Some(lists) = self.lists.get(&key.kind) else { return touched };
        for labels in [old, new.filter(|new| old != Some(*new))].into_iter().flatten() {
            for ((namespace, selector), readers) in lists.candidates(labels) {
                let inside = namespace.is_none() || *namespace == key.namespace;
                if inside && selector.matches(labels) {
                    touched.extend(readers.iter().cloned());
                }
            }
        }
        touched
    }

    /// The subjects that a change of what the cloud can do may touch.
    pub fn touched_by_cloud(&self) -> &BTreeSet<S> {
        &self.cloud
    }
}

fn drop_from<S: Ord>(readers: &mut Readers<S>, scope: &Scope, subject: &S) {
    if let Some(all) = readers.get_mut(scope) {
        all.remove(subject);
        if all.is_empty() {
            readers.remove(scope);
        }
    }
}
