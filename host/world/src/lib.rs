//! A cloud in one process: a Keystone and a Neutron over real HTTP, for benches and for faults that a real cloud does not
//! have on demand.
//!
//! It is an executable model: what it answers is what Neutron 29 answers to a project's member with the role `service`,
//! as far as `neutron` (its module's page) says. What it does not model it answers with 501 and the name of what was asked for,
//! so that nothing passes by accident. State is in memory and ends with the [`World`].
//!
//! It must not know the client, Kubernetes or mappings: it knows OpenStack's HTTP API only.
//!
//! # Example
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! let world = isthmus_world::World::start(isthmus_world::Options::default()).await?;
//! for (name, value) in world.environment() {
//!     println!("export {name}={value}");
//! }
//! world.faults().lose_next_writes(1); // the next write is done, and its answer lost
//! # Ok(()) }
//! ```
#![warn(missing_docs)]

mod faults;
mod keystone;
pub mod kubernetes;
mod neutron;
mod server;
mod stats;

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use faults::Faults;
pub use neutron::Kind;
pub use stats::{Counts, Stats};

use keystone::Keystone;
use neutron::Neutron;

/// Who may sign in, and where it listens.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on; port 0 for any.
    pub listen: SocketAddr,
    /// Name of the one user, in the domain `default`.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Name of its project, in the domain `default`.
    pub project: String,
}

impl Default for Options {
    fn default() -> Self {
        let [user, password, project] = ["isthmus", "secret", "demo"].map(str::to_owned);
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), user, password, project }
    }
}

/// A running cloud. It ends when it is dropped.
#[derive(Debug)]
pub struct World {
    url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What the server and the handle share.
#[derive(Debug)]
struct Shared {
    options: Options,
    faults: Faults,
    stats: Mutex<Stats>,
    keystone: Mutex<Keystone>,
    neutron: Mutex<Neutron>,
}

impl World {
    /// Starts an empty cloud: one project with its `default` security group.
    ///
    /// # Errors
    /// The address can't be bound.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            options,
            faults: Faults::default(),
            stats: Mutex::default(),
            keystone: Mutex::new(Keystone::new(url.clone())),
            neutron: Mutex::new(Neutron::new(keystone::PROJECT)),
        });
        let server = tokio::spawn(server::serve(listener, shared.clone()));
        Ok(Self { url, shared, server })
    }

    /// Base URL of both services, without a version.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Id of the project.
    pub fn project_id(&self) -> &'static str {
        keystone::PROJECT
    }

    /// The `OS_*` variables for a client.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let options = &self.shared.options;
        vec![
            ("OS_AUTH_URL", format!("{}/v3", self.url)),
            ("OS_USERNAME", options.user.clone()),
            ("OS_PASSWORD", options.password.clone()),
            ("OS_PROJECT_NAME", options.project.clone()),
            ("OS_USER_DOMAIN_ID", "default".to_owned()),
            ("OS_PROJECT_DOMAIN_ID", "default".to_owned()),
            ("OS_REGION_NAME", keystone::REGION.to_owned()),
        ]
    }

    /// Requests so far.
    pub fn stats(&self) -> Stats {
        self.shared.stats.lock().clone()
    }

    /// What is to go wrong.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Sets how many of a kind the project may have; -1, as at the start, for any number.
    pub fn set_quota(&self, kind: Kind, limit: i64) {
        self.shared.neutron.lock().set_quota(kind, limit);
    }

    /// How many of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.shared.neutron.lock().count(kind)
    }

    /// Makes every token given so far worthless, as an expiry does.
    pub fn revoke_tokens(&self) {
        self.shared.keystone.lock().revoke_all();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}
