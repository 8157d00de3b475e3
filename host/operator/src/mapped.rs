//! Calling a kind's pipeline for one subject, and what its answer means.

use std::sync::Arc;

use isthmus_kubernetes::crd::ModuleVersion;
use isthmus_kubernetes::events::{Happening, Severity};
use isthmus_kubernetes::store::{StoreSnapshot, Stored};
use isthmus_model::condition::{Condition, LAST_GOOD, MAPPED};
use isthmus_model::desired::DesiredList;
use isthmus_model::hash;
use isthmus_model::object::{ObjectKey, Subject};
use isthmus_model::outcome::Outcome;
use isthmus_model::snapshot::ReadSet;
use isthmus_policy::{CallError, Mapped, Stop, short_digest};

use crate::metrics::Call;
use crate::modules::{Lane, Serving};
use crate::records::Known;
use crate::report::outcome_of;
use crate::session::{Session, namespace_kind};
use crate::status::Versions;

/// What a subject's modules say.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The list, or why what is recorded stays.
    pub verdict: Verdict,
    /// The condition `Mapped`.
    pub condition: Condition,
    /// There is nothing to say where nothing is recorded: the subject waits.
    pub quiet: bool,
    /// What the module said in place of a list.
    pub outcome: Option<Outcome>,
    /// What had changed of what it reads.
    pub cause: Option<String>,
    /// It may be better at the next call, although nothing that was read changes.
    pub passing: bool,
    /// What to tell people by an Event where it is new: reason and note.
    pub warning: Option<(&'static str, String)>,
    /// The versions that said it.
    pub versions: Versions,
}

/// The list, or why there is none.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// What is desired; empty where nothing is to be mapped.
    List(DesiredList),
    /// Nothing is desired, and the CloudMapping goes with what it records.
    Nothing,
    /// What is recorded stays as it is.
    Frozen(Condition),
}

impl Mapping {
    /// Of a subject whose object is gone: nothing is desired, and no module is asked.
    pub fn gone() -> Self {
        Self::nothing(Condition::yes(MAPPED, "SubjectGone", "the object is gone: what was made for it goes"))
    }

    /// Of a Namespace that is being deleted, without a module that could say what it needs: nothing more comes into it.
    pub(crate) fn terminating() -> Self {
        let why = "it is being deleted, and no module serves it: what was made for it goes";
        Self::nothing(Condition::yes(MAPPED, "NamespaceTerminating", why))
    }

    fn nothing(condition: Condition) -> Self {
        Self::new(Verdict::Nothing, condition, Versions::default())
    }

    pub(crate) fn frozen(condition: Condition, quiet: bool, versions: Versions) -> Self {
        Self { quiet, ..Self::new(Verdict::Frozen(condition.clone()), condition, versions) }
    }

    fn new(verdict: Verdict, condition: Condition, versions: Versions) -> Self {
        let (outcome, cause, warning) = Default::default();
        Self { verdict, condition, quiet: false, outcome, cause, passing: false, warning, versions }
    }
}

impl Session {
    /// Maps a subject by what serves its kind now. The reads are noted whatever the answer is, so that a change wakes it.
    pub async fn map(
        &self,
        subject: &Arc<Subject>,
        stored: &Stored,
        snapshot: StoreSnapshot,
        known: Option<&Known>,
    ) -> Mapping {
        let maker = known.and_then(|known| Some(known.status.module.as_ref()?.name.as_str()));
        // A Namespace that is being deleted waits for this CloudMapping alone: else it would never go.
        let ends = known.is_some_and(|known| known.deleting) && *subject.key.kind == namespace_kind();
        let known = known.is_some();
        let missing = |why: String| match ends {
            true => Mapping::terminating(),
            false => {
                Mapping::frozen(Condition::no(MAPPED, "ModuleMissing", why), !known, Versions::default())
            }
        };
        let pipelines = self.pipelines.load_full();
        let serving = match pipelines.lane(&subject.key) {
            Some(Lane::Serving(serving)) => serving.clone(),
            // What another one made of a kind that it took over is its own, also while it serves no version.
            Some(Lane::Unmapping(module)) if maker.is_some_and(|maker| maker != module) => {
                return missing(format!("PolicyModule {} serves no version", maker.unwrap_or_default()));
            }
            Some(Lane::Unmapping(module)) => {
                let why = format!("PolicyModule {module} is being deleted with onDelete: Unmap");
                return Mapping::nothing(Condition::yes(MAPPED, "Unmapping", why));
            }
            Some(Lane::Missing(why)) => return missing(why.clone()),
            None => {
                return missing(format!("no module maps {}: what was made stays as it is", subject.key.kind));
            }
        };
        if let Err(why) = self.all_known(&serving.reads) {
            let condition = Condition::no(MAPPED, "WaitingForCache", why);
            return Mapping { passing: true, ..Mapping::frozen(condition, !known, Versions::default()) };
        }
        if let Some(said) = self.memos.recall(&subject.uid, &serving, &stored.text) {
            return said;
        }
        let view = Arc::new(snapshot);
        let (text, seen, run) = (stored.text.clone(), view.clone(), serving.clone());
        let begun = std::time::Instant::now();
        let span = call_of(&subject.key);
        let called =
            tokio::task::spawn_blocking(move || span.in_scope(|| run.pipeline.map(&text, seen))).await;
        self.metrics.call_seconds.observe(begun.elapsed().as_secs_f64());
        let mapped = match called {
            Ok(mapped) => mapped,
            Err(error) => {
                let why = format!("the call ended abnormally: {error}");
                let condition = Condition::no(MAPPED, "ModuleCallFailed", why);
                return Mapping { passing: true, ..Mapping::frozen(condition, false, Versions::default()) };
            }
        };
        self.count(&mapped);
        let input = hash::of(&(
            &*stored.text,
            mapped.versions.iter().map(|v| &*v.digest).collect::<Vec<_>>(),
            &*serving.revision,
        ));
        let versions = serving.versions(&mapped, input);
        let outcome = mapped.result.as_ref().err().and_then(outcome_of);
        let reads = mapped.reads.clone();
        let mapping = Mapping { outcome, ..Self::judge(mapped, versions) };
        // Kept before its reads are noted: a change drops what is kept only where it is known to concern it.
        self.memos.keep(&subject.uid, &serving, &stored.text, &mapping);
        self.deps.lock().set(subject, reads.clone());
        self.look_for_changes(subject, &reads, &view);
        mapping
    }

