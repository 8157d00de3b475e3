//! What a Neutron can do. <https://docs.openstack.org/api-ref/network/v2/#extensions>

use std::collections::BTreeSet;

use reqwest::Method;
use serde::Deserialize;

use super::Neutron;
use crate::catalog::NETWORK;
use crate::error::Result;
use crate::rest::exchange;
use crate::session::Request;

/// Aliases of the extensions that are there (`address-group`, `tag-creation`, `revision-if-match`).
pub type Extensions = BTreeSet<String>;

#[derive(Deserialize)]
struct Extension {
    alias: String,
}

impl Neutron {
    /// The extensions of this Neutron.
    ///
    /// # Errors
    /// The service gave no answer.
    pub async fn extensions(&self) -> Result<Extensions> {
        let mut request = Request::new(NETWORK, "extensions", Method::GET, "/v2.0/extensions".to_owned());
        // The whole list with its descriptions has 60 KB.
        request.query.push(("fields".to_owned(), "alias".to_owned()));
        let all: Vec<Extension> = exchange(&self.session, &request, "extensions").await?;
        Ok(all.into_iter().map(|e| e.alias).collect())
    }
}
