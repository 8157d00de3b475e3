//! Keystone, as far as clients need it: versions, sign-in by password, token and application credential, tokens of one hour,
//! a catalog, and the lists that commands look names up in.
//!
//! <https://docs.openstack.org/api-ref/identity/v3/>

mod people;
mod tokens;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::Options;
use crate::call::{Call, Caller, Reply};
use crate::ids::Ids;
pub use people::As;
use people::{DOMAIN, Project, User};
pub(crate) use people::{OTHER_PROJECT, PROJECT};
use tokens::Tokens;

/// Name and id of the region.
pub(crate) const REGION: &str = "RegionOne";

/// A refused request.
pub(crate) type Refusal = Reply;

/// The identity service.
#[derive(Debug)]
pub(crate) struct Keystone {
    url: String,
    options: Options,
    tokens: Tokens,
    credentials: Vec<Credential>,
    ids: Ids,
}

/// An application credential.
#[derive(Debug)]
struct Credential {
    id: String,
    name: String,
    secret: String,
    user: String,
    project: String,
    description: String,
}

impl Keystone {
    /// `url`: of the world.
    pub(crate) fn new(url: String, options: Options) -> Self {
        Self { url, options, tokens: Tokens::default(), credentials: Vec::new(), ids: Ids::new(0x1d) }
    }

    /// Whose token this is, if it is a good one.
    pub(crate) fn caller(&self, token: &str) -> Option<Caller> {
        self.tokens.get(token).map(tokens::Token::caller)
    }

    pub(crate) fn revoke_all(&mut self) {
        self.tokens.clear();
    }

    /// Name of a user, by which it signs in, and of its project.
    pub(crate) fn names(&self, who: As) -> (String, String) {
        let user = who.user(&self.options);
        let project = people::projects(&self.options).into_iter().find(|p| p.id == user.project);
        (user.name, project.map(|p| p.name).unwrap_or_default())
    }

    /// What needs no token: `None` for everything else.
    pub(crate) fn open_call(&mut self, method: &str, path: &str, body: &Value) -> Option<Reply> {
        let reply = match (method, path.trim_end_matches('/')) {
            ("GET" | "HEAD", "") => {
                let body = json!({"versions": {"values": [self.version()]}});
                Reply::new(StatusCode::MULTIPLE_CHOICES, body)
            }
            ("GET" | "HEAD", "/v3") => Reply::ok(json!({"version": self.version()})),
            ("POST", "/v3/auth/tokens") => self.sign_in(body).unwrap_or_else(|refused| refused),
            _ => return None,
        };
        Some(reply)
    }

