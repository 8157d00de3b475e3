//! Built-in mapping: every Service gets an Octavia load balancer of each IP family, with a listener and a pool of each port, and
//! its endpoints as members; one of type LoadBalancer a floating IP too.
//!
//! The VIP is the cluster IP, on a port of its own: no kube-proxy is needed, and the address outlives its load balancer. What a
//! Service wishes is in its spec and in annotations: names that users of the OpenStack cloud provider know
//! (`loadbalancer.openstack.org/...`) are honoured beside ours (`isthmus.dev/lb-...`), which come first. What the cloud can't do
//! is refused with a reason where traffic would be wrong; where it only differs in a detail, the Service's condition
//! `isthmus.dev/PartlyHonoured` names it.
//!
//! `docs/services.md` has the table of them.
//!
//! Entries are `vip-F`, `lb-F`, `listener-F-PROTOCOL-PORT`, `pool-F-PROTOCOL-PORT`, F being `v4`, `v6`, `public`, or on a load balancer
//! that is not the Service's own `shared-v4` or `shared-v6`, and `floating-ip` or `floating-ip-association`. This crate must not know in what order things are made, nor how a load balancer is repaired: the host
//! does both.

mod annotations;
mod config;
mod endpoints;
mod exposure;
mod family;
mod fronts;
mod mapping;
mod owner;
mod partly;
mod provider;
mod ranges;
mod report;
mod sharers;
mod sharing;
mod tree;

pub use config::Config;
pub use mapping::ServiceLoadBalancer;

isthmus_sdk::export_mapper!(ServiceLoadBalancer);
