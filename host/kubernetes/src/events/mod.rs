//! Events (`events.k8s.io/v1`) on subjects: for people who look with `kubectl describe`.
//!
//! Telling an event never waits and never fails the work that tells it: the queue is bounded, what does not fit is
//! counted, and an API server that refuses is said in the log once.

mod series;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use isthmus_model::object::Subject;
use isthmus_model::text::shortened;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event as KubeEvent, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::names::FIELD_MANAGER;
use series::{Series, Write};

/// How many events may wait to be written.
const WAITING: usize = 8192;
/// How often counts of repeated events are written.
const FLUSH: Duration = Duration::from_secs(60);
/// Longest reason and note that the API takes (`pkg/apis/core/validation/events.go`).
const LONGEST_REASON: usize = 128;
const LONGEST_NOTE: usize = 1024;

/// How an event is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For information.
    Normal,
    /// Something does not go as it should.
    Warning,
}

/// What happened to a subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Happening {
    /// To which object.
    pub subject: Subject,
    /// How it is meant.
    pub severity: Severity,
    /// Why, for machines, in CamelCase.
    pub reason: String,
    /// What was being done, in CamelCase, as `Map` or `Realize`.
    pub action: &'static str,
    /// What happened, for people. The same text for the same thing: that is how repetitions are known.
    pub note: String,
}

/// Tells Events. Clones tell to the same queue.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<Happening>,
    dropped: Arc<AtomicU64>,
}

impl Events {
    /// Begins to write events, until the last clone is dropped. `instance` is who reports them, as the Pod's name. Must be
    /// called inside a tokio runtime.
    pub fn start(client: Client, instance: &str) -> Self {
        let (queue, happenings) = mpsc::channel(WAITING);
        let writer = Writer { client, instance: instance.into(), failed: false };
        tokio::spawn(write_all(writer, happenings));
        Self { queue, dropped: Arc::default() }
    }

    /// Tells what happened. Returns at once; where the queue is full, the event is dropped and counted, and the log says so once.
    pub fn tell(&self, happening: Happening) {
        if let Err(mpsc::error::TrySendError::Full(lost)) = self.queue.try_send(happening)
            && self.dropped.fetch_add(1, Ordering::Relaxed) == 0
        {
            warn!(subject = %lost.subject.key, reason = lost.reason, waiting = WAITING, "the API server is too slow for all Events: some are dropped; this is said once");
        }
    }

    /// How many events were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

async fn write_all(mut writer: Writer, mut happenings: mpsc::Receiver<Happening>) {
    let mut series = Series::default();
    let mut flush = interval(FLUSH);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let writes = tokio::select! {
            happening = happenings.recv() => match happening {
                Some(happening) => series.observe(happening, Instant::now()).into_iter().collect(),
                None => return,
            },
            _ = flush.tick() => series.flush(Instant::now()),
        };
        for write in writes {
            writer.write(write).await;
        }
    }
}

struct Writer {
    client: Client,
    instance: String,
    failed: bool,
}

impl Writer {
    async fn write(&mut self, write: Write) {
        let result = match &write {
            Write::First { happening, name } => self.create(happening, name).await,
            Write::Again { happening, name, count } => self.repeat(happening, name, *count).await,
        };
        match result {
            Ok(()) => self.failed = false,
            // The namespace or the event is gone: nothing that anybody misses.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::NamespaceTerminating) => {
                debug!(%error, "event not written");
            }
            Err(error) if !self.failed => {
                warn!(%error, "events cannot be written; this is said once");
                self.failed = true;
            }
            Err(error) => debug!(%error, "event not written"),
        }
    }

    async fn create(&self, happening: &Happening, name: &str) -> Result<(), Error> {
        let key = &happening.subject.key;
        let mut event = KubeEvent::default();
        event.metadata.name = Some(name.into());
        event.event_time = Some(MicroTime(jiff::Timestamp::now()));
        event.reporting_controller = Some(FIELD_MANAGER.into());
        event.reporting_instance = Some(self.instance.clone());
        event.action = Some(happening.action.into());
        event.reason = Some(shortened(&happening.reason, LONGEST_REASON));
        event.note = Some(shortened(&happening.note, LONGEST_NOTE));
        event.type_ = Some(if happening.severity == Severity::Warning { "Warning" } else { "Normal" }.into());
        event.regarding = Some(ObjectReference {
            api_version: Some(key.kind.api_version()),
            kind: Some(key.kind.kind.clone()),
            namespace: key.namespace.as_deref().map(Into::into),
            name: Some(key.name.to_string()),
            uid: Some(happening.subject.uid.to_string()),
            ..ObjectReference::default()
        });
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
        let events = self.events(happening);
        let call = events.create(&parameters, &event);
        self.client.write("create", "events", "create Event", call).await.map(drop)
    }

    async fn repeat(&self, happening: &Happening, name: &str, count: i32) -> Result<(), Error> {
        let series = EventSeries { count, last_observed_time: MicroTime(jiff::Timestamp::now()) };
        let patch = Patch::Merge(json!({"series": series}));
        let events = self.events(happening);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let call = events.patch(name, &parameters, &patch);
        self.client.write("patch", "events", "update Event", call).await.map(drop)
    }

    fn events(&self, happening: &Happening) -> Api<KubeEvent> {
        // An event on a cluster-scoped object lives in `default`, as the API demands.
        let namespace = happening.subject.key.namespace.as_deref().unwrap_or("default");
        Api::namespaced(self.client.kube(), namespace)
    }
}