    fn version(&self) -> Value {
        json!({"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
               "links": [{"rel": "self", "href": format!("{}/v3/", self.url)}],
               "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}]})
    }

    /// Does what is asked for by somebody. `subject`: the token that it is about.
    pub(crate) fn call(&mut self, call: &Call<'_>, subject: &str) -> Reply {
        self.answer(call, subject).unwrap_or_else(|refused| refused)
    }

    fn answer(&mut self, call: &Call<'_>, subject: &str) -> Result<Reply, Refusal> {
        let segments = call.segments();
        let (method, Some(("v3", rest))) =
            (call.method.as_str(), segments.split_first().map(|(v, r)| (*v, r)))
        else {
            return Err(not_modelled(call));
        };
        match (method, rest) {
            ("GET" | "HEAD", ["auth", "tokens"]) => {
                let token = self.tokens.get(subject).ok_or_else(|| not_found("token", subject))?;
                Ok(Reply { token: Some(subject.to_owned()), ..Reply::ok(self.described(token)) })
            }
            ("DELETE", ["auth", "tokens"]) if self.tokens.revoke(subject) => Ok(Reply::empty()),
            ("DELETE", ["auth", "tokens"]) => Err(not_found("token", subject)),
            ("GET", ["auth", "catalog"]) => Ok(self.list("catalog", vec![], Some(self.catalog()))),
            ("GET", ["auth", "projects"]) => {
                let projects = self.projects(call, |p| p.id == call.caller.project);
                Ok(self.list("projects", projects, None))
            }
            ("GET", ["users", user, "projects"]) if *user == call.caller.user => {
                let projects = self.projects(call, |p| p.id == call.caller.project);
                Ok(self.list("projects", projects, None))
            }
            (_, ["users", user, "application_credentials", rest @ ..]) => self.credentials(call, user, rest),
            (
                "GET",
                [
                    kind
                    @ ("projects" | "users" | "roles" | "services" | "endpoints" | "domains" | "regions"),
                    rest @ ..,
                ],
            ) => self.directory(call, kind, rest),
            _ => Err(not_modelled(call)),
        }
    }

    fn directory(&self, call: &Call<'_>, kind: &str, rest: &[&str]) -> Result<Reply, Refusal> {
        let all = match kind {
            "projects" => self.projects(call, |_| true),
            "users" => people::users(&self.options).iter().map(|u: &User| u.shown(&self.url)).collect(),
            "roles" => people::roles(&self.url),
            "services" => self.services(),
            "endpoints" => self.endpoints(),
            "regions" => vec![json!({"id": REGION, "description": "", "parent_region_id": null})],
            _ => vec![
                json!({"id": DOMAIN, "name": "Default", "enabled": true, "description": "The default domain",
                             "options": {}, "tags": []}),
            ],
        };
        let singular = kind.trim_end_matches('s');
        let own = |one: &Value| {
            one.get("id").is_some_and(|id| *id == call.caller.project || *id == call.caller.user)
        };
        match rest {
            [] if call.caller.admin => {
                let asked = |one: &Value| {
                    call.query.iter().all(|(key, value)| one.get(key).is_none_or(|held| held == value))
                };
                Ok(self.list(kind, all.into_iter().filter(asked).collect(), None))
            }
            [] => Err(forbidden(&format!("list_{kind}"))),
            [id] => {
                let found = all.into_iter().find(|one| one.get("id").is_some_and(|i| i == id));
                match found {
                    Some(one) if call.caller.admin || own(&one) => Ok(Reply::ok(json!({singular: one}))),
                    None if call.caller.admin => Err(not_found(singular, id)),
                    _ => Err(forbidden(&format!("get_{singular}"))),
                }
            }
            _ => Err(not_modelled(call)),
        }
    }

    fn projects(&self, call: &Call<'_>, of: impl Fn(&Project) -> bool) -> Vec<Value> {
        let named = |p: &Project| call.queried("name").is_none_or(|name| name == p.name);
        let all = people::projects(&self.options);
        all.iter().filter(|p| of(p) && named(p)).map(|p| p.shown(&self.url)).collect()
    }

    fn credentials(&mut self, call: &Call<'_>, user: &str, rest: &[&str]) -> Result<Reply, Refusal> {
        if call.caller.user != user {
            return Err(forbidden("list_application_credentials"));
        }
        let url = self.url.clone();
        match (call.method.as_str(), rest) {
            ("GET", []) => {
                let named = |c: &&Credential| call.queried("name").is_none_or(|name| name == c.name);
                let own = self.credentials.iter().filter(|c| c.user == user).filter(named);
                let shown = own.map(|c| c.shown(&url)).collect();
                Ok(self.list("application_credentials", shown, None))
            }
            ("POST", []) => {
                let asked = call.body.get("application_credential").cloned().unwrap_or_default();
                let text =
                    |name: &str| asked.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                if self.credentials.iter().any(|c| c.user == user && c.name == text("name")) {
                    let message = "Conflict occurred attempting to store application_credential - Duplicate entry found with name ";
                    return Err(refusal(StatusCode::CONFLICT, &format!("{message}{}.", text("name"))));
                }
                let id = self.ids.next().replace('-', "");
                let secret = match text("secret") {
                    given if given.is_empty() => format!("secret-of-{id}"),
                    given => given,
                };
                let project = call.caller.project.clone();
                let made = Credential {
                    id,
                    name: text("name"),
                    secret,
                    user: user.to_owned(),
                    project,
                    description: text("description"),
                };
                let mut shown = made.shown(&url);
                // Shown this once.
                if let Some(object) = shown.as_object_mut() {
                    object.insert("secret".into(), json!(made.secret));
                }
                self.credentials.push(made);
                Ok(Reply::new(StatusCode::CREATED, json!({"application_credential": shown})))
            }
            (method, [id]) => {
                let at = self.credentials.iter().position(|c| c.user == user && c.id == *id);
                let at = at.ok_or_else(|| not_found("application_credential", id))?;
                if method == "DELETE" {
                    self.credentials.remove(at);
                    return Ok(Reply::empty());
                }
                let shown = self.credentials.get(at).map(|c| c.shown(&url));
                Ok(Reply::ok(json!({"application_credential": shown})))
            }
            _ => Err(not_modelled(call)),
        }
    }

    fn list(&self, kind: &str, all: Vec<Value>, instead: Option<Value>) -> Reply {
        let links = json!({"next": null, "previous": null, "self": format!("{}/v3/{kind}", self.url)});
        Reply::ok(json!({kind: instead.unwrap_or(Value::Array(all)), "links": links}))
    }

    /// Type and name of each service, and its URL.
    fn served(&self) -> [(&'static str, &'static str, String); 3] {
        let url = &self.url;
        [
            ("identity", "keystone", format!("{url}/v3")),
            ("network", "neutron", format!("{url}/network")),
            ("load-balancer", "octavia", format!("{url}/load-balancer")),
        ]
    }

    fn services(&self) -> Vec<Value> {
        let shown = |(kind, name, _): &(&str, &str, String)| json!({"id": service_id(kind), "type": kind, "name": name, "enabled": true});
        self.served().iter().map(shown).collect()
    }

    fn endpoints(&self) -> Vec<Value> {
        let of = |(kind, _, url): &(&str, &str, String)| {
            let one = |interface: &str| {
                json!({"id": format!("{}{interface}", service_id(kind)), "interface": interface, "region": REGION,
                       "region_id": REGION, "url": url, "service_id": service_id(kind), "enabled": true})
            };
            ["public", "internal", "admin"].map(one)
        };
        self.served().iter().flat_map(of).collect()
    }

    fn catalog(&self) -> Value {
        let service = |(kind, name, url): &(&str, &str, String)| {
            let endpoint = |interface: &str| {
                json!({"id": format!("{}{interface}", service_id(kind)), "interface": interface, "region": REGION,
                       "region_id": REGION, "url": url})
            };
            let endpoints = ["public", "internal", "admin"].map(endpoint);
            json!({"id": service_id(kind), "type": kind, "name": name, "endpoints": endpoints})
        };
        self.served().iter().map(service).collect()
    }
}

impl Credential {
    fn shown(&self, url: &str) -> Value {
        json!({"id": self.id, "name": self.name, "description": self.description, "project_id": self.project,
               "roles": [{"name": "member"}], "expires_at": null, "unrestricted": false, "system": null,
               "links": {"self": format!("{url}/v3/users/{}/application_credentials/{}", self.user, self.id)}})
    }
}

fn service_id(kind: &str) -> String {
    format!("world-{kind}")
}

/// What Keystone, and its middleware in front of the services, says to a wrong credential or token.
pub(crate) fn unauthorized() -> Refusal {
    refusal(StatusCode::UNAUTHORIZED, "The request you have made requires authentication.")
}

fn forbidden(action: &str) -> Refusal {
    let message = format!("You are not authorized to perform the requested action: identity:{action}.");
    refusal(StatusCode::FORBIDDEN, &message)
}

fn not_found(kind: &str, id: &str) -> Refusal {
    refusal(StatusCode::NOT_FOUND, &format!("Could not find {kind}: {id}."))
}

fn not_modelled(call: &Call<'_>) -> Refusal {
    let message = format!("isthmus-world does not model {} {}", call.method, call.path);
    refusal(StatusCode::NOT_IMPLEMENTED, &message)
}

pub(crate) fn refusal(status: StatusCode, message: &str) -> Refusal {
    let title = status.canonical_reason().unwrap_or_default();
    Reply::new(status, json!({"error": {"code": status.as_u16(), "title": title, "message": message}}))
}
