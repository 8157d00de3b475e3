//! A mapper and its refiners as one function of a subject.

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_model::desired::{DesiredList, Entry};
use isthmus_model::object::Gvk;
use isthmus_model::outcome::Outcome;
use isthmus_model::snapshot::{ReadSet, Snapshot};
use wasmtime::component::{ComponentNamedList, Lift, Lower};

use crate::bindings::isthmus::mapping::types::{Desired, Realized, SubjectReport};
use crate::call::{self, CallStats, Called, List, Operation, Report};
use crate::convert;
use crate::error::{CallError, PipelineError};
use crate::limits::Limits;
use crate::module::Module;
use crate::state::{LogLevel, LogLine, Logs, View};

/// Where modules' log lines are found in the host's.
const MODULE: &str = "isthmus_policy::module";

/// A module with its config in its place.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Name of the PolicyModule: what logs, statistics and errors call it.
    pub name: Arc<str>,
    /// The version that is called.
    pub module: Arc<Module>,
    /// Its config, JSON text; `{}` for none.
    pub config: Arc<str>,
    /// Of each call.
    pub limits: Limits,
    /// KeepLastGood: the version before, called for a subject for which `module` fails. `None` under FailClosed, or where there
    /// is no version before.
    pub fallback: Option<Fallback>,
}

/// The version before: bytes and the config that they were good with. Another config is another version.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// The version that is called.
    pub module: Arc<Module>,
    /// Its config, JSON text.
    pub config: Arc<str>,
}

/// A mapper, and refiners in their order. Immutable: a swap is another pipeline.
#[derive(Clone, Debug)]
pub struct Pipeline {
    mapper: Stage,
    refiners: Vec<Stage>,
}

/// What one run over a subject gave, and what it did on the way. All but `result` is there also when it failed.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// The desired resources, or why there are none.
    pub result: Result<DesiredList, Stop>,
    /// All that was read: a change of it, of the subject, or of the pipeline asks for another run.
    pub reads: ReadSet,
    /// The versions that gave `result`, stage by stage as far as it came.
    pub versions: Vec<StageVersion>,
    /// Stages whose current version failed, and whose fallback answered.
    pub fell_back: Vec<FellBack>,
    /// What modules logged, within their limits. The first 4 KiB of a call are in `tracing`, too.
    pub logs: Vec<LogLine>,
    /// Every call that was made, also failed ones.
    pub stats: Vec<CallStats>,
}

/// What `report` gave.
#[derive(Clone, Debug)]
pub struct Reported {
    /// What the subject should say. `None`: nothing.
    pub result: Result<Option<SubjectReport>, CallError>,
    /// As in [`Mapped`].
    pub reads: ReadSet,
    /// As in [`Mapped`].
    pub logs: Vec<LogLine>,
    /// As in [`Mapped`].
    pub stats: Vec<CallStats>,
}

/// Why there is no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A module said so. Of these only [`Outcome::NotMapped`] takes away what was mapped.
    Outcome {
        /// Which stage.
        stage: Arc<str>,
        /// What it said.
        outcome: Outcome,
    },
    /// A call failed, and so did its fallback if there is one. What was mapped stays as it is.
    Failed {
        /// Which stage.
        stage: Arc<str>,
        /// Of the current version.
        error: CallError,
    },
}

/// The version of a module that was called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StageVersion {
    /// Which stage.
    pub stage: Arc<str>,
    /// sha256 of the component.
    pub digest: Arc<str>,
}

/// A stage whose current version failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FellBack {
    /// Which stage.
    pub stage: Arc<str>,
    /// Why.
    pub error: CallError,
}

