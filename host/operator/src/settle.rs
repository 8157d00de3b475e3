//! Writing down what came of a reconcile: the CloudMapping's status, its node's label, an Event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use isthmus_kubernetes::crd::CloudMappingStatus;
use isthmus_kubernetes::error::ErrorKind;
use isthmus_kubernetes::events::Severity;
use isthmus_model::condition::{ATTACHED, Condition, MAPPED, READY, REALIZED};
use isthmus_model::desired::DesiredList;
use isthmus_model::object::Subject;
use isthmus_model::record::Record;
use isthmus_model::retry::RetryClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use crate::apply::Applied;
use crate::error::ReconcileError;
use crate::mapped::Mapping;
use crate::reconcile::Next;
use crate::records::Known;
use crate::session::Session;
use crate::status::{self, Facts, Versions};

impl Session {
    /// Writes the status, if it differs.
    pub(crate) async fn settle(
        &self,
        subject: &Subject,
        known: &Known,
        desired: &DesiredList,
        mapping: &Mapping,
        applied: &Applied,
        conditions: Vec<Condition>,
    ) -> Result<(), ReconcileError> {
        let observed = self.inventory.lock().heads(&subject.uid);
        let record = applied.record_with_unknown(desired);
        let messages = applied.errors.iter().map(|(name, error)| (name.clone(), error.told())).collect();
        let facts = Facts {
            subject,
            generation: known.generation,
            before: &known.status,
            record: &record,
            observed: &observed,
            messages,
            unknown: &applied.unknown,
            conditions,
            cause: mapping.cause.clone(),
        };
        let versions = mapping.versions(desired);
        let status = match status::applied(&facts, desired, versions, &self.cloud.existing).await {
            Ok(status) => status,
            Err(error) => {
                // What was made must not be forgotten because it can't be described yet.
                let known_so_far = status::with_conditions(&facts);
                self.records.lock().keep_unwritten(subject, &known_so_far);
                return Err(error.into());
            }
        };
        let node = status.node.clone().filter(|_| !known.on_node);
        self.patch(subject, known, status).await?;
        self.tell_mapped(subject, known, mapping);
        match node {
            Some(node) => self.label_node(subject, known, &node).await,
            None => Ok(()),
        }
    }

    /// The mapping was made before its node was known: the node's agent looks for the label.
    async fn label_node(&self, subject: &Subject, known: &Known, node: &str) -> Result<(), ReconcileError> {
        let labelled = self.mappings.label_node(&known.namespace, &known.name, node).await?;
        self.records.lock().put(&labelled);
        tracing::debug!(subject = %subject.key, node, "labelled with its node");
        Ok(())
    }

    pub(crate) async fn patch(
        &self,
        subject: &Subject,
        known: &Known,
        status: CloudMappingStatus,
    ) -> Result<(), ReconcileError> {
        // A change of the input alone that changes nothing else is not worth a write (invariant 6).
        let (input_hash, last_change) = (known.status.input_hash.clone(), known.status.last_change.clone());
        if !known.unwritten
            && *known.status == (CloudMappingStatus { input_hash, last_change, ..status.clone() })
        {
            return Ok(());
        }
        let version = known.resource_version.as_deref();
        match self.mappings.patch_status(&known.namespace, &known.name, &status, version).await {
            Ok(written) => {
                self.records.lock().put_written(&written);
                self.tell_realized(subject, known, &status);
                Ok(())
            }
            Err(error) => {
                self.records.lock().keep_unwritten(subject, &status);
                // Somebody wrote in between (the agent, its condition): read what there is now, and do it over.
                if error.kind == ErrorKind::Conflict
                    && let Some(fresh) = self.mappings.get(&known.namespace, &known.name).await?
                {
                    self.records.lock().put(&fresh);
                }
                Err(error.into())
            }
        }
    }

    /// An Event where a subject came to be held up, or is held up by something else than before.
    fn tell_realized(&self, subject: &Subject, before: &Known, status: &CloudMappingStatus) {
        let held_up = |status: &CloudMappingStatus| {
            let found = status.conditions.iter().find(|c| c.type_ == REALIZED && c.status == "False");
            found.map(|c| (c.reason.clone(), c.message.clone()))
        };
        let Some((reason, message)) = held_up(status) else { return };
        if held_up(&before.status).is_none_or(|(old, _)| old != reason) {
            self.tell(subject, Severity::Warning, &reason, message);
        }
    }

