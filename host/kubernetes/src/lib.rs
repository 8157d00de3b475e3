//! Isthmus and the Kubernetes API: custom resources, projected watches, the store of what they saw, writes to
//! CloudMappings, the leader lease, and Events.
//!
//! This crate must not know modules, clouds or what a mapping means. It turns the API's streams into changes of projected
//! objects, and values of the core into writes; what to do about either is decided above.
//!
//! | module | holds |
//! |---|---|
//! | [`crd`], [`names`] | the custom resources; labels, annotations and the finalizer |
//! | [`client`], [`error`] | the connection with its timeouts and its count of writes; failures with their retry class |
//! | [`named`] | single objects by name: content that no module may see |
//! | [`read`] | the objects of a kind as a module sees them, once |
//! | [`report`] | what we write to objects of others |
//! | [`discovery`] | what the API server calls a kind |
//! | [`store`] | projected objects, and snapshots of them |
//! | [`watch`] | one projected watch a kind; typed watches of our own resources |
//! | [`mapping`] | creating, updating and releasing CloudMappings |
//! | [`lease`] | which operator writes |
//! | [`events`] | Events on subjects |
#![warn(missing_docs)]

mod backoff;
pub mod client;
pub mod crd;
pub mod discovery;
pub mod error;
pub mod events;
pub mod lease;
pub mod mapping;
pub mod named;
pub mod names;
pub mod read;
pub mod report;
pub mod store;
pub mod watch;

pub use client::Client;
pub use error::{Error, ErrorKind};
