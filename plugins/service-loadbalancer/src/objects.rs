//! Slim Kubernetes objects: what this mapping reads of them.

use std::net::IpAddr;

use isthmus_sdk::objects::Text;
use isthmus_sdk::prelude::*;
use serde::Deserialize;

/// A Service.
#[derive(Debug, Deserialize)]
pub(crate) struct Service<'a> {
    #[serde(borrow)]
    pub(crate) metadata: ObjectMeta<'a>,
    #[serde(borrow, default)]
    pub(crate) spec: Spec<'a>,
    #[serde(borrow, default)]
    pub(crate) status: Status<'a>,
}

/// `spec` of a Service.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(rename = "clusterIP")]
    pub(crate) cluster_ip: Option<Text<'a>>,
    #[serde(default, rename = "clusterIPs")]
    pub(crate) cluster_ips: Vec<Text<'a>>,
    #[serde(default)]
    pub(crate) ip_families: Vec<Text<'a>>,
    #[serde(default)]
    pub(crate) ports: Vec<ServicePort<'a>>,
    #[serde(default)]
    pub(crate) publish_not_ready_addresses: bool,
    pub(crate) session_affinity: Option<Text<'a>>,
    pub(crate) session_affinity_config: Option<AffinityConfig>,
    pub(crate) load_balancer_class: Option<Text<'a>>,
    #[serde(rename = "loadBalancerIP")]
    pub(crate) load_balancer_ip: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) load_balancer_source_ranges: Vec<Text<'a>>,
    pub(crate) internal_traffic_policy: Option<Text<'a>>,
    pub(crate) external_traffic_policy: Option<Text<'a>>,
    #[serde(default, rename = "externalIPs")]
    pub(crate) external_ips: Vec<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ServicePort<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Text<'a>,
    pub(crate) protocol: Option<Text<'a>>,
    pub(crate) port: u16,
}

impl ServicePort<'_> {
    /// `TCP`, `UDP` or `SCTP`.
    pub(crate) fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or("TCP")
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct AffinityConfig {
    #[serde(rename = "clientIP")]
    pub(crate) client_ip: Option<ClientIp>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClientIp {
    pub(crate) timeout_seconds: Option<u32>,
}

/// `status` of a Service: what was said before.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status<'a> {
    #[serde(borrow, default)]
    pub(crate) load_balancer: LoadBalancerStatus<'a>,
    #[serde(default)]
    pub(crate) conditions: Vec<SaidCondition<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SaidCondition<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Text<'a>,
    pub(crate) status: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct LoadBalancerStatus<'a> {
    #[serde(borrow, default)]
    pub(crate) ingress: Vec<Ingress<'a>>,
}

/// An address that clients from outside use.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ingress<'a> {
    #[serde(borrow)]
    pub(crate) ip: Option<Text<'a>>,
    pub(crate) hostname: Option<Text<'a>>,
    pub(crate) ip_mode: Option<Text<'a>>,
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Part of names of entries.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }
}
