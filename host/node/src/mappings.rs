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
    /// Why the API server did not answer when it was asked last. A watch that is interrupted says nothing for as long as that lasts.
    /// Since when, too.
    unreachable: Option<(Instant, String)>,
}

/// So long a watch may be silent before the API server is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(10);
/// While it is away: its return is seen before kubelets have told it that their nodes are not ready.
const AWAY: Duration = Duration::from_secs(1);
/// So long it may be away before the node says that it is not ready: a restart of the API server is no matter of the nodes.
const PATIENCE: Duration = Duration::from_secs(60);

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
                Err(_silent) => {
                    let answer = is_there().await;
                    let mut state = self.state.lock();
                    let since = state.unreachable.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                    state.unreachable = answer.err().map(|why| (since, why));
                }
            }
        }
    }

    fn take(&self, event: Event<CloudMapping>) {
        {
            let mut state = self.state.lock();
            state.unreachable = None;
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
            state.unavailable.clone().or_else(|| Some(state.unreachable.clone()?.1))
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
        state.unavailable.clone().or_else(|| Some(away?.1.clone())).map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use isthmus_cni::Code;
    use isthmus_kubernetes::watch::Named;
    use serde_json::{Value, json};

    use super::*;

    fn none() -> Mappings {
        let state = State { unavailable: Some("not listed".into()), ..State::default() };
        Mappings { state: Arc::new(Mutex::new(state)), changes: Arc::new(watch::channel(0).0) }
    }

    fn mapping(uid: &str, status: Value) -> Event<CloudMapping> {
        let mapping = json!({
            "apiVersion": "isthmus.dev/v1alpha1", "kind": "CloudMapping",
            "metadata": {"namespace": "shop", "name": format!("pod-web-{uid}"), "uid": "m"},
            "spec": {"subject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web", "uid": uid}},
            "status": status,
        });
        Event::Applied(Box::new(serde_json::from_value(mapping).unwrap()))
    }

    fn vif(field: &str, value: Value) -> Value {
        let mut vif = json!({"interface": "eth0", "port": "port", "portId": "p1", "macAddress": "FA:16:3E:00:00:01",
            "addresses": ["10.0.0.5/24", "fd00::5/64"], "gateways": ["10.0.0.1"], "mtu": 1442, "network": "n",
            "defaultRoute": true, "routes": [{"destination": "192.0.2.0/24", "nextHop": "10.0.0.9"}]});
        if let Value::Object(fields) = &mut vif {
            fields.insert(field.into(), value);
        }
        json!({"vifs": [vif]})
    }

    fn pod(uid: Option<&str>) -> PodReference {
        PodReference { namespace: "shop".into(), name: "web".into(), uid: uid.map(Into::into) }
    }

    /// What is known at once.
    async fn now(mappings: &Mappings, uid: Option<&str>) -> Option<Result<PodVifs, Error>> {
        tokio::time::timeout(Duration::from_millis(20), mappings.wait(&pod(uid))).await.ok()
    }

    #[tokio::test]
    async fn a_pod_is_found_by_its_name_and_uid() {
        let mappings = none();
        assert!(mappings.usable().is_err() && mappings.why(&pod(None)).contains("not listed"));
        mappings.take(Event::Synced);
        assert!(mappings.usable().is_ok());
        assert!(mappings.why(&pod(None)).contains("isthmus why"), "{}", mappings.why(&pod(None)));
        mappings.take(mapping("u1", vif("port", json!("port"))));
        let found = now(&mappings, Some("u1")).await.unwrap().unwrap();
        assert_eq!((&*found.uid, &*found.vifs[0].mac), ("u1", "fa:16:3e:00:00:01"));
        assert_eq!(found.vifs[0].all_routes().len(), 2);
        assert_eq!(found.vifs[0].segmentation_id, None);
        assert!(now(&mappings, None).await.is_some(), "older runtimes do not tell the uid");
        assert!(now(&mappings, Some("u2")).await.is_none(), "another life of the Pod");
        let named = Named { namespace: Some("shop".into()), name: "pod-web-u1".into(), uid: "m".into() };
        mappings.take(Event::Deleted(named));
        assert!(now(&mappings, Some("u1")).await.is_none());
    }

    /// A mapping with something else in its metadata.
    fn with(event: Event<CloudMapping>, change: impl FnOnce(&mut CloudMapping)) -> Event<CloudMapping> {
        let Event::Applied(mut mapping) = event else { return event };
        change(&mut mapping);
        Event::Applied(mapping)
    }

    #[tokio::test]
    async fn a_static_pod_is_found_by_the_uid_that_its_kubelet_gave_it() {
        let mappings = none();
        let hash = "0f343b0931126a20f133d67c2b018a3b";
        mappings.take(with(mapping("u1", vif("port", json!("port"))), |m| {
            m.metadata.annotations = Some([(ANNOTATION_MIRROR.to_owned(), hash.to_owned())].into());
        }));
        let found = now(&mappings, Some(hash)).await.unwrap().unwrap();
        assert_eq!(found.uid, "u1", "what its CloudMapping is of");
        assert!(now(&mappings, Some("another")).await.is_none());
    }

    #[tokio::test]
    async fn of_two_lives_without_a_uid_the_one_that_is_not_gone_is_meant() {
        let mappings = none();
        mappings.take(mapping("u1", vif("port", json!("port"))));
        mappings.take(mapping("u2", vif("port", json!("port"))));
        assert!(now(&mappings, None).await.is_none(), "nobody can tell which");
        mappings.take(with(mapping("u1", vif("port", json!("port"))), |m| {
            let gone = json!("2026-01-01T00:00:00Z");
            m.metadata.deletion_timestamp = Some(serde_json::from_value(gone).unwrap());
        }));
        assert_eq!(now(&mappings, None).await.unwrap().unwrap().uid, "u2");
        assert_eq!(now(&mappings, Some("u1")).await.unwrap().unwrap().uid, "u1", "asked for by its uid");
        let named = Named { namespace: Some("shop".into()), name: "pod-web-u2".into(), uid: "m".into() };
        mappings.take(Event::Deleted(named));
        assert!(now(&mappings, None).await.is_none(), "the port of one that goes is nobody else's");
    }

    #[tokio::test]
    async fn vifs_are_waited_for_until_they_have_addresses() {
        let mappings = none();
        let ready = json!({"type": "Ready", "status": "False", "reason": "Waiting", "message": "quota",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        mappings.take(Event::Synced);
        mappings.take(mapping("u1", json!({"conditions": [ready]})));
        assert!(mappings.why(&pod(None)).ends_with("has no VIF: Waiting: quota"));
        mappings.take(mapping("u1", vif("addresses", json!([]))));
        assert!(now(&mappings, None).await.is_none());
        let waits = tokio::spawn({
            let mappings = mappings.clone();
            async move { mappings.wait(&pod(None)).await }
        });
        mappings.take(mapping("u1", vif("port", json!("port"))));
        assert!(waits.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn the_vlan_of_a_subport_comes_along() {
        let mappings = none();
        mappings.take(mapping("u1", vif("segmentationId", json!(4094))));
        assert_eq!(now(&mappings, None).await.unwrap().unwrap().vifs[0].segmentation_id, Some(4094));
    }

    #[tokio::test]
    async fn what_cannot_be_bound_is_said_at_once() {
        let mappings = none();
        for (field, value) in [
            ("interface", json!("a/b")),
            ("macAddress", json!("fa:16")),
            ("addresses", json!(["10.0.0.5"])),
            ("gateways", json!(["router"])),
            ("mtu", json!(-1)),
            ("segmentationId", json!(4095)),
            ("routes", json!([{"destination": "all", "nextHop": "10.0.0.9"}])),
        ] {
            mappings.take(mapping("u1", vif(field, value)));
            let error = now(&mappings, None).await.unwrap().unwrap_err();
            assert_eq!(error.code, Code::InvalidConfig, "{error}");
            assert!(error.msg.contains(field), "{error}");
        }
    }

    /// A watch that can't be resumed says nothing: nothing new can be told meanwhile, and /ready and STATUS say so.
    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_away_is_noticed_and_its_return_too() {
        let (mappings, answers) = (none(), Arc::new(Mutex::new(true)));
        let (sender, events) = mpsc::channel(1);
        let asked = answers.clone();
        let is_there = move || {
            let there = *asked.lock();
            async move { if there { Ok(()) } else { Err("refused".to_owned()) } }
        };
        tokio::spawn(mappings.clone().follow(events, is_there));
        sender.send(Event::Synced).await.unwrap();
        let says = async |well: bool| {
            let turned = async {
                while mappings.usable().is_ok() != well {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(90), turned).await.expect("in time");
        };
        says(true).await;
        *answers.lock() = false;
        let away = Instant::now();
        says(false).await;
        assert!(away.elapsed() > PATIENCE, "a restart of the API server makes no node unready");
        let why = mappings.why(&pod(Some("u")));
        assert!(why.starts_with("the API server does not tell") && why.contains("refused"), "{why}");
        *answers.lock() = true;
        let back = Instant::now();
        says(true).await;
        assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
        *answers.lock() = false;
        says(false).await;
        sender.send(mapping("u", json!({}))).await.unwrap();
        says(true).await;
    }
}