    /// An Event where the module says something else than before that people have to know.
    fn tell_mapped(&self, subject: &Subject, before: &Known, mapping: &Mapping) {
        let Some((reason, note)) = &mapping.warning else { return };
        let said = |c: &meta::Condition| {
            c.type_ == MAPPED
                && c.reason == mapping.condition.reason
                && c.message == mapping.condition.message
        };
        if !before.status.conditions.iter().any(said) {
            self.tell(subject, Severity::Warning, reason, note.clone());
        }
    }

    /// We stop, or lead no longer: what came of it so far is recorded where we still may, and the rest is the next leader's.
    pub(crate) async fn cut_short(
        &self,
        subject: &Subject,
        known: &Known,
        desired: &DesiredList,
        applied: &Applied,
    ) -> ReconcileError {
        let record = applied.record_with_unknown(desired);
        if record == known.record() {
            return ReconcileError::NotLeading;
        }
        let ours = |c: &&meta::Condition| c.type_ != ATTACHED;
        let conditions = known.status.conditions.iter().filter(ours).map(undated).collect();
        match self.patch_record(subject, known, &record, &applied.unknown, conditions).await {
            Ok(()) => ReconcileError::NotLeading,
            Err(error) => error,
        }
    }

    /// The cloud can't be asked: nothing is changed, and a condition says so.
    pub(crate) async fn cloud_is_away(
        &self,
        subject: &Subject,
        known: Option<Known>,
        mapping: &Mapping,
        error: ReconcileError,
    ) -> Result<Next, ReconcileError> {
        if matches!(error, ReconcileError::NotLeading) {
            return Err(error);
        }
        if let Some(known) = known {
            let failed = Condition::no(REALIZED, error.reason(), error.told());
            let ready = Condition::no(READY, error.reason(), error.told());
            self.patch_conditions(subject, &known, vec![mapping.condition.clone(), failed, ready]).await?;
        } else {
            tracing::warn!(subject = %subject.key, %error, "not mapped yet");
            self.tell(subject, Severity::Warning, error.reason(), error.told());
        }
        Ok(Next::Retry(error.class()))
    }

    /// No list: what is recorded stays, and a condition says why (invariant 9).
    pub(crate) async fn freeze(
        &self,
        subject: &Arc<Subject>,
        known: Option<Known>,
        condition: &Condition,
        mapping: &Mapping,
    ) -> Result<Next, ReconcileError> {
        let known = match known {
            Some(known) => known,
            // What waits needs no record: there is nothing of it yet. What is wrong is said where people look.
            None if mapping.quiet => {
                self.succeeded(&subject.uid, false);
                return Ok(Next::Done);
            }
            None => match self.new_mapping(subject, &DesiredList::default()).await? {
                Ok(known) => known,
                Err(next) => return Ok(next),
            },
        };
        let kept: Vec<Condition> =
            known.status.conditions.iter().filter(|c| c.type_ == REALIZED).map(undated).collect();
        let ready = Condition { kind: READY.into(), ..condition.clone() };
        let all = std::iter::once(condition.clone()).chain(kept).chain([ready]).collect();
        self.patch_conditions(subject, &known, all).await?;
        self.tell_mapped(subject, &known, mapping);
        if mapping.passing {
            return Ok(Next::Retry(RetryClass::Transient));
        }
        self.succeeded(&subject.uid, false);
        Ok(Next::Done)
    }

    pub(crate) async fn patch_conditions(
        &self,
        subject: &Subject,
        known: &Known,
        conditions: Vec<Condition>,
    ) -> Result<(), ReconcileError> {
        self.patch_record(subject, known, &known.record(), &known.unknown(), conditions).await
    }

    pub(crate) async fn patch_record(
        &self,
        subject: &Subject,
        known: &Known,
        record: &Record,
        unknown: &BTreeSet<String>,
        conditions: Vec<Condition>,
    ) -> Result<(), ReconcileError> {
        let observed = self.inventory.lock().heads(&subject.uid);
        let facts = Facts {
            subject,
            generation: known.generation,
            before: &known.status,
            record,
            observed: &observed,
            messages: BTreeMap::new(),
            unknown,
            conditions,
            cause: None,
        };
        self.patch(subject, known, status::with_conditions(&facts)).await
    }
}

/// A condition as we give it.
pub(crate) fn undated(condition: &meta::Condition) -> Condition {
    let status = match condition.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    };
    let (reason, message) = (condition.reason.clone(), condition.message.clone());
    Condition { kind: condition.type_.clone(), status, reason, message }
}

impl Mapping {
    fn versions(&self, desired: &DesiredList) -> Versions {
        let output = (!desired.entries().is_empty()).then(|| isthmus_model::hash::of(desired));
        Versions { output, ..self.versions.clone() }
    }
}
