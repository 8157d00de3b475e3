//! Built-in mapping: every Pod gets a Neutron port, and an interface `eth0` on it.
//!
//! The network, the subnets and the security groups are those of the config, of annotations of the Pod's namespace, or (config
//! `network: {fromNamespace: [IPv4, IPv6]}`) those that `namespace-network` makes for the namespace. This
//! crate must not know nodes, trunks or pools: the host turns a node's name into a binding.

mod mapping;

pub use mapping::PodPort;

isthmus_sdk::export_mapper!(PodPort);
