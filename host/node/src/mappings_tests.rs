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

/// A watch's events, and an API server that answers or not.
struct Server {
    mappings: Mappings,
    changes: watch::Receiver<u64>,
    events: mpsc::Sender<Event<CloudMapping>>,
    there: Arc<Mutex<bool>>,
    asked: Arc<Mutex<u32>>,
}

impl Server {
    async fn synced() -> Self {
        let (mappings, there, asked) = (none(), Arc::new(Mutex::new(true)), Arc::default());
        let (events, receiver) = mpsc::channel(1);
        let (answers, count) = (Arc::clone(&there), Arc::<Mutex<u32>>::clone(&asked));
        let is_there = move || {
            *count.lock() += 1;
            let there = *answers.lock();
            async move { if there { Ok(()) } else { Err("refused".to_owned()) } }
        };
        tokio::spawn(mappings.clone().follow(receiver, is_there));
        let mut server = Self { changes: mappings.changes(), mappings, events, there, asked };
        server.says(Event::Synced).await;
        assert!(server.mappings.usable().is_ok());
        server
    }

    async fn says(&mut self, event: Event<CloudMapping>) {
        self.changes.borrow_and_update();
        self.events.send(event).await.unwrap();
        self.turns(Duration::ZERO).await;
    }

    /// Waits for the next change; it is to come within this.
    async fn turns(&mut self, limit: Duration) {
        let began = Instant::now();
        // what is due at the end of the limit still counts
        let changed = timeout(limit + Duration::from_millis(1), self.changes.changed()).await;
        assert!(matches!(changed, Ok(Ok(()))), "nothing within {limit:?}");
        assert!(began.elapsed() <= limit, "{:?}", began.elapsed());
    }

    fn why(&self) -> String {
        self.mappings.why(&pod(Some("u")))
    }

    /// Away since then: its Pods are told why, and no node is unready before the patience is at its end.
    async fn is_away(&mut self, since: Instant, why: &str) {
        let told = self.why();
        assert!(told.starts_with("the API server does not tell") && told.contains(why), "{told}");
        tokio::time::sleep_until(since + PATIENCE).await;
        assert!(self.mappings.usable().is_ok(), "a restart of the API server makes no node unready");
        tokio::time::sleep(AWAY).await;
        assert!(self.mappings.usable().unwrap_err().contains("refused"));
    }

    async fn returns(&mut self) {
        *self.there.lock() = true;
        self.turns(Duration::from_secs(2)).await;
        assert!(self.mappings.usable().is_ok() && !self.why().contains("does not tell"), "{}", self.why());
    }
}

/// A watch that can't be resumed says nothing more: nothing new can be told meanwhile, and /ready and STATUS say so.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_noticed_and_its_return_too() {
    let mut server = Server::synced().await;
    let since = Instant::now();
    *server.there.lock() = false;
    server.says(Event::Interrupted("reset".into())).await;
    assert!(server.why().contains("reset"), "at once: {}", server.why());
    // tried again: it is away for as long as it was
    tokio::time::sleep(PATIENCE / 2).await;
    server.says(Event::Interrupted("no route".into())).await;
    server.is_away(since, "no route").await;
    server.returns().await;
    *server.there.lock() = false;
    server.says(Event::Interrupted("reset".into())).await;
    server.is_away(Instant::now(), "reset").await;
    server.says(mapping("u", json!({}))).await;
    assert!(server.mappings.usable().is_ok(), "it told something");
}

/// Such a connection says nothing.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_went_without_a_word_is_noticed_and_its_return_too() {
    let mut server = Server::synced().await;
    *server.there.lock() = false;
    server.turns(SILENCE).await;
    server.is_away(Instant::now(), "refused").await;
    server.returns().await;
}

#[tokio::test(start_paused = true)]
async fn an_api_server_of_quiet_nodes_is_hardly_asked() {
    let mut server = Server::synced().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(*server.asked.lock() <= 60, "{}", server.asked.lock());
    // a watch that went on at once
    server.says(Event::Interrupted("reset".into())).await;
    server.returns().await;
    let before = *server.asked.lock();
    tokio::time::sleep(SILENCE / 2).await;
    assert_eq!(*server.asked.lock(), before);
}

/// The API server answers, and lets no watch live: what is new is not told either.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_cut_again_and_again_makes_the_node_unready() {
    let mut server = Server::synced().await;
    let since = Instant::now();
    while since.elapsed() <= PATIENCE {
        assert!(server.mappings.usable().is_ok(), "after {:?}", since.elapsed());
        server.says(Event::Interrupted("reset".into())).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    server.says(Event::Interrupted("reset".into())).await;
    tokio::time::sleep(AWAY * 2).await;
    let why = server.mappings.usable().unwrap_err();
    assert!(why.contains("again and again: reset") && server.why().contains(&why), "{why}");
    server.says(mapping("u", json!({}))).await;
    assert!(server.mappings.usable().is_ok(), "it told something");

    // Cut now and then is no matter.
    for _ in 0..4 {
        server.says(Event::Interrupted("reset".into())).await;
        tokio::time::sleep(CALM + AWAY).await;
        assert!(server.mappings.usable().is_ok());
    }
}

#[tokio::test]
async fn a_port_for_a_virtual_function_is_bound_to_one() {
    let mappings = none();
    let direct = |binding: Option<&str>| {
        let mut status = vif("vnicType", json!("direct"));
        let fields =
            json!({"device": "example.com/fast", "segmentationId": 300, "trusted": true, "binding": binding});
        status["vifs"][0].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        status
    };
    for (binding, expected) in [(None, "sriov"), (Some("another"), "another")] {
        mappings.take(mapping("u1", direct(binding)));
        let vif = now(&mappings, None).await.unwrap().unwrap().vifs.remove(0);
        assert_eq!(vif.binding.as_deref(), Some(expected));
        assert_eq!((vif.device.as_deref(), vif.segmentation_id), (Some("example.com/fast"), Some(300)));
        assert!(vif.trusted && !vif.unprotected);
    }
    mappings.take(mapping("u1", vif("vnicType", json!("normal"))));
    assert_eq!(now(&mappings, None).await.unwrap().unwrap().vifs[0].binding, None);
}
