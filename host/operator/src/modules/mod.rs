//! Modules in the running system: where their bytes come from, how a version is judged, and what serves each kind.

mod adopt;
mod candidate;
pub mod keep;
mod manager;
mod remove;
mod shadow;
pub mod source;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use isthmus_kubernetes::crd::{FailurePolicy, PolicyModule};
use isthmus_model::hash;
use isthmus_model::manifest::Manifest;
use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::projection::Mask;
use isthmus_policy::{Fallback, Limits, Module, Pipeline, PipelineError, Stage};
use kube::ResourceExt;

pub use manager::{Manager, Wake};
pub(crate) use remove::remove;

/// One version of a PolicyModule: bytes, config and limits.
#[derive(Clone, Debug)]
pub struct Version {
    /// Name of the PolicyModule.
    pub name: Arc<str>,
    /// The module.
    pub module: Arc<Module>,
    /// Its config, JSON text.
    pub config: Arc<str>,
    /// Limits of each call.
    pub limits: Limits,
    /// Place among refiners.
    pub order: i32,
    /// Whether the version before is called where this one fails.
    pub failure: FailurePolicy,
    /// The version before.
    pub fallback: Option<Fallback>,
}

/// The config of a PolicyModule, as modules are given it: JSON text.
pub fn config_of(module: &PolicyModule) -> Arc<str> {
    serde_json::to_string(&module.spec.config).unwrap_or_else(|_| "{}".into()).into()
}

impl Version {
    /// A version of a PolicyModule, without one before it.
    pub fn new(module: &PolicyModule, compiled: Arc<Module>, config: Arc<str>) -> Self {
        let limits = &module.spec.limits;
        let size = |n: i64, unit: usize| usize::try_from(n).unwrap_or_default().saturating_mul(unit);
        Self {
            name: module.name_any().into(),
            module: compiled,
            config,
            limits: Limits {
                deadline: Duration::from_millis(u64::try_from(limits.deadline_ms).unwrap_or_default()),
                memory: size(limits.memory_mib, 1 << 20),
                table_elements: size(limits.table_elements, 1),
                output: size(limits.output_kib, 1 << 10),
                fuel: limits.fuel.and_then(|f| u64::try_from(f).ok()),
                ..Limits::default()
            },
            order: module.spec.order,
            failure: module.spec.failure_policy,
            fallback: None,
        }
    }

    /// What tells this version from another: the digest, with a hash of the config where there is one.
    pub fn revision(&self) -> String {
        revision(self.module.digest(), &self.config)
    }

    /// Its manifest, and that of the version before: it is called on the same snapshot, and sees what it asked for.
    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        let fallback = self.fallback.as_ref().map(|fallback| fallback.module.manifest());
        std::iter::once(self.module.manifest()).chain(fallback)
    }

    /// Its stage in the pipeline of a kind. The version before stands in for it only where that served the kind too.
    fn stage(&self, kind: &Gvk) -> Stage {
        let served = |fallback: &Fallback| {
            let manifest = fallback.module.manifest();
            manifest.maps.iter().chain(&manifest.refines).any(|p| p.kind == *kind)
        };
        let fallback = match self.failure {
            FailurePolicy::KeepLastGood => self.fallback.clone().filter(served),
            FailurePolicy::FailClosed => None,
        };
        Stage {
            name: self.name.clone(),
            module: self.module.clone(),
            config: self.config.clone(),
            limits: self.limits.clone(),
            fallback,
        }
    }
}

/// What tells one version from another.
pub fn revision(digest: &str, config: &str) -> String {
    match config {
        "" | "{}" => digest.to_owned(),
        config => format!("{digest}-{}", hash::of(&config).get(..8).unwrap_or_default()),
    }
}

/// What serves one kind.
#[derive(Debug)]
pub struct Serving {
    /// The mapper and its refiners.
    pub pipeline: Pipeline,
    /// Of all versions in it.
    pub revision: Arc<str>,
    /// Every kind that any of them reads: none is called before these are known.
    pub reads: BTreeSet<Gvk>,
    versions: BTreeMap<Arc<str>, String>,
}

