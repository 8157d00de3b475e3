//! A Kubernetes API server in one process, over real HTTP: an executable model that unmodified clients work against.
//!
//! # What it models
//! What kube-apiserver 1.36 answers to an administrator, JSON only, for Namespaces, Nodes, Pods, Services, ConfigMaps, Secrets,
//! ServiceAccounts, Events (both forms), Leases, EndpointSlices, NetworkPolicies, RBAC objects, CustomResourceDefinitions and
//! what these define: discovery, lists in pages, watches (bookmarks, streamed lists, 410), the four patches with
//! server-side apply and managed fields, dry runs, preconditions, finalizers, grace, tables.
//!
//! Of the controllers there are: deletion of namespaces and of what belongs to a CRD, the garbage collector, the ServiceAccount
//! `default`, EndpointSlices of Services with a selector, and something like a kubelet ([`Options::kubelet`]). See [`Controllers`].
//!
//! # What it does not
//! Warnings on Pods and Services; the dump of internal types in the refusal of a Pod's update; a Service of two address families.
//! Nobody is refused anything: RBAC objects are stored and mean nothing. Other kinds and subresources, YAML, and answers in
//! protobuf: 501, 415 or 406. A CRD with anything that `unmodelled` does not know (CEL beyond the small part that `cel` says, other formats, `scale`,
//! webhooks, selectable fields): 501. Validation of built-in kinds, CRDs among them: the common rules (`builtin/rules.rs`). Quantities keep the form that they were
//! written in.
//!
//! It must not know OpenStack or the operator.
//!
//! # How it is held to the real one
//! `tests/conformance` sends the same random requests to it and to a real kube-apiserver; every difference fails.

mod api;
mod builtin;
mod cel;
mod clock;
mod controllers;
mod convert;
mod discovery;
mod ids;
mod jsonpath;
mod managed;
mod metadata;
mod patch;
mod protobuf;
mod registry;
mod schema;
mod selector;
mod server;
mod services;
mod status;
mod store;
mod table;
mod unmodelled;
mod watch;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use clock::Clock;
pub use controllers::{Controllers, Kubelet};

use api::{Api, Call};

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on; port 0 for any.
    pub listen: SocketAddr,
    /// What uids and made names follow from; without one they differ from run to run.
    pub seed: Option<u64>,
    /// How many changes of a kind are kept for watches; who is further behind gets 410.
    pub history: usize,
    /// Range of the Services' addresses: network and prefix length.
    pub services: (Ipv4Addr, u8),
    /// Which controllers run.
    pub controllers: Controllers,
    /// What time it is.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: None,
            history: 10_000,
            services: (Ipv4Addr::new(10, 96, 0, 0), 16),
            controllers: Controllers::default(),
            clock: Clock::default(),
        }
    }
}

/// A running server. It ends when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    url: String,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

/// What the server, its controllers and the handle share.
#[derive(Debug)]
struct Shared {
    options: Options,
    api: Mutex<Api>,
    /// Rings after each write.
    written: Notify,
    requests: Mutex<BTreeMap<(String, String), u64>>,
}

impl Shared {
    fn count(&self, call: &Call<'_>) {
        let resource = api::resource_of(call.path);
        let verb = call.method.as_str().to_owned();
        *self.requests.lock().entry((verb, resource)).or_default() += 1;
    }
}

impl ApiServer {
    /// Starts with the namespaces that every cluster has.
    ///
    /// # Errors
    /// The address can't be bound.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let seed = options.seed.unwrap_or_else(|| RandomState::new().hash_one(&url));
        let mut api = Api::new(seed, options.history, options.services);
        controllers::begin(&mut api, &options);
        let shared = Arc::new(Shared {
            options,
            api: Mutex::new(api),
            written: Notify::new(),
            requests: Mutex::default(),
        });
        let tasks = [
            tokio::spawn(server::serve(listener, shared.clone())),
            tokio::spawn(controllers::run(shared.clone())),
        ];
        Ok(Self { url, shared, tasks })
    }

    /// Base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A kubeconfig for it, as text.
    pub fn kubeconfig(&self) -> String {
        let url = &self.url;
        format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: world, cluster: {{server: \"{url}\"}}}}]\n\
             users: [{{name: admin, user: {{}}}}]\ncontexts: [{{name: world, context: {{cluster: world, user: admin}}}}]\n\
             current-context: world\n"
        )
    }

    /// Requests so far of a method (`GET`) on a resource (`pods`). A watch is a GET.
    pub fn requests(&self, method: &str, resource: &str) -> u64 {
        self.shared
            .requests
            .lock()
            .get(&(method.to_owned(), resource.to_owned()))
            .copied()
            .unwrap_or_default()
    }

    /// All writes so far.
    pub fn writes(&self) -> u64 {
        let requests = self.shared.requests.lock();
        requests.iter().filter(|((method, _), _)| !matches!(&**method, "GET" | "HEAD")).map(|(_, n)| n).sum()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
