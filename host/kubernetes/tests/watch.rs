//! Watches against an API server that answers by a script: what a real one does seldom, and when it likes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use isthmus_kubernetes::Client;
use isthmus_kubernetes::discovery::Scope;
use isthmus_kubernetes::error::ErrorKind;
use isthmus_kubernetes::store::{Change, Store};
use isthmus_kubernetes::watch::{Phase, WatchEvent, Watches};
use isthmus_model::object::Gvk;
use isthmus_model::projection::Mask;
use isthmus_model::retry::RetryClass;
use kube::client::Body;
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// One answer to a request whose path is this, or whose path and query contain this where it has a query.
struct Answer {
    to: &'static str,
    status: u16,
    body: String,
}

/// Answers in order. A request waits until there is an answer to it, as a quiet watch does.
#[derive(Clone, Default)]
struct Script(Arc<(Mutex<VecDeque<Answer>>, Notify)>);

impl Script {
    fn push(&self, answer: Answer) {
        self.0.0.lock().push_back(answer);
        self.0.1.notify_waiters();
    }

    fn answer(&self, to: &'static str, status: u16, body: &Value) {
        self.push(Answer { to, status, body: body.to_string() });
    }

    fn stream(&self, to: &'static str, lines: &[Value]) {
        let body = lines.iter().map(|line| format!("{line}\n")).collect();
        self.push(Answer { to, status: 200, body });
    }

    fn clear(&self) {
        self.0.0.lock().clear();
    }

    async fn take(&self, request: String) -> Answer {
        let (answers, added) = &*self.0;
        loop {
            let added = added.notified();
            let fits = |a: &Answer| a.to == request || (a.to.contains('?') && request.contains(a.to));
            let found = {
                let mut answers = answers.lock();
                answers.iter().position(fits).and_then(|at| answers.remove(at))
            };
            match found {
                Some(answer) => return answer,
                None => added.await,
            }
        }
    }

    fn client(&self) -> Client {
        let script = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let script = script.clone();
            async move {
                let Answer { status, body, .. } = script.take(request.uri().to_string()).await;
                let response = Response::builder().status(status).body(Body::from(body.into_bytes()));
                Ok::<_, std::convert::Infallible>(response.unwrap())
            }
        });
        Client::new(kube::Client::new(service, "default"))
    }
}

const LIST: &str = "/api/v1/pods?&limit";
const WATCH: &str = "/api/v1/pods?&watch";

fn pods() -> Gvk {
    Gvk::new("", "v1", "Pod")
}

fn served(script: &Script) {
    let pod = json!({"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["list", "watch"]});
    let list =
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [pod]});
    script.answer("/api/v1", 200, &list);
}

fn pod(name: &str, uid: &str, node: &str, version: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
           "metadata": {"name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string()},
           "spec": {"nodeName": node, "hostNetwork": true}})
}

fn list(items: &[Value], version: u32) -> Value {
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}, "items": items})
}

fn gone() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"})
}

fn wanted(fields: &[&str]) -> BTreeMap<Gvk, Mask> {
    BTreeMap::from([(pods(), Mask::new(fields.iter().copied()).unwrap())])
}

struct Lab {
    watches: Watches,
    events: mpsc::Receiver<WatchEvent>,
    store: Arc<RwLock<Store>>,
}

fn start(script: &Script) -> Lab {
    let store = Arc::new(RwLock::new(Store::new()));
    let (watches, events) = Watches::start(script.client(), store.clone());
    Lab { watches, events, store }
}

fn shown(change: &Change) -> String {
    let uid = |side: &Option<Arc<isthmus_kubernetes::store::Stored>>| {
        side.as_ref().map_or_else(|| "-".to_owned(), |stored| stored.uid.to_string())
    };
    format!("{} {}>{}", change.key.name, uid(&change.old), uid(&change.new))
}

impl Lab {
    async fn next(&mut self) -> Vec<String> {
        let event = timeout(Duration::from_secs(60), self.events.recv()).await.expect("an event").unwrap();
        match event {
            WatchEvent::Changed(changes) => changes.iter().map(shown).collect(),
            WatchEvent::Synced(gvk) => vec![format!("synced {gvk}")],
            WatchEvent::Touched(key) => vec![format!("touched {key}")],
            WatchEvent::Unavailable { reason, .. } => vec![format!("unavailable: {reason}")],
        }
    }

