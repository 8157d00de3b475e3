//! Services of `v1`.

use super::{Map, NumberOrName, ObjectMeta, Text};

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Service<'a> {
    /// `metadata`.
    #[serde(borrow)]
    pub metadata: ObjectMeta<'a>,
    /// `spec`.
    #[serde(default)]
    pub spec: ServiceSpec<'a>,
    /// `status`.
    #[serde(default)]
    pub status: ServiceStatus<'a>,
}

/// `spec` of a Service, those fields that the manifest asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec<'a> {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`. Absent means `ClusterIP`.
    #[serde(borrow, rename = "type")]
    pub kind: Option<Text<'a>>,
    /// `None` as text: a headless one. Of more addresses, see [`ServiceSpec::cluster_ips`].
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<Text<'a>>,
    /// Begins with `clusterIP`.
    #[serde(default, rename = "clusterIPs")]
    pub cluster_ips: Vec<Text<'a>>,
    /// `IPv4`, `IPv6`.
    #[serde(default)]
    pub ip_families: Vec<Text<'a>>,
    /// Labels of its Pods. Without it, somebody else writes its endpoints.
    pub selector: Option<Map<'a>>,
    /// `ports`.
    #[serde(default)]
    pub ports: Vec<ServicePort<'a>>,
    /// Whether endpoints that are not ready count too.
    #[serde(default)]
    pub publish_not_ready_addresses: bool,
    /// `ClientIP` or `None`.
    pub session_affinity: Option<Text<'a>>,
    /// `sessionAffinityConfig`.
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// Who serves it, of type `LoadBalancer`.
    pub load_balancer_class: Option<Text<'a>>,
    /// The address that it is to have from outside.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: Option<Text<'a>>,
    /// Who may come from outside; none: everybody.
    #[serde(default)]
    pub load_balancer_source_ranges: Vec<Text<'a>>,
    /// `Cluster` or `Local`.
    pub internal_traffic_policy: Option<Text<'a>>,
    /// `Cluster` or `Local`.
    pub external_traffic_policy: Option<Text<'a>>,
    /// Any addresses that a user names.
    #[serde(default, rename = "externalIPs")]
    pub external_ips: Vec<Text<'a>>,
}

impl ServiceSpec<'_> {
    /// Its addresses in the cluster, also where only `clusterIP` is set. A headless Service has none, nor has one that waits for its own.
    pub fn cluster_ips(&self) -> impl Iterator<Item = &str> {
        let first = self.cluster_ip.iter().filter(|_| self.cluster_ips.is_empty());
        self.cluster_ips.iter().chain(first).map(|text| &**text).filter(|text| !["", "None"].contains(text))
    }
}

/// One of `ports`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort<'a> {
    /// May be empty where it is the only one.
    #[serde(borrow, default)]
    pub name: Text<'a>,
    /// See [`ServicePort::protocol`].
    pub protocol: Option<Text<'a>>,
    /// Of the Service's addresses.
    pub port: u16,
    /// Of its Pods. Absent, or 0: as `port`.
    pub target_port: Option<NumberOrName<'a>>,
}

impl ServicePort<'_> {
    /// `TCP`, `UDP` or `SCTP`.
    pub fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or("TCP")
    }
}

/// `sessionAffinityConfig` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct SessionAffinityConfig {
    /// Of the affinity `ClientIP`.
    #[serde(rename = "clientIP")]
    pub client_ip: Option<ClientIpConfig>,
}

/// `sessionAffinityConfig.clientIP` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientIpConfig {
    /// How long it lasts.
    pub timeout_seconds: Option<u32>,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus<'a> {
    /// `loadBalancer`.
    #[serde(borrow, default)]
    pub load_balancer: LoadBalancerStatus<'a>,
    /// `conditions`.
    #[serde(default)]
    pub conditions: Vec<ServiceCondition<'a>>,
}

/// One of `conditions`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct ServiceCondition<'a> {
    /// `type`.
    #[serde(borrow, rename = "type")]
    pub kind: Text<'a>,
    /// `True`, `False` or `Unknown`.
    pub status: Text<'a>,
    /// `message`.
    #[serde(default)]
    pub message: Text<'a>,
}

/// `status.loadBalancer` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct LoadBalancerStatus<'a> {
    /// `ingress`.
    #[serde(borrow, default)]
    pub ingress: Vec<LoadBalancerIngress<'a>>,
}

/// An address that clients from outside use.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerIngress<'a> {
    /// Or `hostname`.
    #[serde(borrow)]
    pub ip: Option<Text<'a>>,
    /// Or `ip`.
    pub hostname: Option<Text<'a>>,
    /// `VIP` or `Proxy`.
    pub ip_mode: Option<Text<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ips_are_addresses_wherever_they_are() {
        let table: [(&str, &[&str]); 5] = [
            (r#"{"clusterIP": "10.0.0.1"}"#, &["10.0.0.1"]),
            (r#"{"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}"#, &["10.0.0.1", "fd00::1"]),
            (r#"{"clusterIP": "None", "clusterIPs": ["None"]}"#, &[]),
            (r#"{"clusterIP": ""}"#, &[]),
            ("{}", &[]),
        ];
        for (spec, expected) in table {
            let spec: ServiceSpec<'_> = serde_json::from_str(spec).unwrap();
            assert_eq!(spec.cluster_ips().collect::<Vec<_>>(), expected);
        }
    }
}
