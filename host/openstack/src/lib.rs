//! The client of OpenStack: Keystone sign-in, the service catalog, and Neutron, Octavia and Barbican in typed form.
//!
//! ```text
//! CloudConfig (clouds.yaml, OS_*) -> Session -> Neutron, Octavia, Barbican
//!                                      |-- TokenCache (one renewal at a time)
//!                                      |-- Catalog    (service -> endpoint)
//!                                      |-- Budget     (requests in flight per service)
//!                                      `-- Metrics
//! ```
//!
//! Every failed call says in [`Error::class`] what it means for a retry; whether and when to retry is the caller's
//! decision. The one retry made here is a repetition with a fresh token after a 401, which had no effect.
//!
//! This crate must not know Kubernetes, modules, marks or mappings: it carries requests and answers. It keeps no cache
//! of resources.
//!
//! # Example
//! ```no_run
//! use isthmus_openstack::{CloudConfig, Metrics, Neutron, Session, Sources, neutron::Port};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = CloudConfig::load(&Sources::from_process(), None)?;
//! let session = Session::new(config, Metrics::default())?;
//! let neutron = Neutron::new(session);
//! let project = neutron.session().token().await?.project_id.clone().unwrap_or_default();
//! let ports = neutron.list::<Port>(&[("project_id", &project)]).await?;
//! # let _ = ports; Ok(())
//! # }
//! ```
#![warn(missing_docs)]

pub mod auth;
pub mod barbican;
pub mod budget;
pub mod catalog;
pub mod config;
pub mod error;
mod fault;
mod lenient;
pub mod metrics;
pub mod neutron;
pub mod octavia;
pub mod rest;
pub mod secret;
pub mod session;
pub mod tls;

pub use auth::Token;
pub use barbican::Barbican;
pub use config::{CloudConfig, ConfigError, Sources};
pub use error::{Error, ErrorKind};
pub use isthmus_model::retry::RetryClass;
pub use metrics::Metrics;
pub use neutron::Neutron;
pub use octavia::Octavia;
pub use secret::Secret;
pub use session::{Gate, Session};
