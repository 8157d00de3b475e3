//! What Kubernetes says of a packet between Pods of a cluster with NetworkPolicies: random clusters, and a judge that is slow and
//! obviously right. Tests hold against it what our module makes, as Neutron's API describes it and as real packets show it.
//!
//! It must not know anything of ours: neither the module nor the host's selectors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "only tests link it, and they may fail"
)]

pub mod cluster;
pub mod random;
pub mod text;
