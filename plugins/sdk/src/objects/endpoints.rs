//! EndpointSlices of `discovery.k8s.io/v1`.

use super::Text;

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct EndpointSlice<'a> {
    /// `endpoints`.
    #[serde(borrow, default)]
    pub endpoints: Vec<Endpoint<'a>>,
    /// `ports`.
    #[serde(borrow, default)]
    pub ports: Vec<EndpointPort<'a>>,
}

/// One of `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Endpoint<'a> {
    /// Addresses; the first one counts, as for kube-proxy.
    #[serde(borrow, default)]
    pub addresses: Vec<Text<'a>>,
    /// `conditions`.
    #[serde(default)]
    pub conditions: EndpointConditions,
}

/// `conditions` of an endpoint, those that the manifest asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct EndpointConditions {
    /// Absent means yes.
    pub ready: Option<bool>,
    /// Absent: as `ready`.
    pub serving: Option<bool>,
    /// Absent means no.
    pub terminating: Option<bool>,
}

/// A port that all endpoints of a slice have; named as the Service's port is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct EndpointPort<'a> {
    /// Name of the Service's port.
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    /// The number. Absent means all ports.
    pub port: Option<u16>,
    /// `TCP`, `UDP` or `SCTP`. Absent means TCP.
    pub protocol: Option<Text<'a>>,
}
