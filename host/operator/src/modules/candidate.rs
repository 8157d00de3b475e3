//! Judging a new version: load, conflicts, shadow run, approval, swap (design, section 8).

use std::collections::BTreeSet;
use std::sync::Arc;

use isthmus_kubernetes::crd::{PolicyModule, Rollout};
use isthmus_kubernetes::events::Severity;
use isthmus_kubernetes::names::ANNOTATION_APPROVE;
use isthmus_model::manifest::Projection;
use isthmus_model::object::Gvk;
use isthmus_model::plan::Summary;
use isthmus_policy::{Fallback, Module, short_digest};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::manager::Manager;
use super::shadow::Judgement;
use super::source::SourceError;
use super::{Pipelines, Version, config_of, revision, source};

/// Reason: another PolicyModule maps the kind.
const CONFLICT: &str = "Conflict";
/// Reason: another PolicyModule has taken the kind over.
const REPLACED: &str = "Replaced";

/// Why the version of the source does not serve.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    /// For machines, in CamelCase.
    pub reason: &'static str,
    /// For people: what was found, what to do.
    pub message: String,
    /// The version that waits for approval, and what it would change.
    pub pending: Option<Box<(String, Summary)>>,
    /// Kinds that it would serve, where that is known.
    pub served: Option<Served>,
    /// From when on it is worth trying again without a change; `None`: never.
    pub retry: Option<Instant>,
}

impl Problem {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), pending: None, served: None, retry: None }
    }

    /// It is worth trying again without a change.
    fn passing(reason: &'static str, message: impl Into<String>) -> Self {
        Self { retry: Some(Instant::now()), ..Self::new(reason, message) }
    }

    /// It comes after another PolicyModule, which serves the kinds: they are not frozen, and become free when that one goes.
    fn second(reason: &'static str, message: String) -> Self {
        Self::passing(reason, message)
    }

    /// Whether it loads, and somebody has to agree to what it would do.
    pub(super) fn waits_for_approval(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether another PolicyModule serves the kinds.
    pub(super) fn is_second(&self) -> bool {
        [CONFLICT, REPLACED].contains(&self.reason)
    }
}

/// The kinds whose subjects a module has to do with.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    /// It maps them.
    pub maps: BTreeSet<Gvk>,
    /// It refines what another one maps them to.
    pub refines: BTreeSet<Gvk>,
}

impl Served {
    fn of(module: &Module) -> Self {
        let kinds = |projections: &[Projection]| projections.iter().map(|p| p.kind.clone()).collect();
        Self { maps: kinds(&module.manifest().maps), refines: kinds(&module.manifest().refines) }
    }

    /// What a PolicyModule's status says of the version that served last.
    pub(super) fn said(module: &PolicyModule) -> Self {
        let kinds = |text: Option<&String>| {
            text.into_iter().flat_map(|t| t.split(',')).filter_map(|kind| kind.parse().ok()).collect()
        };
        let status = module.status.as_ref();
        Self {
            maps: kinds(status.and_then(|s| s.maps.as_ref())),
            refines: kinds(status.and_then(|s| s.refines.as_ref())),
        }
    }

    fn all(&self) -> BTreeSet<Gvk> {
        self.maps.union(&self.refines).cloned().collect()
    }
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        let reason = match error {
            SourceError::Missing(_) | SourceError::Unlabelled(_) | SourceError::NoKey { .. } => {
                "SourceMissing"
            }
            SourceError::Parts(_) => "SourceIncomplete",
        };
        Self::new(reason, error.to_string())
    }
}