impl Serving {
    /// The semver that a module of this digest calls itself.
    pub fn version_of(&self, digest: &str) -> String {
        self.versions.get(digest).cloned().unwrap_or_default()
    }
}

/// What happens to the subjects of a kind.
#[derive(Clone, Debug)]
pub enum Lane {
    /// They are mapped.
    Serving(Arc<Serving>),
    /// They are frozen; why.
    Missing(String),
    /// Their mappings are taken down: this PolicyModule is being deleted, and says so.
    Unmapping(String),
}

/// Of this kind each module maps its own object alone, the PolicyModule that it is loaded by (contract, `manifest.maps`).
pub fn own_kind() -> Gvk {
    Gvk::new("isthmus.dev", "v1alpha1", "PolicyModule")
}

/// Kinds that are taken down, each with the PolicyModule whose mappings they are.
pub type Unmapping = BTreeSet<(Gvk, String)>;

/// What maps what. Immutable: a swap is another one.
#[derive(Clone, Debug, Default)]
pub struct Pipelines {
    lanes: BTreeMap<Gvk, Lane>,
    /// Of those modules that map their own PolicyModule, by its name.
    own: BTreeMap<Arc<str>, Lane>,
    versions: BTreeMap<Arc<str>, Version>,
    /// PolicyModules that exist and serve no version, and why.
    failed: BTreeMap<Arc<str>, Failed>,
}

/// A PolicyModule without a version.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Why.
    pub why: String,
    /// Kinds that it is known to map: they are frozen.
    pub maps: BTreeSet<Gvk>,
    /// Kinds that it is known to refine: they are frozen rather than mapped without it.
    pub refines: BTreeSet<Gvk>,
    /// Nothing that there is was made by it: another one serves its kinds, or it never served.
    pub owns_nothing: bool,
}

impl Failed {
    /// All kinds that are frozen for it.
    pub fn kinds(&self) -> impl Iterator<Item = &Gvk> {
        self.maps.iter().chain(&self.refines)
    }
}

impl Pipelines {
    /// Pipelines of these versions.
    ///
    /// # Errors
    /// A version that fits no place.
    pub fn new(
        versions: BTreeMap<Arc<str>, Version>,
        failed: BTreeMap<Arc<str>, Failed>,
        unmapping: &Unmapping,
    ) -> Result<Self, PipelineError> {
        let mut all = Self::default();
        for version in versions.values() {
            for projection in &version.module.manifest().maps {
                let serving = serving(version, &projection.kind, &versions)?;
                all.put(&projection.kind, &version.name, Lane::Serving(Arc::new(serving)));
            }
        }
        for (name, failed) in &failed {
            let missing = || Lane::Missing(format!("PolicyModule {name}: {}", failed.why));
            failed.kinds().for_each(|kind| all.put(kind, name, missing()));
            // Who refines PolicyModules refines those of all.
            if failed.refines.contains(&own_kind()) {
                all.own.values_mut().for_each(|lane| *lane = missing());
            }
        }
        for (kind, module) in unmapping {
            // A refiner that serves no version holds up no end.
            if !matches!(all.lane_by(kind, module), Some(Lane::Serving(_))) {
                all.put(kind, module, Lane::Unmapping(module.clone()));
            }
        }
        Ok(Self { versions, failed, ..all })
    }

    fn put(&mut self, kind: &Gvk, module: &str, lane: Lane) {
        match *kind == own_kind() {
            true => drop(self.own.insert(module.into(), lane)),
            false => drop(self.lanes.insert(kind.clone(), lane)),
        }
    }

    /// What happens to a subject; `None`: no module knows it.
    pub fn lane(&self, subject: &ObjectKey) -> Option<&Lane> {
        self.lane_by(&subject.kind, &subject.name)
    }

    /// What happens to the subjects of a kind that are a module's.
    fn lane_by(&self, kind: &Gvk, module: &str) -> Option<&Lane> {
        match *kind == own_kind() {
            true => self.own.get(module),
            false => self.lanes.get(kind),
        }
    }

