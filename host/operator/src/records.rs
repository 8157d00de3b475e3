//! The CloudMappings as this session knows them: from its own writes first, from the watch otherwise.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use isthmus_kubernetes::crd::{CloudMapping, CloudMappingStatus};
use isthmus_model::object::{ObjectKey, Subject};
use isthmus_model::record::Record;
use isthmus_model::value::Reference;
use kube::ResourceExt;

/// One CloudMapping, slim.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: String,
    /// Its uid: another one under its name is another CloudMapping.
    pub uid: String,
    /// As read or written last.
    pub resource_version: Option<String>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Somebody has deleted it; our finalizer holds it.
    pub deleting: bool,
    /// We have taken our finalizer off: it is as good as gone.
    pub released: bool,
    /// Its status.
    pub status: Arc<CloudMappingStatus>,
    /// The status is ours, and the API server does not have it yet.
    pub unwritten: bool,
}

impl Known {
    /// What it records. An entry that can't be read is left out, and said.
    pub fn record(&self) -> Record {
        let mut record = Record::new();
        for resource in &self.status.resources {
            match resource.recorded() {
                Ok(recorded) => drop(record.insert(resource.name.clone(), recorded)),
                Err(error) => {
                    tracing::warn!(mapping = %self.name, %error, "a recorded resource can't be read")
                }
            }
        }
        record
    }

    /// Local names of the entries whose create's answer was lost.
    pub fn unknown(&self) -> BTreeSet<String> {
        self.status.resources.iter().filter(|r| r.created_unknown).map(|r| r.name.clone()).collect()
    }
}

/// All of them, by the subject's uid.
#[derive(Debug, Default)]
pub struct Records {
    known: HashMap<Arc<str>, (Subject, Known)>,
    by_key: HashMap<ObjectKey, BTreeSet<Arc<str>>>,
    /// Who refers to an entry of another mapping.
    users: HashMap<(ObjectKey, String), BTreeSet<Arc<str>>>,
}

impl Records {
    /// The mapping of a subject.
    pub fn get(&self, uid: &str) -> Option<&Known> {
        self.known.get(uid).map(|(_, known)| known)
    }

    /// The subject of this uid.
    pub fn subject(&self, uid: &str) -> Option<&Subject> {
        self.known.get(uid).map(|(subject, _)| subject)
    }

    /// Every subject that has a mapping.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.known.values().map(|(subject, _)| subject)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The uids of subjects of this name that have mappings: one life of the object each.
    pub fn lives(&self, key: &ObjectKey) -> impl Iterator<Item = &Arc<str>> {
        self.by_key.get(key).into_iter().flatten()
    }

    /// Subjects whose mappings refer to this entry.
    pub fn users(&self, key: &ObjectKey, entry: &str) -> Vec<Subject> {
        let uids = self.users.get(&(key.clone(), entry.to_owned()));
        uids.into_iter().flatten().filter_map(|uid| self.subject(uid).cloned()).collect()
    }

    /// Local names of a subject's entries that other mappings refer to.
    pub fn held(&self, subject: &Subject) -> BTreeSet<String> {
        let entries =
            self.get(&subject.uid).map(|known| known.status.resources.iter().map(|r| r.name.clone()));
        let used = |name: &String| {
            let users = self.users.get(&(subject.key.clone(), name.clone()));
            users.is_some_and(|users| users.iter().any(|uid| *uid != subject.uid))
        };
        entries.into_iter().flatten().filter(used).collect()
    }

    /// Takes in a mapping as read or written. An older state than the known one is left aside (a watch lags behind our own
    /// writes). Answers its subject where anything changed.
    pub fn put(&mut self, mapping: &CloudMapping) -> Option<Subject> {
        let subject = mapping.spec.subject.subject();
        let known = Known {
            namespace: mapping.namespace().unwrap_or_default().into(),
            name: mapping.name_any(),
            uid: mapping.uid().unwrap_or_default(),
            resource_version: mapping.resource_version(),
            generation: mapping.metadata.generation,
            deleting: mapping.metadata.deletion_timestamp.is_some(),
            released: !mapping.finalizers().iter().any(|f| f == isthmus_kubernetes::names::FINALIZER),
            status: Arc::new(mapping.status.clone().unwrap_or_default()),
            unwritten: false,
        };
        if let Some(old) = self.get(&subject.uid)
            && (older(&known, old) || same(&known, old))
        {
            return None;
        }
        self.forget_users(&subject.uid);
        let uid = subject.uid.clone();
        for key in referred(&known.status) {
            self.users.entry(key).or_default().insert(uid.clone());
        }
        self.by_key.entry(subject.key.clone()).or_default().insert(uid.clone());
        self.known.insert(uid, (subject.clone(), known));
        Some(subject)
    }

    /// A status could not be written: what it records must not be forgotten meanwhile, so that nothing is made twice. `fresh`
    /// is the mapping as it is now. A crash before the next write is healed by marks.
    pub fn put_unwritten(&mut self, fresh: &CloudMapping, status: &CloudMappingStatus) {
        let mut merged = fresh.clone();
        let conditions = merged.status.as_ref().map(|s| s.conditions.clone()).unwrap_or_default();
        merged.status = Some(CloudMappingStatus { conditions, ..status.clone() });
        self.put(&merged);
        if let Some((_, known)) = self.known.get_mut(fresh.spec.subject.uid.as_str()) {
            known.unwritten = true;
        }
    }

    /// Our finalizer is off: nothing of ours is left there.
    pub fn released(&mut self, uid: &str) {
        self.forget_users(uid);
        if let Some((_, known)) = self.known.get_mut(uid) {
            known.released = true;
        }
    }

    /// Takes in that the mapping of this uid is gone. Answers its subject.
    pub fn remove(&mut self, mapping_uid: &str) -> Option<Subject> {
        let uid =
            self.known.iter().find(|(_, (_, known))| known.uid == mapping_uid).map(|(uid, _)| uid.clone())?;
        self.forget_users(&uid);
        let (subject, _) = self.known.remove(&uid)?;
        if let Some(lives) = self.by_key.get_mut(&subject.key) {
            lives.remove(&uid);
            if lives.is_empty() {
                self.by_key.remove(&subject.key);
            }
        }
        Some(subject)
    }

    fn forget_users(&mut self, uid: &str) {
        let Some((_, known)) = self.known.get(uid) else { return };
        for key in referred(&known.status) {
            if let Some(users) = self.users.get_mut(&key) {
                users.remove(uid);
                if users.is_empty() {
                    self.users.remove(&key);
                }
            }
        }
    }
}

/// Entries of other mappings that a status refers to.
fn referred(status: &CloudMappingStatus) -> Vec<(ObjectKey, String)> {
    let recorded = status.resources.iter().filter_map(|r| r.recorded().ok()).flat_map(|r| r.references);
    let mapped = recorded.filter_map(|r| match r.reference {
        Reference::Mapped { subject, name } => Some((subject, name)),
        Reference::Local(_) | Reference::Existing(_) => None,
    });
    mapped.collect()
}

/// Whether `new` is a state from before `old`. Resource versions are comparable numbers (Kubernetes 1.35, KEP-5504); where
/// one is not, it is taken for newer.
fn older(new: &Known, old: &Known) -> bool {
    let number = |known: &Known| known.resource_version.as_deref().and_then(|v| v.parse::<u64>().ok());
    match (number(new), number(old)) {
        (Some(new), Some(old)) => new < old,
        _ => false,
    }
}

fn same(new: &Known, old: &Known) -> bool {
    new.uid == old.uid && new.resource_version.is_some() && new.resource_version == old.resource_version
}
