//! The mapping itself.

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::Prefix;
use isthmus_sdk::records::values::IpVersion;

use crate::annotations::{NAMES, Wishes};
use crate::config::{Config, Create};
use crate::group::groups;

/// Entries that other mappings refer to, beside those of [`groups`].
const NETWORK: &str = "network";

fn subnet_entry(version: IpVersion) -> &'static str {
    match version {
        IpVersion::V4 => "subnet-v4",
        IpVersion::V6 => "subnet-v6",
    }
}

fn router_entry(version: IpVersion) -> &'static str {
    match version {
        IpVersion::V4 => "router-v4",
        IpVersion::V6 => "router-v6",
    }
}

/// Namespace to network, subnets, router interfaces and security groups.
pub struct NamespaceNetwork;

impl Module for NamespaceNetwork {
    type Config = Config;

    fn manifest() -> Manifest {
        let description = "A network, subnets and security groups for every Namespace";
        let annotations = NAMES.map(|name| format!("metadata.annotations[\"{name}\"]"));
        Manifest::new("namespace-network", env!("CARGO_PKG_VERSION"), description)
            .maps(Kind::core("Namespace"), annotations.iter().map(String::as_str))
            // Not its phase: that changes several times in a Pod's life, and each time this would be called.
            .reads(Kind::core("Pod"), ["spec.hostNetwork"])
            .config_schema(include_str!("../config.schema.json"))
    }
}

impl Mapper for NamespaceNetwork {
    fn map(subject: &str, config: Config) -> Result<Vec<Desired>, Outcome> {
        let namespace: Namespace<'_> = parse_subject(subject)?;
        let name = &namespace.metadata.name;
        if config.excludes(name) {
            return Err(not_mapped("the module's config excludes this Namespace"));
        }
        if namespace.metadata.deletion_timestamp.is_some() {
            return Err(not_mapped("the Namespace is being deleted"));
        }
        config.check()?;
        let wishes = Wishes::of(&namespace.metadata.annotations)?;
        if config.create == Create::WhenNeeded {
            needed(name)?;
        }
        let mut list = network(&wishes, &config)?;
        list.extend(attachments(&wishes, &config));
        if !wishes.own_groups {
            list.extend(groups(wishes.isolation.unwrap_or(config.isolation), &config.allow));
        }
        for entry in &mut list {
            entry.tags.clone_from(&config.tags);
        }
        Ok(list)
    }
}

/// Waits for a Pod that needs the network.
///
/// `create: when-referenced` of the contract says just this, but the host refuses it yet. Until then Pods are read, so that each
/// one that comes or goes calls this. `waiting` and not `not-mapped`: what was made stays when the last Pod goes, and a
/// Deployment that is scaled to 0 and back finds its network.
fn needed(namespace: &str) -> Result<(), Outcome> {
    for text in snapshot::list(&Kind::core("Pod"), Some(namespace), "") {
        let pod: Pod<'_> = parse_subject(&text)?;
        if !pod.spec.host_network {
            return Ok(());
        }
    }
    Err(waiting("no Pod needs the Namespace's network yet"))
}

/// Network and subnets, as far as they are not there.
fn network(wishes: &Wishes<'_>, config: &Config) -> Result<Vec<Desired>, Outcome> {
    let mut list = Vec::new();
    if wishes.makes_network() {
        let mut network = Network::new();
        network.mtu = config.mtu;
        list.push(network.named(NETWORK));
    }
    if !wishes.makes_subnets() {
        return Ok(list);
    }
    let pools = config.pools();
    if pools.is_empty() {
        let message = "no subnet pool: set `ipv4`, `ipv6` or both, each with its subnetPool";
        return Err(invalid_field(message, "config.ipv4"));
    }
    for (version, pool) in pools {
        let prefix = Prefix::pool(existing(&pool.subnet_pool), pool.prefix_length);
        let on = wishes.network.map_or_else(|| local(NETWORK), existing);
        // Pods are told their addresses by their node: there is nobody to ask by DHCP, and none that listens to router
        // advertisements.
        let mut subnet = Subnet::new(on, version, prefix).without_dhcp();
        subnet.dns_nameservers = servers(config, version);
        list.push(subnet.named(subnet_entry(version)));
    }
    Ok(list)
}

/// Neutron takes only servers of a subnet's own version.
fn servers(config: &Config, version: IpVersion) -> Vec<String> {
    let of = |server: &&String| server.contains(':') == (version == IpVersion::V6);
    config.dns_nameservers.iter().filter(of).cloned().collect()
}

/// Router interfaces. A subnet that is there has its router as a rule: it gets one only where the Namespace names one.
fn attachments(wishes: &Wishes<'_>, config: &Config) -> Vec<Desired> {
    let to = |router: &str, subnet: Reference, name: &str| {
        RouterInterface::new(existing(router), subnet).named(name)
    };
    if wishes.makes_subnets() {
        let router = wishes.router.or(config.router.as_deref()).filter(|router| !router.is_empty());
        let versions = config.pools().into_iter().map(|(version, _)| version);
        let attach = |version| Some(to(router?, local(subnet_entry(version)), router_entry(version)));
        return versions.filter_map(attach).collect();
    }
    let router = wishes.router.filter(|router| !router.is_empty());
    // Of which version they are is not known here.
    let attach = |(at, subnet): (usize, &&str)| Some(to(router?, existing(subnet), &format!("router-{at}")));
    wishes.subnets.iter().enumerate().filter_map(attach).collect()
}
