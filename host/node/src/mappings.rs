//! VIFs from the CloudMappings of this node, which the API server selects by their label.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use isthmus_cni::Error;
use isthmus_cni::protocol::PodReference;
use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::names::ANNOTATION_MIRROR;
use isthmus_kubernetes::watch::{self as watches, Event};
use isthmus_model::condition::ATTACHED;
use isthmus_model::retry::RetryClass;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::source::{PodVifs, VifSource};
use crate::vif::Vif;

/// What is kept of a CloudMapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Namespace of the mapping and of its Pod.
    pub namespace: String,
    /// Name of the mapping.
    pub name: String,
    /// Name of the Pod.
    pub pod: String,
    /// Uid of the Pod.
    pub pod_uid: String,
    /// The uid that the kubelet knows a static Pod by: the Pod of the API server only mirrors it.
    pub mirror: Option<String>,
    /// Whether it is being deleted: its Pod is gone.
    pub deleting: bool,
    /// Its VIFs, or what is wrong with them.
    pub vifs: Result<Vec<Vif>, Error>,
    /// Status of its condition `Attached`; empty: it has none.
    pub attached: String,
    /// Why it is not ready, for people.
    pub waiting: String,
}

#[derive(Default)]
struct State {
    /// By namespace and name of the mapping.
    mappings: BTreeMap<(String, String), Known>,
    /// Why they cannot be listed; `None`: they were.
    unavailable: Option<String>,
    /// Why the API server did not answer when it was asked last, by the watch or by us. Since when, too.
    unreachable: Option<(Instant, String)>,
    /// The watch is cut again and again, whatever else the API server answers.
    cut: Option<Cut>,
}

/// A watch that tells nothing between two cuts.
#[derive(Clone, Debug)]
struct Cut {
    since: Instant,
    last: Instant,
    why: String,
}

/// So long a watch may be silent before the API server is asked whether it is there: a watch says itself that it is cut, but not that
/// the other end of its connection has gone without a word.
const SILENCE: Duration = Duration::from_secs(60);
/// While it is away: a watch that is well again says nothing where nothing has changed. Its return is seen before kubelets have told
/// it that their nodes are not ready.
const AWAY: Duration = Duration::from_secs(1);
/// So long it may be away before the node says that it is not ready: a restart of the API server is no matter of the nodes.
const PATIENCE: Duration = Duration::from_secs(60);

/// So long without another cut, and the watch is well again: longer than it waits before it tries again.
const CALM: Duration = Duration::from_secs(30);

impl State {
    /// The watch was cut.
    fn was_cut(&mut self, why: &str) {
        let now = Instant::now();
        let before = self.cut.take().filter(|cut| now - cut.last <= CALM);
        let since = before.map_or(now, |cut| cut.since);
        self.cut = Some(Cut { since, last: now, why: why.to_owned() });
    }

    /// Why the watch is no good, if it is not.
    fn keeps_being_cut(&self) -> Option<String> {
        let cut =
            self.cut.as_ref().filter(|cut| cut.last.elapsed() <= CALM && cut.since.elapsed() > PATIENCE)?;
        Some(format!("the watch of CloudMappings is cut again and again: {}", cut.why))
    }

    /// Whether the API server answered; else why not. Since when, stays.
    fn reached(&mut self, answer: Result<(), String>) {
        let since = self.unreachable.take().map_or_else(Instant::now, |(since, _)| since);
        self.unreachable = answer.err().map(|why| (since, why));
    }
}