impl Pipeline {
    /// A pipeline of a mapper and refiners in this order.
    ///
    /// # Errors
    /// A module in a place that its world does not fit, or a limit that the engine does not keep.
    pub fn new(mapper: Stage, refiners: Vec<Stage>) -> Result<Self, PipelineError> {
        let modules = |stage: &Stage| {
            std::iter::once(stage.module.clone()).chain(stage.fallback.as_ref().map(|f| f.module.clone()))
        };
        if modules(&mapper).any(|m| !m.world().maps()) {
            return Err(PipelineError::NoMapper(mapper.name.to_string()));
        }
        if let Some(stage) = refiners.iter().find(|s| modules(s).any(|m| !m.world().refines())) {
            return Err(PipelineError::NoRefiner(stage.name.to_string()));
        }
        // A fallback may be of an engine that does not count: its calls have all limits but this one.
        let counted = |stage: &Stage| stage.limits.fuel.is_none() || stage.module.counts_fuel();
        if let Some(stage) = std::iter::once(&mapper).chain(&refiners).find(|s| !counted(s)) {
            return Err(PipelineError::FuelNotCounted(stage.name.to_string()));
        }
        Ok(Self { mapper, refiners })
    }

    /// The mapper.
    pub fn mapper(&self) -> &Stage {
        &self.mapper
    }

    /// The refiners, in their order.
    pub fn refiners(&self) -> &[Stage] {
        &self.refiners
    }

    /// Maps a subject. `subject`: its projected JSON text. Blocks the thread until the modules have answered or are stopped.
    pub fn map(&self, subject: &str, snapshot: Arc<dyn Snapshot + Send + Sync>) -> Mapped {
        let mut run = Run::new(snapshot);
        let result = self.stages(&mut run, subject);
        let Run { reads, versions, fell_back, logs, stats, .. } = run;
        Mapped { result, reads, versions, fell_back, logs, stats }
    }

    fn stages(&self, run: &mut Run, subject: &str) -> Result<DesiredList, Stop> {
        let mut made = run.stage(&self.mapper, subject, None)?;
        for stage in &self.refiners {
            made = run.stage(stage, subject, Some(&made))?;
        }
        Ok(made.list)
    }

    /// What the subject should say about its mapping, by the mapper. `outcome`: where `map` gave one in place of a list.
    pub fn report(
        &self,
        subject: &str,
        outcome: Option<&Outcome>,
        realized: &[Realized],
        snapshot: Arc<dyn Snapshot + Send + Sync>,
    ) -> Reported {
        let mut run = Run::new(snapshot);
        let stage = &self.mapper;
        let result = if stage.module.manifest().reports {
            let outcome = outcome.map(call::to_contract);
            let parameters = (subject, &*stage.config, outcome.as_ref(), realized);
            run.call::<_, Report>(stage, &stage.module, Operation::Report, parameters).map(|(report,)| report)
        } else {
            Ok(None)
        };
        Reported { result, reads: run.reads, logs: run.logs, stats: run.stats }
    }
}

/// The answer of a stage: as the contract has it for the next stage, and checked, in the host's terms.
struct Made {
    desired: Vec<Desired>,
    list: DesiredList,
}

/// What is gathered on the way.
struct Run {
    view: View,
    reads: ReadSet,
    versions: Vec<StageVersion>,
    fell_back: Vec<FellBack>,
    logs: Vec<LogLine>,
    stats: Vec<CallStats>,
}

impl Run {
    fn new(view: View) -> Self {
        let (reads, versions, fell_back, logs, stats) = Default::default();
        Self { view, reads, versions, fell_back, logs, stats }
    }

    /// Calls the stage's module, and its fallback if that fails. `before`: the answer of the stage before, for a refiner.
    fn stage(&mut self, stage: &Stage, subject: &str, before: Option<&Made>) -> Result<Made, Stop> {
        let name = &stage.name;
        let current = (&stage.module, &*stage.config);
        let mut first = self.attempt(stage, current, subject, before);
        // A busy machine makes a good call slow: what another version says instead may delete something.
        if stage.fallback.is_some() && matches!(first, Err(CallError::Deadline(_))) {
            first = self.attempt(stage, current, subject, before);
        }
        let (answer, module) = match (first, &stage.fallback) {
            (Ok(answer), _) => (answer, &stage.module),
            (Err(error), None) => return Err(Stop::Failed { stage: name.clone(), error }),
            (Err(error), Some(Fallback { module, config })) => {
                match self.attempt(stage, (module, config), subject, before) {
                    Ok(answer) => {
                        self.fell_back.push(FellBack { stage: name.clone(), error });
                        (answer, module)
                    }
                    Err(_) => return Err(Stop::Failed { stage: name.clone(), error }),
                }
            }
        };
        self.versions.push(StageVersion { stage: name.clone(), digest: module.digest().clone() });
        answer.map_err(|outcome| Stop::Outcome { stage: name.clone(), outcome })
    }

