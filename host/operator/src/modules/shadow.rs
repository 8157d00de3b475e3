//! The shadow run: what a new version would change for the subjects that live now, against the version that serves.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use isthmus_kubernetes::store::{StoreSnapshot, Stored};
use isthmus_model::condition::MAPPED;
use isthmus_model::desired::DesiredList;
use isthmus_model::hash;
use isthmus_model::object::{Gvk, Subject};
use isthmus_model::outcome::Outcome;
use isthmus_model::plan::Summary;
use isthmus_model::record::Record;
use isthmus_policy::{CallError, Mapped, Stop};
use tokio::task::JoinError;
use tokio::time::{Instant, timeout_at};

use super::{Lane, Pipelines, Serving, own_kind};
use crate::mapped::call_of;
use crate::records::Known;
use crate::refs;
use crate::session::{Session, subject_of};

/// So many failures are enough to know that a version is no good: each may cost a deadline.
const ENOUGH_FAILURES: usize = 5;

/// Subjects of one task.
const CHUNK: usize = 32;
/// No version is judged for longer: other modules wait meanwhile.
const LONGEST: Duration = Duration::from_secs(60);

/// What a swap would do.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    /// What it changes in the cloud.
    pub summary: Summary,
    /// Subjects for which the new version fails and the old one does not, and the first failure.
    pub failures: usize,
    /// So many of them only refer to what is not there.
    pub missing: usize,
    /// The first of them.
    pub first: Option<String>,
    /// Live subjects of its kinds.
    pub subjects: usize,
    /// How many of them it was run for in the time that there is.
    pub done: usize,
}

impl Judgement {
    fn fail(&mut self, stored: &Stored, why: &str) {
        self.failures += 1;
        self.first.get_or_insert_with(|| format!("{}: {why}", stored.key));
    }

    /// Of subjects whose task broke off.
    fn broken(why: &JoinError) -> Self {
        Self { failures: 1, first: Some(format!("some subjects: {why}")), ..Self::default() }
    }

    /// Adds what was found for other subjects.
    fn add(&mut self, other: Self) {
        self.summary += other.summary;
        self.failures += other.failures;
        self.missing += other.missing;
        self.first = self.first.take().or(other.first);
        self.done += other.done;
    }
}

/// Old and new version of what maps a kind, and the cluster as both are to see it.
#[derive(Clone)]
struct Trial {
    old: Option<Arc<Serving>>,
    new: Arc<Serving>,
    view: Arc<StoreSnapshot>,
}

impl Trial {
    /// What the new version makes of these.
    async fn after(&self, subjects: Vec<Arc<Stored>>) -> Result<Vec<Mapped>, JoinError> {
        let (new, view) = (self.new.clone(), self.view.clone());
        // off the threads that everything else runs on
        tokio::task::spawn_blocking(move || {
            let map = |stored: &Arc<Stored>| new.pipeline.map(&stored.text, view.clone());
            subjects.iter().map(|stored| call_of(&stored.key).in_scope(|| map(stored))).collect()
        })
        .await
    }

    /// What the version that serves makes of one. It is not asked where its answer decides nothing: it may be what is slow.
    async fn before(&self, stored: &Stored) -> Before {
        let Some(old) = self.old.clone() else { return Before::Made(None) };
        let (view, text) = (self.view.clone(), stored.text.clone());
        let span = call_of(&stored.key);
        match tokio::task::spawn_blocking(move || span.in_scope(|| old.pipeline.map(&text, view))).await {
            Ok(made) => Before::Made(Some(made)),
            Err(error) => {
                tracing::error!(subject = %stored.key, %error, "the call of the version that serves ended abnormally");
                Before::Failed
            }
        }
    }
}

/// What the version that serves has to do with what the new one makes of a subject.
enum Before {
    /// It fails for it, as its CloudMapping says or as was seen.
    Failed,
    /// This is what it makes of it, if there is one.
    Made(Option<Mapped>),
}

impl Before {
    /// Whether it fails too.
    fn fails(&self) -> bool {
        match self {
            Self::Failed => true,
            Self::Made(made) => made.as_ref().is_some_and(|m| !m.fell_back.is_empty() || failed(m).is_some()),
        }
    }

