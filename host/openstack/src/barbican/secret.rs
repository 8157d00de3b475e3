//! Secrets, without what they hold.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Bundle;
use crate::lenient::or_default;

/// A secret as Barbican shows it. What it holds is another request, which this client does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Secret {
    /// Its URL: what others refer to it by.
    pub secret_ref: String,
    /// Name; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// `ACTIVE`, `PENDING`, `ERROR`, or what a later release adds.
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    /// When it was made, ISO 8601 in UTC without a zone: two of these compare as text.
    #[serde(default, deserialize_with = "or_default")]
    pub created: String,
}

impl Secret {
    /// Its id: the end of its URL.
    pub fn id(&self) -> &str {
        Self::id_of(&self.secret_ref)
    }

    /// The id in a reference.
    pub fn id_of(secret_ref: &str) -> &str {
        let whole = secret_ref.trim_end_matches('/');
        whole.rsplit_once('/').map_or(whole, |(_, id)| id)
    }
}

/// Body of a secret's creation.
#[derive(Serialize)]
pub struct SecretCreate<'a> {
    name: &'a str,
    payload: String,
    payload_content_type: &'static str,
    payload_content_encoding: &'static str,
    secret_type: &'static str,
}

impl<'a> SecretCreate<'a> {
    /// A secret of at most 255 characters of name that holds a bundle.
    pub fn new(name: &'a str, bundle: &Bundle) -> Self {
        Self {
            name,
            payload: STANDARD.encode(bundle.payload()),
            payload_content_type: "application/octet-stream",
            payload_content_encoding: "base64",
            secret_type: "opaque",
        }
    }
}

/// Without what it holds.
impl std::fmt::Debug for SecretCreate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretCreate").field("name", &self.name).finish_non_exhaustive()
    }
}
