//! Keystone, as far as a client needs it: password and token sign-in, tokens of one hour, a catalog.
//!
//! <https://docs.openstack.org/api-ref/identity/v3/#authentication-and-token-management>

use std::collections::BTreeSet;

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::Options;

/// Id of the project; Keystone's are 32 hex digits.
pub(crate) const PROJECT: &str = "5f3a0000000000000000000000000001";
/// Name and id of the region.
pub(crate) const REGION: &str = "RegionOne";
/// Id of the user.
const USER: &str = "5f3a0000000000000000000000000002";
/// Keystone's default.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// The tokens that are good.
#[derive(Debug)]
pub(crate) struct Keystone {
    url: String,
    given: u64,
    good: BTreeSet<String>,
}

/// A sign-in that is refused: status and body.
pub(crate) type Refusal = (StatusCode, Value);

impl Keystone {
    pub(crate) fn new(url: String) -> Self {
        Self { url, given: 0, good: BTreeSet::new() }
    }

    /// Whether a request with this token is one of ours.
    pub(crate) fn knows(&self, token: &str) -> bool {
        self.good.contains(token)
    }

    pub(crate) fn revoke_all(&mut self) {
        self.good.clear();
    }

    /// `POST /v3/auth/tokens`: the token, and the body that describes it.
    pub(crate) fn sign_in(&mut self, options: &Options, body: &Value) -> Result<(String, Value), Refusal> {
        let at = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
        let welcome = match at("/auth/identity/methods/0") {
            Some("password") => {
                let user = "/auth/identity/password/user";
                let name = at(&format!("{user}/name")) == Some(&options.user)
                    || at(&format!("{user}/id")) == Some(USER);
                name && at(&format!("{user}/password")) == Some(&options.password)
            }
            Some("token") => at("/auth/identity/token/id").is_some_and(|token| self.knows(token)),
            other => {
                let method = other.unwrap_or("none");
                return Err(refusal(
                    StatusCode::NOT_IMPLEMENTED,
                    &format!("this cloud does not model the method {method:?}"),
                ));
            }
        };
        let scoped = at("/auth/scope/project/name") == Some(&options.project)
            || at("/auth/scope/project/id") == Some(PROJECT);
        if !welcome || !scoped {
            return Err(unauthorized());
        }
        self.given += 1;
        let token = format!("world-token-{}", self.given);
        self.good.insert(token.clone());
        Ok((token, self.description(options)))
    }

    fn description(&self, options: &Options) -> Value {
        let issued = Timestamp::now();
        let service = |kind: &str| {
            let endpoint = |interface: &str| json!({"interface": interface, "region": REGION, "region_id": REGION, "url": self.url});
            let endpoints = ["public", "internal", "admin"].map(endpoint);
            json!({"type": kind, "name": kind, "endpoints": endpoints})
        };
        let domain = json!({"id": "default", "name": "Default"});
        json!({"token": {
            "methods": ["password"],
            "issued_at": issued.to_string(),
            "expires_at": (issued + LIFETIME).to_string(),
            "project": {"id": PROJECT, "name": options.project, "domain": domain},
            "user": {"id": USER, "name": options.user, "domain": domain},
            // `service` is what may bind a port to a host.
            "roles": [{"name": "member"}, {"name": "service"}],
            "catalog": [service("identity"), service("network")],
        }})
    }
}

/// What Keystone, and its middleware in front of the services, says to a wrong credential or token.
pub(crate) fn unauthorized() -> Refusal {
    refusal(StatusCode::UNAUTHORIZED, "The request you have made requires authentication.")
}

fn refusal(status: StatusCode, message: &str) -> Refusal {
    let title = status.canonical_reason().unwrap_or_default();
    (status, json!({"error": {"code": status.as_u16(), "title": title, "message": message}}))
}
