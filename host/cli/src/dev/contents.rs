//! What the cluster of `isthmus dev` begins with.

/// The modules that come with Isthmus.
pub(crate) const MODULES: [&str; 5] = [
    "pod-port",
    "namespace-network",
    "route-l7policy",
    "service-loadbalancer",
    "networkpolicy-securitygroup",
];
/// Their configs, and before these what they read.
pub(crate) const CONFIGS: [&str; 2] =
    [include_str!("../../../../plugins/route-l7policy/deploy/crd.yaml"), include_str!("modules.yaml")];
/// The example.
pub(crate) const EXAMPLE: &str = include_str!("example.yaml");
/// CloudMappings of the example: four Pods, the network of one's namespace, a Service, two Routes and the load balancer that these
/// share, a NetworkPolicy and the groups that all Pods with policies share.
pub(crate) const MAPPED: usize = 11;
