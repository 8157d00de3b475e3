//! Tags of resources that have them (extension `standard-attr-tag`).
//! <https://docs.openstack.org/api-ref/network/v2/#standard-attributes-tag-extension>

use reqwest::Method;

use super::{Neutron, Resource};
use crate::error::Result;
use crate::rest::{exchange, member, with_body};

impl Neutron {
    /// Replaces all tags of a resource; returns what it has now.
    ///
    /// # Caveat
    /// Tags of others are replaced too: read them first, and keep what is not ours. The API has no revision guard here.
    ///
    /// # Errors
    /// The service refused (a tag has at most 255 characters), or gave no answer.
    pub async fn set_tags<R: Resource>(&self, id: &str, tags: &[String]) -> Result<Vec<String>> {
        let request = with_body(member::<R>(Method::PUT, id, "/tags")?, "tags", tags)?;
        exchange(&self.session, &request, "tags").await
    }
}
