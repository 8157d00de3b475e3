//! The projected objects of every watched kind: written in one place, read as O(1) snapshots.
//!
//! Persistent maps (structural sharing) let a module call read one consistent state while the watches go on. Per object
//! only its name, life, labels and projected text are kept.

mod objects;

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::selector::{Labels, Selector};
use isthmus_model::snapshot::{CloudFacts, Snapshot};

use self::objects::{Name, Objects, name_of};

/// One projected object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Kind and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// Its labels, and what it is listed by: selectors choose by them whether or not a module asked for them.
    pub labels: Labels,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// What the mask left of it, as JSON.
    pub text: Arc<str>,
}

/// One object before and after.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which object.
    pub key: ObjectKey,
    /// Before; `None` when it was not there.
    pub old: Option<Arc<Stored>>,
    /// After; `None` when it is gone. Another uid than `old`: the object is of another life.
    pub new: Option<Arc<Stored>>,
}

/// All watched objects and the facts about the cloud.
#[derive(Clone, Debug, Default)]
pub struct Store {
    kinds: Arc<BTreeMap<Arc<Gvk>, Objects>>,
    cloud: Arc<CloudFacts>,
}

impl Store {
    /// A store of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is in it now. Later changes of the store do not change the snapshot.
    pub fn snapshot(&self) -> StoreSnapshot {
        StoreSnapshot { kinds: self.kinds.clone(), cloud: self.cloud.clone() }
    }

    /// Puts an object in. `None`: nothing that is kept of it differs.
    pub fn apply(&mut self, kind: &Arc<Gvk>, object: Stored) -> Option<Change> {
        let objects = Arc::make_mut(&mut self.kinds).entry(kind.clone()).or_default();
        put(objects, kind, object)
    }

    /// Takes an object out. `None`: it was not there.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Change> {
        let objects = Arc::make_mut(&mut self.kinds).get_mut(&key.kind)?;
        take(objects, &name_of(key))
    }

    /// Makes these all objects of the kind, as after a list: an object that is not among them is gone, and that is a
    /// change too.
    pub fn replace_all(&mut self, kind: &Arc<Gvk>, listed: Vec<Stored>) -> Vec<Change> {
        let objects = Arc::make_mut(&mut self.kinds).entry(kind.clone()).or_default();
        let mut gone: std::collections::BTreeSet<Name> =
            objects.iter().map(|stored| name_of(&stored.key)).collect();
        for object in &listed {
            gone.remove(&name_of(&object.key));
        }
        let mut changes: Vec<Change> = gone.iter().filter_map(|name| take(objects, name)).collect();
        changes.extend(listed.into_iter().filter_map(|object| put(objects, kind, object)));
        changes
    }

    /// Forgets a kind that is no longer watched. This says nothing about its objects, so it is no change of them.
    pub fn forget(&mut self, kind: &Gvk) {
        Arc::make_mut(&mut self.kinds).remove(kind);
    }

    /// Replaces what the cloud can do. `false`: nothing differs.
    pub fn set_cloud(&mut self, facts: CloudFacts) -> bool {
        let differs = *self.cloud != facts;
        if differs {
            self.cloud = Arc::new(facts);
        }
        differs
    }
}

fn put(objects: &mut Objects, kind: &Arc<Gvk>, mut object: Stored) -> Option<Change> {
    let old = objects.get(&name_of(&object.key)).cloned();
    if old.as_deref() == Some(&object) {
        return None;
    }
    // Objects of a kind share one allocation for the kind, and those of a namespace one for its name.
    object.key = match &old {
        Some(old) => old.key.clone(),
        None => ObjectKey {
            kind: objects.iter().next().map_or(kind, |stored| &stored.key.kind).clone(),
            namespace: object.key.namespace.map(|namespace| shared(objects, namespace)),
            name: object.key.name,
        },
    };
    let new = Arc::new(object);
    objects.insert(new.clone());
    Some(Change { key: new.key.clone(), old, new: Some(new) })
}

fn take(objects: &mut Objects, name: &Name) -> Option<Change> {
    let old = objects.remove(name)?;
    Some(Change { key: old.key.clone(), old: Some(old), new: None })
}

/// The namespace as its other objects already hold it.
fn shared(objects: &Objects, namespace: Arc<str>) -> Arc<str> {
    let neighbour = objects.in_namespace(&namespace).next().and_then(|stored| stored.key.namespace.clone());
    neighbour.unwrap_or(namespace)
}

/// The store as it was at one moment. Cloning it is cheap.
#[derive(Clone, Debug, Default)]
pub struct StoreSnapshot {
    kinds: Arc<BTreeMap<Arc<Gvk>, Objects>>,
    cloud: Arc<CloudFacts>,
}

impl StoreSnapshot {
    /// One object.
    pub fn subject(&self, key: &ObjectKey) -> Option<Arc<Stored>> {
        self.kinds.get(&key.kind)?.get(&name_of(key)).cloned()
    }

    /// All objects of a kind, in order of namespace and name.
    pub fn iter(&self, kind: &Gvk) -> impl Iterator<Item = &Arc<Stored>> {
        self.kinds.get(kind).into_iter().flat_map(Objects::iter)
    }

    /// How many objects of a kind there are.
    pub fn count(&self, kind: &Gvk) -> usize {
        self.kinds.get(kind).map_or(0, Objects::count)
    }
}

impl Snapshot for StoreSnapshot {
    fn get(&self, key: &ObjectKey) -> Option<Arc<str>> {
        self.subject(key).map(|stored| stored.text.clone())
    }

    fn list(&self, kind: &Gvk, namespace: Option<&str>, selector: &Selector) -> Vec<Arc<str>> {
        let Some(objects) = self.kinds.get(kind) else { return Vec::new() };
        objects.chosen(namespace, selector).map(|stored| stored.text.clone()).collect()
    }

    fn cloud(&self) -> Arc<CloudFacts> {
        self.cloud.clone()
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
