//! The operator: stands for election, and while it leads, runs a session.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use isthmus_kubernetes::Client;
use isthmus_kubernetes::events::Events;
use isthmus_kubernetes::lease::{Candidate, Leadership, Timing};
use isthmus_kubernetes::mapping::Mappings;
use isthmus_kubernetes::named::NamedObjects;
use isthmus_kubernetes::report::Reports;
use isthmus_kubernetes::store::Store;
use isthmus_kubernetes::watch::{self, WatchEvent, Watches};
use isthmus_model::deps::DependencyIndex;
use isthmus_model::object::{ObjectKey, Subject};
use isthmus_openstack::{CloudConfig, Gate, Session as CloudSession};
use isthmus_policy::{Engine, EngineOptions};
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch as signal};
use tokio::task::JoinSet;

use crate::certificates::Sources;
use crate::cloud::Cloud;
use crate::http::{self, Readiness};
use crate::inventory::Inventory;
use crate::metrics::Metrics;
use crate::modules::{Manager, Pipelines};
use crate::queue::{self, Parking, Requests};
use crate::reconcile::reconcile;
use crate::records::Records;
use crate::resync::{self, ResyncOptions};
use crate::session::Session;
use crate::{backoff, feed};

/// Before a session that follows one which ended by itself.
const AFTER_A_BUG: Duration = Duration::from_secs(5);

/// [`Options::agent_wait`] where nobody says otherwise (design, section 6).
pub const AGENT_WAIT: Duration = Duration::from_secs(300);

/// Name of the lease, in the operator's namespace.
pub const LEASE: &str = "isthmus";

/// What an operator is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the operator: modules load only from here, and its lease is here.
    pub namespace: String,
    /// What tells this process from others, in the lease.
    pub identity: String,
    /// Periods of the lease.
    pub timing: Timing,
    /// Where /healthz, /readyz and /metrics are served; `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// Where compiled modules are kept; `None`: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// Reconciles at once.
    pub parallel: usize,
    /// The resync.
    pub resync: ResyncOptions,
    /// How long the port of a Pod that is gone is kept for an agent that does not say that it has let go of it.
    pub agent_wait: Duration,
}

/// Runs an operator until `stop` says so, then lets what is in flight end and gives the lease back.
///
/// # Errors
/// What makes it impossible to begin: no Wasm engine, no address to serve at. Later errors are retried.
pub async fn run(
    options: Options,
    client: Client,
    cloud: CloudConfig,
    stop: signal::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut registry = Registry::default();
    let (operator, candidate) = Operator::stand(options, client, cloud, &mut registry)?;
    let mut serving = JoinSet::new();
    if let Some(address) = operator.options.http {
        serving.spawn(http::serve(address, registry, operator.readiness.clone()));
    }
    operator.readiness.yes();
    let (resign, resigned) = signal::channel(false);
    let election = tokio::spawn(candidate.run(until(resigned)));
    tokio::select! {
        () = operator.terms(stop) => {}
        Some(ended) = serving.join_next() => ended.context("serving /healthz")?.context("serving /healthz")?,
    }
    resign.send_replace(true);
    election.await.context("the election ended abnormally")?;
    Ok(())
}

/// Until it is said.
pub(crate) async fn until(mut said: signal::Receiver<bool>) {
    // An error is that the sender is gone, which ends the election as well.
    let _ = said.wait_for(|said| *said).await;
}

/// An operator, whether it leads or not.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) options: Options,
    pub(crate) client: Client,
    cloud: CloudSession,
    engine: Engine,
    metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
    pub(crate) leadership: signal::Receiver<Leadership>,
}

impl Operator {
    /// An operator, and its part in the election, which has yet to be run.
    ///
    /// # Errors
    /// What makes it impossible to begin.
    pub(crate) fn stand(
        options: Options,
        client: Client,
        cloud: CloudConfig,
        registry: &mut Registry,
    ) -> anyhow::Result<(Self, Candidate)> {
        let engine = EngineOptions { cache_dir: options.cache_dir.clone(), ..EngineOptions::default() };
        let engine = Engine::new(engine).context("starting the Wasm engine")?;
        let (metrics, readiness) = (Arc::new(Metrics::default()), Readiness::default());
        metrics.register(registry, client.writes());
        let cloud_metrics = isthmus_openstack::Metrics::default();
        cloud_metrics.register(registry);
        let cloud = CloudSession::new(cloud, cloud_metrics).context("OpenStack configuration")?;
        let candidate =
            Candidate::new(client.clone(), &options.namespace, LEASE, &options.identity, options.timing);
        let leadership = candidate.leadership();
        Ok((Self { options, client, cloud, engine, metrics, readiness, leadership }, candidate))
    }

