//! The CloudMappings as this session knows them: from its own writes first, from the watch otherwise.

mod slim;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use isthmus_kubernetes::crd::{CloudMapping, CloudMappingStatus};
use isthmus_kubernetes::names::{ANNOTATION_MIRROR, FINALIZER, LABEL_NODE};
use isthmus_model::condition::ATTACHED;
use isthmus_model::object::{Gvk, ObjectKey, Subject};
use isthmus_model::record::Record;
use isthmus_model::value::Reference;
use kube::ResourceExt;

use self::slim::{Slim, older, same};
use crate::status::with_others_conditions;

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
    /// It says which node it is on, for that node's agent.
    pub on_node: bool,
    /// Its subject is, or was, the mirror of a static Pod.
    pub mirror: bool,
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

/// A reference to another mapping, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    /// Local name of the entry.
    name: String,
    /// What it stood for.
    id: String,
    /// Whose it is.
    user: Subject,
}

/// All of them, by subject. Two mappings may claim one uid (somebody copied one, or made one up): each has its place, and
/// [`Records::rivals`] names the others.
#[derive(Debug, Default)]
pub struct Records {
    /// By the subject's uid; nearly always one.
    known: HashMap<Arc<str>, Vec<(Subject, Slim)>>,
    /// By the mapping's own uid.
    by_mapping: HashMap<Box<str>, Subject>,
    by_key: HashMap<ObjectKey, BTreeSet<Arc<str>>>,
    /// Who refers to what of another mapping.
    users: HashMap<ObjectKey, BTreeSet<Use>>,
    /// An agent has said of a Pod whether it is attached.
    agents: bool,
}

impl Records {
    /// The mapping of a subject.
    pub fn get(&self, subject: &Subject) -> Option<Known> {
        self.slim(subject).map(Slim::whole)
    }

    /// Hash of the list that was realized last ([`CloudMappingStatus::output_hash`]).
    pub fn output_hash(&self, subject: &Subject) -> Option<&str> {
        self.slim(subject)?.output_hash.as_deref()
    }

    fn slim(&self, subject: &Subject) -> Option<&Slim> {
        let all = self.known.get(&subject.uid)?;
        all.iter().find(|(own, _)| own == subject).map(|(_, slim)| slim)
    }

    fn slim_mut(&mut self, subject: &Subject) -> Option<&mut Slim> {
        let all = self.known.get_mut(&subject.uid)?;
        all.iter_mut().find(|(own, _)| own == subject).map(|(_, known)| known)
    }

    /// Whether any mapping is of this uid.
    pub fn has_uid(&self, uid: &str) -> bool {
        self.known.contains_key(uid)
    }

    /// Other subjects whose mappings claim this subject's uid.
    pub fn rivals(&self, subject: &Subject) -> Vec<Subject> {
        let all = self.known.get(&subject.uid).into_iter().flatten();
        all.map(|(other, _)| other).filter(|other| *other != subject).cloned().collect()
    }

