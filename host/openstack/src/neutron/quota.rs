//! Quotas and their use (extension `quota_details`).
//! <https://docs.openstack.org/api-ref/network/v2/#quotas-details-extension-quota-details>

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;

use super::Neutron;
use crate::catalog::NETWORK;
use crate::error::Result;
use crate::lenient::or_default;
use crate::rest::{exchange, one_of};
use crate::session::Request;

/// Quotas by kind of resource, in the singular (`port`, `security_group_rule`).
pub type Quotas = BTreeMap<String, Quota>;

/// How many of a kind a project may have, and has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Quota {
    /// How many it may have; -1 for any number.
    #[serde(default, deserialize_with = "or_default")]
    pub limit: i64,
    /// How many it has.
    #[serde(default, deserialize_with = "or_default")]
    pub used: i64,
    /// How many are being made.
    #[serde(default, deserialize_with = "or_default")]
    pub reserved: i64,
}

impl Neutron {
    /// The quotas of a project.
    ///
    /// # Errors
    /// [`crate::RetryClass::NotFound`] where the extension is missing, [`crate::RetryClass::Forbidden`] for another project.
    pub async fn quotas(&self, project_id: &str) -> Result<Quotas> {
        let all = Request::new(NETWORK, "quotas", Method::GET, "/v2.0/quotas".to_owned());
        let request = one_of(all, project_id, "/details")?;
        let quotas: BTreeMap<String, Option<Quota>> = exchange(&self.session, &request, "quota").await?;
        Ok(quotas.into_iter().map(|(kind, quota)| (kind, quota.unwrap_or_default())).collect())
    }
}
