//! Barbican, the key manager, as far as certificates of load balancers need it: secrets are made, listed, deleted, and
//! never read.
//!
//! <https://docs.openstack.org/barbican/latest/api/reference/secrets.html>
//!
//! Octavia reads a certificate with its key from *one* secret, a PKCS #12 bundle, or from a container of up to four
//! secrets. One secret is one call: it is there or it is not, and has one name to be found by. The bundle is written
//! here ([`Bundle`]), unencrypted, as Octavia itself writes one: Barbican is what keeps it.
//!
//! # Who may do it
//! - The operator's user needs the role `creator` in its project, to make secrets and to delete its own.
//! - Octavia's user has to read them. With Octavia's default `[certificates] barbican_auth = barbican_acl_auth` Octavia
//!   adds itself to a secret's ACL, by the token of who refers to the secret: that works for secrets that the same user
//!   made, so the operator's one credential does both. Nothing is to be granted by hand.

mod bundle;
mod der;
mod secret;

use reqwest::Method;
use serde::Deserialize;

use crate::catalog::KEY_MANAGER;
use crate::error::{ErrorKind, Result};
use crate::rest::{self, Deleted};
use crate::session::{Request, Session, segment};
use isthmus_model::retry::RetryClass;

pub use bundle::{Bundle, BundleError, Part};
pub use secret::{Secret, SecretCreate};

/// What the paths of its collections begin with.
const ROOT: &str = "/v1/secrets";
/// Secrets of a page: Barbican's default for the most that it gives.
const PAGE: usize = 100;
/// How often a list starts anew because a secret went meanwhile.
const RESTARTS: u32 = 5;

/// The key manager of a session.
#[derive(Debug, Clone)]
pub struct Barbican {
    session: Session,
    page: usize,
}

#[derive(Deserialize)]
struct Page {
    secrets: Vec<Secret>,
    total: usize,
}

#[derive(Deserialize)]
struct Made {
    secret_ref: String,
}

impl Barbican {
    /// The key manager of `session`.
    pub fn new(session: Session) -> Self {
        Self { session, page: PAGE }
    }

    /// Lists in pages of `page` secrets (at least two), for tests of paging.
    #[must_use]
    pub fn with_page(self, page: usize) -> Self {
        Self { page: page.max(2), ..self }
    }

    /// Makes a secret. Answers its reference: its URL, by which others refer to it.
    ///
    /// # Errors
    /// With [`RetryClass::Unknown`] it may have been made: look for it by its name before another attempt.
    /// [`RetryClass::Forbidden`] without the role `creator`, [`RetryClass::Quota`] if the project may have no more. No error
    /// holds the payload.
    pub async fn create(&self, body: &SecretCreate<'_>) -> Result<String> {
        let mut request = Request::new(KEY_MANAGER, "secrets", Method::POST, ROOT.to_owned());
        request.sensitive = true;
        let body = serde_json::to_vec(body);
        request.body = Some(body.map_err(|_| {
            request.error(RetryClass::Invalid, ErrorKind::Request, "the secret can't be written as JSON")
        })?);
        let response = self.session.send(&request).await?;
        Ok(response.json::<Made>(&request)?.secret_ref)
    }

    /// All secrets of the project whose names begin with `prefix`, without their payload, by name.
    ///
    /// # Guarantee
    /// What exists from the beginning to the end is in it exactly once. Barbican pages by position, which moves when a secret
    /// goes; so each page begins with the last secret of the one before, and where it does not, the list starts anew.
    ///
    /// # Assumption
    /// Names that begin so are unique.
    ///
    /// # Errors
    /// A page failed, or secrets go faster than they are listed. There is no partial result.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Secret>> {
        let mut restarts = 0;
        let mut all: Vec<Secret> = Vec::new();
        loop {
            let offset = all.len().saturating_sub(1);
            let (request, page) = self.page(prefix, offset).await?;
            let total = page.total;
            let mut page = page.secrets.into_iter().peekable();
            let follows =
                all.is_empty() || page.next().as_ref().map(Secret::id) == all.last().map(Secret::id);
            let goes_on = all.len() >= total || page.peek().is_some();
            if follows && goes_on {
                all.extend(page);
                if all.len() >= total {
                    break;
                }
                continue;
            }
            restarts += 1;
            if restarts > RESTARTS {
                let message = "the list changes while it is read";
                return Err(request.error(RetryClass::Transient, ErrorKind::Decode, message));
            }
            all.clear();
        }
        // `%` and `_` mean something in a filter: what it lets through is looked at again.
        all.retain(|secret| secret.name.starts_with(prefix));
        Ok(all)
    }

    async fn page(&self, prefix: &str, offset: usize) -> Result<(Request, Page)> {
        let mut request = Request::new(KEY_MANAGER, "secrets", Method::GET, ROOT.to_owned());
        let query = [
            // "Selects all secrets with name similar to this value": LIKE of SQL.
            ("name", format!("{prefix}%")),
            ("sort", "name:asc".to_owned()),
            ("limit", self.page.to_string()),
            ("offset", offset.to_string()),
        ];
        request.query = query.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let response = self.session.send(&request).await?;
        let page = response.json(&request)?;
        Ok((request, page))
    }

    /// One secret, without its payload.
    ///
    /// # Errors
    /// [`RetryClass::NotFound`] if there is none.
    pub async fn get(&self, id: &str) -> Result<Secret> {
        let request = one(Method::GET, id)?;
        self.session.send(&request).await?.json(&request)
    }

    /// Deletes a secret. That it is gone already is a success.
    ///
    /// # Errors
    /// [`RetryClass::Forbidden`] for a secret that somebody else made.
    pub async fn delete(&self, id: &str) -> Result<Deleted> {
        rest::delete(&self.session, &one(Method::DELETE, id)?).await
    }
}

fn one(method: Method, id: &str) -> Result<Request> {
    let mut request = Request::new(KEY_MANAGER, "secrets", method, ROOT.to_owned());
    let id = segment(id).map_err(|e| request.error(RetryClass::Invalid, ErrorKind::Request, e))?;
    request.path = format!("{ROOT}/{id}");
    Ok(request)
}