    /// Every subject that has a mapping.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.known.values().flatten().map(|(subject, _)| subject)
    }

    /// Every subject with its mapping.
    pub fn all(&self) -> impl Iterator<Item = (&Subject, Known)> {
        self.known.values().flatten().map(|(subject, slim)| (subject, slim.whole()))
    }

    /// Those that record attachments of which nothing else says whose they are.
    pub fn attached(&self) -> impl Iterator<Item = (&Subject, Known)> {
        let all = self.known.values().flatten().filter(|(_, slim)| slim.attached && !slim.released);
        all.map(|(subject, slim)| (subject, slim.whole()))
    }

    /// Whether any subject of these kinds is mapped by a version before the one that serves.
    pub fn fall_back(&self, kinds: &BTreeSet<Gvk>) -> bool {
        let mut all = self.known.values().flatten();
        all.any(|(subject, slim)| slim.fell_back && kinds.contains(&*subject.key.kind))
    }

    /// Subjects whose mappings are on a node.
    pub fn on_node(&self, node: &str) -> Vec<Subject> {
        let on = self.known.values().flatten().filter(|(_, slim)| slim.node.as_deref() == Some(node));
        on.map(|(subject, _)| subject.clone()).collect()
    }

    /// Whether nodes have agents: any of them has ever said of a Pod whether it is attached. That of a node whose first Pod it is has
    /// said nothing yet.
    pub fn has_agents(&self) -> bool {
        self.agents
    }

    /// How many there are that our finalizer holds.
    pub fn unreleased(&self) -> usize {
        self.known.values().flatten().filter(|(_, slim)| !slim.released).count()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_mapping.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_mapping.is_empty()
    }

    /// The subjects of this name that have mappings: one for each life of the object.
    pub fn lives(&self, key: &ObjectKey) -> impl Iterator<Item = Subject> {
        let uids = self.by_key.get(key).into_iter().flatten();
        uids.map(move |uid| Subject { key: key.clone(), uid: uid.clone() })
    }

    /// Subjects whose mappings refer to this entry.
    pub fn users(&self, key: &ObjectKey, entry: &str) -> Vec<Subject> {
        let uses = self.users.get(key).into_iter().flatten();
        uses.filter(|used| used.name == entry).map(|used| used.user.clone()).collect()
    }

    /// Ids of a subject's resources that other mappings refer to. `counts`: whether such a one does; what somebody made up must not
    /// hold anything.
    pub fn held(&self, subject: &Subject, counts: impl Fn(&Subject) -> bool) -> BTreeSet<String> {
        let Some(uses) = self.users.get(&subject.key) else { return BTreeSet::new() };
        let Some(known) = self.slim(subject) else { return BTreeSet::new() };
        let resources = known.whole().status.resources.clone();
        let mut held = BTreeSet::new();
        for used in uses.iter().filter(|used| used.user != *subject && counts(&used.user)) {
            let own = resources.iter().any(|r| r.id.as_ref() == Some(&used.id));
            if own {
                held.insert(used.id.clone());
            } else if !self.is_of_another_life(subject, &used.id) {
                // It may have gone over to what the entry is now, and that not be written yet.
                held.extend(resources.iter().find(|r| r.name == used.name).and_then(|r| r.id.clone()));
            }
        }
        held
    }

    /// Whether a resource is recorded of an object that had or has this one's name.
    fn is_of_another_life(&self, subject: &Subject, id: &str) -> bool {
        let others = self.lives(&subject.key).filter(|life| life != subject);
        let mut records = others.filter_map(|life| self.slim(&life));
        records.any(|slim| slim.whole().status.resources.iter().any(|r| r.id.as_deref() == Some(id)))
    }

    /// Takes in a mapping as the watch or an answer shows it. An older state than the known one is left aside (a watch lags
    /// behind our own writes), and a status of ours that could not be written yet stays. Answers its subject where
    /// anything changed.
    pub fn put(&mut self, mapping: &CloudMapping) -> Option<Subject> {
        let (subject, mut known) = known(mapping);
        if let Some(old) = self.slim(&subject) {
            if older(&known, old) || same(&known, old) {
                return None;
            }
            if old.unwritten && *old.uid == *known.uid {
                known.status = with_others_conditions(&old.whole().status, &known.status);
                known.unwritten = true;
            }
        }
        self.insert(&subject, &known);
        Some(subject)
    }

    /// Takes in the answer to a write of a status of ours: what could not be written before is written with it.
    pub fn put_written(&mut self, mapping: &CloudMapping) {
        let (subject, known) = known(mapping);
        match self.slim_mut(&subject) {
            // The watch was faster, and knows of a later write.
            Some(old) if *old.uid == *known.uid && older(&known, old) => old.unwritten = false,
            _ => self.insert(&subject, &known),
        }
    }

    /// A status could not be written: what it records must not be forgotten meanwhile, so that nothing is made twice. A
    /// crash before the next write is healed by marks.
    pub fn keep_unwritten(&mut self, subject: &Subject, status: &CloudMappingStatus) {
        let Some(known) = self.get(subject) else { return };
        let status = with_others_conditions(status, &known.status);
        self.insert(subject, &Known { status, unwritten: true, ..known });
    }

    fn insert(&mut self, subject: &Subject, known: &Known) {
        // One allocation of the name for as long as it is known.
        let all = self.known.get(&subject.uid).into_iter().flatten();
        let subject = all.map(|(own, _)| own).find(|own| *own == subject).unwrap_or(subject).clone();
        self.forget(&subject);
        for (key, name, id) in referred(&known.status) {
            self.users.entry(key).or_default().insert(Use { name, id, user: subject.clone() });
        }
        self.agents |= known.status.conditions.iter().any(|c| c.type_ == ATTACHED);
        self.by_key.entry(subject.key.clone()).or_default().insert(subject.uid.clone());
        self.by_mapping.insert(known.uid.as_str().into(), subject.clone());
        self.known.entry(subject.uid.clone()).or_default().push((subject, Slim::of(known)));
    }

    /// Our finalizer is off: nothing of ours is left there.
    pub fn released(&mut self, subject: &Subject) {
        self.forget_users(subject);
        if let Some(known) = self.slim_mut(subject) {
            known.released = true;
        }
    }

    /// Takes in that the mapping of this uid is gone. Answers its subject.
    pub fn remove(&mut self, mapping_uid: &str) -> Option<Subject> {
        let subject = self.by_mapping.get(mapping_uid)?.clone();
        self.forget(&subject);
        Some(subject)
    }

    fn forget(&mut self, subject: &Subject) {
        self.forget_users(subject);
        let Some(all) = self.known.get_mut(&subject.uid) else { return };
        let Some(at) = all.iter().position(|(own, _)| own == subject) else { return };
        let (_, known) = all.swap_remove(at);
        if all.is_empty() {
            self.known.remove(&subject.uid);
        }
        self.by_mapping.remove(&known.uid);
        if let Some(lives) = self.by_key.get_mut(&subject.key) {
            lives.remove(&subject.uid);
            if lives.is_empty() {
                self.by_key.remove(&subject.key);
            }
        }
    }

    fn forget_users(&mut self, subject: &Subject) {
        // Most refer to nobody, and then there is nothing to look up.
        let Some(known) = self.slim(subject).filter(|_| !self.users.is_empty()) else { return };
        for (key, name, id) in referred(&known.whole().status) {
            if let Some(uses) = self.users.get_mut(&key) {
                uses.remove(&Use { name, id, user: subject.clone() });
                if uses.is_empty() {
                    self.users.remove(&key);
                }
            }
        }
    }
}

