//! Keystone, Neutron and Octavia.
//!
//! Left out of the comparison: revision numbers, internal ids and times; how a port is wired (`binding:vif_details`), and the status
//! of what OVN brings up by and by (router interfaces, floating IPs, trunks).

pub mod compare;
mod generate;
pub mod identity;
pub mod load_balancer;
pub mod network;
mod normal;
mod side;

pub use side::{Answer, Cloud, Request, Service, Who};
