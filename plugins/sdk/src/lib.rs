//! Write a mapping module for Isthmus: one manifest, one function.
//!
//! ```
//! use isthmus_sdk::prelude::*;
//!
//! /// Every Pod gets a port on one network.
//! struct Simple;
//!
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     network: String,
//! }
//!
//! impl Module for Simple {
//!     type Config = Config;
//!     fn manifest() -> Manifest {
//!         Manifest::new("simple", env!("CARGO_PKG_VERSION"), "Pod to port")
//!             .maps(Kind::core("Pod"), ["spec.nodeName", "spec.hostNetwork"])
//!     }
//! }
//!
//! impl Mapper for Simple {
//!     fn map(subject: &str, config: Config) -> Result<Vec<Desired>, Outcome> {
//!         let pod: Pod<'_> = parse_subject(subject)?;
//!         if pod.spec.host_network {
//!             return Err(not_mapped("the pod is on the host's network"));
//!         }
//!         let node = pod.spec.node_name.or_waiting("the pod is not scheduled")?;
//!         let port = Port::new(existing(&config.network)).host(node);
//!         Ok(vec![port.named("port"), Vif::new("eth0", local("port")).default_route().named("eth0")])
//!     }
//! }
//!
//! isthmus_sdk::export_mapper!(Simple);
//! # let world = isthmus_sdk::testing::Cluster::from_yaml("
//! # apiVersion: v1
//! # kind: Pod
//! # metadata: {name: web, namespace: shop}
//! # spec: {nodeName: n1}").unwrap();
//! # let pod = Kind::core("Pod");
//! # assert_eq!(world.map::<Simple>(&pod, "shop/web", r#"{"network": "pods"}"#).unwrap().len(), 2);
//! ```
//!
//! The crate is a `cdylib`, built for `wasm32-unknown-unknown` and made a component by `wit-component`. Its lints must not
//! forbid unsafe code: what the export macros expand to has some. On any other target the same code runs natively under
//! [`testing`], with objects from YAML files.
//!
//! This crate must not know what the host does with a list. The records are those of the contract (`wit/`, package
//! `isthmus:mapping`), with constructors and setters added.

mod bindings;
mod build;
// The host's own, for [`testing`]: a list that it refuses is refused there. It lies with the host since the records that it turns
// are generated anew for each side, and only a source can be of both.
#[cfg(not(target_arch = "wasm32"))]
#[path = "../../../host/policy/src/convert/mod.rs"]
mod convert;
mod guest;
mod input;
pub mod log;
pub mod objects;
mod outcome;
pub mod snapshot;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[doc(hidden)]
pub use bindings::{mapper, mapper_refiner, refiner};
pub use build::values::{address_of, existing, local, mapped};
pub use build::{IntoDesired, Manifest};
#[doc(hidden)]
pub use guest::Adapter;
pub use guest::{Mapper, Module, NoConfig, Refiner};
pub use input::{parse_others, parse_subject};
pub use outcome::{OrOutcome, invalid, invalid_field, not_mapped, waiting};

/// The records of the contract, one module per interface.
pub mod records {
    pub use crate::bindings::mapper::isthmus::mapping::{
        load_balancing, networking, snapshot, types, values,
    };
}

/// What most modules need.
pub mod prelude {
    pub use crate::objects::{Namespace, ObjectMeta, Pod, Text};
    pub use crate::records::load_balancing::{HealthMonitor, L7Policy, Listener, LoadBalancer, Member, Pool};
    pub use crate::records::networking::{
        AddressGroup, FixedIp, FloatingIp, Network, Port, RouterInterface, SecurityGroup, SecurityRule,
        Subnet, Vif,
    };
    pub use crate::records::types::{Desired, Manifest, Outcome, Realized, Resource, SubjectReport};
    pub use crate::records::values::{Kind, ObjectKey, Reference};
    pub use crate::{
        IntoDesired, Mapper, Module, NoConfig, OrOutcome, Refiner, address_of, existing, invalid,
        invalid_field, local, mapped, not_mapped, parse_others, parse_subject, snapshot, waiting,
    };
}