fn known(mapping: &CloudMapping) -> (Subject, Known) {
    let known = Known {
        namespace: mapping.namespace().unwrap_or_default().into(),
        name: mapping.name_any(),
        uid: mapping.uid().unwrap_or_default(),
        resource_version: mapping.resource_version(),
        generation: mapping.metadata.generation,
        deleting: mapping.metadata.deletion_timestamp.is_some(),
        released: !mapping.finalizers().iter().any(|f| f == FINALIZER),
        on_node: mapping.labels().contains_key(LABEL_NODE),
        mirror: mapping.annotations().contains_key(ANNOTATION_MIRROR),
        status: Arc::new(mapping.status.clone().unwrap_or_default()),
        unwritten: false,
    };
    (mapping.spec.subject.subject(), known)
}

/// Entries of other mappings that a status refers to, with the ids that these stood for.
pub(crate) fn referred(status: &CloudMappingStatus) -> BTreeSet<(ObjectKey, String, String)> {
    let recorded = status.resources.iter().filter_map(|r| r.recorded().ok()).flat_map(|r| r.references);
    let mapped = recorded.filter_map(|r| match r.reference {
        Reference::Mapped { subject, name } => Some((subject, name, r.id)),
        Reference::Local(_) | Reference::Existing(_) => None,
    });
    mapped.collect()
}

#[cfg(test)]
mod tests {
    use isthmus_kubernetes::crd::{
        CloudMappingSpec, ResourceReference, ResourceState, ResourceStatus, SubjectRef,
    };
    use isthmus_model::kinds::Kind;
    use isthmus_model::object::Gvk;
    use isthmus_model::record::RecordedReference;

    use super::*;

    fn subject(namespace: &str, name: &str, uid: &str) -> Subject {
        Subject { key: ObjectKey::new(Gvk::new("", "v1", "Pod"), Some(namespace), name), uid: uid.into() }
    }

    fn mapping(subject: &Subject, uid: &str, version: u32) -> CloudMapping {
        let mut mapping = CloudMapping::new("m", CloudMappingSpec { subject: SubjectRef::from(subject) });
        mapping.metadata.uid = Some(uid.into());
        mapping.metadata.resource_version = Some(version.to_string());
        mapping.metadata.finalizers = Some(vec![FINALIZER.into()]);
        mapping
    }

    fn status(unknown: bool) -> CloudMappingStatus {
        let resource = ResourceStatus {
            name: "port".into(),
            kind: Kind::Port,
            id: None,
            state: ResourceState::Pending,
            hash: String::new(),
            fields: BTreeSet::new(),
            project: None,
            references: Vec::new(),
            addresses: Vec::new(),
            message: None,
            created_unknown: unknown,
            retained: false,
        };
        CloudMappingStatus { resources: vec![resource], ..CloudMappingStatus::default() }
    }

