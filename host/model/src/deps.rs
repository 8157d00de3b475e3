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
    lists: HashMap<Arc<Gvk>, BTreeMap<Scope, BTreeSet<S>>>,
    cloud: BTreeSet<S>,
}

type Scope = (Option<Arc<str>>, Selector);

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
                Read::Get(key) => self.gets.entry(key.clone()).or_default().insert(subject.clone()),
                Read::List { kind, namespace, selector } => self
                    .lists
                    .entry(kind.clone())
                    .or_default()
                    .entry((namespace.clone(), selector.clone()))
                    .or_default()
                    .insert(subject.clone()),
                Read::Cloud => self.cloud.insert(subject.clone()),
            };
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
                Read::Get(key) => drop_from(&mut self.gets, key, subject),
                Read::List { kind, namespace, selector } => {
                    if let Some(scopes) = self.lists.get_mut(kind) {
                        let scope = (namespace.clone(), selector.clone());
                        if let Some(readers) = scopes.get_mut(&scope) {
                            readers.remove(subject);
                            if readers.is_empty() {
                                scopes.remove(&scope);
                            }
                        }
                        if scopes.is_empty() {
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
        for ((namespace, selector), readers) in self.lists.get(&key.kind).into_iter().flatten() {
            let inside = namespace.is_none() || *namespace == key.namespace;
            if inside
                && (old.is_some_and(|l| selector.matches(l)) || new.is_some_and(|l| selector.matches(l)))
            {
                touched.extend(readers.iter().cloned());
            }
        }
        touched
    }

    /// The subjects that a change of what the cloud can do may touch.
    pub fn touched_by_cloud(&self) -> &BTreeSet<S> {
        &self.cloud
    }
}

fn drop_from<K: Eq + Hash, S: Ord>(map: &mut HashMap<K, BTreeSet<S>>, key: &K, subject: &S) {
    if let Some(readers) = map.get_mut(key) {
        readers.remove(subject);
        if readers.is_empty() {
            map.remove(key);
        }
    }
}
