//! VIFs from the CloudMappings of this node, which the API server selects by their label.

use std::collections::BTreeMap;
use std::sync::Arc;

use isthmus_cni::Error;
use isthmus_cni::protocol::PodReference;
use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::watch::{self as watches, Event};
use isthmus_model::condition::ATTACHED;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

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
}

/// The CloudMappings of one node. Clones share them.
#[derive(Clone)]
pub struct Mappings {
    state: Arc<Mutex<State>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Mappings {
    /// Watches those of `node`, for as long as a clone is there; inside a tokio runtime.
    pub fn watch(client: &Client, node: &str) -> Self {
        let state =
            State { unavailable: Some("CloudMappings were not listed yet".into()), ..State::default() };
        let mappings = Self { state: Arc::new(Mutex::new(state)), changes: Arc::new(watch::channel(0).0) };
        let events = watches::mappings(client, Some(node));
        tokio::spawn(mappings.clone().follow(events));
        mappings
    }

    async fn follow(self, mut events: mpsc::Receiver<Event<CloudMapping>>) {
        while let Some(event) = events.recv().await {
            self.take(event);
        }
    }

    fn take(&self, event: Event<CloudMapping>) {
        {
            let mut state = self.state.lock();
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

    fn of_pod(&self, pod: &PodReference) -> Option<Known> {
        let state = self.state.lock();
        let same = |known: &&Known| {
            known.namespace == pod.namespace
                && known.pod == pod.name
                && pod.uid.as_ref().is_none_or(|uid| *uid == known.pod_uid)
        };
        state.mappings.values().find(same).cloned()
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
        let state = self.state.lock().unavailable.clone();
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
        self.state.lock().unavailable.clone().map_or(Ok(()), Err)
    }
}