impl Manager {
    /// Considers what a PolicyModule wants, and swaps it in where nothing speaks against it.
    pub(super) async fn consider(&mut self, module: &PolicyModule) -> Result<(), Problem> {
        let name = module.name_any();
        let bytes = match source::read(&module.spec.source, &self.sources) {
            Err(SourceError::Missing(map)) if self.is_unlabelled(&map).await => {
                Err(SourceError::Unlabelled(map))
            }
            read => read,
        }?;
        let expected = module.spec.sha256.clone().or(bytes.sha256.clone());
        let fuel = module.spec.limits.fuel.is_some();
        let compiled = match self.compiled_already(&name, &bytes.bytes, expected.as_deref(), fuel).await {
            Some(compiled) => compiled,
            None => {
                let compiled = self.compile(&bytes.bytes, expected.as_deref(), fuel).await?;
                self.compiled.insert(name.clone(), compiled.clone());
                compiled
            }
        };
        let version = self.version(module, compiled, config_of(module));
        let old = self.session.pipelines.load_full();
        if old.version(&name).is_some_and(|serving| same(serving, &version)) {
            return Ok(());
        }
        let served = Served::of(&version.module);
        // Also what it serves no longer changes: what is mapped without it from now on.
        let leaving = [&*name].into_iter().chain(module.spec.replaces.as_deref());
        let left = leaving.filter_map(|name| old.version(name)).flat_map(|v| Served::of(&v.module).all());
        let kinds: BTreeSet<Gvk> = served.all().into_iter().chain(left).collect();
        let with_kinds = |problem: Problem| Problem { served: Some(served.clone()), ..problem };
        let new = self.with(&old, module, &version).map_err(with_kinds)?;
        let read = version.module.manifest().projections().map(|p| p.kind.clone()).collect();
        if let Err(why) = self.watch(&new, Some(&read)).await {
            return Err(with_kinds(Problem::passing("WatchesNotReady", why)));
        }
        self.judge(module, &version, &old, &new, &kinds).await.map_err(with_kinds)?;
        self.swap(module, version, new, &kinds, bytes.bytes).await;
        Ok(())
    }

