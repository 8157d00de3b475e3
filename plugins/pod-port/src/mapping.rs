//! The mapping itself.

use isthmus_sdk::objects::Map;
use isthmus_sdk::prelude::*;

const NETWORK: &str = "isthmus.dev/network";
const SUBNETS: &str = "isthmus.dev/subnets";
const SECURITY_GROUPS: &str = "isthmus.dev/security-groups";

/// Pod to port and VIF.
pub struct PodPort;

/// The module's config; its schema is `config.schema.json`.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Id or name. Needed unless every namespace names its own.
    network: Option<String>,
    /// Ids or names: one address of each. None: one of each IP version that the network has.
    #[serde(default)]
    subnets: Vec<String>,
    /// Ids or names. None: the project's default group. An empty list: no group, so nothing passes.
    security_groups: Option<Vec<String>>,
    /// Neutron's VNIC type.
    vnic_type: Option<String>,
    /// Tags of the port.
    #[serde(default)]
    tags: Vec<String>,
}

impl Module for PodPort {
    type Config = Config;

    fn manifest() -> Manifest {
        let annotations =
            [NETWORK, SUBNETS, SECURITY_GROUPS].map(|name| format!("metadata.annotations[\"{name}\"]"));
        Manifest::new("pod-port", env!("CARGO_PKG_VERSION"), "A Neutron port and an interface for every Pod")
            .maps(Kind::core("Pod"), ["spec.nodeName", "spec.hostNetwork", "status.phase"])
            .reads(Kind::core("Namespace"), annotations.iter().map(String::as_str))
            .config_schema(include_str!("../config.schema.json"))
    }
}

impl Mapper for PodPort {
    fn map(subject: &str, config: Config) -> Result<Vec<Desired>, Outcome> {
        let pod: Pod<'_> = parse_subject(subject)?;
        if pod.spec.host_network {
            return Err(not_mapped("the Pod is on the host's network"));
        }
        if pod.is_finished() {
            return Err(not_mapped("all containers of the Pod have ended"));
        }
        let node =
            pod.spec.node_name.filter(|n| !n.is_empty()).or_waiting("the Pod is not scheduled to a node")?;
        let namespace = pod.metadata.namespace.or_invalid("a Pod has a namespace", "metadata.namespace")?;
        let object = snapshot::get(Kind::core("Namespace"), None, &namespace);
        let object = object.or_waiting("the Pod's namespace is not known yet")?;
        let namespace: Namespace<'_> = parse_subject(&object)?;

        let mut port = placed(&config, &namespace.metadata.annotations)?.host(node);
        port.vnic_type = config.vnic_type;
        let mut port = port.named("port");
        port.tags = config.tags;
        Ok(vec![port, Vif::new("eth0", local("port")).default_route().named("eth0")])
    }
}

/// A port on the network, subnets and groups that config and namespace say. A namespace with a network of its own gets no
/// subnets of the config: they are subnets of the config's network.
fn placed(config: &Config, annotations: &Map<'_>) -> Result<Port, Outcome> {
    let own_network = annotations.get(NETWORK).map(|text| text.trim()).filter(|text| !text.is_empty());
    let network = own_network.or(config.network.as_deref()).or_invalid(
        "no network: set `network` in the module's config, or annotate the namespace with isthmus.dev/network",
        "config.network",
    )?;
    let subnets = match annotations.get(SUBNETS) {
        Some(text) => names(text),
        None if own_network.is_some() => Vec::new(),
        None => config.subnets.iter().map(String::as_str).collect(),
    };
    let mut port =
        subnets.into_iter().fold(Port::new(existing(network)), |p, s| p.fixed_ip(FixedIp::of(existing(s))));
    port.security_groups = match (annotations.get(SECURITY_GROUPS), &config.security_groups) {
        (Some(text), _) => Some(names(text).into_iter().map(existing).collect()),
        (None, groups) => groups.as_ref().map(|groups| groups.iter().map(|g| existing(g)).collect()),
    };
    Ok(port)
}

/// The names of a comma-separated list.
fn names(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()
}