    /// One session for each term of leadership.
    async fn terms(&self, stop: signal::Receiver<bool>) {
        let mut leadership = self.leadership.clone();
        loop {
            tokio::select! {
                () = until(stop.clone()) => return,
                led = leadership.wait_for(Leadership::leads) => if led.is_err() { return },
            }
            tracing::info!(identity = %self.options.identity, "leading");
            self.readiness.not("beginning to lead");
            self.metrics.leading.set(1);
            let (end, ended) = signal::channel(false);
            let mut term = tokio::spawn(self.session(ended));
            let ended = tokio::select! {
                () = until(stop.clone()) => None,
                () = lost(leadership.clone()) => None,
                ended = &mut term => Some(ended),
            };
            end.send_replace(true);
            let by_itself = ended.is_some();
            let ended = match ended {
                Some(ended) => ended,
                None => term.await,
            };
            if let Err(error) = ended {
                tracing::error!(%error, "the session ended abnormally");
            }
            self.metrics.leading.set(0);
            if *stop.borrow() {
                return;
            }
            tracing::warn!(by_itself, "the session has ended");
            if by_itself {
                // A bug of ours: the next session begins from what the cluster and the cloud say, but not at once.
                self.readiness.not("the session ended by itself: another one begins soon");
                tokio::select! {
                    () = until(stop.clone()) => return,
                    () = tokio::time::sleep(AFTER_A_BUG) => {}
                }
            }
        }
    }

    /// Writes of which none is sent while another one may lead. The election's own do not go through this gate.
    pub(crate) fn gated(&self) -> Self {
        let leadership = self.leadership.clone();
        let client = self.client.gated(move || leadership.borrow().leads());
        Self { client, ..self.clone() }
    }

    /// What is done while leading. It owns all that it uses, so that it can outlive this call for what is in flight.
    fn session(&self, stop: signal::Receiver<bool>) -> impl Future<Output = ()> + Send + use<> {
        let term = self.gated();
        async move {
            let ended = stop.clone();
            tokio::select! {
                () = until(ended) => {}
                (learnt, manager) = term.begin(stop.clone()) => term.work(learnt, manager, stop).await,
            }
            term.readiness.yes();
        }
    }
}

/// Until it leads no longer.
pub(crate) async fn lost(mut leadership: signal::Receiver<Leadership>) {
    loop {
        let until = match &*leadership.borrow_and_update() {
            Leadership::Leader { until } => *until,
            Leadership::Follower { .. } => return,
        };
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(until) => return,
        }
    }
}

/// What is known of cluster and cloud before any module is.
pub(crate) struct Learnt {
    pub(crate) session: Arc<Session>,
    pub(crate) requests: Requests<Arc<Subject>>,
    pub(crate) parking: Parking,
    pub(crate) tasks: JoinSet<()>,
}

/// What modules read, as it changes.
pub(crate) struct Changes {
    objects: mpsc::Receiver<WatchEvent>,
    touched: mpsc::UnboundedReceiver<ObjectKey>,
}

