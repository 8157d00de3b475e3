//! Follows PolicyModules and their sources, and swaps versions in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::{OnDelete, PolicyModule};
use isthmus_kubernetes::events::{Happening, Severity};
use isthmus_kubernetes::names::{FINALIZER, LABEL_POLICY_MODULE};
use isthmus_kubernetes::watch::{Event, Phase, module_sources, modules};
use isthmus_model::object::{Gvk, ObjectKey, Subject};
use isthmus_policy::{Engine, Fallback, Module};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use tokio::sync::{mpsc, watch as signal};
use tokio::time::{Instant, timeout_at};

use super::candidate::{Problem, Served};
use super::keep::Which;
use super::told::{self, Told};
use super::{Failed, Lane, Pipelines, Unmapping, Version, keep, own_kind, remove};
use crate::records::Known;
use crate::session::{Session, namespace_kind, node_kind, own_mask};

/// Changes that come together (the parts of a module) are looked at together.
const TOGETHER: Duration = Duration::from_millis(30);
/// A kind that is not listed by then is not waited for.
const LISTED_WITHIN: Duration = Duration::from_secs(30);
/// How often what waits for others is looked at again.
const AGAIN: Duration = Duration::from_secs(5);

/// Follows PolicyModules for one session.
pub struct Manager {
    pub(super) session: Arc<Session>,
    pub(super) engine: Engine,
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) modules: BTreeMap<String, PolicyModule>,
    pub(super) sources: BTreeMap<String, ConfigMap>,
    /// What was compiled last, by PolicyModule: it is looked at again when its config or an approval changes.
    pub(super) compiled: BTreeMap<String, Arc<Module>>,
    problems: BTreeMap<String, Problem>,
    /// PolicyModules of which a write failed: they are looked at again although nothing about them changed.
    unwritten: BTreeSet<String>,
    /// Versions that serve and are not kept yet, with their bytes.
    unkept: BTreeMap<Arc<str>, (Version, Vec<u8>)>,
    unmapping: Unmapping,
    wakes: mpsc::Receiver<Wake>,
}

/// What the manager hears.
#[derive(Debug)]
pub enum Wake {
    /// Of a PolicyModule.
    Module(Event<PolicyModule>),
    /// Of a ConfigMap.
    Source(Event<ConfigMap>),
}

impl Manager {
    /// Follows the PolicyModules of the cluster and the sources in one namespace. Returns when both are known.
    pub async fn start(session: Arc<Session>, engine: Engine, client: Client, namespace: &str) -> Self {
        let (sender, wakes) = mpsc::channel(64);
        forward(modules(&client), sender.clone(), Wake::Module);
        forward(module_sources(&client, namespace), sender, Wake::Source);
        let mut manager = Self {
            session,
            engine,
            client,
            namespace: namespace.into(),
            modules: BTreeMap::new(),
            sources: BTreeMap::new(),
            compiled: BTreeMap::new(),
            problems: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            unkept: BTreeMap::new(),
            unmapping: Unmapping::new(),
            wakes,
        };
        let (mut modules_known, mut sources_known) = (false, false);
        while !(modules_known && sources_known) {
            let Some(wake) = manager.wakes.recv().await else { break };
            modules_known |= matches!(wake, Wake::Module(Event::Synced));
            sources_known |= matches!(wake, Wake::Source(Event::Synced));
            manager.hear(wake);
        }
        manager
    }