    #[test]
    fn a_mapping_that_claims_the_uid_of_another_subject_takes_nothing_from_it() {
        let (own, forged) = (subject("shop", "web", "u"), subject("evil", "ghost", "u"));
        let mut records = Records::default();
        records.put(&mapping(&own, "m1", 1));
        records.put(&mapping(&forged, "m2", 2));
        assert_eq!(records.get(&own).unwrap().uid, "m1");
        assert_eq!(records.rivals(&forged), std::slice::from_ref(&own));
        assert_eq!(records.remove("m2"), Some(forged));
        assert!(records.rivals(&own).is_empty() && records.len() == 1 && records.has_uid("u"));
        assert_eq!(records.unreleased(), 1);
        records.released(&own);
        assert_eq!((records.unreleased(), records.len()), (0, 1));
        assert_eq!(records.remove("m1"), Some(own));
        assert!(records.is_empty() && !records.has_uid("u"));
    }

    #[test]
    fn an_object_made_again_is_held_by_who_refers_to_this_life_of_it() {
        let (old, new) = (subject("shop", "web", "u1"), subject("shop", "web", "u2"));
        let user = subject("shop", "user", "u3");
        let made = |id: &str| {
            let mut made = status(false);
            made.resources[0].id = Some(id.into());
            made
        };
        let using = |id: &str| {
            let mut using = status(false);
            let reference = Reference::Mapped { subject: old.key.clone(), name: "port".into() };
            let recorded = RecordedReference { reference, id: id.into() };
            using.resources[0].references = vec![ResourceReference::from(&recorded)];
            using
        };
        let mut records = Records::default();
        let mut put = |subject: &Subject, uid: &str, version: u32, status: CloudMappingStatus| {
            let mut mapping = mapping(subject, uid, version);
            mapping.status = Some(status);
            records.put(&mapping);
            let held = |subject: &Subject| records.held(subject, |_| true).len();
            (held(&old), held(&new), records.users(&old.key, "port").len())
        };
        put(&old, "m1", 1, made("g1"));
        put(&new, "m2", 2, made("g2"));
        assert_eq!(put(&user, "m3", 3, using("g1")), (1, 0, 1));
        assert_eq!(put(&user, "m3", 4, using("g2")), (0, 1, 1), "it has gone over to the new one");
        assert_eq!(put(&user, "m3", 5, using("gone")), (1, 1, 1), "either may be what it comes to");
        assert_eq!(put(&user, "m3", 6, status(false)), (0, 0, 0));
    }

    #[test]
    fn agents_are_known_by_what_they_have_said() {
        let own = subject("shop", "web", "u");
        let mut records = Records::default();
        let mut says = |version: u32, condition: &str| {
            let condition = serde_json::json!({"type": condition, "status": "False", "reason": "Test", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let conditions = vec![serde_json::from_value(condition).unwrap()];
            let status = CloudMappingStatus {
                node: Some("node-1".into()),
                conditions,
                ..CloudMappingStatus::default()
            };
            records.put(&CloudMapping { status: Some(status), ..mapping(&own, "m", version) });
            records.has_agents()
        };
        assert!(!says(1, "Ready"), "the operator's conditions say nothing of it");
        assert!(says(2, ATTACHED));
        records.remove("m");
        assert!(records.has_agents(), "also when that Pod is gone");
    }

    #[test]
    fn what_could_not_be_written_is_kept_until_it_is() {
        let own = subject("shop", "web", "u");
        let mut records = Records::default();
        records.put(&mapping(&own, "m", 1));
        records.keep_unwritten(&own, &status(true));
        let lost = |records: &Records| records.get(&own).unwrap().unknown().contains("port");
        assert!(lost(&records));
        // Neither what the watch brings late nor somebody's write in between undoes it.
        assert_eq!(records.put(&mapping(&own, "m", 1)), None);
        records.put(&mapping(&own, "m", 2));
        assert!(lost(&records) && records.get(&own).unwrap().unwritten);
        let mut written = mapping(&own, "m", 3);
        written.status = Some(status(false));
        records.put_written(&written);
        assert!(!lost(&records) && !records.get(&own).unwrap().unwritten);
        // The watch may bring a later write before the answer to ours.
        records.keep_unwritten(&own, &status(false));
        records.put(&mapping(&own, "m", 5));
        records.put_written(&mapping(&own, "m", 4));
        assert!(!records.get(&own).unwrap().unwritten);
    }
}