    fn list(self) -> Option<DesiredList> {
        match self {
            Self::Failed | Self::Made(None) => None,
            Self::Made(Some(made)) => list(made),
        }
    }
}

/// The trials of a kind, each with its subjects: one for all of them, but of the modules' own PolicyModules one each.
fn trials(
    old: &Pipelines,
    new: &Pipelines,
    kind: &Gvk,
    view: &Arc<StoreSnapshot>,
) -> Vec<(Trial, Vec<Arc<Stored>>)> {
    let all: Vec<Arc<Stored>> = view.iter(kind).cloned().collect();
    let groups = if *kind == own_kind() { all.chunks(1) } else { all.chunks(all.len().max(1)) };
    let trial = |subjects: &[Arc<Stored>]| {
        let key = &subjects.first()?.key;
        let Some(Lane::Serving(new)) = new.lane(key) else { return None };
        let old = match old.lane(key) {
            Some(Lane::Serving(old)) => Some(old.clone()),
            _ => None,
        };
        Some((Trial { old, new: new.clone(), view: view.clone() }, subjects.to_vec()))
    };
    groups.filter_map(trial).collect()
}

impl Session {
    /// Runs the new pipelines over all live subjects of these kinds, beside those that serve.
    ///
    /// # Errors
    /// The cloud can't be asked what a list refers to.
    pub(super) async fn shadow(
        self: &Arc<Self>,
        old: &Pipelines,
        new: &Pipelines,
        kinds: &BTreeSet<Gvk>,
    ) -> crate::cloud::Result<Judgement> {
        let mut judgement = Judgement::default();
        let (view, until) = (Arc::new(self.snapshot()), Instant::now() + LONGEST);
        for (trial, subjects) in kinds.iter().flat_map(|kind| trials(old, new, kind, &view)) {
            judgement.subjects += subjects.len();
            let chunks: Vec<_> = subjects.chunks(CHUNK).map(<[_]>::to_vec).collect();
            let judged =
                chunks.into_iter().map(|chunk| tokio::spawn(self.clone().try_out(trial.clone(), chunk)));
            let at_once = std::thread::available_parallelism().map_or(1, usize::from);
            let mut judged = stream::iter(judged).buffered(at_once);
            loop {
                let Ok(done) = timeout_at(until, judged.next()).await else { return Ok(judgement) };
                let Some(done) = done else { break };
                match done {
                    Ok(done) => judgement.add(done?),
                    Err(ended) => judgement.add(Judgement::broken(&ended)),
                }
                if judgement.failures >= ENOUGH_FAILURES {
                    return Ok(judgement);
                }
            }
        }
        Ok(judgement)
    }

    /// Runs both versions for some subjects, and compares.
    async fn try_out(
        self: Arc<Self>,
        trial: Trial,
        subjects: Vec<Arc<Stored>>,
    ) -> crate::cloud::Result<Judgement> {
        let mut judgement = Judgement::default();
        let made = match trial.after(subjects.clone()).await {
            Ok(made) => made,
            Err(ended) => return Ok(Judgement { done: subjects.len(), ..Judgement::broken(&ended) }),
        };
        for (stored, after) in subjects.iter().zip(made) {
            judgement.done += 1;
            self.compare(&trial, stored, after, &mut judgement).await?;
            if judgement.failures >= ENOUGH_FAILURES {
                break;
            }
        }
        Ok(judgement)
    }

