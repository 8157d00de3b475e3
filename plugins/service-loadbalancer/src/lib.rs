//! Built-in mapping: every Service gets an Octavia load balancer of each IP family, with a listener and a pool of each port, and
//! its endpoints as members; one of type LoadBalancer a floating IP too.
//!
//! The VIP is the cluster IP, on a port of its own: no kube-proxy is needed, and the address outlives its load balancer. What a
//! Service wishes is in its spec and in annotations: names that users of the OpenStack cloud provider know
//! (`loadbalancer.openstack.org/...`) are honoured beside ours (`isthmus.dev/lb-...`), which come first. What the cloud can't do
//! is refused with a reason where traffic would be wrong; where it only differs in a detail, the Service's condition
//! `isthmus.dev/PartlyHonoured` names it.
//!
//! | ours | also known as | meaning |
//! |---|---|---|
//! | `isthmus.dev/lb-internal` | `service.beta.kubernetes.io/openstack-internal-load-balancer` | `true`: no floating IP |
//! | `isthmus.dev/lb-provider` | | Octavia's provider |
//! | `isthmus.dev/lb-flavor`, `-availability-zone` | `loadbalancer.openstack.org/flavor-id`, `availability-zone` | |
//! | `isthmus.dev/lb-method` | `.../lb-method` | Algorithm |
//! | `isthmus.dev/lb-proxy-protocol` | `.../proxy-protocol` | `true`, `v1` or `v2`, for TCP ports |
//! | `isthmus.dev/lb-x-forwarded-for` | `.../x-forwarded-for` | `true`: TCP ports are HTTP, and members are told the client's address |
//! | `isthmus.dev/lb-connection-limit` | `.../connection-limit` | -1: without limit |
//! | `isthmus.dev/lb-timeout-client-data`, `-member-connect`, `-member-data`, `-tcp-inspect` | `.../timeout-...`, `openstack.org/kuryr-timeout-...` | Milliseconds |
//! | `isthmus.dev/lb-enable-health-monitor`, `lb-health-monitor-delay`, `-timeout`, `-max-retries`, `-max-retries-down` | `.../enable-health-monitor`, `health-monitor-...` | |
//! | `isthmus.dev/lb-floating-network`, `lb-floating-subnet` | `.../floating-network-id`, `floating-subnet-id`, `floating-subnet` | Where the floating IP is of: ids or names, no patterns |
//! | `isthmus.dev/lb-keep-floating-ip` | `.../keep-floatingip` | `true`: it stays when the Service goes |
//! | `isthmus.dev/lb-network`, `lb-subnet`, `lb-port` | `.../network-id`, `subnet-id`, `port-id` | A second load balancer, with its VIP there, for who comes from outside |
//! | `isthmus.dev/lb-member-subnet` | `.../member-subnet-id` | Where all members are reached |
//! | `isthmus.dev/lb-hostname` | `.../hostname` | Said in the status in place of the address |
//! | | `service.beta.kubernetes.io/load-balancer-source-ranges` | As `spec.loadBalancerSourceRanges`, which comes first |
//!
//! Entries are `vip-F`, `lb-F`, `listener-F-PROTOCOL-PORT`, `pool-F-PROTOCOL-PORT`, F being `v4`, `v6` or `public`, and `floating-ip` or
//! `floating-ip-association`. This crate must not know in what order things are made, nor how a load balancer is repaired: the host
//! does both.

mod annotations;
mod config;
mod endpoints;
mod exposure;
mod fronts;
mod mapping;
mod objects;
mod partly;
mod provider;
mod ranges;
mod report;
mod tree;

pub use config::Config;
pub use mapping::ServiceLoadBalancer;

isthmus_sdk::export_mapper!(ServiceLoadBalancer);
