//! The CNI plugin `isthmus-cni`, and the protocol between it and the node's agent.
//!
//! The plugin is a shim: it checks what the runtime gave it (CNI specification 1.1), asks the agent over a unix socket, and
//! prints the answer in the version that was asked for. It starts for every verb of every Pod, so it must not know an async
//! runtime, an argument parser, netlink, Kubernetes or the cloud.
//!
//! | module | holds |
//! |---|---|
//! | [`error`] | errors with the specification's codes |
//! | [`input`], [`config`] | what the runtime gives: environment and network configuration, checked |
//! | [`result`] | results, in each version of the specification |
//! | [`protocol`], [`client`] | frames of JSON on the agent's socket; asking the agent |
//! | [`run`] | one call of the plugin, from input to output |
#![warn(missing_docs)]

pub mod client;
pub mod config;
pub mod error;
pub mod input;
pub mod protocol;
pub mod result;
pub mod run;
pub mod version;

pub use error::{Code, Error};