    async fn compare(
        &self,
        trial: &Trial,
        stored: &Stored,
        after: Mapped,
        judgement: &mut Judgement,
    ) -> crate::cloud::Result<()> {
        if let Ok(list) = &after.result
            && after.fell_back.is_empty()
            && self.is_as_before(stored, list)
        {
            return Ok(());
        }
        let live = self.live_now(stored);
        if let Some(why) = after.fell_back.first().map(|f| f.error.to_string()).or_else(|| failed(&after)) {
            if !live.before(trial, stored).await.fails() {
                judgement.fail(stored, &why);
            }
            return Ok(());
        }
        if let Some(why) = invalid(&after) {
            if live.before(trial, stored).await.list().is_some() {
                judgement.fail(stored, &why);
            }
            return Ok(());
        }
        let Some(new) = list(after) else { return Ok(()) };
        let made = self.as_made(&live, &new)?;
        // It changes nothing that was not to be done before.
        if live.known.as_ref().is_some_and(|known| known.status.output_hash == Some(hash::of(&*made))) {
            return Ok(());
        }
        let (then, missing) = self.would_change(&live, &made).await?;
        if then == Summary::default() && missing.is_none() {
            return Ok(());
        }
        // What is to be done, or missing, anyway is not this version's doing.
        let old = live.before(trial, stored).await.list();
        let (anyway, missing_anyway) = match &old {
            Some(old) if *old == new => return Ok(()),
            Some(old) => {
                let made = self.as_made(&live, old)?;
                self.would_change(&live, &made).await?
            }
            None => (Summary::default(), missing.clone()),
        };
        if let (Some(why), None) = (missing, missing_anyway) {
            judgement.fail(stored, &why);
            judgement.missing += 1;
        }
        judgement.summary += Summary {
            added: then.added.saturating_sub(anyway.added),
            changed: then.changed.saturating_sub(anyway.changed),
            deleted: then.deleted.saturating_sub(anyway.deleted),
            replaced: then.replaced.saturating_sub(anyway.replaced),
        };
        Ok(())
    }

    /// Whether a list is the one that was realized last: most are, and of these nothing else needs to be known.
    fn is_as_before(&self, stored: &Stored, list: &DesiredList) -> bool {
        let (subject, hash) = (subject_of(stored), hash::of(list));
        self.records.lock().output_hash(&subject) == Some(&*hash)
    }

    fn live_now(&self, stored: &Stored) -> Live {
        let subject = subject_of(stored);
        let known = self.records.lock().get(&subject);
        let record = known.as_ref().map(Known::record).unwrap_or_default();
        Live { subject, known, record }
    }

    /// A list as a reconcile would have it: with contents of certificates, and with what nested ports need.
    fn as_made<'a>(
        &self,
        Live { subject, record, .. }: &Live,
        list: &'a DesiredList,
    ) -> crate::cloud::Result<Cow<'a, DesiredList>> {
        match self.sealed_as_made(subject, list) {
            Cow::Borrowed(list) => self.nested(list, record, &self.snapshot()),
            Cow::Owned(list) => Ok(Cow::Owned(self.nested(&list, record, &self.snapshot())?.into_owned())),
        }
    }

    /// What such a list changes, and what it refers to in vain.
    async fn would_change(
        &self,
        Live { subject, known, record }: &Live,
        list: &DesiredList,
    ) -> crate::cloud::Result<(Summary, Option<String>)> {
        let resolved = refs::resolve(self, subject, list).await?;
        let summary = self.plan(subject, list, record, &resolved, known.as_ref()).summary();
        Ok((summary, resolved.missing.into_values().next()))
    }
}

/// A subject, and what is recorded of it.
struct Live {
    subject: Subject,
    known: Option<Known>,
    record: Record,
}

impl Live {
    async fn before(&self, trial: &Trial, stored: &Stored) -> Before {
        let said = self.known.iter().flat_map(|known| &known.status.conditions).find(|c| c.type_ == MAPPED);
        match said {
            Some(said) if CallError::REASONS.contains(&&*said.reason) => Before::Failed,
            _ => trial.before(stored).await,
        }
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

/// Why the subject is refused.
fn invalid(mapped: &Mapped) -> Option<String> {
    match &mapped.result {
        Err(Stop::Outcome { stage, outcome: Outcome::Invalid { message, .. } }) => {
            Some(format!("{stage} says that it is invalid: {message}"))
        }
        _ => None,
    }
}

fn failed(mapped: &Mapped) -> Option<String> {
    match &mapped.result {
        Err(Stop::Failed { error, .. }) => Some(error.to_string()),
        _ => None,
    }
}
