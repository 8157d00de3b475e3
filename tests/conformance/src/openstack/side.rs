//! The two clouds, by plain HTTP.

use std::collections::BTreeMap;
use std::env;

use anyhow::{Context, Result, bail};
use isthmus_world::{As, World};
use serde_json::{Value, json};

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Keystone.
    Identity,
    /// Neutron.
    Network,
    /// Octavia.
    LoadBalancer,
}

impl Service {
    fn kind(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Network => "network",
            Self::LoadBalancer => "load-balancer",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The operator's user: member with the role `service`.
    Operator,
    /// A plain member of the same project.
    Member,
    /// An administrator.
    Admin,
}

impl Who {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Operator, Self::Member, Self::Admin];
}

/// A request. `#3` in its path, query and body stands for the id that appeared third.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks.
    pub who: Who,
    /// Who is asked.
    pub service: Service,
    /// HTTP method.
    pub method: &'static str,
    /// Path with its query, below the service's URL.
    pub path: String,
    /// Null for none.
    pub body: Value,
    /// Header `If-Match`.
    pub revision: Option<u64>,
}

/// Status and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Null for none; a text if it is no JSON.
    pub body: Value,
}

/// One of the two.
#[derive(Clone)]
pub struct Cloud {
    http: reqwest::Client,
    tokens: BTreeMap<Who, String>,
    urls: BTreeMap<&'static str, String>,
    /// Ids that appear in both and are not counted: of projects and users.
    pub known: Vec<(String, String)>,
}

impl Cloud {
    /// The lab.
    ///
    /// # Errors
    /// It does not run.
    pub async fn real() -> Result<Self> {
        let file =
            env::var("OS_CLIENT_CONFIG_FILE").context("OS_CLIENT_CONFIG_FILE: this runs in the lab")?;
        let clouds: Value = serde_saphyr::from_str(&std::fs::read_to_string(file)?)?;
        let auth = |who: Who| {
            let name = match who {
                Who::Operator => "isthmus",
                Who::Member => "demo",
                Who::Admin => "admin",
            };
            let of = |key: &str| {
                let found = clouds.pointer(&format!("/clouds/{name}/auth/{key}")).and_then(Value::as_str);
                found.map(str::to_owned).with_context(|| format!("clouds.yaml: no {key} of {name}"))
            };
            anyhow::Ok([of("auth_url")?, of("username")?, of("password")?, of("project_name")?])
        };
        Self::new(auth).await
    }

    /// The model.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn model(world: &World) -> Result<Self> {
        let auth = |who: Who| {
            let user = match who {
                Who::Operator => As::Service,
                Who::Member => As::Member,
                Who::Admin => As::Admin,
            };
            let environment: BTreeMap<_, _> = world.environment_as(user).into_iter().collect();
            let of = |key: &str| environment.get(key).cloned().unwrap_or_default();
            anyhow::Ok([of("OS_AUTH_URL"), of("OS_USERNAME"), of("OS_PASSWORD"), of("OS_PROJECT_NAME")])
        };
        Self::new(auth).await
    }

    async fn new(auth: impl Fn(Who) -> Result<[String; 4]>) -> Result<Self> {
        // A second one is told so, and does not matter.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut cloud = Self {
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(std::time::Duration::from_secs(60))
                .build()?,
            tokens: BTreeMap::new(),
            urls: BTreeMap::new(),
            known: Vec::new(),
        };
        for who in Who::ALL {
            let [url, user, password, project] = auth(who)?;
            let body = json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user": {
                    "name": user, "password": password, "domain": {"id": "default"}}}},
                "scope": {"project": {"name": project, "domain": {"id": "default"}}}}});
            let answer = cloud.http.post(format!("{url}/auth/tokens")).json(&body).send().await?;
            let token =
                answer.headers().get("x-subject-token").and_then(|v| v.to_str().ok()).map(str::to_owned);
            let body: Value = answer.json().await?;
            cloud.tokens.insert(who, token.with_context(|| format!("{user} cannot sign in: {body}"))?);
            for (pointer, name) in [("/token/project/id", "project"), ("/token/user/id", "user")] {
                let id = body
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .context("a token has a project and a user")?;
                if !cloud.known.iter().any(|(known, _)| known == id) {
                    cloud.known.push((id.to_owned(), format!("{name}-of-{who:?}")));
                }
            }
            for service in body.pointer("/token/catalog").and_then(Value::as_array).into_iter().flatten() {
                let endpoint =
                    service.pointer("/endpoints/0/url").and_then(Value::as_str).unwrap_or_default();
                for known in [Service::Identity, Service::Network, Service::LoadBalancer] {
                    if service.get("type").is_some_and(|kind| kind == known.kind()) {
                        let url = endpoint.trim_end_matches('/').trim_end_matches("/v3");
                        cloud.urls.insert(known.kind(), url.to_owned());
                    }
                }
            }
        }
        Ok(cloud)
    }

    /// Sends a request whose ids are this cloud's.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send(&self, request: &Request) -> Result<Answer> {
        let Some(url) = self.urls.get(request.service.kind()) else {
            bail!("the catalog has no {}", request.service.kind());
        };
        let method = reqwest::Method::from_bytes(request.method.as_bytes())?;
        let mut sent = self.http.request(method, format!("{url}{}", request.path));
        if let Some(token) = self.tokens.get(&request.who) {
            sent = sent.header("x-auth-token", token);
        }
        if let Some(revision) = request.revision {
            sent = sent.header("if-match", format!("revision_number={revision}"));
        }
        if !request.body.is_null() {
            sent = sent.json(&request.body);
        }
        let answer = sent.send().await.with_context(|| format!("{} {}", request.method, request.path))?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        };
        Ok(Answer { status, body })
    }

    /// The token of somebody, to ask about itself.
    pub fn token(&self, who: Who) -> &str {
        self.tokens.get(&who).map(String::as_str).unwrap_or_default()
    }
}
