//! The stage of the node's tests: network namespaces that end with the test, an agent in one of them, and `isthmus-cni` as a
//! container runtime starts it, by itself or by CNI's reference library; in `cluster`, real nodes with a kubelet each; and, in
//! `guest`, another kernel. They need root, iproute2, util-linux, Open vSwitch, User-mode Linux, Go and the reference plugins
//! (containernetworking-plugins), and fail without: `cargo xtask test` runs them where the lab has installed these.
#![warn(missing_docs)]

mod agent;
pub mod cluster;
pub mod guest;
pub mod kubectl;
mod kubelet;
mod libcni;
mod namespace;
mod ovs;
mod plugin;
mod process;
mod reach;
mod source;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub use agent::{Running, Stage};
pub use kubelet::Kubelet;
pub use libcni::{Network, Reference, list};
pub use namespace::Namespace;
pub use ovs::Ovs;
pub use plugin::{Call, Failure, Ready};
pub use process::{Process, tail};
pub use reach::{reach, reach_through};
pub use source::{Told, pod, vif};

/// How long something may take to come true.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Waits until something is.
///
/// # Errors
/// It did not come true in [`LIMIT`].
pub fn until(what: &str, is: impl FnMut() -> Result<bool>) -> Result<()> {
    until_within(LIMIT, Duration::from_millis(5), what, is)
}

fn until_within(
    limit: Duration,
    between: Duration,
    what: &str,
    mut is: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let started = Instant::now();
    while !is()? {
        if started.elapsed() > limit {
            bail!("not within {limit:?}: {what}");
        }
        std::thread::sleep(between);
    }
    Ok(())
}
