//! Why a module does not load, and why a call of it failed.

use std::path::PathBuf;

use isthmus_model::text::{first_few, one_line};
use thiserror::Error;

/// Most bytes of what an error repeats of a module.
pub(crate) const ERROR_TEXT: usize = 2 << 10;

/// Why there is no engine.
#[derive(Debug, Error)]
pub enum EngineError {
    /// Options that do not fit this machine.
    #[error("the Wasm engine does not start: {0}")]
    Engine(String),
    /// No thread for the deadlines.
    #[error("no thread for the deadlines of calls: {0}")]
    Ticker(#[source] std::io::Error),
    /// A cache folder that others can write to, or that cannot be used.
    #[error("the cache folder {path} cannot be used: {why}")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Why bytes are no module. None of these goes away by trying again with the same bytes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LoadError {
    /// Larger than the options allow.
    #[error("{what} has {found} bytes or more; at most {limit} are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size, as far as it was read.
        found: usize,
        /// What is allowed.
        limit: usize,
    },
    /// gzip that does not unpack.
    #[error("the module looks like gzip but does not unpack: {0}")]
    Gzip(String),
    /// Other bytes than those that were asked for.
    #[error("the sha256 of the module (unpacked) is {found}, expected {expected}")]
    Digest {
        /// Of the bytes.
        found: String,
        /// That was asked for.
        expected: String,
    },
    /// No Wasm, or none that can be parsed.
    #[error("this is no WebAssembly component: {0}")]
    NotWasm(String),
    /// A core module.
    #[error(
        "this is a core WebAssembly module, expected a component: make it one with \
         `wasm-tools component new MODULE.wasm -o COMPONENT.wasm`"
    )]
    CoreModule,
    /// A component in the component.
    #[error("the component holds another component: only one that is built from core modules is taken")]
    NestedComponent,
    /// Imports of WASI.
    #[error(
        "the component imports WASI ({}): a mapping has no files, clock or network; build it for a target without WASI \
         (for Rust: wasm32-unknown-unknown)", first_few(.0, ", ")
    )]
    Wasi(Vec<String>),
    /// Another version of the contract.
    #[error("the component speaks isthmus:mapping {found}, this host speaks {expected}")]
    ContractVersion {
        /// The module's.
        found: String,
        /// The host's.
        expected: &'static str,
    },
    /// Imports that the host does not have.
    #[error("the component imports {}; the host has only {expected}", first_few(.found, ", "))]
    Imports {
        /// What it imports beside them.
        found: Vec<String>,
        /// What the host has.
        expected: &'static str,
    },
    /// Exports of no world of the contract.
    #[error("the component exports [{}]; expected are those of {expected}", first_few(.found, ", "))]
    World {
        /// Functions and others that it exports.
        found: Vec<String>,
        /// The worlds.
        expected: &'static str,
    },
    /// The right names with other types, or something that this host's Wasm engine does not take.
    #[error("the component does not compile or link: {0}")]
    Compile(String),
    /// `describe` failed.
    #[error("`describe` failed: {0}")]
    Describe(CallError),
    /// A manifest that breaks the contract.
    #[error("the manifest is wrong: {0}")]
    Manifest(String),
}

impl LoadError {
    /// The reason of a condition, in the form Kubernetes asks for (CamelCase).
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "ModuleTooLarge",
            Self::Digest { .. } => "DigestMismatch",
            Self::Gzip(_) | Self::NotWasm(_) | Self::CoreModule | Self::NestedComponent => "NotAComponent",
            Self::Wasi(_) | Self::Imports { .. } => "ForbiddenImports",
            Self::ContractVersion { .. } => "UnknownContractVersion",
            Self::World { .. } => "WrongWorld",
            Self::Compile(_) => "CompileFailed",
            Self::Describe(_) => "DescribeFailed",
            Self::Manifest(_) => "InvalidManifest",
        }
    }

    /// As [`CallError::contract`].
    pub(crate) fn compile(text: &str) -> Self {
        Self::Compile(one_line(text, ERROR_TEXT).0)
    }
}

