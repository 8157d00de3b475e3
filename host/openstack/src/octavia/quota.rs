//! Quotas. <https://docs.openstack.org/api-ref/load-balancer/v2/#quotas>
//!
//! Octavia says how many a project may have, and not how many it has.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::Value as Json;

use super::Octavia;
use crate::catalog::LOAD_BALANCER;
use crate::error::Result;
use crate::rest::{exchange, one_of};
use crate::session::Request;

/// How many of a kind a project may have, by kind in the singular (`loadbalancer`, `l7policy`); -1 for any number.
pub type Limits = BTreeMap<String, i64>;

impl Octavia {
    /// The limits of a project, those that it has by default among them.
    ///
    /// # Errors
    /// [`crate::RetryClass::Forbidden`] for another project.
    pub async fn limits(&self, project_id: &str) -> Result<Limits> {
        let all = Request::new(LOAD_BALANCER, "quotas", Method::GET, "/v2/lbaas/quotas".to_owned());
        let request = one_of(all, project_id, "")?;
        let quota: BTreeMap<String, Json> = exchange(&self.session, &request, "quota").await?;
        Ok(quota.into_iter().filter_map(|(kind, limit)| Some((kind, limit.as_i64()?))).collect())
    }
}