    /// One call of `map` or `refine`. Its answer is checked here, so that the stage that broke a rule is the one that fails.
    fn attempt(
        &mut self,
        stage: &Stage,
        (module, config): (&Arc<Module>, &str),
        subject: &str,
        before: Option<&Made>,
    ) -> Result<Result<Made, Outcome>, CallError> {
        let (answer,): List = match before {
            None => self.call(stage, module, Operation::Map, (subject, config))?,
            Some(made) => self.call(stage, module, Operation::Refine, (subject, config, &*made.desired))?,
        };
        let checked = match answer {
            Err(outcome) => return Ok(Err(call::outcome(outcome))),
            Ok(desired) => check(desired, before, module),
        };
        if let (Err(error), Some(stats)) = (&checked, self.stats.last_mut()) {
            stats.failed = Some(error.reason());
        }
        checked.map(Ok)
    }

    fn call<P, R>(
        &mut self,
        stage: &Stage,
        module: &Module,
        operation: Operation,
        parameters: P,
    ) -> Result<R, CallError>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let view = Some(self.view.clone());
        let Called { answer, reads, logs, duration, fuel, memory } =
            call::call(module, operation, &stage.limits, view, parameters);
        self.reads.extend(reads);
        trace(&logs, stage, module);
        let line = |(level, message)| LogLine { stage: stage.name.clone(), level, message };
        self.logs.extend(logs.lines.into_iter().map(line));
        self.stats.push(CallStats {
            stage: stage.name.clone(),
            digest: module.digest().clone(),
            operation,
            duration,
            fuel,
            memory,
            failed: answer.as_ref().err().map(CallError::reason),
        });
        answer
    }
}

/// The list in the host's terms, if it keeps the rules. A refiner may not rename, remove or turn into something else what it was
/// given, and a set is of a kind that is watched.
fn check(desired: Vec<Desired>, before: Option<&Made>, module: &Module) -> Result<Made, CallError> {
    let entries = desired.iter().cloned().map(convert::entry).collect();
    let list = DesiredList::new(entries).map_err(|error| CallError::contract(&error.to_string()))?;
    for Entry { name, kind, .. } in before.iter().flat_map(|made| made.list.entries()) {
        match list.get(name) {
            None => {
                return Err(CallError::Contract(format!("a refiner removed or renamed the entry {name:?}")));
            }
            Some(now) if now.kind != *kind => {
                return Err(CallError::Contract(format!(
                    "a refiner made the entry {name:?} a {}, it was a {kind}",
                    now.kind
                )));
            }
            Some(_) => {}
        }
    }
    let given: BTreeSet<_> = before.iter().flat_map(|made| made.list.selections()).collect();
    let known = |kind: &Gvk| module.manifest().projections().any(|projection| projection.kind == *kind);
    let added = list.selections();
    if let Some(set) = added.into_iter().find(|set| !given.contains(set) && !known(&set.kind)) {
        return Err(CallError::contract(&format!(
            "it names a set of {}, which its manifest does not name",
            set.kind
        )));
    }
    Ok(Made { desired, list })
}

/// Into the caller's span, which says what the subject is.
fn trace(logs: &Logs, stage: &Stage, module: &Module) {
    let (stage, name) = (&*stage.name, &*module.manifest().name);
    let (lines, whole) = logs.beginning();
    for (level, text) in lines {
        match level {
            LogLevel::Debug => tracing::debug!(target: MODULE, stage, module = name, "{text}"),
            LogLevel::Info => tracing::info!(target: MODULE, stage, module = name, "{text}"),
            LogLevel::Warn => tracing::warn!(target: MODULE, stage, module = name, "{text}"),
            LogLevel::Error => tracing::error!(target: MODULE, stage, module = name, "{text}"),
        }
    }
    if !whole {
        tracing::info!(target: MODULE, stage, module = name, "it logged more in this call: the rest is cut");
    }
}
