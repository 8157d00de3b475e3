//! The session against a cloud that misbehaves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test may panic")]

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Cloud, PASSWORD, Reply, ok};
use isthmus_openstack::metrics::Calls;
use isthmus_openstack::neutron::{Port, PortCreate};
use isthmus_openstack::{ErrorKind, Gate, Metrics, Neutron, RetryClass, Session};
use serde_json::{Value, json};
use tokio::time::timeout;

fn port() -> Value {
    json!({"port": {"id": "1"}})
}

fn ports() -> Value {
    json!({"ports": [{"id": "1"}]})
}

#[tokio::test]
async fn a_call_carries_the_token_and_names_us() {
    let cloud = Cloud::start(|_| ok(port())).await;
    let neutron = cloud.neutron();
    neutron.get::<Port>("1").await.unwrap();
    neutron.get::<Port>("1").await.unwrap();
    let seen = &cloud.seen()[1];
    assert_eq!(seen.uri, "/v2.0/ports/1");
    assert_eq!(seen.headers["x-auth-token"], "token-1");
    assert_eq!(seen.headers["user-agent"], concat!("isthmus/", env!("CARGO_PKG_VERSION")));
    assert_eq!(cloud.sign_ins(), 1);
    let token = neutron.session().token().await.unwrap();
    assert_eq!((token.project_id.as_deref(), &*token.roles), (Some("p1"), &["member".to_owned()][..]));
}

#[tokio::test]
async fn an_expired_token_is_not_used() {
    let cloud = Cloud::start(|_| ok(port())).await;
    cloud.token_seconds(0);
    let neutron = cloud.neutron();
    for _ in 0..3 {
        neutron.get::<Port>("1").await.unwrap();
    }
    assert_eq!(cloud.sign_ins(), 3);
}

#[tokio::test]
async fn a_refused_token_is_renewed_and_the_call_repeated_once() {
    let cloud = Cloud::start(|_| Reply::Json(201, port())).await;
    let neutron = cloud.neutron();
    neutron.session().token().await.unwrap();
    cloud.revoke_tokens();
    neutron.create::<Port>(&PortCreate::default()).await.unwrap();
    assert_eq!((cloud.sign_ins(), cloud.seen().len()), (2, 2));
}