/// Why a call gave neither a list nor an outcome. Nothing is changed because of such a call (design, section 5, 9).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// The module trapped. A panic's message and place, where the module logs them as the contract asks.
    #[error("the module trapped: {0}")]
    Trap(String),
    /// Longer than [`crate::Limits::deadline`].
    #[error("the module ran longer than its limit of {0:?}")]
    Deadline(std::time::Duration),
    /// More memory than [`crate::Limits::memory`].
    #[error("the module asked for more than its limit of {0} bytes of memory")]
    Memory(usize),
    /// A larger table than [`crate::Limits::table_elements`].
    #[error("the module asked for a table of more than its limit of {0} elements")]
    Table(usize),
    /// Larger than [`crate::Limits::output`].
    #[error("the module returned more than its limit of {0} bytes")]
    Output(usize),
    /// More than [`crate::Limits::fuel`].
    #[error("the module used more than its limit of {0} units of fuel")]
    Fuel(u64),
    /// More different reads than [`crate::Limits::reads`] and [`crate::Limits::read_bytes`].
    #[error(
        "the module read more than its limits of {reads} objects and lists, {bytes} bytes of names and selectors"
    )]
    Reads {
        /// Most reads.
        reads: usize,
        /// Most bytes of them.
        bytes: usize,
    },
    /// An answer or a read that the contract does not allow.
    #[error("the module broke the contract: {0}")]
    Contract(String),
}

impl CallError {
    /// The reason of a condition, in the form Kubernetes asks for (CamelCase).
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Trap(_) => "ModuleTrapped",
            Self::Deadline(_) => "ModuleDeadlineExceeded",
            Self::Memory(_) => "ModuleMemoryExceeded",
            Self::Table(_) => "ModuleTableTooLarge",
            Self::Output(_) => "ModuleOutputTooLarge",
            Self::Fuel(_) => "ModuleFuelExhausted",
            Self::Reads { .. } => "ModuleReadsTooMany",
            Self::Contract(_) => "ContractViolation",
        }
    }

    /// Every [`CallError::reason`] that there is: a test walks them.
    pub const REASONS: [&str; 8] = [
        "ModuleTrapped",
        "ModuleDeadlineExceeded",
        "ModuleMemoryExceeded",
        "ModuleTableTooLarge",
        "ModuleOutputTooLarge",
        "ModuleFuelExhausted",
        "ModuleReadsTooMany",
        "ContractViolation",
    ];

    /// A contract error of a text that may hold some of the module's: on one line, and not longer than people read.
    pub(crate) fn contract(text: &str) -> Self {
        Self::Contract(one_line(text, ERROR_TEXT).0)
    }
}

/// Why stages make no pipeline.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PipelineError {
    /// The first stage has no `map`.
    #[error("module {0} is no mapper")]
    NoMapper(String),
    /// A later stage has no `refine`.
    #[error("module {0} is no refiner")]
    NoRefiner(String),
    /// A fuel limit on an engine that does not count.
    #[error(
        "stage {0} has a fuel limit, but its module was not loaded by an engine that counts fuel (Engine::counting_fuel)"
    )]
    FuelNotCounted(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one after it, so that a new variant has to be put in.
    fn next(error: &CallError) -> Option<CallError> {
        let duration = std::time::Duration::ZERO;
        match error {
            CallError::Trap(_) => Some(CallError::Deadline(duration)),
            CallError::Deadline(_) => Some(CallError::Memory(0)),
            CallError::Memory(_) => Some(CallError::Table(0)),
            CallError::Table(_) => Some(CallError::Output(0)),
            CallError::Output(_) => Some(CallError::Fuel(0)),
            CallError::Fuel(_) => Some(CallError::Reads { reads: 0, bytes: 0 }),
            CallError::Reads { .. } => Some(CallError::Contract(String::new())),
            CallError::Contract(_) => None,
        }
    }

    #[test]
    fn every_reason_is_told() {
        let all = std::iter::successors(Some(CallError::Trap(String::new())), next);
        assert_eq!(all.map(|error| error.reason()).collect::<Vec<_>>(), CallError::REASONS);
    }
}
