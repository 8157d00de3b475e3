//! One version of a module, ready to be called.

use std::fmt;
use std::sync::Arc;

use isthmus_model::manifest::Manifest;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use crate::bindings::isthmus::mapping::types;
use crate::call::{self, Operation};
use crate::engine::Engine;
use crate::error::LoadError;
use crate::limits::Limits;
use crate::manifest::{self, Readable};
use crate::state::State;

/// Of a digest in hex, as many digits as tell versions apart for people and metrics: its first 12.
pub fn short_digest(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// A world of the contract: what a module exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Maps.
    Mapper,
    /// Refines.
    Refiner,
    /// Both.
    MapperRefiner,
}

impl World {
    pub(crate) const ALL: [Self; 3] = [Self::Mapper, Self::Refiner, Self::MapperRefiner];

    /// The functions that it exports, sorted.
    pub(crate) fn exports(self) -> &'static [&'static str] {
        match self {
            Self::Mapper => &["describe", "map", "report"],
            Self::Refiner => &["describe", "refine"],
            Self::MapperRefiner => &["describe", "map", "refine", "report"],
        }
    }

    /// Whether it has `map`.
    pub fn maps(self) -> bool {
        matches!(self, Self::Mapper | Self::MapperRefiner)
    }

    /// Whether it has `refine`.
    pub fn refines(self) -> bool {
        matches!(self, Self::Refiner | Self::MapperRefiner)
    }
}

/// A compiled and described module. Immutable: another version is another `Module`.
pub struct Module {
    pub(crate) engine: Engine,
    pub(crate) instances: InstancePre<State>,
    pub(crate) exports: Exports,
    pub(crate) kinds: Arc<[Readable]>,
    digest: Arc<str>,
    manifest: Manifest,
    world: World,
}

/// Where its functions are.
#[derive(Clone, Copy)]
pub(crate) struct Exports {
    describe: ComponentExportIndex,
    map: Option<ComponentExportIndex>,
    refine: Option<ComponentExportIndex>,
    report: Option<ComponentExportIndex>,
}

impl Exports {
    fn of(component: &Component) -> Result<Self, LoadError> {
        let find = |name: &str| component.get_export_index(None, name);
        let describe = find("describe").ok_or_else(|| LoadError::Compile("no export `describe`".into()))?;
        Ok(Self { describe, map: find("map"), refine: find("refine"), report: find("report") })
    }

    pub(crate) fn of_operation(&self, operation: Operation) -> Option<ComponentExportIndex> {
        match operation {
            Operation::Describe => Some(self.describe),
            Operation::Map => self.map,
            Operation::Refine => self.refine,
            Operation::Report => self.report,
        }
    }
}

impl Module {
    pub(crate) fn new(
        engine: &Engine,
        component: &Component,
        digest: String,
        world: World,
    ) -> Result<Self, LoadError> {
        let compile = |error: wasmtime::Error| LoadError::compile(&format!("{error:#}"));
        let instances = engine.0.linker.instantiate_pre(component).map_err(compile)?;
        let nothing = Manifest {
            name: "(not described yet)".into(),
            version: String::new(),
            description: String::new(),
            maps: Vec::new(),
            refines: Vec::new(),
            reads: Vec::new(),
            config_schema: None,
            reports: false,
        };
        let mut module = Self {
            engine: engine.clone(),
            instances,
            exports: Exports::of(component)?,
            kinds: Arc::new([]),
            digest: digest.into(),
            manifest: nothing,
            world,
        };
        call::check_types(&module, &Limits::default())?;
        let answer: Result<(types::Manifest,), _> =
            call::call(&module, Operation::Describe, &Limits::default(), None, ()).answer;
        let (manifest,) = answer.map_err(LoadError::Describe)?;
        module.manifest = manifest::accept(manifest, world).map_err(LoadError::Manifest)?;
        module.kinds = manifest::readable(&module.manifest);
        Ok(module)
    }

    /// sha256 of the component, lower-case hex.
    pub fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether calls of it count fuel: what a [`Limits::fuel`] needs ([`Engine::counting_fuel`]).
    pub fn counts_fuel(&self) -> bool {
        self.engine.0.options.count_fuel
    }

    /// What it exports.
    pub fn world(&self) -> World {
        self.world
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({} {} {})", self.manifest.name, self.manifest.version, self.digest)
    }
}