impl Operator {
    /// Everything that must be known before the first delete: the cluster's id, what is ours in the cloud, all CloudMappings.
    /// `drains`: as of the session.
    pub(crate) async fn learn(&self, stop: signal::Receiver<bool>, drains: bool) -> (Learnt, Changes) {
        let cluster = self.persist("reading the cluster's id", || self.client.cluster_id()).await;
        let token = self.persist("signing in to OpenStack", || self.cloud.token()).await;
        // Requests wait for their turn: whether we still may is asked when it comes.
        let leadership = self.leadership.clone();
        let gate = Gate::new(move || leadership.borrow().leads() && !*stop.borrow());
        let gated = self.cloud.gated(gate);
        let parking = Parking::default();
        let cloud = Cloud::of(&gated, &token, &parking, self.metrics.turns.clone());
        let (queue, requests) = queue::queue(|subject: &Arc<Subject>| subject.key.namespace.clone());
        let store = Arc::new(RwLock::new(Store::new()));
        let (named, touched) = NamedObjects::start(self.client.clone());
        let (watches, objects) = Watches::start(self.client.clone(), store.clone());
        let session = Arc::new(Session {
            cluster,
            store,
            watches,
            pipelines: ArcSwap::from_pointee(Pipelines::default()),
            deps: Mutex::new(DependencyIndex::default()),
            records: Mutex::new(Records::default()),
            inventory: Mutex::new(Inventory::default()),
            cloud,
            mappings: Mappings::new(self.client.clone(), &self.options.namespace),
            reports: Reports::new(self.client.clone()),
            events: Events::start(self.client.clone(), &self.options.identity),
            queue,
            awaited: Mutex::default(),
            agent_wait: self.options.agent_wait,
            sources: Sources::new(named),
            waiters: Mutex::default(),
            sets: Mutex::default(),
            memos: Default::default(),
            causes: Mutex::default(),
            metrics: self.metrics.clone(),
            leadership: self.leadership.clone(),
            answer_lost: tokio::sync::Notify::new(),
            under_way: Mutex::default(),
            progress: Mutex::default(),
            drains,
        });
        self.persist("asking the cloud what it can do", || session.refresh_facts()).await;
        self.persist("listing what is ours in the cloud", || session.list_ours()).await;
        let mut tasks = JoinSet::new();
        let (known, synced) = tokio::sync::oneshot::channel();
        tasks.spawn(feed::mappings(session.clone(), watch::mappings(&self.client, None), known));
        self.readiness.not("listing CloudMappings");
        // The task that would tell ends only with the session.
        let _ = synced.await;
        self.persist("listing what is ours in the cloud once more", || session.confirm_missing()).await;
        session.note_under_way();
        (Learnt { session, requests, parking, tasks }, Changes { objects, touched })
    }

    /// Everything that must be known before anything is mapped: all modules, too.
    async fn begin(&self, stop: signal::Receiver<bool>) -> (Learnt, Manager) {
        let (mut learnt, changes) = self.learn(stop, false).await;
        let session = &learnt.session;
        learnt.tasks.spawn(feed::objects(session.clone(), changes.objects));
        learnt.tasks.spawn(feed::named(session.clone(), changes.touched));
        self.readiness.not("loading modules");
        let mut manager = Manager::start(
            session.clone(),
            self.engine.clone(),
            self.client.clone(),
            &self.options.namespace,
        )
        .await;
        manager.begin().await;
        (learnt, manager)
    }

    async fn work(&self, learnt: Learnt, manager: Manager, stop: signal::Receiver<bool>) {
        let Learnt { session, requests, parking, mut tasks } = learnt;
        let known = (session.records.lock().len(), session.inventory.lock().len());
        tracing::info!(mappings = known.0, resources = known.1, cluster = %session.cluster, "ready");
        self.readiness.yes();
        session.enqueue_all();
        tasks.spawn(manager.run(stop.clone()));
        tasks.spawn(resync::run(session.clone(), self.options.resync.clone(), stop.clone()));
        let (end, ended) = signal::channel(false);
        let work = session.clone();
        let mut queue = pin!(queue::run(requests, self.options.parallel, parking, ended, move |subject| {
            let session = work.clone();
            async move { reconcile(&session, subject).await }
        }));
        tokio::select! {
            () = &mut queue => {}
            () = until(stop.clone()) => {}
            // They end with the session only: one that panicked would leave a leader that no longer sees or loads anything.
            Some(ended) = tasks.join_next() => if !*stop.borrow() {
                tracing::error!(?ended, "a task of the session ended by itself");
            },
        }
        end.send_replace(true);
        queue.await;
        tasks.shutdown().await;
    }

    /// Tries until it succeeds, and tells why it does not.
    async fn persist<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
        &self,
        what: &str,
        call: impl Fn() -> F,
    ) -> T {
        for attempt in 1.. {
            match call().await {
                Ok(done) => return done,
                Err(error) => {
                    tracing::warn!(%error, attempt, "{what}");
                    self.readiness.not(&format!("{what}: {error}"));
                }
            }
            let delay = Duration::from_millis(250).saturating_mul(1 << attempt.min(6));
            tokio::time::sleep(backoff::jittered(
                delay.min(Duration::from_secs(10)),
                &self.options.identity,
                attempt,
            ))
            .await;
        }
        unreachable!("the attempts have no end")
    }
}
