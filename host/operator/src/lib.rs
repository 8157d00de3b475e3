//! The operator: joins modules, Kubernetes and OpenStack.
//!
//! A Pod's way: a watch ([`feed`]) sees it and queues it ([`queue`]); [`reconcile`] calls its module ([`mapped`]), looks up what the
//! list refers to ([`refs`]), plans (`isthmus_model::plan`), applies ([`apply`]) through a driver ([`cloud`]), and writes the
//! CloudMapping's status ([`status`]).
//!
//! It must not know how a module is called, how a service speaks, or how an object is watched: the crates below do.
//!
//! | module | holds |
//! |---|---|
//! | [`run`], [`session`] | election; what is known during one term of leadership |
//! | [`feed`], [`queue`] | from watch events to subjects to be looked at |
//! | [`reconcile`], [`mapped`], [`refs`], [`apply`], [`status`], `attachments`, `settle`, `gone` | one subject |
//! | [`certificates`] | what certificates hold, read where no module may look |
//! | [`cloud`], [`inventory`], [`records`] | drivers; what the cloud has; what the CloudMappings say |
//! | [`modules`] | loading, judging and swapping modules |
//! | [`resync`] | drift and orphans |
//! | [`uninstall`] | the end of all of it |
//! | [`http`], [`metrics`] | what is shown of it |
#![warn(missing_docs)]

pub mod apply;
mod attachments;
mod backoff;
pub mod certificates;
pub mod cloud;
pub mod error;
mod facts;
mod feed;
mod gone;
pub mod http;
pub mod inventory;
pub mod mapped;
mod memo;
pub mod metrics;
pub mod modules;
mod nodes;
mod outcome;
mod packed;
pub mod queue;
pub mod reconcile;
pub mod records;
pub mod refs;
mod report;
pub mod resync;
pub mod run;
pub mod session;
mod sets;
mod settle;
pub mod status;
pub mod uninstall;

pub use facts::facts_of;
pub use run::{AGENT_WAIT, LEASE, Options, run};
