//! A Keystone and a scripted service in this process, over real HTTP.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test binary compiles this file anew and uses its own part"
)]

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use isthmus_openstack::config::{AuthConfig, AuthMethod, CloudConfig, Domain, Project, Scope, User};
use isthmus_openstack::{Barbican, Metrics, Neutron, Octavia, Secret, Session};
use parking_lot::Mutex;
use serde_json::{Value, json};

pub const PASSWORD: &str = "correct horse";

/// A request as the service saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    /// Path and query.
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// What the service does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    Json(u16, Value),
    Headers(u16, Vec<(&'static str, &'static str)>, Value),
    /// Closes the connection instead of answering.
    Drop,
    /// Announces a longer body than it sends.
    Cut,
    /// Never answers.
    Hang,
}

/// An error as Octavia words it.
pub fn fault(status: u16, message: &str) -> Reply {
    let side = if status < 500 { "Client" } else { "Server" };
    Reply::Json(status, json!({"faultcode": side, "faultstring": message, "debuginfo": null}))
}

pub fn ok(body: Value) -> Reply {
    Reply::Json(200, body)
}

/// Query parameters by name.
pub fn query(seen: &Seen) -> Vec<(String, String)> {
    let query = seen.uri.split_once('?').map(|(_, q)| q.to_owned()).unwrap_or_default();
    let pair = |p: &str| p.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).unwrap();
    query.split('&').filter(|p| !p.is_empty()).map(pair).collect()
}

pub fn value(seen: &Seen, key: &str) -> Option<String> {
    query(seen).into_iter().find(|(k, _)| k == key).map(|(_, v)| v)
}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;

#[derive(Clone)]
pub struct Cloud {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    handler: Box<Handler>,
    state: Mutex<Recorded>,
}

#[derive(Default)]
struct Recorded {
    url: String,
    seen: Vec<Seen>,
    sign_ins: u32,
    sign_in_replies: VecDeque<Reply>,
    token_seconds: Option<i64>,
    revoked: HashSet<String>,
}

impl Cloud {
    /// Starts a cloud whose services answer by `handler`.
    pub async fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Mutex::new(Recorded { url: url.clone(), ..Recorded::default() });
        let shared = Arc::new(Shared { handler: Box::new(handler), state });
        let app = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared }
    }

    /// Starts a cloud that answers one request after the other by `replies`, and the rest with 500.
    pub async fn script(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: Mutex<VecDeque<Reply>> = Mutex::new(replies.into_iter().collect());
        Self::start(move |_| replies.lock().pop_front().unwrap_or(Reply::Json(500, json!("end of script"))))
            .await
    }

    pub fn config(&self) -> CloudConfig {
        let domain = || Domain::Id("default".into());
        let method = AuthMethod::Password {
            user: User::Name("isthmus".into(), domain()),
            password: Secret::new(PASSWORD),
        };
        let scope = Scope::Project(Project::Name("demo".into(), domain()));
        CloudConfig::new("test", AuthConfig { auth_url: self.url.clone(), method, scope })
    }

    pub fn session(&self) -> Session {
        Session::new(self.config(), Metrics::default()).unwrap()
    }

    pub fn neutron(&self) -> Neutron {
        Neutron::new(self.session())
    }

    pub fn octavia(&self) -> Octavia {
        Octavia::new(self.session())
    }

    pub fn barbican(&self) -> Barbican {
        Barbican::new(self.session())
    }

    /// Requests that reached the service, sign-ins not among them.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state.lock().seen.clone()
    }

    pub fn sign_ins(&self) -> u32 {
        self.shared.state.lock().sign_ins
    }

    /// What Keystone answers to the next sign-ins, before it goes on giving tokens.
    pub fn next_sign_ins(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.state.lock().sign_in_replies.extend(replies);
    }

    /// How long tokens given from now on live.
    pub fn token_seconds(&self, seconds: i64) {
        self.shared.state.lock().token_seconds = Some(seconds);
    }

    /// Makes the services refuse every token given so far.
    pub fn revoke_tokens(&self) {
        let mut state = self.shared.state.lock();
        state.revoked = (1..=state.sign_ins).map(|n| format!("token-{n}")).collect();
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let seen = Seen { method: parts.method, uri: parts.uri.to_string(), headers: parts.headers, body };
    let reply = if parts.uri.path() == "/v3/auth/tokens" {
        match shared.sign_in(&seen) {
            Ok(response) => return response,
            Err(scripted) => scripted,
        }
    } else {
        shared.call(seen)
    };
    respond(reply).await
}

async fn respond(reply: Reply) -> Response {
    let response = |status: u16, headers: &[(&str, &str)], body: &Value| {
        let builder = Response::builder().status(StatusCode::from_u16(status).unwrap());
        let builder = headers.iter().fold(builder, |b, (k, v)| b.header(*k, *v));
        builder.body(Body::from(body.to_string())).unwrap()
    };
    match reply {
        Reply::Json(status, body) => response(status, &[("x-openstack-request-id", "req-1")], &body),
        Reply::Headers(status, headers, body) => response(status, &headers, &body),
        // Ends the connection's task, without the noise of a panic.
        Reply::Drop => std::panic::resume_unwind(Box::new("dropped")),
        Reply::Cut => {
            let parts = [Ok("{\"ports\": ["), Err(std::io::Error::other("cut"))];
            Response::new(Body::from_stream(futures::stream::iter(parts)))
        }
        Reply::Hang => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            response(500, &[], &Value::Null)
        }
    }
}

impl Shared {
    fn sign_in(&self, seen: &Seen) -> Result<Response, Reply> {
        let mut state = self.state.lock();
        state.sign_ins += 1;
        if let Some(reply) = state.sign_in_replies.pop_front() {
            return Err(reply);
        }
        let password = &seen.body["auth"]["identity"]["password"]["user"]["password"];
        if password != PASSWORD {
            return Err(Reply::Json(
                401,
                json!({"error": {"code": 401, "message": "wrong", "title": "Unauthorized"}}),
            ));
        }
        let issued = jiff::Timestamp::now();
        let expires = issued + jiff::SignedDuration::from_secs(state.token_seconds.unwrap_or(3600));
        let endpoint = |kind: &str| {
            json!({"type": kind, "name": kind, "endpoints": [
                {"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": state.url}]})
        };
        let body = json!({"token": {
            "methods": ["password"], "issued_at": issued.to_string(), "expires_at": expires.to_string(),
            "project": {"id": "p1", "name": "demo"}, "user": {"id": "u1"}, "roles": [{"name": "member"}],
            "catalog": [endpoint("identity"), endpoint("network"), endpoint("load-balancer"), endpoint("key-manager")]}});
        let response = Response::builder()
            .status(201)
            .header("x-subject-token", format!("token-{}", state.sign_ins))
            .body(Body::from(body.to_string()));
        Ok(response.unwrap())
    }

    fn call(&self, seen: Seen) -> Reply {
        {
            let mut state = self.state.lock();
            let token = seen.headers.get("x-auth-token").and_then(|v| v.to_str().ok()).unwrap_or_default();
            let refused = token.is_empty() || state.revoked.contains(token);
            state.seen.push(seen.clone());
            if refused {
                return Reply::Json(
                    401,
                    json!({"error": {"code": 401, "message": "token", "title": "Unauthorized"}}),
                );
            }
        }
        (self.handler)(&seen)
    }
}