    async fn expect(&mut self, expected: &[&[&str]]) {
        for event in expected {
            assert_eq!(&self.next().await, event);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_cut_with_410_loses_nothing() {
    let script = Script::default();
    served(&script);
    script.answer(LIST, 200, &list(&[pod("a", "1", "x", 1), pod("b", "2", "x", 2)], 3));
    script.stream(
        WATCH,
        &[
            json!({"type": "ADDED", "object": pod("c", "3", "x", 4)}),
            json!({"type": "ERROR", "object": gone()}),
        ],
    );
    // Meanwhile b was deleted, and a deleted and made again.
    script.answer(LIST, 200, &list(&[pod("a", "9", "x", 8), pod("c", "3", "x", 4)], 9));
    // The next watch is refused with 410 by status, not in the stream.
    script.answer(WATCH, 410, &gone());
    script.answer(LIST, 200, &list(&[pod("a", "9", "x", 8)], 20));
    let mut lab = start(&script);
    lab.watches.ensure(wanted(&["spec.nodeName"]));
    lab.expect(&[
        &["a ->1", "b ->2"],
        &["synced v1/Pod"],
        &["c ->3"],
        &["b 2>-", "a 1>9"],
        &["synced v1/Pod"],
        &["c 3>-"],
        &["synced v1/Pod"],
    ])
    .await;
    assert_eq!(lab.store.read().snapshot().count(&pods()), 1);
    assert_eq!(lab.watches.scope(&pods()), Some(Scope::Namespaced));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_half_way_deletes_nothing() {
    let script = Script::default();
    served(&script);
    script.answer(LIST, 200, &list(&[pod("a", "1", "x", 1), pod("b", "2", "x", 2)], 3));
    script.stream(WATCH, &[json!({"type": "ERROR", "object": gone()})]);
    // z was there for the first half of a list that never ended: nobody may be told of it.
    let mut half = list(&[pod("a", "1", "x", 1), pod("z", "7", "x", 8)], 9);
    half["metadata"]["continue"] = "more".into();
    script.answer(LIST, 200, &half);
    script.answer(
        LIST,
        500,
        &json!({"kind": "Status", "code": 500, "reason": "InternalError", "message": "oops"}),
    );
    script.answer(LIST, 200, &list(&[pod("a", "1", "x", 1), pod("b", "2", "x", 2)], 10));
    let mut lab = start(&script);
    lab.watches.ensure(wanted(&["spec.nodeName"]));
    lab.expect(&[&["a ->1", "b ->2"], &["synced v1/Pod"], &["synced v1/Pod"]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_outside_the_mask_is_none_and_a_wider_mask_lists_anew() {
    let script = Script::default();
    served(&script);
    script.answer(LIST, 200, &list(&[pod("a", "1", "x", 1)], 1));
    let mut other = pod("a", "1", "x", 2);
    other["spec"]["hostNetwork"] = false.into();
    script.stream(
        WATCH,
        &[
            json!({"type": "MODIFIED", "object": other}),
            json!({"type": "MODIFIED", "object": pod("a", "1", "y", 3)}),
        ],
    );
    let mut lab = start(&script);
    lab.watches.ensure(wanted(&["spec.nodeName"]));
    lab.expect(&[&["a ->1"], &["synced v1/Pod"], &["a 1>1"]]).await;
    // Narrower: what is there already covers it.
    lab.watches.ensure(wanted(&[]));
    assert_eq!(lab.watches.state(&pods()).unwrap().phase, Phase::Synced);

    served(&script);
    script.answer(LIST, 200, &list(&[pod("a", "1", "y", 3)], 4));
    lab.watches.ensure(wanted(&["spec.nodeName", "spec.hostNetwork"]));
    assert_eq!(lab.watches.state(&pods()).unwrap().phase, Phase::Starting);
    lab.expect(&[&["a 1>1"], &["synced v1/Pod"]]).await;
    let snapshot = lab.store.read().snapshot();
    assert!(snapshot.iter(&pods()).all(|stored| stored.text.contains("hostNetwork")));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_no_longer_wanted_is_forgotten_and_not_deleted() {
    let script = Script::default();
    served(&script);
    script.answer(LIST, 200, &list(&[pod("a", "1", "x", 1)], 1));
    let mut lab = start(&script);
    lab.watches.ensure(wanted(&["spec.nodeName"]));
    lab.expect(&[&["a ->1"], &["synced v1/Pod"]]).await;
    lab.watches.ensure(BTreeMap::new());
    assert!(lab.watches.state(&pods()).is_none());
    // Wanted again: told anew, and in between no event said that it was gone.
    served(&script);
    script.answer(LIST, 200, &list(&[pod("a", "1", "x", 1)], 1));
    tokio::task::yield_now().await;
    while lab.store.read().snapshot().count(&pods()) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    lab.watches.ensure(wanted(&["spec.nodeName"]));
    lab.expect(&[&["a ->1"], &["synced v1/Pod"]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_kind_whose_definition_comes_later_is_watched_within_a_second() {
    let script = Script::default();
    let missing = json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "not found"});
    let definitions = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                             "metadata": {"resourceVersion": "1"}, "items": []});
    script.answer("/api/v1", 404, &missing);
    let mut lab = start(&script);
    lab.watches.ensure(wanted(&["spec.nodeName"]));
    lab.expect(&[&["unavailable: the API server has no kind v1/Pod"]]).await;
    assert_eq!(lab.watches.state(&pods()).unwrap().phase, Phase::Absent);
    // The list of definitions makes it ask again, in vain, for a while.
    for _ in 0..40 {
        script.answer("/api/v1", 404, &missing);
    }
    script.answer("/customresourcedefinitions?&limit", 200, &definitions);
    tokio::time::sleep(Duration::from_secs(20)).await;

    script.clear();
    let begun = tokio::time::Instant::now();
    let definition = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                            "metadata": {"name": "pods.example", "uid": "u", "resourceVersion": "2"}});
    // The change of the definition comes a moment before discovery knows it.
    script.answer("/api/v1", 404, &missing);
    served(&script);
    script.answer(LIST, 200, &list(&[pod("a", "1", "x", 1)], 1));
    script.stream("/customresourcedefinitions?&watch", &[json!({"type": "MODIFIED", "object": definition})]);
    lab.expect(&[&["a ->1"], &["synced v1/Pod"]]).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// A list that the server fails over and over must not be waited for.
#[tokio::test(start_paused = true)]
async fn a_kind_that_cannot_be_listed_is_said_to_be_unavailable_and_is_tried_on() {
    let script = Script::default();
    served(&script);
    let broken =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "message": "webhook"});
    for _ in 0..3 {
        script.answer(LIST, 500, &broken);
    }
    let mut lab = start(&script);
    lab.watches.ensure(wanted(&["spec.nodeName"]));
    let event = timeout(Duration::from_secs(600), lab.events.recv()).await.unwrap();
    assert!(matches!(event, Some(WatchEvent::Unavailable { .. })), "{event:?}");
    script.answer(LIST, 200, &list(&[pod("a", "1", "n1", 5)], 5));
    let synced = async {
        while lab.watches.state(&pods()).is_none_or(|state| state.phase != Phase::Synced) {
            lab.events.recv().await;
        }
    };
    timeout(Duration::from_secs(600), synced).await.unwrap();
}

#[tokio::test]
async fn a_write_behind_a_closed_gate_is_not_sent() {
    let client = Script::default().client();
    let gated = client.gated(|| false);
    let error = gated.write("create", "pods", "make a Pod", async { Ok(()) }).await.unwrap_err();
    assert_eq!((error.kind, error.class), (ErrorKind::Withheld, RetryClass::Transient));
    assert_eq!(client.writes().total(), 0);
    client.write("create", "pods", "make a Pod", async { Ok(()) }).await.unwrap();
    assert_eq!(gated.writes().total(), 1, "the handles share their count");
}