#[tokio::test]
async fn a_401_that_stays_is_an_error_after_two_attempts() {
    let cloud = Cloud::start(|_| Reply::Json(401, json!({"error": {"message": "no"}}))).await;
    let error = cloud.neutron().get::<Port>("1").await.unwrap_err();
    assert_eq!((error.class, error.status()), (RetryClass::Unauthorized, Some(401)));
    assert_eq!(cloud.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_with_a_refused_token_sign_in_once() {
    let cloud = Cloud::start(|_| ok(port())).await;
    let neutron = cloud.neutron();
    neutron.session().token().await.unwrap();
    cloud.revoke_tokens();
    let calls = (0..50).map(|_| {
        let neutron = neutron.clone();
        tokio::spawn(async move { neutron.get::<Port>("1").await })
    });
    for call in futures::future::join_all(calls).await {
        call.unwrap().unwrap();
    }
    assert_eq!(cloud.sign_ins(), 2);
}

#[tokio::test]
async fn a_wrong_password_is_unauthorized_and_not_in_the_error() {
    let cloud = Cloud::start(|_| ok(port())).await;
    let refusal = json!({"error": {"code": 401, "message": "The request requires authentication.", "title": "Unauthorized"}});
    cloud.next_sign_ins([Reply::Json(401, refusal)]);
    let neutron = cloud.neutron();
    let error = neutron.get::<Port>("1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "identity: POST /v3/auth/tokens: 401 The request requires authentication. (req-1)"
    );
    assert_eq!(error.class, RetryClass::Unauthorized);
    let again = neutron.get::<Port>("1").await.unwrap_err();
    assert_eq!((again.class, cloud.sign_ins(), cloud.seen().len()), (RetryClass::Unauthorized, 1, 0));
    let shown = format!("{error:?} {:?}", neutron.session());
    assert!(!shown.contains(PASSWORD) && !shown.contains("token-1"), "{shown}");
}

/// Lines of the log, as an operator would see them.
#[derive(Clone, Default)]
struct Lines(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_which_call_a_failed_sign_in_was() {
    let cloud = Cloud::start(|_| ok(port())).await;
    cloud.next_sign_ins([Reply::Json(503, Value::Null)]);
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let logging = tracing::subscriber::set_default(subscriber.finish());
    cloud.neutron().get::<Port>("1").await.unwrap_err();
    drop(logging);
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    assert!(text.contains("no answer of use") && text.contains("/v3/auth/tokens"), "{text}");
    assert!(!text.contains(PASSWORD), "{text}");
}

#[tokio::test]
async fn a_keystone_that_is_away_is_transient() {
    let cloud = Cloud::start(|_| ok(port())).await;
    for reply in [
        Reply::Json(503, Value::Null),
        Reply::Json(500, Value::Null),
        Reply::Drop,
        Reply::Json(201, json!({})),
    ] {
        cloud.next_sign_ins([reply.clone()]);
        let error = cloud.neutron().create::<Port>(&PortCreate::default()).await.unwrap_err();
        assert_eq!(error.class, RetryClass::Transient, "{reply:?} {error}");
    }
}

#[tokio::test]
async fn retry_after_holds_the_whole_service() {
    let busy = Reply::Headers(
        429,
        vec![("retry-after", "1"), ("x-openstack-request-id", "req-9")],
        json!("slow down"),
    );
    let cloud = Cloud::script([busy, ok(port())]).await;
    let neutron = cloud.neutron();
    let error = neutron.create::<Port>(&PortCreate::default()).await.unwrap_err();
    let began = Instant::now();
    assert_eq!(
        (error.class, error.context.retry_after),
        (RetryClass::Transient, Some(Duration::from_secs(1)))
    );
    assert_eq!(error.context.request_id.as_deref(), Some("req-9"));
    assert_eq!(neutron.session().budget("network").limit(), 4, "half of eight");
    neutron.get::<Port>("1").await.unwrap();
    assert!(began.elapsed() > Duration::from_millis(900));
}

#[tokio::test]
async fn a_gate_that_closes_while_a_request_waits_holds_it_back() {
    let busy = Reply::Headers(503, vec![("retry-after", "1")], json!("slow down"));
    let cloud = Cloud::script([busy, ok(port())]).await;
    let (close, closed) = (Arc::new(AtomicBool::new(false)), cloud.neutron());
    let open = close.clone();
    let gated = Neutron::new(closed.session().gated(Gate::new(move || !open.load(Ordering::SeqCst))));
    gated.get::<Port>("1").await.unwrap_err();
    let body = PortCreate::default();
    let mut create = pin!(gated.create::<Port>(&body));
    assert!(timeout(Duration::from_millis(100), create.as_mut()).await.is_err(), "it waits for its time");
    close.store(true, Ordering::SeqCst);
    let error = create.await.unwrap_err();
    assert_eq!((error.kind, error.class), (ErrorKind::Withheld, RetryClass::Transient));
    assert_eq!(cloud.seen().len(), 1, "the create was not sent");
    closed.get::<Port>("1").await.expect("the handle without a gate goes on");
}

/// Keystone asked for time when a token was due, and then that token ended.
#[tokio::test]
async fn who_may_no_longer_waits_for_no_token() {
    let cloud = Cloud::start(|_| ok(port())).await;
    cloud.token_seconds(2);
    let (close, session) = (Arc::new(AtomicBool::new(false)), cloud.session());
    let open = close.clone();
    let gated = Neutron::new(session.gated(Gate::new(move || !open.load(Ordering::SeqCst))));
    gated.get::<Port>("1").await.unwrap();
    cloud.next_sign_ins([Reply::Headers(503, vec![("retry-after", "60")], Value::Null)]);
    let waiting = loop {
        let mut get = Box::pin(gated.get::<Port>("1"));
        if timeout(Duration::from_millis(300), get.as_mut()).await.is_err() {
            break get;
        }
    };
    close.store(true, Ordering::SeqCst);
    let error = timeout(Duration::from_secs(10), waiting).await.expect("it waits no longer").unwrap_err();
    assert_eq!((error.kind, error.class), (ErrorKind::Withheld, RetryClass::Transient));
}

#[tokio::test]
async fn what_an_answer_means_for_a_write() {
    let refused = || Reply::Headers(503, vec![("retry-after", "0")], Value::Null);
    for (reply, kind, class) in [
        (Reply::Json(503, Value::Null), ErrorKind::Status, RetryClass::Unknown),
        (Reply::Json(500, Value::Null), ErrorKind::Status, RetryClass::Unknown),
        (refused(), ErrorKind::Status, RetryClass::Transient),
        (Reply::Drop, ErrorKind::Lost, RetryClass::Unknown),
        (Reply::Cut, ErrorKind::Lost, RetryClass::Unknown),
        (Reply::Hang, ErrorKind::Timeout, RetryClass::Unknown),
        (Reply::Json(201, json!({"port": {}})), ErrorKind::Decode, RetryClass::Unknown),
        (
            Reply::Headers(302, vec![("location", "/v2.0/ports")], Value::Null),
            ErrorKind::Status,
            RetryClass::Invalid,
        ),
    ] {
        let cloud = Cloud::script([reply.clone()]).await;
        let mut config = cloud.config();
        config.request_timeout = Duration::from_millis(300);
        let neutron = Neutron::new(Session::new(config, Metrics::default()).unwrap());
        let error = neutron.create::<Port>(&PortCreate::default()).await.unwrap_err();
        assert_eq!((error.kind, error.class), (kind, class), "{reply:?}: {error}");
        assert_eq!(cloud.seen().len(), 1, "no write is repeated");
    }
}

#[tokio::test]
async fn what_no_answer_means_for_a_read() {
    for (reply, kind) in [
        (Reply::Drop, ErrorKind::Lost),
        (Reply::Cut, ErrorKind::Lost),
        (Reply::Hang, ErrorKind::Timeout),
        (Reply::Json(200, json!("<html>")), ErrorKind::Decode),
    ] {
        let cloud = Cloud::script([reply.clone()]).await;
        let mut config = cloud.config();
        config.request_timeout = Duration::from_millis(300);
        let neutron = Neutron::new(Session::new(config, Metrics::default()).unwrap());
        let error = neutron.list::<Port>(&[]).await.unwrap_err();
        assert_eq!((error.kind, error.class), (kind, RetryClass::Transient), "{reply:?}: {error}");
    }
}

#[tokio::test]
async fn a_write_that_was_never_sent_is_transient() {
    let cloud = Cloud::start(|_| ok(port())).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = cloud.config();
    let options = config.services.entry("network".into()).or_default();
    options.endpoint_override = Some(format!("http://{}", free.local_addr().unwrap()));
    drop(free);
    let neutron = Neutron::new(Session::new(config, Metrics::default()).unwrap());
    let error = neutron.create::<Port>(&PortCreate::default()).await.unwrap_err();
    assert_eq!((error.kind, error.class), (ErrorKind::Connect, RetryClass::Transient));
    assert!(error.to_string().contains("onnection refused"), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_the_catalog_lacks_is_named() {
    let cloud = Cloud::start(|_| ok(port())).await;
    let mut config = cloud.config();
    config.region = Some("Elsewhere".into());
    let session = Session::new(config, Metrics::default()).unwrap();
    let error = Neutron::new(session).get::<Port>("1").await.unwrap_err();
    assert_eq!((error.kind, error.class), (ErrorKind::Catalog, RetryClass::Transient));
    assert!(
        error.to_string().contains("\"Elsewhere\"") && error.to_string().contains("RegionOne"),
        "{error}"
    );
}

#[tokio::test]
async fn fewer_are_in_flight_while_the_service_is_overloaded() {
    let cloud = Cloud::start(|_| Reply::Json(503, Value::Null)).await;
    let neutron = cloud.neutron();
    for _ in 0..5 {
        neutron.get::<Port>("1").await.unwrap_err();
    }
    assert_eq!(neutron.session().budget("network").limit(), 1);
    assert_eq!(neutron.session().budget("identity").limit(), 8, "another service is not punished");
}

#[tokio::test]
async fn fewer_are_in_flight_where_no_answer_comes_in_time() {
    let cloud = Cloud::start(|_| Reply::Hang).await;
    let mut config = cloud.config();
    config.request_timeout = Duration::from_millis(300);
    let neutron = Neutron::new(Session::new(config, Metrics::default()).unwrap());
    neutron.get::<Port>("1").await.unwrap_err();
    assert_eq!(neutron.session().budget("network").limit(), 4, "half of eight");
}

#[tokio::test]
async fn calls_are_counted_and_measured() {
    let quota = json!({"NeutronError": {"type": "OverQuota", "message": "full", "detail": ""}});
    let cloud = Cloud::script([Reply::Json(409, quota), ok(ports()), Reply::Drop]).await;
    let metrics = Metrics::default();
    let neutron = Neutron::new(Session::new(cloud.config(), metrics.clone()).unwrap());
    let error = neutron.create::<Port>(&PortCreate::default()).await.unwrap_err();
    assert_eq!((error.class, error.fault()), (RetryClass::Quota, Some("OverQuota")));
    assert_eq!(error.to_string(), "network: POST /v2.0/ports: 409 OverQuota: full (req-1)");
    neutron.list::<Port>(&[("name", "x")]).await.unwrap();
    neutron.get::<Port>("1").await.unwrap_err();
    assert_eq!(metrics.calls(), Calls { reads: 2, writes: 1 });

    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"isthmus_openstack_requests_total{service="network",method="POST",resource="ports",code="409"} 1"#,
        r#"isthmus_openstack_requests_total{service="network",method="GET",resource="ports",code="200"} 1"#,
        r#"isthmus_openstack_requests_total{service="network",method="GET",resource="ports",code="lost"} 1"#,
        r#"isthmus_openstack_requests_total{service="identity",method="POST",resource="tokens",code="201"} 1"#,
        r#"isthmus_openstack_request_duration_seconds_count{service="network",method="GET",resource="ports"} 2"#,
        r#"isthmus_openstack_in_flight{service="network"} 0"#,
        r#"isthmus_openstack_limit{service="network"} 8"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
