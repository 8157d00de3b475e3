//! Sign-in and tokens. <https://docs.openstack.org/api-ref/identity/v3/#authentication-and-token-management>

use std::collections::BTreeMap;

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::people::{self, DOMAIN, User};
use super::{Keystone, Refusal, refusal, unauthorized};
use crate::call::{Caller, Reply};

/// Keystone's default.
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);

/// The tokens that are good.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    given: u64,
    good: BTreeMap<String, Token>,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    user: User,
    method: &'static str,
    issued: Timestamp,
    expires: Timestamp,
    /// Without a project it has no roles and no catalog.
    scoped: bool,
}

impl Tokens {
    pub(super) fn clear(&mut self) {
        self.good.clear();
    }

    pub(super) fn revoke(&mut self, token: &str) -> bool {
        self.good.remove(token).is_some()
    }

    pub(super) fn get(&self, token: &str) -> Option<&Token> {
        self.good.get(token).filter(|found| found.expires > Timestamp::now())
    }

    fn give(&mut self, token: Token) -> String {
        self.given += 1;
        let text = format!("world-token-{}", self.given);
        self.good.insert(text.clone(), token);
        text
    }
}

impl Token {
    pub(super) fn caller(&self) -> Caller {
        let has = |role| self.scoped && self.user.roles.contains(&role);
        let project = if self.scoped { self.user.project } else { "" };
        Caller {
            user: self.user.id.to_owned(),
            project: project.to_owned(),
            admin: has("admin"),
            service: has("service"),
        }
    }
}

impl Keystone {
    /// `POST /v3/auth/tokens`.
    pub(super) fn sign_in(&mut self, body: &Value) -> Result<Reply, Refusal> {
        let method = body.pointer("/auth/identity/methods/0").and_then(Value::as_str).unwrap_or("none");
        let (user, method, expires) = match method {
            "password" => (self.by_password(body), "password", None),
            "token" => {
                let id = body.pointer("/auth/identity/token/id").and_then(Value::as_str);
                let token = id.and_then(|id| self.tokens.get(id));
                (token.map(|t| t.user.clone()), "token", token.map(|t| t.expires))
            }
            "application_credential" => (self.by_credential(body), "application_credential", None),
            other => {
                let message = format!("isthmus-world does not model the method {other:?} of sign-in");
                return Err(refusal(StatusCode::NOT_IMPLEMENTED, &message));
            }
        };
        let user = user.ok_or_else(unauthorized)?;
        // An application credential has its project with it.
        let scoped = method == "application_credential" || self.scope(&user, body)?;
        let issued = Timestamp::now();
        let token = Token { user, method, issued, expires: expires.unwrap_or(issued + LIFETIME), scoped };
        let body = self.described(&token);
        let text = self.tokens.give(token);
        Ok(Reply { status: StatusCode::CREATED, body, token: Some(text) })
    }

    fn by_password(&self, body: &Value) -> Option<User> {
        let user = body.pointer("/auth/identity/password/user")?;
        let found = self.user_of(user)?;
        (user.get("password")?.as_str()? == self.options.password).then_some(found)
    }

    fn by_credential(&self, body: &Value) -> Option<User> {
        let given = body.pointer("/auth/identity/application_credential")?;
        let field = |name: &str| given.get(name).and_then(Value::as_str);
        let credential = match field("id") {
            Some(id) => self.credentials.iter().find(|c| c.id == id),
            None => {
                let user = self.user_of(given.get("user")?)?;
                self.credentials.iter().find(|c| c.user == user.id && Some(c.name.as_str()) == field("name"))
            }
        }?;
        let right = field("secret") == Some(&credential.secret);
        people::users(&self.options).into_iter().find(|user| right && user.id == credential.user)
    }

    /// The user that is named by id, or by name in the domain.
    fn user_of(&self, given: &Value) -> Option<User> {
        let field = |name: &str| given.get(name).and_then(Value::as_str);
        people::users(&self.options).into_iter().find(|user| match field("id") {
            Some(id) => user.id == id,
            None => field("name") == Some(&user.name) && in_domain(given),
        })
    }

    /// Whether the token is for a project.
    fn scope(&self, user: &User, body: &Value) -> Result<bool, Refusal> {
        let Some(scope) = body.pointer("/auth/scope") else { return Ok(false) };
        let Some(project) = scope.get("project") else {
            if scope == "unscoped" || scope.get("unscoped").is_some() {
                return Ok(false);
            }
            return Err(refusal(
                StatusCode::NOT_IMPLEMENTED,
                "isthmus-world models tokens for projects only",
            ));
        };
        let field = |name: &str| project.get(name).and_then(Value::as_str);
        let found = people::projects(&self.options).into_iter().find(|p| match field("id") {
            Some(id) => p.id == id,
            None => field("name") == Some(&p.name) && in_domain(project),
        });
        if found.is_some_and(|p| p.id == user.project) { Ok(true) } else { Err(unauthorized()) }
    }

    /// What a token is: the body of its answers.
    pub(super) fn described(&self, token: &Token) -> Value {
        let domain = json!({"id": DOMAIN, "name": "Default"});
        let text = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string();
        let user = &token.user;
        let mut shown = json!({
            "methods": [token.method],
            "issued_at": text(token.issued),
            "expires_at": text(token.expires),
            "audit_ids": [format!("world-{}", token.issued.as_nanosecond())],
            "user": {"id": user.id, "name": user.name, "domain": domain, "password_expires_at": null},
        });
        let project = people::projects(&self.options).into_iter().find(|p| p.id == user.project);
        if let (Some(object), Some(project), true) = (shown.as_object_mut(), project, token.scoped) {
            object
                .insert("project".into(), json!({"id": project.id, "name": project.name, "domain": domain}));
            object.insert("is_domain".into(), json!(false));
            object.insert("roles".into(), user.roles());
            object.insert("catalog".into(), self.catalog());
        }
        json!({"token": shown})
    }
}

fn in_domain(given: &Value) -> bool {
    given.get("domain").is_none_or(|domain| {
        domain.get("id").is_some_and(|id| id == DOMAIN)
            || domain.get("name").is_some_and(|name| name == "Default")
    })
}
