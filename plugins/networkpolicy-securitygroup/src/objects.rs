//! Slim Kubernetes objects: what this mapping reads of them.

use isthmus_sdk::objects::{Map, NumberOrName, ObjectMeta, Text};
use serde::Deserialize;

/// A NetworkPolicy of `networking.k8s.io/v1`.
#[derive(Debug, Deserialize)]
pub(crate) struct NetworkPolicy<'a> {
    #[serde(borrow)]
    pub(crate) metadata: ObjectMeta<'a>,
    #[serde(default)]
    pub(crate) spec: Spec<'a>,
}

/// `spec` of a NetworkPolicy.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec<'a> {
    #[serde(borrow)]
    pub(crate) pod_selector: Option<LabelSelector<'a>>,
    pub(crate) policy_types: Option<Vec<Text<'a>>>,
    pub(crate) ingress: Option<Vec<Rule<'a>>>,
    pub(crate) egress: Option<Vec<Rule<'a>>>,
}

/// An ingress or an egress rule: they differ in the name of their peers' field alone.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Rule<'a> {
    #[serde(borrow, alias = "from", alias = "to")]
    pub(crate) peers: Option<Vec<Peer<'a>>>,
    pub(crate) ports: Option<Vec<Port<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer<'a> {
    #[serde(borrow)]
    pub(crate) pod_selector: Option<LabelSelector<'a>>,
    pub(crate) namespace_selector: Option<LabelSelector<'a>>,
    pub(crate) ip_block: Option<IpBlock<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct IpBlock<'a> {
    #[serde(borrow)]
    pub(crate) cidr: Text<'a>,
    pub(crate) except: Option<Vec<Text<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port<'a> {
    #[serde(borrow)]
    pub(crate) protocol: Option<Text<'a>>,
    pub(crate) port: Option<NumberOrName<'a>>,
    pub(crate) end_port: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LabelSelector<'a> {
    #[serde(borrow)]
    pub(crate) match_labels: Option<Map<'a>>,
    pub(crate) match_expressions: Option<Vec<Expression<'a>>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Expression<'a> {
    #[serde(borrow)]
    pub(crate) key: Text<'a>,
    pub(crate) operator: Text<'a>,
    pub(crate) values: Option<Vec<Text<'a>>>,
}

/// A Pod: whom policies select, and what its port names stand for.
#[derive(Debug, Deserialize)]
pub(crate) struct Pod<'a> {
    #[serde(borrow)]
    pub(crate) metadata: ObjectMeta<'a>,
    #[serde(default)]
    pub(crate) spec: PodSpec<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodSpec<'a> {
    #[serde(default)]
    pub(crate) host_network: bool,
    #[serde(borrow, default)]
    pub(crate) containers: Vec<Container<'a>>,
    #[serde(default)]
    pub(crate) init_containers: Vec<Container<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container<'a> {
    /// `Always` makes an init container a sidecar, whose ports stay open.
    #[serde(borrow)]
    pub(crate) restart_policy: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) ports: Vec<ContainerPort<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerPort<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
    pub(crate) protocol: Option<Text<'a>>,
    pub(crate) container_port: u16,
}
