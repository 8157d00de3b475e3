//! Signing in at Keystone (Identity API v3) and keeping the token.
//!
//! <https://docs.openstack.org/api-ref/identity/v3/#authentication-and-token-management>

mod cache;
mod request;

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::Secret;
use crate::catalog::Catalog;
use crate::lenient::or_default;

pub(crate) use cache::TokenCache;
pub(crate) use request::{TOKENS, base, body};

/// A token, what it is good for, and until when.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token itself.
    pub secret: Secret,
    /// The project it is for, if it is for one.
    pub project_id: Option<String>,
    /// The user it was given to.
    pub user_id: Option<String>,
    /// Names of the roles it carries.
    pub roles: Vec<String>,
    /// Endpoints of the services.
    pub catalog: Catalog,
    /// When it was asked for, on this machine's clock.
    pub(crate) asked: Instant,
    /// How long it lives from then on.
    pub(crate) lifetime: Duration,
}

/// Before this much of its life is left a token is renewed by whoever comes first, while others go on with it.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// With less than this left nobody uses a token: it could expire on its way through the services (the margin of
/// keystoneauth).
const STALE_BEFORE: Duration = Duration::from_secs(30);
/// Where Keystone says no lifetime we assume its default, an hour.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

impl Token {
    /// Reads Keystone's answer. The lifetime is the difference of two of *its* times, counted from the moment we
    /// asked, so that a difference between its clock and ours does not matter.
    ///
    /// # Errors
    /// The body has no token object.
    pub(crate) fn parse(secret: Secret, body: &[u8], asked: Instant) -> Result<Self, serde_json::Error> {
        let Body { token } = serde_json::from_slice(body)?;
        let lifetime = match (token.issued_at.parse(), token.expires_at.parse::<jiff::Timestamp>()) {
            (Ok(issued), Ok(expires)) => {
                Duration::try_from(expires.duration_since(issued)).unwrap_or_default()
            }
            _ => DEFAULT_LIFETIME,
        };
        Ok(Self {
            secret,
            project_id: token.project.map(|p| p.id).filter(|id| !id.is_empty()),
            user_id: token.user.map(|u| u.id).filter(|id| !id.is_empty()),
            roles: token.roles.into_iter().map(|r| r.name).collect(),
            catalog: token.catalog,
            asked,
            lifetime,
        })
    }

    fn left(&self, now: Instant) -> Duration {
        self.lifetime.saturating_sub(now.duration_since(self.asked))
    }

    /// Whether a request may still be sent with it. Of a short life the margin is a quarter.
    pub(crate) fn usable(&self, now: Instant) -> bool {
        self.left(now) > STALE_BEFORE.min(self.lifetime / 4)
    }

    /// Whether it is time to get another one, although this one is good.
    pub(crate) fn due(&self, now: Instant) -> bool {
        self.left(now) <= RENEW_BEFORE.min(self.lifetime / 2)
    }
}

#[derive(Deserialize)]
struct Body {
    token: TokenBody,
}

#[derive(Deserialize)]
struct TokenBody {
    #[serde(default, deserialize_with = "or_default")]
    issued_at: String,
    #[serde(default, deserialize_with = "or_default")]
    expires_at: String,
    #[serde(default)]
    project: Option<WithId>,
    #[serde(default)]
    user: Option<WithId>,
    #[serde(default, deserialize_with = "or_default")]
    roles: Vec<Role>,
    #[serde(default, deserialize_with = "or_default")]
    catalog: Catalog,
}

#[derive(Deserialize)]
struct WithId {
    #[serde(default, deserialize_with = "or_default")]
    id: String,
}

#[derive(Deserialize)]
struct Role {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
}

#[cfg(test)]
pub(crate) fn token_for_tests(secret: &str, lifetime: Duration) -> Token {
    Token {
        secret: Secret::new(secret),
        project_id: None,
        user_id: None,
        roles: Vec::new(),
        catalog: Catalog::default(),
        asked: Instant::now(),
        lifetime,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lifetime_ignores_the_difference_of_the_clocks() {
        let body = r#"{"token": {"issued_at": "1999-01-01T00:00:00.000000Z", "expires_at": "1999-01-01T01:00:00.000000Z",
            "project": {"id": "p", "name": "demo"}, "user": {"id": "u"}, "roles": [{"name": "member"}, {"id": 1}],
            "catalog": null, "something": "new"}}"#;
        let token = Token::parse(Secret::new("s"), body.as_bytes(), Instant::now()).unwrap();
        assert_eq!(token.lifetime, Duration::from_secs(3600));
        assert_eq!((token.project_id.as_deref(), token.user_id.as_deref()), (Some("p"), Some("u")));
        assert_eq!(token.roles, ["member", ""]);
        for (minutes, usable, due) in
            [(0, true, false), (54, true, false), (55, true, true), (60, false, true)]
        {
            let now = token.asked + Duration::from_secs(60 * minutes);
            assert_eq!((token.usable(now), token.due(now)), (usable, due), "{minutes}");
        }
        assert!(!token.usable(token.asked + Duration::from_secs(3571)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_times_is_a_token_too() {
        let token = Token::parse(Secret::new("s"), br#"{"token": {}}"#, Instant::now()).unwrap();
        assert_eq!(token.lifetime, DEFAULT_LIFETIME);
        let nameless = br#"{"token": {"project": {}, "user": {"id": null}}}"#;
        let token = Token::parse(Secret::new("s"), nameless, Instant::now()).unwrap();
        assert_eq!((token.project_id, token.user_id), (None, None));
        assert!(Token::parse(Secret::new("s"), b"{}", Instant::now()).is_err());
    }
}