    /// Whether a ConfigMap that we do not see is there: we see those with our label.
    async fn is_unlabelled(&self, map: &str) -> bool {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.kube(), &self.namespace);
        let what = format!("look for ConfigMap {map}");
        matches!(self.client.read(&what, maps.get_metadata_opt(map)).await, Ok(Some(_)))
    }

    /// What was compiled before, if these are its bytes, and fuel is counted where it has to be.
    async fn compiled_already(
        &self,
        name: &str,
        bytes: &[u8],
        expected: Option<&str>,
        fuel: bool,
    ) -> Option<Arc<Module>> {
        let serving = self.session.pipelines.load().version(name).map(|v| v.module.clone());
        let bytes = bytes.to_vec();
        let digest = move || {
            let plain = isthmus_policy::unpack(&bytes).ok()?;
            Some(isthmus_model::hash::hex(&Sha256::digest(&plain)))
        };
        let digest = tokio::task::spawn_blocking(digest).await.ok()??;
        if expected.is_some_and(|expected| expected != digest) {
            return None;
        }
        let fits = |m: &Arc<Module>| **m.digest() == *digest && m.counts_fuel() == fuel;
        self.compiled.get(name).cloned().into_iter().chain(serving).find(fits)
    }

    /// Compiles off the hot path. `fuel`: calls of it count fuel.
    pub(super) async fn compile(
        &self,
        bytes: &[u8],
        expected: Option<&str>,
        fuel: bool,
    ) -> Result<Arc<Module>, Problem> {
        let (engine, bytes, expected) = (self.engine.clone(), bytes.to_vec(), expected.map(str::to_owned));
        let load = move || {
            let engine = if fuel { engine.counting_fuel() } else { Ok(engine) };
            engine.map(|engine| engine.load(&bytes, expected.as_deref()))
        };
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(Ok(module))) => Ok(module),
            Ok(Ok(Err(error))) => Err(Problem::new(error.reason(), error.to_string())),
            Ok(Err(error)) => Err(Problem::passing("EngineFailed", error.to_string())),
            Err(error) => Err(Problem::passing("LoadFailed", format!("loading ended abnormally: {error}"))),
        }
    }

    pub(super) fn version(&self, module: &PolicyModule, compiled: Arc<Module>, config: Arc<str>) -> Version {
        let serving = self.session.pipelines.load().version(&module.name_any()).cloned();
        // Where this one fails, the last good one is called, with the config that it was good with: not the one that serves, while
        // somebody is mapped by the one before it.
        let fallback = serving.and_then(|s| match s.revision() == revision(compiled.digest(), &config) {
            true => s.fallback,
            false
                if s.fallback.is_some()
                    && self.session.records.lock().fall_back(&Served::of(&s.module).all()) =>
            {
                s.fallback
            }
            false => Some(Fallback { module: s.module, config: s.config }),
        });
        Version { fallback, ..Version::new(module, compiled, config) }
    }

    /// The pipelines with this version in its place.
    fn with(&self, old: &Pipelines, module: &PolicyModule, version: &Version) -> Result<Pipelines, Problem> {
        let mut versions = old.versions().clone();
        let by = self.modules.iter().find(|(other, m)| {
            m.spec.replaces.as_deref() == Some(&*version.name) && old.version(other).is_some()
        });
        if let Some((other, _)) = by {
            let why = format!("PolicyModule {other} has taken its place (spec.replaces)");
            return Err(Problem::second(REPLACED, why));
        }
        for projection in &version.module.manifest().maps {
            let Some(incumbent) = old.mapper_of(&projection.kind).filter(|v| v.name != version.name) else {
                continue;
            };
            if module.spec.replaces.as_deref() != Some(&*incumbent.name) {
                return Err(Problem::second(
                    CONFLICT,
                    format!(
                        "{} is mapped by PolicyModule {}, which keeps it; to take over set spec.replaces: {}",
                        projection.kind, incumbent.name, incumbent.name
                    ),
                ));
            }
            versions.remove(&incumbent.name);
        }
        versions.insert(version.name.clone(), version.clone());
        let mut failed = old.failed().clone();
        failed.remove(&version.name);
        Pipelines::new(versions, failed, &Default::default())
            .map_err(|e| Problem::new("WrongWorld", e.to_string()))
    }

    /// The shadow run, and whether what it shows is within what the PolicyModule allows.
    async fn judge(
        &self,
        module: &PolicyModule,
        version: &Version,
        old: &Pipelines,
        new: &Pipelines,
        kinds: &BTreeSet<Gvk>,
    ) -> Result<(), Problem> {
        let began = Instant::now();
        let judgement = self.session.shadow(old, new, kinds).await.map_err(|error| {
            Problem::passing("CloudUnavailable", format!("the shadow run can't ask the cloud: {error}"))
        })?;
        let revision = version.revision();
        if module.annotations().get(ANNOTATION_APPROVE).is_some_and(|by| approves(by, &revision, &judgement))
        {
            return Ok(());
        }
        let again = Instant::now() + began.elapsed() * 20;
        verdict(judgement, &module.spec.rollout, revision, again)
            .inspect(|()| tracing::info!(module = %version.name, "shadow run done"))
    }

    /// From now on calls go to the new version; those in flight end on the old one.
    async fn swap(
        &mut self,
        module: &PolicyModule,
        version: Version,
        new: Pipelines,
        kinds: &BTreeSet<Gvk>,
        bytes: Vec<u8>,
    ) {
        if !self.install(new.versions().clone(), new.failed().clone()) {
            return;
        }
        self.session.metrics.swaps.inc();
        kinds.iter().for_each(|kind| self.session.enqueue_kind(kind));
        let digest = short_digest(version.module.digest()).to_owned();
        let semver = &version.module.manifest().version;
        tracing::info!(module = %version.name, version = %semver, %digest, "version swapped in");
        self.tell(module, Severity::Normal, "Loaded", format!("version {semver} ({digest}) serves"));
        self.keep(&version, bytes).await;
    }
}

/// Whether what a shadow run shows is within what is allowed. `again`: when another one is worth it.
fn verdict(judgement: Judgement, rollout: &Rollout, revision: String, again: Instant) -> Result<(), Problem> {
    let Judgement { summary, failures, missing, first, subjects, done } = judgement;
    let allowed = |most: i32| usize::try_from(most).unwrap_or_default();
    let too_many =
        summary.deleted > allowed(rollout.max_deletes) || summary.replaced > allowed(rollout.max_replaces);
    let (reason, why, approval) = match first {
        Some(first) => {
            let why = format!("the shadow run failed for {failures} or more subjects, first {first}");
            ("ShadowRunFailed", why, revision)
        }
        None if done < subjects => {
            let why = format!("the shadow run came to {done} of {subjects} subjects within a minute");
            ("ShadowRunTooSlow", why, revision)
        }
        None if too_many => {
            let why = format!(
                "held: it would add {}, change {}, delete {} and replace {} cloud resources; allowed are {} deletes and {} replaces",
                summary.added,
                summary.changed,
                summary.deleted,
                summary.replaced,
                rollout.max_deletes,
                rollout.max_replaces
            );
            ("Held", why, agreed(&revision, summary))
        }
        None => return Ok(()),
    };
    let message = format!("{why}; to let it, annotate the PolicyModule with {ANNOTATION_APPROVE}={approval}");
    Err(Problem {
        pending: Some(Box::new((approval, summary))),
        // What is missing may come, and nobody says so.
        retry: (failures > 0 && missing == failures).then_some(again),
        ..Problem::new(reason, message)
    })
}

