//! Built-in mapping: every Route gets a pool and L7 policies on the listeners of one load balancer.
//!
//! The load balancer is the mapping of the module's own PolicyModule, made once, or somebody else's that the config names; Routes
//! refer to its listeners. Which requests a Route matches follows OpenShift's router, so that a Route means here what it means
//! there. This crate must not know positions of policies nor the order of writes: the host makes both of what it is told.

mod claims;
mod config;
mod exposure;
mod mapping;
mod matching;
mod members;
mod monitor;
mod objects;
mod passthrough;
mod report;
mod shared;

pub use config::Config;
pub use mapping::RouteL7Policy;

isthmus_sdk::export_mapper!(RouteL7Policy);