/// The CloudMappings of one node. Clones share them.
#[derive(Clone)]
pub struct Mappings {
    state: Arc<Mutex<State>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Mappings {
    /// Watches those of `node`; inside a tokio runtime. The task does not end by itself.
    pub fn watch(client: &Client, node: &str) -> (Self, JoinHandle<()>) {
        let state =
            State { unavailable: Some("CloudMappings were not listed yet".into()), ..State::default() };
        let mappings = Self { state: Arc::new(Mutex::new(state)), changes: Arc::new(watch::channel(0).0) };
        let events = watches::mappings(client, Some(node));
        let client = client.clone();
        // Of constant cost, however large the cluster is.
        let is_there = move || {
            let client = client.clone();
            async move {
                let kube = client.kube();
                let answer =
                    client.read("ask whether the API server is there", kube.apiserver_version()).await;
                match answer {
                    // One that refuses is there.
                    Err(error) if matches!(error.class, RetryClass::Transient | RetryClass::Unknown) => {
                        Err(error.to_string())
                    }
                    _ => Ok(()),
                }
            }
        };
        let watching = tokio::spawn(mappings.clone().follow(events, is_there));
        (mappings, watching)
    }

    async fn follow<F>(self, mut events: mpsc::Receiver<Event<CloudMapping>>, is_there: impl Fn() -> F)
    where
        F: Future<Output = Result<(), String>> + Send,
    {
        loop {
            let away = self.state.lock().unreachable.is_some();
            match timeout(if away { AWAY } else { SILENCE }, events.recv()).await {
                Ok(Some(event)) => self.take(event),
                Ok(None) => return,
                Err(_silent) => self.asked(is_there().await),
            }
        }
    }

    /// What the API server answered, if it did.
    fn asked(&self, answer: Result<(), String>) {
        let turned = {
            let mut state = self.state.lock();
            let was_away = state.unreachable.is_some();
            state.reached(answer);
            state.unreachable.is_some() != was_away
        };
        if turned {
            self.changes.send_modify(|n| *n += 1);
        }
    }

    fn take(&self, event: Event<CloudMapping>) {
        {
            let mut state = self.state.lock();
            match &event {
                Event::Interrupted(why) => {
                    state.was_cut(why);
                    state.reached(Err(why.clone()));
                }
                _ => {
                    state.cut = None;
                    state.reached(Ok(()));
                }
            }
            match event {
                Event::Applied(mapping) => {
                    if let Some(known) = Known::of(&mapping) {
                        state.mappings.insert((known.namespace.clone(), known.name.clone()), known);
                    }
                }
                Event::Deleted(named) => {
                    state.mappings.remove(&(named.namespace.unwrap_or_default(), named.name));
                }
                Event::Malformed { object, reason } => {
                    tracing::warn!(name = object.name, reason, "a CloudMapping that cannot be understood");
                }
                Event::Synced => state.unavailable = None,
                Event::Unavailable(why) => state.unavailable = Some(why),
                Event::Interrupted(_) => {}
            }
        }
        self.changes.send_modify(|n| *n += 1);
    }

    /// All.
    pub fn list(&self) -> Vec<Known> {
        self.state.lock().mappings.values().cloned().collect()
    }

    /// Counts the changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Of the lives of a Pod (a runtime that tells no uid, a mirror that was made again) the one that is not gone, also while that
    /// is not there yet: else a Pod would be given its predecessor's port. `None` where that does not tell.
    fn of_pod(&self, pod: &PodReference) -> Option<Known> {
        let state = self.state.lock();
        let same = |known: &&Known| {
            known.namespace == pod.namespace
                && known.pod == pod.name
                && pod
                    .uid
                    .as_ref()
                    .is_none_or(|uid| *uid == known.pod_uid || Some(uid) == known.mirror.as_ref())
        };
        let by_uid = |known: &Known| pod.uid.as_ref() == Some(&known.pod_uid);
        let mut live = state.mappings.values().filter(same).filter(|known| !known.deleting || by_uid(known));
        live.next().filter(|_| live.next().is_none()).cloned()
    }
}

impl Known {
    /// `None`: not a Pod's.
    fn of(mapping: &CloudMapping) -> Option<Self> {
        let subject = &mapping.spec.subject;
        if subject.kind != "Pod" || subject.api_version != "v1" {
            return None;
        }
        let status = mapping.status.clone().unwrap_or_default();
        let condition = |kind: &str| status.conditions.iter().find(|c| c.type_ == kind);
        let waiting = condition("Ready").filter(|c| c.status != "True");
        Some(Self {
            namespace: mapping.metadata.namespace.clone()?,
            name: mapping.metadata.name.clone()?,
            pod: subject.name.clone(),
            pod_uid: subject.uid.clone(),
            mirror: mapping.metadata.annotations.as_ref().and_then(|a| a.get(ANNOTATION_MIRROR)).cloned(),
            deleting: mapping.metadata.deletion_timestamp.is_some(),
            vifs: status.vifs.iter().map(Vif::from_status).collect(),
            attached: condition(ATTACHED).map(|c| c.status.clone()).unwrap_or_default(),
            waiting: waiting.map(|c| format!("{}: {}", c.reason, c.message)).unwrap_or_default(),
        })
    }
}

impl VifSource for Mappings {
    async fn wait(&self, pod: &PodReference) -> Result<PodVifs, Error> {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            if let Some(known) = self.of_pod(pod) {
                let vifs = known.vifs?;
                // A MAC address comes with the port, addresses with its subnets.
                if !vifs.is_empty() && vifs.iter().all(|v| !v.addresses.is_empty()) {
                    return Ok(PodVifs { uid: known.pod_uid, vifs });
                }
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn why(&self, pod: &PodReference) -> String {
        let state = {
            let state = self.state.lock();
            let unreachable = || Some(state.unreachable.clone()?.1);
            state.unavailable.clone().or_else(unreachable).or_else(|| state.keeps_being_cut())
        };
        match (self.of_pod(pod), state) {
            (_, Some(why)) => format!("the API server does not tell: {why}"),
            (Some(known), None) => {
                format!("CloudMapping {}/{} has no VIF: {}", known.namespace, known.name, known.waiting)
            }
            (None, None) => {
                "no CloudMapping of this node is the Pod's: `isthmus why pod/NAME -n NAMESPACE` says more"
                    .into()
            }
        }
    }

    fn usable(&self) -> Result<(), String> {
        let state = self.state.lock();
        let away = state.unreachable.as_ref().filter(|(since, _)| since.elapsed() > PATIENCE);
        let away = || Some(away?.1.clone());
        state.unavailable.clone().or_else(away).or_else(|| state.keeps_being_cut()).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
#[path = "mappings_tests.rs"]
mod tests;
