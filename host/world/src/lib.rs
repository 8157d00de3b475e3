//! A cloud in one process: a Keystone, a Neutron and an Octavia over real HTTP, for benches, for a desk without a cloud, and for
//! faults that a real cloud does not have on demand.
//!
//! It is an executable model: what it answers is what Keystone 30, Neutron 29 and Octavia 19 answer, as far as `keystone`,
//! `neutron` and `octavia` (their modules' pages) say; `tests/conformance` compares it with the real ones. What it does not model
//! it answers with 501 and the name of what was asked for, so that nothing passes by accident. State is in memory and ends
//! with the [`World`].
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

mod call;
mod faults;
mod ids;
mod keystone;
pub mod kubernetes;
mod neutron;
mod octavia;
mod python;
mod server;
mod stats;
mod tags;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use faults::Faults;
pub use keystone::As;
pub use neutron::Kind;
pub use stats::{Counts, Stats};

use keystone::Keystone;
use neutron::Neutron;
use octavia::Octavia;

/// Who may sign in, and where it listens.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on; port 0 for any.
    pub listen: SocketAddr,
    /// Name of the operator's user, in the domain `default`: see [`As`] for the others.
    pub user: String,
    /// Its password, and that of all others.
    pub password: String,
    /// Name of its project, in the domain `default`.
    pub project: String,
    /// How long a load balancer is `PENDING_*` after each write.
    pub provisioning: Duration,
    /// Minor version of the load-balancer service's API: what came later it does not know.
    pub load_balancer_minor: u32,
    /// What load-balancer provider `noop` refuses altogether, as one that nobody knows by its name may: listeners of a protocol, or
    /// `cascade`, the deletion of a load balancer with all below it.
    pub noop_lacks: Vec<&'static str>,
    /// Whether a port that is bound to a host becomes `ACTIVE` at once, as if the host plugged it; else [`World::plug`] does it.
    pub plug_bound_ports: bool,
    /// Whether ports have names in DNS (`dns-integration`).
    pub dns_names: bool,
}

impl Default for Options {
    fn default() -> Self {
        let [user, password, project] = ["isthmus", "secret", "demo"].map(str::to_owned);
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            user,
            password,
            project,
            provisioning: Duration::from_millis(20),
            load_balancer_minor: octavia::versions::NEWEST,
            noop_lacks: Vec::new(),
            plug_bound_ports: false,
            dns_names: false,
        }
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
    url: String,
    options: Options,
    started: Instant,
    faults: Faults,
    stats: Mutex<Stats>,
    keystone: Mutex<Keystone>,
    cloud: Mutex<Cloud>,
}

/// One lock for both: a load balancer has a port.
#[derive(Debug)]
struct Cloud {
    neutron: Neutron,
    octavia: Octavia,
}

impl World {
    /// Starts an empty cloud with two projects; each gets its `default` security group at its first question.
    ///
    /// # Errors
    /// The address can't be bound.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let neutron = Neutron::new(options.plug_bound_ports, options.dns_names);
        let shared = Arc::new(Shared {
            url: url.clone(),
            started: Instant::now(),
            faults: Faults::default(),
            stats: Mutex::default(),
            keystone: Mutex::new(Keystone::new(url.clone(), options.clone())),
            cloud: Mutex::new(Cloud { neutron, octavia: Octavia::new(&options) }),
            options,
        });
        let server = tokio::spawn(server::serve(listener, shared.clone()));
        Ok(Self { url, shared, server })
    }

    /// Base URL of all services; Keystone is there, without a version.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Id of the project.
    pub fn project_id(&self) -> &'static str {
        keystone::PROJECT
    }

    /// Id of somebody else's project.
    pub fn other_project_id(&self) -> &'static str {
        keystone::OTHER_PROJECT
    }

    /// The `OS_*` variables for the operator.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        self.environment_as(As::Service)
    }

    /// The `OS_*` variables for a client.
    pub fn environment_as(&self, who: As) -> Vec<(&'static str, String)> {
        let (user, project) = self.shared.keystone.lock().names(who);
        vec![
            ("OS_AUTH_URL", format!("{}/v3", self.url)),
            ("OS_USERNAME", user),
            ("OS_PASSWORD", self.shared.options.password.clone()),
            ("OS_PROJECT_NAME", project),
            ("OS_USER_DOMAIN_ID", "default".to_owned()),
            ("OS_PROJECT_DOMAIN_ID", "default".to_owned()),
            ("OS_REGION_NAME", keystone::REGION.to_owned()),
            ("OS_IDENTITY_API_VERSION", "3".to_owned()),
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
        self.shared.cloud.lock().neutron.set_quota(keystone::PROJECT, kind, limit);
    }

    /// How many of a kind there are, in all projects.
    pub fn count(&self, kind: Kind) -> usize {
        self.shared.cloud.lock().neutron.count(kind)
    }

    /// Makes a port `ACTIVE`, as the host does that has it bound; false if there is no such port, or it is not bound.
    pub fn plug(&self, port_id: &str) -> bool {
        self.shared.cloud.lock().neutron.plug(port_id)
    }

    /// Sets the provisioning status of a load balancer, as an administrator does in Octavia's database; false if there is none.
    pub fn set_provisioning_status(&self, load_balancer_id: &str, status: &str) -> bool {
        self.shared.cloud.lock().octavia.set_provisioning_status(load_balancer_id, status)
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
