//! What a cloud offers: providers and flavors. <https://docs.openstack.org/api-ref/load-balancer/v2/#providers>

use reqwest::Method;
use serde::Deserialize;

use super::Octavia;
use crate::catalog::LOAD_BALANCER;
use crate::error::Result;
use crate::lenient::{or_default, or_none};
use crate::rest::{Resource, Service, exchange};
use crate::session::Request;

/// A provider: what runs load balancers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Provider {
    /// Name: `amphora`, `ovn`, ...
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// What the cloud's operator says of it.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
}

/// A flavor: settings of a provider that the cloud's operator has put together (API 2.6).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Flavor {
    /// Id.
    pub id: String,
    /// Name, unique in the cloud.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// Description; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub description: String,
    /// Whether load balancers can be made with it.
    #[serde(default, deserialize_with = "or_none")]
    pub enabled: Option<bool>,
}

impl Octavia {
    /// The enabled providers. Which of them is the default, Octavia does not say.
    ///
    /// # Errors
    /// The service gave no answer; [`crate::RetryClass::NotFound`] or transient before API 2.6, which has no such list.
    pub async fn providers(&self) -> Result<Vec<Provider>> {
        let path = format!("{}/providers", Self::ROOT);
        let request = Request::new(LOAD_BALANCER, "providers", Method::GET, path);
        exchange(self.session(), &request, "providers").await
    }

    /// The flavor with this id or, if there is none, with this name.
    ///
    /// # Errors
    /// The service gave no answer. That there is none is `None`.
    pub async fn flavor(&self, id_or_name: &str) -> Result<Option<Flavor>> {
        // There are few, and a request for a name that is no id would be a 404.
        let all = self.list::<Flavor>(&[]).await?;
        let by_id = all.iter().find(|f| f.id == id_or_name);
        Ok(by_id.or_else(|| all.iter().find(|f| f.name == id_or_name)).cloned())
    }
}

impl Resource for Flavor {
    type In = Octavia;
    const PATH: &'static str = "flavors";
    const SINGULAR: &'static str = "flavor";
    const PLURAL: &'static str = "flavors";

    fn id(&self) -> &str {
        &self.id
    }
}