    /// What happens to any subject of a kind.
    pub fn lanes(&self, kind: &Gvk) -> impl Iterator<Item = &Lane> {
        let own = (*kind == own_kind()).then(|| self.own.values());
        own.into_iter().flatten().chain(self.lanes.get(kind))
    }

    /// Kinds that something is to be done for.
    pub fn kinds(&self) -> impl Iterator<Item = Gvk> {
        self.lanes.keys().cloned().chain((!self.own.is_empty()).then(own_kind))
    }

    /// The version that serves, of a PolicyModule.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.get(name)
    }

    /// All versions that serve.
    pub fn versions(&self) -> &BTreeMap<Arc<str>, Version> {
        &self.versions
    }

    /// All that serve none.
    pub fn failed(&self) -> &BTreeMap<Arc<str>, Failed> {
        &self.failed
    }

    /// The PolicyModule that maps a kind. Of [`own_kind`] there is none: each maps its own.
    pub fn mapper_of(&self, kind: &Gvk) -> Option<&Version> {
        if *kind == own_kind() {
            return None;
        }
        self.versions.values().find(|v| v.module.manifest().maps.iter().any(|p| p.kind == *kind))
    }

    /// What has to be watched for them, per kind.
    pub fn masks(&self) -> BTreeMap<Gvk, Mask> {
        let mut masks: BTreeMap<Gvk, Mask> = BTreeMap::new();
        for version in self.versions.values() {
            for manifest in version.manifests() {
                // Field paths are checked when a module is loaded; one that is wrong all the same keeps nothing.
                for projection in manifest.projections() {
                    masks
                        .entry(projection.kind.clone())
                        .or_default()
                        .merge(&projection.mask().unwrap_or_default());
                }
            }
        }
        masks
    }
}

fn serving(
    mapper: &Version,
    kind: &Gvk,
    versions: &BTreeMap<Arc<str>, Version>,
) -> Result<Serving, PipelineError> {
    let mut refiners: Vec<&Version> =
        versions.values().filter(|v| v.module.manifest().refines.iter().any(|p| p.kind == *kind)).collect();
    refiners.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
    let all = || std::iter::once(mapper).chain(refiners.iter().copied());
    let named = |m: &Arc<Module>| (m.digest().clone(), m.manifest().version.clone());
    let modules =
        |v: &'_ Version| [Some(&v.module), v.fallback.as_ref().map(|f| &f.module)].map(|m| m.map(named));
    let names = all().flat_map(modules).flatten().collect();
    let revision = all().map(Version::revision).collect::<Vec<_>>().join("+");
    let manifests = all().flat_map(Version::manifests);
    let reads = manifests.flat_map(|m| m.projections().map(|p| p.kind.clone()).collect::<Vec<_>>()).collect();
    let pipeline = Pipeline::new(mapper.stage(kind), refiners.iter().map(|v| v.stage(kind)).collect())?;
    Ok(Serving { pipeline, revision: revision.into(), reads, versions: names })
}

#[cfg(test)]
mod tests {
    use isthmus_kubernetes::crd::{self, crds};
    use isthmus_policy::{MAX_MEMORY, MAX_TABLE_ELEMENTS};

    use super::*;

    /// What people read in the definition is what a call gets.
    #[test]
    fn limits_of_the_definition_are_those_of_the_engine() {
        let (said, given) = (crd::Limits::default(), Limits::default());
        let number = |n: usize| i64::try_from(n).unwrap();
        assert_eq!(u128::try_from(said.deadline_ms).unwrap(), given.deadline.as_millis());
        assert_eq!(said.memory_mib << 20, number(given.memory));
        assert_eq!(said.table_elements, number(given.table_elements));
        assert_eq!(said.output_kib << 10, number(given.output));

        let text = serde_json::to_value(crds()).unwrap();
        let most = |field: &str| {
            let path = "spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/limits/properties";
            let of = |at: usize| text.pointer(&format!("/{at}/{path}/{field}/maximum")).cloned();
            (0..2).find_map(of).unwrap().as_f64().unwrap()
        };
        assert_eq!(most("memoryMiB") * 1048576.0, MAX_MEMORY as f64);
        assert_eq!(most("tableElements"), MAX_TABLE_ELEMENTS as f64);
    }
}
