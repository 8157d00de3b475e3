//! Built-in mapping: every NetworkPolicy becomes a security group, and the ports of the Pods that it selects carry it.
//!
//! A security group only allows, and what a port carries is the union of its groups: so is what the policies of a Pod allow.
//! A group of a policy has rules for the directions that the policy isolates and for no other. What a Pod may do in a direction
//! that *none* of its policies isolates is said by its Namespace's group of that direction, or where there is none, by one of two that
//! all Pods share (the mapping of the module's own PolicyModule).
//!
//! Peers are named sets in address groups: rules do not grow with Pods, and a Pod that comes or goes calls the module only where a
//! port's number is its Pod's own: a policy, or the target port of a Service before its numbers, has a name. This crate must not know
//! an address of a Pod. Those of Services it knows: an egress rule opens them where they lead to its peers.

mod cidr;
mod config;
mod groups;
mod mapping;
mod objects;
mod peers;
mod policy;
mod ports;
mod refining;
mod room;
mod selector;
mod services;
mod shared;

pub use config::Config;
pub use mapping::NetworkPolicySecurityGroup;

isthmus_sdk::export_mapper_refiner!(NetworkPolicySecurityGroup);
