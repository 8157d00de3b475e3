//! The stage of the end-to-end tests: the lab's Kubernetes and OpenStack, the operator as a process that can be killed,
//! and waiting for what is to come true. `cargo xtask test` runs the tests inside the lab; outside of it they fail.
//!
//! Everything is asserted through what a user has: objects of Kubernetes, Neutron as another credential sees it, and
//! the operator's metrics. So this crate must not know the operator from inside.
#![warn(missing_docs)]

mod balancing;
mod barrier;
mod cloud;
mod cluster;
mod credential;
mod dev;
mod gate;
mod judged;
mod kills;
mod lab;
mod metrics;
mod modules;
mod networks;
mod operator;
mod parts;
mod pods;
mod services;
mod stream;
mod tls;
mod trunks;
mod wait;
mod widgets;

pub use balancing::{Balanced, routes_config};
pub use barrier::{Barrier, Refused};
pub use cloud::{mark, marked_for};
pub use cluster::{condition, port_id, ready, recorded};
pub use credential::ApplicationCredential;
pub use dev::{Tools, dev_tools, scratch};
pub use gate::Gate;
pub use judged::{faults_config, module_condition};
pub use lab::{DEPLOY, Lab, OPERATOR_NAMESPACE, cloud, files, node, on_lab, suffix};
pub use metrics::Sample;
pub use modules::pods_config;
pub use networks::Made;
pub use operator::{Cost, Operator};
pub use parts::{xtask_lab, xtask_lab_of};
pub use pods::{Answer, OPEN_GROUP, Peer, Target};
pub use services::SERVED;
pub use stream::Stream;
pub use tls::Identity;
pub use wait::{LIMIT, until, until_within};
pub use widgets::widget_definition;