    /// Before anything is mapped: the versions that served before, then those of the sources.
    pub async fn begin(&mut self) {
        // One that took kinds over comes before the one that it took them from.
        let (takers, others): (Vec<_>, Vec<_>) =
            self.modules.iter().partition(|(_, module)| module.spec.replaces.is_some());
        let names: Vec<String> = takers.into_iter().chain(others).map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.restore(name).await;
        }
        if let Err(why) = self.watch(&self.session.pipelines.load_full(), None).await {
            tracing::warn!(%why, "subjects whose modules read it are left as they are until it is listed");
        }
        self.adopt_sources().await;
        let names: BTreeSet<String> = self.modules.keys().cloned().collect();
        self.evaluate_all(names).await;
    }

    /// Follows changes until the session ends.
    pub async fn run(mut self, mut stop: signal::Receiver<bool>) {
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut names = BTreeSet::new();
            tokio::select! {
                wake = self.wakes.recv() => match wake {
                    Some(wake) => names.extend(self.hear(wake)),
                    None => return,
                },
                _ = again.tick() => names.extend(self.waiting()),
                _ = stop.wait_for(|stop| *stop) => return,
            }
            for (version, bytes) in std::mem::take(&mut self.unkept).into_values() {
                self.keep(&version, bytes).await;
            }
            let until = Instant::now() + TOGETHER;
            while let Ok(Some(wake)) = timeout_at(until, self.wakes.recv()).await {
                names.extend(self.hear(wake));
            }
            // Also at a tick of the clock: the API server may have refused for a moment.
            names.extend(self.adopt_sources().await);
            self.evaluate_all(names).await;
        }
    }

    /// Takes an event in. Answers the PolicyModules that it concerns.
    fn hear(&mut self, wake: Wake) -> Vec<String> {
        match wake {
            Wake::Module(Event::Applied(module)) => {
                let name = module.name_any();
                // Our own status writes come back; only what people say counts, and that somebody took our finalizer off.
                let same = self.modules.get(&name).is_some_and(|old| {
                    old.metadata.generation == module.metadata.generation
                        && old.annotations() == module.annotations()
                        && old.metadata.deletion_timestamp == module.metadata.deletion_timestamp
                        && old.uid() == module.uid()
                        && (module.metadata.deletion_timestamp.is_some() || is_held(&module))
                });
                self.modules.insert(name.clone(), *module);
                if same { Vec::new() } else { vec![name] }
            }
            Wake::Module(Event::Deleted(named)) => {
                self.modules.remove(&named.name);
                vec![named.name]
            }
            Wake::Source(Event::Applied(map)) => {
                let name = map.name_any();
                self.sources.insert(name.clone(), *map);
                self.users_of(&name)
            }
            Wake::Source(Event::Deleted(named)) => {
                let users = self.users_of(&named.name);
                self.sources.remove(&named.name);
                users
            }
            Wake::Module(Event::Malformed { object, reason })
            | Wake::Source(Event::Malformed { object, reason }) => {
                tracing::warn!(name = %object.name, %reason, "an object can't be understood");
                Vec::new()
            }
            Wake::Module(Event::Unavailable(reason)) | Wake::Source(Event::Unavailable(reason)) => {
                tracing::warn!(%reason, "PolicyModules or their sources can't be listed");
                Vec::new()
            }
            Wake::Module(Event::Synced | Event::Interrupted(_))
            | Wake::Source(Event::Synced | Event::Interrupted(_)) => Vec::new(),
        }
    }

    fn users_of(&self, map: &str) -> Vec<String> {
        let named = |m: &PolicyModule| m.spec.source.config_maps.iter().any(|c| c.name == map);
        let label = self.sources.get(map).and_then(|m| m.labels().get(LABEL_POLICY_MODULE).cloned());
        let users = self.modules.iter().filter(|(_, m)| named(m)).map(|(n, _)| n.clone());
        users.chain(label).collect()
    }

    /// Those to be looked at again although nothing about them changed.
    fn waiting(&self) -> Vec<String> {
        let now = Instant::now();
        let is_due = |p: &Problem| p.retry.is_some_and(|at| at <= now);
        let retried = self.problems.iter().filter(|(_, p)| is_due(p)).map(|(n, _)| n.clone());
        let pipelines = self.session.pipelines.load();
        let untold = |name: &&String| pipelines.version(name).is_none() && !self.problems.contains_key(*name);
        let replaced = self.modules.keys().filter(untold).cloned();
        let going = self
            .modules
            .iter()
            .filter(|(_, m)| m.metadata.deletion_timestamp.is_some())
            .map(|(n, _)| n.clone());
        retried.chain(replaced).chain(going).chain(self.unwritten.iter().cloned()).collect()
    }

    /// Puts the version in place that served before this session.
    async fn restore(&mut self, name: &str) {
        let kept = match keep::load(&self.client, &self.namespace, name, Which::Current).await {
            Ok(Some(kept)) => kept,
            Ok(None) => return,
            Err(error) => return tracing::warn!(module = name, %error, "what is kept can't be read"),
        };
        let Some(module) = self.modules.get(name) else { return };
        if module.status.as_ref().and_then(|s| s.digest.as_ref()).is_some_and(|d| *d != kept.digest) {
            tracing::warn!(module = name, kept = %kept.digest, "kept is another version than the one that served");
        }
        let fuel = module.spec.limits.fuel.is_some();
        match self.compile(&kept.bytes, Some(&kept.digest), fuel).await {
            Ok(compiled) => {
                let pipelines = self.session.pipelines.load_full();
                if compiled.manifest().maps.iter().any(|p| pipelines.mapper_of(&p.kind).is_some()) {
                    return tracing::info!(module = name, "another module has taken its kinds over");
                }
                let mut version = self.version(module, compiled, kept.config.into());
                version.fallback = self.kept_before(name, fuel).await;
                let mut versions = pipelines.versions().clone();
                versions.insert(name.into(), version);
                self.install(versions, BTreeMap::new());
            }
            Err(problem) => {
                tracing::warn!(module = name, why = %problem.message, "what is kept does not load")
            }
        }
    }

    async fn evaluate_all(&mut self, names: BTreeSet<String>) {
        for name in names {
            self.evaluate(&name).await;
        }
    }

    /// Looks at one PolicyModule: what it wants, what it has, and what it is told.
    async fn evaluate(&mut self, name: &str) {
        self.unwritten.remove(name);
        let Some(module) = self.modules.get(name).cloned() else { return self.drop_version(name).await };
        if module.metadata.deletion_timestamp.is_some() {
            return self.end(&module).await;
        }
        if !is_held(&module) {
            self.finalizers(&module, true).await;
        }
        let problem = self.consider(&module).await.err();
        let pipelines = self.session.pipelines.load_full();
        if let Some(problem) = &problem {
            if self.problems.get(name).is_none_or(|before| before.message != problem.message) {
                tracing::warn!(module = name, reason = problem.reason, message = %problem.message, "not loaded");
                self.tell(&module, Severity::Warning, problem.reason, problem.message.clone());
            }
            if pipelines.version(name).is_none() {
                self.freeze(&module, problem);
            }
        }
        let told = Told {
            serving: pipelines.version(name),
            problem: problem.as_ref().map(|p| (p.reason, p.message.clone())),
            pending: problem.as_ref().and_then(|p| p.pending.as_deref().cloned()),
        };
        let status = told::status(&module, &told);
        if let Err(error) = told::write(&self.client, &module, &status).await {
            tracing::warn!(module = name, %error, "its status is not written yet");
            self.unwritten.insert(name.into());
        } else if let Some(module) = self.modules.get_mut(name) {
            module.status = Some(status);
        }
        match problem {
            Some(problem) => drop(self.problems.insert(name.into(), problem)),
            None => drop(self.problems.remove(name)),
        }
    }

    /// Kinds that a module without a version is known to serve are frozen.
    fn freeze(&mut self, module: &PolicyModule, problem: &Problem) {
        let pipelines = self.session.pipelines.load_full();
        let served = problem.served.clone().unwrap_or_else(|| Served::said(module));
        let owns_nothing = problem.is_second() || problem.waits_for_approval();
        let (maps, refines): (BTreeSet<Gvk>, BTreeSet<Gvk>) = match owns_nothing {
            // What is there was made without it.
            true => Default::default(),
            // What another module maps, it maps without this one; what this one would refine is not mapped without it.
            false => {
                let maps = served.maps.into_iter().filter(|kind| pipelines.mapper_of(kind).is_none());
                (maps.collect(), served.refines.into_iter().collect())
            }
        };
        let mut failed = pipelines.failed().clone();
        let now = Failed { why: problem.message.clone(), maps, refines, owns_nothing };
        let kinds: BTreeSet<Gvk> = now.kinds().cloned().collect();
        let before = failed.insert(module.name_any().into(), now);
        self.install(pipelines.versions().clone(), failed);
        let before: BTreeSet<Gvk> = before.iter().flat_map(Failed::kinds).cloned().collect();
        kinds.symmetric_difference(&before).for_each(|kind| self.session.enqueue_kind(kind));
    }

    /// Makes these versions the ones that serve.
    pub(super) fn install(
        &self,
        versions: BTreeMap<Arc<str>, Version>,
        failed: BTreeMap<Arc<str>, Failed>,
    ) -> bool {
        match Pipelines::new(versions, failed, &self.unmapping) {
            Ok(pipelines) => {
                self.session.pipelines.store(Arc::new(pipelines));
                self.session.memos.clear();
                true
            }
            Err(error) => {
                tracing::error!(%error, "these versions make no pipeline: those before stay");
                false
            }
        }
    }

    /// A PolicyModule that is being deleted: its mappings stay as they are, or are taken down first.
    async fn end(&mut self, module: &PolicyModule) {
        let name = module.name_any();
        if module.spec.on_delete == OnDelete::Unmap {
            let pipelines = self.session.pipelines.load_full();
            // Its bytes may be gone since; and what another module maps now is that one's.
            let maps = Served::said(module)
                .maps
                .into_iter()
                .filter(|kind| pipelines.mapper_of(kind).is_none_or(|mapper| *mapper.name == *name));
            self.unmapping.extend(maps.map(|kind| (kind, name.clone())));
            self.drop_version(&name).await;
            let left = {
                let records = self.session.records.lock();
                let is_unmapped = |subject: &Subject| {
                    let key = &subject.key;
                    self.unmapping.contains(&((*key.kind).clone(), name.clone()))
                        && (*key.kind != own_kind() || *key.name == *name)
                };
                let made_it = |known: &Known| known.status.module.as_ref().is_none_or(|by| by.name == name);
                let left = |(subject, known): &(&Subject, Known)| {
                    is_unmapped(subject) && !known.released && made_it(known)
                };
                records.all().filter(left).count()
            };
            if left > 0 {
                tracing::info!(module = %name, left, "taking its mappings down");
                return;
            }
            self.unmapping.retain(|(_, by)| *by != name);
        }
        self.drop_version(&name).await;
        if let Err(error) = keep::remove(&self.client, &self.namespace, &name).await {
            return tracing::warn!(module = %name, %error, "what is kept of it is not removed yet");
        }
        self.finalizers(module, false).await;
    }

    async fn drop_version(&mut self, name: &str) {
        self.compiled.remove(name);
        self.problems.remove(name);
        let pipelines = self.session.pipelines.load_full();
        let mut failed = pipelines.failed().clone();
        let mut versions = pipelines.versions().clone();
        let had = versions.remove(name);
        let frozen = failed.remove(name);
        // Those of a module that serves nothing since the start are taken down too.
        let ends =
            |kind: &Gvk| matches!(pipelines.lane_by(kind, name), Some(Lane::Serving(_) | Lane::Unmapping(_)));
        let begun = self.unmapping.iter().filter(|(kind, by)| **by == *name && !ends(kind));
        let begun: Vec<Gvk> = begun.map(|(kind, _)| kind.clone()).collect();
        if frozen.is_none() && had.is_none() && begun.is_empty() {
            return;
        }
        self.install(versions, failed);
        let kinds =
            had.iter().flat_map(|v| v.module.manifest().maps.iter().chain(&v.module.manifest().refines));
        let kinds = kinds.map(|p| p.kind.clone());
        let kinds = kinds.chain(frozen.iter().flat_map(Failed::kinds).cloned()).chain(begun);
        let kinds: BTreeSet<Gvk> = kinds.collect();
        kinds.iter().for_each(|kind| self.session.enqueue_kind(kind));
    }

    async fn finalizers(&mut self, module: &PolicyModule, on: bool) {
        let name = module.name_any();
        match remove::set_finalizer(&self.client, module, on).await {
            Ok(patched) if on => drop(self.modules.insert(name, patched)),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(module = %name, %error, "its finalizer is not set yet");
                self.unwritten.insert(name);
            }
        }
    }

    /// What has to be watched: what modules ask for, the kinds that there are CloudMappings of, namespaces and nodes.
    /// Returns when all of it is known, or known to be unavailable; `awaited` names the kinds that matter, else all do.
    ///
    /// # Errors
    /// A kind that is not known, and why, for people.
    pub(super) async fn watch(
        &self,
        pipelines: &Pipelines,
        awaited: Option<&BTreeSet<Gvk>>,
    ) -> Result<(), String> {
        let mut masks = pipelines.masks();
        let recorded: BTreeSet<Gvk> =
            self.session.records.lock().subjects().map(|s| (*s.key.kind).clone()).collect();
        for kind in recorded.into_iter().chain([namespace_kind(), node_kind()]) {
            masks.entry(kind).or_default();
        }
        for (kind, mask) in &mut masks {
            mask.merge(&own_mask(kind));
        }
        let matters = |kind: &&Gvk| awaited.is_none_or(|awaited| awaited.contains(*kind));
        let kinds: BTreeSet<Gvk> = masks.keys().filter(matters).cloned().collect();
        self.session.watches.ensure(masks);
        let starting =
            |kind: &Gvk| self.session.watches.state(kind).is_none_or(|state| state.phase == Phase::Starting);
        let until = Instant::now() + LISTED_WITHIN;
        while kinds.iter().any(starting) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.session.all_known(&kinds)
    }

    /// Keeps a version, and the one before it; later, where that fails now.
    pub(super) async fn keep(&mut self, version: &Version, bytes: Vec<u8>) {
        // Another one may serve by now.
        let serves = self.session.pipelines.load().version(&version.name).map(Version::revision);
        if serves != Some(version.revision()) {
            return;
        }
        let digest = version.module.digest().to_string();
        let kept = keep::Kept { bytes, digest, config: version.config.to_string() };
        if let Err(error) = self.keep_both(version, &kept).await {
            tracing::warn!(module = %version.name, %error, "the version that serves is not kept yet: until it is, a new leader loads it from its source");
            self.unkept.insert(version.name.clone(), (version.clone(), kept.bytes));
        }
    }

    async fn keep_both(&self, version: &Version, kept: &keep::Kept) -> Result<(), isthmus_kubernetes::Error> {
        let name = &version.name;
        let load = |which| keep::load(&self.client, &self.namespace, name, which);
        let is_other = |k: &keep::Kept| (&k.digest, &k.config) != (&kept.digest, &kept.config);
        if let Some(before) = load(Which::Current).await?.filter(is_other) {
            // The last good one may be an older one, which is kept then.
            let is_last_good = |k: keep::Kept| {
                let last_good = version.fallback.as_ref();
                last_good.is_some_and(|good| **good.module.digest() == k.digest && *good.config == k.config)
            };
            if !load(Which::Previous).await?.is_some_and(is_last_good) {
                keep::store(&self.client, &self.namespace, name, Which::Previous, &before).await?;
            }
        }
        keep::store(&self.client, &self.namespace, name, Which::Current, kept).await
    }

    /// The version before the one that served, where it is kept and loads.
    async fn kept_before(&self, name: &str, fuel: bool) -> Option<Fallback> {
        let before = keep::load(&self.client, &self.namespace, name, Which::Previous).await.ok()??;
        let module = self.compile(&before.bytes, Some(&before.digest), fuel).await.ok()?;
        Some(Fallback { module, config: before.config.into() })
    }

    pub(super) fn tell(&self, module: &PolicyModule, severity: Severity, reason: &str, note: String) {
        let kind = own_kind();
        let key = ObjectKey::new(kind, None, &module.name_any());
        let subject = Subject { key, uid: module.uid().unwrap_or_default().into() };
        self.session.events.tell(Happening {
            subject,
            severity,
            reason: reason.into(),
            action: "Load",
            note,
        });
    }
}

/// Whether our finalizer holds it.
fn is_held(module: &PolicyModule) -> bool {
    module.finalizers().iter().any(|f| f == FINALIZER)
}

fn forward<T: Send + 'static>(mut from: mpsc::Receiver<T>, to: mpsc::Sender<Wake>, wake: fn(T) -> Wake) {
    tokio::spawn(async move {
        while let Some(event) = from.recv().await {
            if to.send(wake(event)).await.is_err() {
                return;
            }
        }
    });
}
