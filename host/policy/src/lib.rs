//! Loads mapping modules (WebAssembly components of the package `isthmus:mapping`), and calls them under limits.
//!
//! - [`Engine`] compiles and checks bytes into a [`Module`]: once for each version, off the hot path.
//! - [`Pipeline`] is a mapper and its refiners with their configs. One call of it is a fresh instance of each, so that no call
//!   leaves anything behind, and a set of resources that is checked as a whole.
//! - A swap is another `Pipeline` in the place of the old one; calls that are under way end on the one that they began with.
//!
//! Calls are synchronous and bounded by [`Limits::deadline`]; a good one takes some 30 us. Async callers put them on a thread
//! that may block.
//!
//! # Guarantees
//! - Whatever a module does ends in a [`CallError`] or an outcome: it cannot panic, block or fill the host beyond its limits.
//! - A module reads the kinds of its manifest and nothing else. It has no clock, no randomness, no files and no sockets.
//! - What it read is recorded, also when the call failed.
//!
//! This crate must not know Kubernetes clients, OpenStack or files, but for the cache of compiled code.

mod bindings;
mod cache;
mod call;
mod convert;
mod engine;
mod error;
mod imports;
mod inspect;
mod limits;
mod manifest;
mod module;
mod pipeline;
mod slots;
mod state;

pub use bindings::isthmus::mapping::types::{Property, Realized, State as RealizedState, SubjectReport};
pub use call::{CallStats, Operation};
pub use engine::{Engine, EngineOptions};
pub use error::{CallError, EngineError, LoadError, PipelineError};
pub use inspect::{CONTRACT_VERSION, unpack};
pub use limits::{Limits, MAX_COMPONENT_BYTES, MAX_MEMORY, MAX_TABLE_ELEMENTS};
pub use manifest::withheld;
pub use module::{Module, World, short_digest};
pub use pipeline::{Fallback, FellBack, Mapped, Pipeline, Reported, Stage, StageVersion, Stop};
pub use state::{LogLevel, LogLine};
