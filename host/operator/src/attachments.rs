//! Attachments of which nothing in the cloud says whose they are: the record does. So each is recorded before it is made
//! (invariant 3), and one that no record names is nobody's of ours.

use std::collections::{BTreeMap, HashMap};

use isthmus_model::condition::ATTACHED;
use isthmus_model::desired::Entry;
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::object::Subject;
use isthmus_model::observed::Observed;
use isthmus_model::record::Recorded;

use crate::cloud::Result;
use crate::error::ReconcileError;
use crate::session::Session;
use crate::settle::undated;

impl Session {
    /// What is there of the attachments that the records of these subjects name, with their marks.
    ///
    /// # Errors
    /// The cloud's.
    pub(crate) async fn recorded(&self, of: impl Fn(&Subject) -> bool) -> Result<Vec<Observed>> {
        let claims = self.claims(of);
        let mut by_kind: BTreeMap<Kind, Vec<&str>> = BTreeMap::new();
        claims.iter().for_each(|(id, (kind, _))| by_kind.entry(*kind).or_default().push(id));
        let mut all = Vec::new();
        for (kind, ids) in by_kind {
            for found in self.cloud.driver(kind)?.recorded(&ids).await? {
                let mark = claims.get(&found.id).map(|(_, mark)| mark.clone());
                all.push(Observed { mark, ..found });
            }
        }
        Ok(all)
    }

    /// Such attachments as the records name them, by id.
    fn claims(&self, of: impl Fn(&Subject) -> bool) -> HashMap<String, (Kind, Mark)> {
        let mut claims = HashMap::new();
        for (subject, known) in self.records.lock().attached().filter(|(subject, _)| of(subject)) {
            for resource in known.status.resources.iter().filter(|r| r.kind.is_told_by_record()) {
                let (subject, name) = (subject.uid.to_string(), resource.name.clone());
                let mark = Mark { cluster: self.cluster.clone(), subject, name };
                claims.extend(resource.id.clone().map(|id| (id, (resource.kind, mark))));
            }
        }
        claims
    }

    /// Takes in what of the records' attachments is there: when everything was listed first, no record was known.
    ///
    /// # Errors
    /// The cloud's.
    pub(crate) async fn take_in_recorded(&self) -> Result<()> {
        for found in self.recorded(|_| true).await? {
            if let Some(subject) = found.mark.as_ref().map(|mark| mark.subject.clone()) {
                self.inventory.lock().put(&subject, found);
            }
        }
        Ok(())
    }

    /// Records an attachment that is about to be made.
    ///
    /// # Errors
    /// The API server's: it must not be made then.
    pub(crate) async fn record_ahead(
        &self,
        subject: &Subject,
        entry: &Entry,
        id: &str,
    ) -> Result<(), ReconcileError> {
        let Some(known) = self.records.lock().get(subject) else { return Err(ReconcileError::NotLeading) };
        let mut record = known.record();
        if !known.unwritten && record.get(&entry.name).is_some_and(|r| r.id.as_deref() == Some(id)) {
            return Ok(());
        }
        let made = Recorded {
            kind: entry.kind,
            id: Some(id.to_owned()),
            hash: String::new(),
            fields: entry.set(),
            references: Vec::new(),
            retain: false,
        };
        record.insert(entry.name.clone(), made);
        let ours = known.status.conditions.iter().filter(|c| c.type_ != ATTACHED);
        let conditions = ours.map(undated).collect();
        self.patch_record(subject, &known, &record, &known.unknown(), conditions).await
    }

    /// What is recorded ahead of an attachment: it may be there, whatever its making was answered.
    pub(crate) fn recorded_ahead(&self, subject: &Subject, name: &str) -> Option<Recorded> {
        self.records.lock().get(subject)?.record().remove(name).filter(|r| r.kind.is_told_by_record())
    }
}