/// What is written to agree to a version, and to what it would take away at most.
fn agreed(revision: &str, summary: Summary) -> String {
    format!("{revision}/deletes={},replaces={}", summary.deleted, summary.replaced)
}

/// Whether what was written agrees to a version that would do this: there may be more by now than was agreed to, and of a run that did
/// not come to its end nobody knows. The revision alone agrees to whatever it does.
fn approves(written: &str, revision: &str, judgement: &Judgement) -> bool {
    let Some((version, most)) = written.split_once('/') else { return written == revision };
    let most = most.strip_prefix("deletes=").and_then(|most| most.split_once(",replaces="));
    let most = most.and_then(|(deletes, replaces)| Some((deletes.parse().ok()?, replaces.parse().ok()?)));
    let Judgement { summary, first, subjects, done, .. } = judgement;
    version == revision
        && first.is_none()
        && done >= subjects
        && most.is_some_and(|(deletes, replaces): (usize, usize)| {
            summary.deleted <= deletes && summary.replaced <= replaces
        })
}

fn same(serving: &Version, wanted: &Version) -> bool {
    serving.revision() == wanted.revision()
        && serving.limits == wanted.limits
        && serving.order == wanted.order
        && serving.failure == wanted.failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_is_of_what_was_to_be_taken_away_then() {
        let would = |deleted, replaced| Judgement {
            summary: Summary { deleted, replaced, ..Summary::default() },
            ..Judgement::default()
        };
        let held = verdict(would(3, 1), &Rollout::default(), "abc-1".into(), Instant::now()).unwrap_err();
        let (written, _) = *held.pending.unwrap();
        assert_eq!(written, "abc-1/deletes=3,replaces=1");
        for (deleted, replaced, approved) in [(3, 1, true), (0, 0, true), (4, 1, false), (3, 2, false)] {
            let now = would(deleted, replaced);
            assert_eq!(approves(&written, "abc-1", &now), approved, "{deleted} {replaced}");
        }
        assert!(
            !approves(&written, "abc-1", &Judgement { subjects: 2, done: 1, ..would(1, 0) }),
            "half a run"
        );
        assert!(!approves(&written, "abc-1", &Judgement { first: Some("x".into()), ..would(1, 0) }));
        assert!(!approves(&written, "abc-2", &would(0, 0)), "another version");
        assert!(approves("abc-1", "abc-1", &would(9, 9)) && !approves("abc-1", "abc-2", &would(0, 0)));
        for odd in ["abc-1/", "abc-1/deletes=3", "abc-1/deletes=x,replaces=0", ""] {
            assert!(!approves(odd, "abc-1", &would(0, 0)), "{odd}");
        }
    }

    #[test]
    fn only_what_may_come_is_waited_for() {
        let failed = |failures, missing| {
            let judgement = Judgement { failures, missing, first: Some("x".into()), ..Judgement::default() };
            verdict(judgement, &Rollout::default(), "abc".into(), Instant::now()).unwrap_err()
        };
        assert!(failed(2, 2).retry.is_some() && failed(2, 1).retry.is_none());
        assert_eq!(
            (failed(2, 1).reason, failed(2, 1).pending.unwrap().0.as_str()),
            ("ShadowRunFailed", "abc")
        );
        assert!(verdict(Judgement::default(), &Rollout::default(), "abc".into(), Instant::now()).is_ok());
    }
}
