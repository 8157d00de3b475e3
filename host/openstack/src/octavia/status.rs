//! The status of everything below a load balancer, in one answer.
//! <https://docs.openstack.org/api-ref/load-balancer/v2/#get-the-load-balancer-status-tree>

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;

use super::{LoadBalancer, Octavia, pending};
use crate::error::Result;
use crate::lenient::{or_default, or_none};
use crate::rest::{Resource, exchange, member};

/// Status of a load balancer and of what its listeners use. Policies, rules and pools that no listener or policy uses are
/// not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct StatusTree {
    /// Id.
    pub id: String,
    /// Name; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// As [`LoadBalancer::provisioning_status`].
    #[serde(default, deserialize_with = "or_default")]
    pub provisioning_status: String,
    /// As [`LoadBalancer::operating_status`].
    #[serde(default, deserialize_with = "or_default")]
    pub operating_status: String,
    /// Its listeners.
    #[serde(default, deserialize_with = "or_default")]
    pub listeners: Vec<ListenerStatus>,
}

/// Status of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ListenerStatus {
    /// Id.
    pub id: String,
    /// Name; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// As [`super::Listener::provisioning_status`].
    #[serde(default, deserialize_with = "or_default")]
    pub provisioning_status: String,
    /// As [`super::Listener::operating_status`].
    #[serde(default, deserialize_with = "or_default")]
    pub operating_status: String,
    /// Its default pool and those of its policies. A pool that several listeners use is below each.
    #[serde(default, deserialize_with = "or_default")]
    pub pools: Vec<PoolStatus>,
}

/// Status of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct PoolStatus {
    /// Id.
    pub id: String,
    /// Name; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// As [`super::Pool::provisioning_status`].
    #[serde(default, deserialize_with = "or_default")]
    pub provisioning_status: String,
    /// As [`super::Pool::operating_status`].
    #[serde(default, deserialize_with = "or_default")]
    pub operating_status: String,
    /// Its health monitor.
    #[serde(default, alias = "healthmonitor", deserialize_with = "or_none")]
    pub health_monitor: Option<HealthMonitorStatus>,
    /// Its members.
    #[serde(default, deserialize_with = "or_default")]
    pub members: Vec<MemberStatus>,
}

/// Status of a health monitor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct HealthMonitorStatus {
    /// Id.
    pub id: String,
    /// Name; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// `type`, as [`super::HealthMonitor::kind`].
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    /// As [`super::HealthMonitor::provisioning_status`].
    #[serde(default, deserialize_with = "or_default")]
    pub provisioning_status: String,
    /// As [`super::HealthMonitor::operating_status`].
    #[serde(default, deserialize_with = "or_default")]
    pub operating_status: String,
}

/// Status of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct MemberStatus {
    /// Id.
    pub id: String,
    /// Name; empty if it has none.
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    /// As [`super::Member::provisioning_status`].
    #[serde(default, deserialize_with = "or_default")]
    pub provisioning_status: String,
    /// As [`super::Member::operating_status`].
    #[serde(default, deserialize_with = "or_default")]
    pub operating_status: String,
    /// Address.
    #[serde(default, deserialize_with = "or_default")]
    pub address: String,
    /// Port.
    #[serde(default, deserialize_with = "or_none")]
    pub protocol_port: Option<u16>,
}

impl StatusTree {
    /// Whether anything in it is pending: a provider may be at work on parts when the load balancer is `ACTIVE` again, and
    /// these refuse changes.
    pub fn pending(&self) -> bool {
        pending(&self.provisioning_status)
            || self
                .listeners
                .iter()
                .any(|l| pending(&l.provisioning_status) || l.pools.iter().any(PoolStatus::pending))
    }
}

impl PoolStatus {
    /// Whether it, its health monitor or one of its members is pending.
    pub fn pending(&self) -> bool {
        pending(&self.provisioning_status)
            || self.health_monitor.as_ref().is_some_and(|m| pending(&m.provisioning_status))
            || self.members.iter().any(|m| pending(&m.provisioning_status))
    }
}

impl Octavia {
    /// The status of a load balancer and of what its listeners use, in one request.
    ///
    /// # Errors
    /// [`crate::RetryClass::NotFound`] if there is no such load balancer.
    pub async fn status_tree(&self, loadbalancer_id: &str) -> Result<StatusTree> {
        let request = member::<LoadBalancer>(Method::GET, loadbalancer_id, "/status")?;
        let mut statuses: BTreeMap<String, StatusTree> =
            exchange(self.session(), &request, "statuses").await?;
        statuses.remove(LoadBalancer::SINGULAR).ok_or_else(|| {
            let message = "unexpected answer: no load balancer among the statuses";
            request.error(crate::RetryClass::Transient, crate::ErrorKind::Decode, message)
        })
    }
}
