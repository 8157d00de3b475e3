//! The shadow run: what a new version would change for the subjects that live now, against the version that serves.

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_kubernetes::store::Stored;
use isthmus_model::desired::DesiredList;
use isthmus_model::object::{Gvk, Subject};
use isthmus_model::outcome::Outcome;
use isthmus_model::plan::Summary;
use isthmus_policy::{Mapped, Stop};

use super::{Lane, Pipelines};
use crate::refs;
use crate::session::{Session, subject_of};

/// So many failures are enough to know that a version is no good: each may cost a deadline.
const ENOUGH_FAILURES: usize = 5;

/// What a swap would do.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    /// What it changes in the cloud.
    pub summary: Summary,
    /// Subjects for which the new version fails and the old one does not, and the first failure.
    pub failures: usize,
    /// The first of them.
    pub first: Option<String>,
}

impl Session {
    /// Runs the new pipelines over all live subjects of these kinds, beside those that serve.
    ///
    /// # Errors
    /// The cloud can't be asked what a list refers to.
    pub(super) async fn shadow(
        &self,
        old: &Pipelines,
        new: &Pipelines,
        kinds: &BTreeSet<Gvk>,
    ) -> crate::cloud::Result<Judgement> {
        let mut judgement = Judgement::default();
        let snapshot = self.snapshot();
        for kind in kinds {
            let (Some(Lane::Serving(new)), old) = (new.lane(kind), old.lane(kind)) else { continue };
            for stored in snapshot.iter(kind) {
                let old = match old {
                    Some(Lane::Serving(old)) => Some(old.clone()),
                    _ => None,
                };
                let (new, view, text) = (new.clone(), Arc::new(snapshot.clone()), stored.text.clone());
                let both = tokio::task::spawn_blocking(move || {
                    let before = old.map(|old| old.pipeline.map(&text, view.clone()));
                    (before, new.pipeline.map(&text, view))
                });
                let Ok((before, after)) = both.await else { continue };
                self.compare(stored, before, after, &mut judgement).await?;
                if judgement.failures >= ENOUGH_FAILURES {
                    return Ok(judgement);
                }
            }
        }
        Ok(judgement)
    }

    async fn compare(
        &self,
        stored: &Stored,
        before: Option<Mapped>,
        after: Mapped,
        judgement: &mut Judgement,
    ) -> crate::cloud::Result<()> {
        let failed_before =
            before.as_ref().is_some_and(|b| b.fell_back.iter().len() > 0 || failed(b).is_some());
        let why = after.fell_back.first().map(|f| f.error.to_string()).or_else(|| failed(&after));
        if let Some(why) = why {
            if !failed_before {
                judgement.failures += 1;
                judgement.first.get_or_insert_with(|| format!("{}: {why}", stored.key));
            }
            return Ok(());
        }
        let (old, new) = (before.and_then(list), list(after));
        let Some(new) = new.filter(|new| old.as_ref() != Some(new)) else { return Ok(()) };
        let subject = subject_of(stored);
        let then = self.would_change(&subject, &new).await?;
        // What is to be done anyway is not this version's doing.
        let anyway = match &old {
            Some(old) => self.would_change(&subject, old).await?,
            None => Summary::default(),
        };
        judgement.summary += Summary {
            added: then.added.saturating_sub(anyway.added),
            changed: then.changed.saturating_sub(anyway.changed),
            deleted: then.deleted.saturating_sub(anyway.deleted),
            replaced: then.replaced.saturating_sub(anyway.replaced),
        };
        Ok(())
    }

    async fn would_change(&self, subject: &Subject, list: &DesiredList) -> crate::cloud::Result<Summary> {
        let resolved = refs::resolve(self, list).await?;
        let known = self.records.lock().get(&subject.uid).cloned();
        let record = known.as_ref().map(crate::records::Known::record).unwrap_or_default();
        Ok(self.plan(subject, list, &record, &resolved, known.as_ref()).summary())
    }
}

/// The list that a run means; `None` where what is recorded would stay.
fn list(mapped: Mapped) -> Option<DesiredList> {
    match mapped.result {
        Ok(list) => Some(list),
        Err(Stop::Outcome { outcome: Outcome::NotMapped(_), .. }) => Some(DesiredList::default()),
        Err(_) => None,
    }
}

fn failed(mapped: &Mapped) -> Option<String> {
    match &mapped.result {
        Err(Stop::Failed { error, .. }) => Some(error.to_string()),
        _ => None,
    }
}
