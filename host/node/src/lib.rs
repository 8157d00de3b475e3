//! The node's agent: serves the CNI plugin on a unix socket and binds the interfaces (VIFs) of this node's Pods.
//!
//! It knows ports only by what the CloudMappings of its node say. It must not know the cloud, modules or the operator, and
//! holds no credential of the cloud. Nothing that it did is undone because it ends, or because a CloudMapping is gone. What takes away
//! is DEL and GC; an ADD, what it made before it failed, and from an older sandbox of its Pod the port that is its own now; and a start,
//! what no attachment owns or what is of another boot.
//!
//! | module | holds |
//! |---|---|
//! | [`agent`] | the verbs: what is done, in which order, and undone |
//! | [`health`], [`metrics`], [`http`] | whether it is well, and its numbers |
//! | [`install`] | plugin and configuration where a runtime looks |
//! | [`server`] | the socket, its limits, who may ask |
//! | [`source`], [`mappings`], [`report`] | where VIFs come from: CloudMappings of this node; their condition `Attached` |
//! | [`attachments`] | what is attached, on disk |
//! | [`binding`] | binding drivers: a file each |
//! | [`netlink`] | network namespaces, links, addresses, routes; deletion in batches |
//! | [`ovsdb`] | a client of OVSDB (RFC 7047) |
#![warn(missing_docs)]

pub mod agent;
mod arrivals;
pub mod attachments;
pub mod binding;
mod files;
pub mod health;
pub mod http;
pub mod install;
mod locks;
pub mod mappings;
pub mod metrics;
pub mod netlink;
pub mod ovsdb;
pub mod report;
mod run;
pub mod server;
pub mod source;
pub mod vif;

pub use agent::{Agent, Options};
pub use isthmus_cni::{Code, Error};
pub use run::{Addresses, run};

/// More cases of a property than usual; `PROPTEST_CASES=1000000` for a night of them.
#[cfg(test)]
fn many(cases: u32) -> proptest::test_runner::Config {
    let usual = proptest::test_runner::Config::default();
    proptest::test_runner::Config { cases: usual.cases.max(cases), ..usual }
}