    /// What changed while a module was called could not wake a subject whose reads were not known.
    pub(crate) fn look_for_changes(&self, subject: &Arc<Subject>, reads: &ReadSet, view: &StoreSnapshot) {
        let now = self.snapshot();
        if reads.iter().any(|read| read.differs(view, &now)) {
            self.memos.drop(&subject.uid);
            self.queue.now(subject.clone());
        }
    }

    /// Every call that was made, also a failed one whose fallback answered.
    fn count(&self, mapped: &Mapped) {
        let outcome = matches!(mapped.result, Err(Stop::Outcome { .. }));
        for (left, stats) in (0..mapped.stats.len()).rev().zip(&mapped.stats) {
            let result = match stats.failed {
                Some(reason) => reason,
                // The stage that gives one is the last.
                None if outcome && left == 0 => "outcome",
                None => "ok",
            };
            let operation = stats.operation.name();
            let (module, digest) = (stats.stage.to_string(), short_digest(&stats.digest).into());
            let call = Call { module, digest, operation, result: result.into() };
            self.metrics.calls.get_or_create(&call).inc();
        }
    }

    fn judge(mapped: Mapped, versions: Versions) -> Mapping {
        let fell_back = mapped.fell_back.first().map(|fell| {
            let note = format!("{}: the version before was called in its place: {}", fell.stage, fell.error);
            (fell.error.reason(), note)
        });
        match mapped.result {
            Ok(list) => {
                let condition = match mapped.fell_back.first() {
                    Some(fell) => Condition::yes(
                        MAPPED,
                        LAST_GOOD,
                        format!(
                            "mapped by the last good version of {}; its current one: {}: {}",
                            fell.stage,
                            fell.error.reason(),
                            fell.error
                        ),
                    ),
                    None => Condition::yes(MAPPED, "Mapped", format!("{} entries", list.entries().len())),
                };
                Mapping { warning: fell_back, ..Mapping::new(Verdict::List(list), condition, versions) }
            }
            Err(Stop::Outcome { outcome: Outcome::NotMapped(why), .. }) => {
                let condition = Condition::yes(MAPPED, "NotMapped", why);
                Mapping::new(Verdict::List(DesiredList::default()), condition, versions)
            }
            Err(Stop::Outcome { stage, outcome: Outcome::Waiting(why) }) => {
                Mapping::frozen(Condition::no(MAPPED, "Waiting", format!("{stage}: {why}")), true, versions)
            }
            Err(Stop::Outcome { stage, outcome: Outcome::Invalid { message, field } }) => {
                let at = field.map(|f| format!(" (at {f})")).unwrap_or_default();
                let note = format!("{stage}: {message}{at}");
                let frozen = Mapping::frozen(Condition::no(MAPPED, "Invalid", note.clone()), false, versions);
                Mapping { warning: Some(("Invalid", note)), ..frozen }
            }
            Err(Stop::Failed { stage, error }) => {
                let note = format!("{stage}: {error}");
                // A call may be slow because the machine is: the same one ends in time later.
                let passing = matches!(error, CallError::Deadline(_));
                let condition = Condition::no(MAPPED, error.reason(), note.clone());
                let frozen = Mapping::frozen(condition, false, versions);
                Mapping { passing, warning: Some((error.reason(), note)), ..frozen }
            }
        }
    }

    /// An Event on the subject.
    pub fn tell(&self, subject: &Subject, severity: Severity, reason: &str, note: String) {
        self.events.tell(Happening {
            subject: subject.clone(),
            severity,
            reason: reason.into(),
            action: "Map",
            note,
        });
    }
}

impl Serving {
    fn versions(&self, mapped: &Mapped, input: String) -> Versions {
        let mut all = mapped.versions.iter().map(|version| ModuleVersion {
            name: version.stage.to_string(),
            version: self.version_of(&version.digest),
            digest: version.digest.to_string(),
        });
        let module = all.next();
        Versions { module, refiners: all.collect(), input: Some(input), output: None }
    }
}

/// What a module logs meanwhile is of this object, whatever level is logged.
pub(crate) fn call_of(key: &ObjectKey) -> tracing::Span {
    tracing::error_span!("call", subject = %key)
}
