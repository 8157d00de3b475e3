//! What an apply came to, as conditions.

use isthmus_model::condition::{Condition, READY, REALIZED};
use isthmus_model::object::Subject;
use isthmus_model::observed::State;
use isthmus_model::plan::{Plan, Wait};
use isthmus_model::record::Record;
use isthmus_model::retry::RetryClass;

use crate::apply::Applied;
use crate::error::ReconcileError;
use crate::mapped::Mapping;
use crate::refs::Resolved;
use crate::session::Session;

impl Session {
    /// Whether everything recorded is there and ready.
    fn readiness(&self, subject: &Subject, record: &Record) -> Condition {
        let inventory = self.inventory.lock();
        for (name, recorded) in record.iter().filter(|(_, r)| r.kind.in_cloud()) {
            match recorded.id.as_ref().and_then(|id| inventory.state(&subject.uid, id)) {
                Some(State::Ready) => {}
                Some(State::Failed) => {
                    return Condition::no(
                        READY,
                        "CloudFailed",
                        format!("{name}: the cloud says that it failed"),
                    );
                }
                Some(State::Pending) | None => {
                    return Condition::no(READY, "Pending", format!("{name} is not ready yet"));
                }
            }
        }
        Condition::yes(READY, "Ready", "everything desired exists and is ready")
    }

    /// A failure, for people: with what the cloud's words leave out, which is asked for when it refuses.
    async fn told(&self, applied: &Applied, name: &str, error: &ReconcileError) -> String {
        let message = format!("{name}: {}", error.told());
        let id = applied.record.get(name).and_then(|recorded| recorded.id.as_deref());
        let more = match (error, id) {
            (error, _) if error.class() == RetryClass::Quota => self.cloud.quota(&message).await,
            (ReconcileError::Cloud(error), Some(id)) => self.cloud.holders(&self.cluster, error, id).await,
            _ => None,
        };
        match more {
            Some(more) => format!("{message}; {more}"),
            None => message,
        }
    }

    /// The three conditions after an apply.
    pub(crate) async fn outcome_conditions(
        &self,
        subject: &Subject,
        mapping: &Mapping,
        steps: &Plan,
        applied: &Applied,
        resolved: &Resolved,
    ) -> Vec<Condition> {
        let realized = match worst(applied) {
            Some((name, error)) => {
                let message = self.told(applied, name, error).await;
                Condition::no(REALIZED, error.reason(), message)
            }
            None => match steps.blocked.first() {
                Some(blocked) => blocked_condition(&blocked.name, &blocked.on, resolved),
                None => Condition::yes(REALIZED, "Applied", "everything desired is in the cloud"),
            },
        };
        let ready = match realized.status {
            Some(true) => self.readiness(subject, &applied.record),
            _ => Condition { kind: READY.into(), ..realized.clone() },
        };
        vec![mapping.condition.clone(), realized, ready]
    }
}

fn blocked_condition(name: &str, on: &Wait, resolved: &Resolved) -> Condition {
    let (reason, message) = match on {
        Wait::Reference(reference) if resolved.unusable.contains_key(reference) => {
            ("CertificateUnusable", resolved.unusable.get(reference).cloned().unwrap_or_default())
        }
        Wait::Reference(reference) => {
            let why = resolved.missing.get(reference).cloned();
            ("WaitingForReference", why.unwrap_or_else(|| format!("{reference:?} stands for nothing yet")))
        }
        Wait::Entry(other) => {
            ("WaitingForReference", format!("it needs entry {other:?}, which waits itself"))
        }
        Wait::InUse => {
            ("InUse", "another mapping refers to it: it is deleted when that no longer does".into())
        }
        Wait::Attached => (
            "WaitingForAgent",
            "it is to go, and the node's agent has not let go of it yet: it is deleted when the agent has"
                .into(),
        ),
        Wait::ReplacePending => (
            "ReplacePending",
            "it has to be replaced, and is in use: it is replaced when the pod goes".into(),
        ),
    };
    Condition::no(REALIZED, reason, format!("{name}: {message}"))
}

/// The failure to tell people about: what only they can mend comes first.
fn worst(applied: &Applied) -> Option<(&String, &ReconcileError)> {
    applied.errors.iter().max_by_key(|(_, error)| error.class())
}
