//! Built-in mapping: every Namespace gets a Neutron network, a subnet of each IP version, a router interface of each subnet, and
//! security groups.
//!
//! What of these is there already (annotations of the Namespace) is used and not made. Entries are `network`, `subnet-v4`,
//! `subnet-v6`, `router-v4`, `router-v6`, and the groups `members`, `ingress` and `egress`: other mappings (`pod-port`,
//! `service-loadbalancer`, `networkpolicy-securitygroup`) refer to them by these names.
//!
//! `docs/services.md` has the table of annotations.
//!
//! This crate must not know Pods beyond whether there is one, nor in what order things are made or go: the host makes and deletes by
//! references, and holds back what somebody's port still uses.

mod annotations;
mod config;
mod group;
mod mapping;

pub use config::Config;
pub use mapping::NamespaceNetwork;

isthmus_sdk::export_mapper!(NamespaceNetwork);
