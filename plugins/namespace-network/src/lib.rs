//! Built-in mapping: every Namespace gets a Neutron network, a subnet of each IP version, a router interface of each subnet, and
//! a security group.
//!
//! What of these is there already (annotations of the Namespace) is used and not made. Entries are `network`, `subnet-v4`,
//! `subnet-v6`, `router-v4`, `router-v6` and `group`: other mappings (`pod-port`, `service-loadbalancer`) refer to them by these names.
//!
//! | annotation | meaning |
//! |---|---|
//! | `isthmus.dev/network` | Id or name of a network that is there. No network is made, and no subnets either |
//! | `isthmus.dev/subnets` | Ids or names of subnets of that network: Pods are on these |
//! | `isthmus.dev/make-subnets` | `true`: subnets are made on that network |
//! | `isthmus.dev/router` | Id or name of the router, in place of the config's; empty: none. Subnets that are there are attached only to a router that is named here |
//! | `isthmus.dev/security-groups` | Ids or names of groups that are there: no group is made |
//! | `isthmus.dev/isolation` | `open` or `isolated`, in place of the config's |
//! | `isthmus.dev/project` | Id of the project that owns what is made. `openstack.org/kuryr-project` means the same |
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
