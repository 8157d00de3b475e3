//! The module's config.

use std::net::IpAddr;

use isthmus_sdk::objects::any_fits;
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::values::IpVersion;
use serde::Deserialize;

/// The module's config; its schema is `config.schema.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Where IPv4 subnets come from. None: there are none.
    pub(crate) ipv4: Option<Pool>,
    /// Where IPv6 subnets come from. None: there are none.
    pub(crate) ipv6: Option<Pool>,
    /// Id or name of the router that subnets are attached to. None: they are attached to none.
    pub(crate) router: Option<String>,
    /// Of networks, in bytes.
    pub(crate) mtu: Option<u16>,
    /// Of subnets, in order of preference.
    #[serde(default)]
    pub(crate) dns_nameservers: Vec<String>,
    /// What may come in to Pods.
    #[serde(default)]
    pub(crate) isolation: Isolation,
    /// What else may come in where Pods are isolated.
    #[serde(default)]
    pub(crate) allow: Vec<Allowance>,
    /// When a Namespace gets its network.
    #[serde(default)]
    pub(crate) create: Create,
    /// Namespaces that get nothing: names, or beginnings of names with `*` behind.
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
    /// Tags of all that is made.
    #[serde(default)]
    pub(crate) tags: Vec<String>,
}

/// A subnet pool.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Pool {
    /// Id or name.
    pub(crate) subnet_pool: String,
    /// Bits. None: the pool's own default.
    pub(crate) prefix_length: Option<u8>,
}

/// What may come in to the Pods of a Namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Isolation {
    /// Everything.
    #[default]
    Open,
    /// What comes from Pods of the same Namespace, and what `allow` says.
    Isolated,
}

/// When a Namespace gets its network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Create {
    /// With the Namespace.
    #[default]
    AtOnce,
    /// With the first Pod that is not on its node's network.
    WhenNeeded,
}

/// Somebody who may come in though Pods are isolated.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Allowance {
    /// Whose addresses these are, as the nodes' subnets. Either this or `group`.
    pub(crate) cidr: Option<String>,
    /// Id or name of a security group that is there.
    pub(crate) group: Option<String>,
    /// As Neutron names it. None: all.
    pub(crate) protocol: Option<String>,
    /// First and last port. None: all. They need a protocol.
    pub(crate) ports: Option<(u16, u16)>,
}

impl Config {
    /// Refuses what the types of the fields do not.
    pub(crate) fn check(&self) -> Result<(), Outcome> {
        let pools = [("ipv4", &self.ipv4, 32), ("ipv6", &self.ipv6, 128)];
        for (field, pool, bits) in pools {
            let Some(pool) = pool else { continue };
            name(&pool.subnet_pool, &format!("config.{field}.subnetPool"))?;
            if pool.prefix_length.is_some_and(|length| length == 0 || length > bits) {
                let message = format!("a prefix has 1 to {bits} bits");
                return Err(invalid_field(message, &format!("config.{field}.prefixLength")));
            }
        }
        if let Some(router) = &self.router {
            name(router, "config.router")?;
        }
        let servers = self.dns_nameservers.iter().enumerate();
        if let Some((at, _)) = servers.into_iter().find(|(_, server)| server.parse::<IpAddr>().is_err()) {
            return Err(invalid_field("it is no IP address", &format!("config.dnsNameservers[{at}]")));
        }
        self.allow.iter().enumerate().try_for_each(|(at, allowance)| allowance.check(at))
    }

    /// The pools, with the version of their addresses.
    pub(crate) fn pools(&self) -> Vec<(IpVersion, &Pool)> {
        let pools = [(IpVersion::V4, &self.ipv4), (IpVersion::V6, &self.ipv6)];
        pools.into_iter().filter_map(|(version, pool)| Some((version, pool.as_ref()?))).collect()
    }

    /// Whether a Namespace of this name gets nothing.
    pub(crate) fn excludes(&self, namespace: &str) -> bool {
        any_fits(&self.exclude, namespace)
    }
}

impl Allowance {
    fn check(&self, at: usize) -> Result<(), Outcome> {
        let field = |name: &str| format!("config.allow[{at}]{name}");
        match (&self.cidr, &self.group) {
            (Some(cidr), None) => version_of(cidr)
                .map(drop)
                .or_invalid("it is no CIDR, as 10.0.0.0/24 or fd00::/64", &field(".cidr"))?,
            (None, Some(group)) => name(group, &field(".group"))?,
            _ => return Err(invalid_field("who may come in is said by `cidr` or by `group`", &field(""))),
        }
        match (self.ports, &self.protocol) {
            (Some(_), None) => Err(invalid_field("ports are of a protocol: set it", &field(".protocol"))),
            (Some((first, last)), _) if first == 0 || first > last => {
                Err(invalid_field("ports are [first, last], 1 to 65535", &field(".ports")))
            }
            _ => Ok(()),
        }
    }
}

fn name(text: &str, field: &str) -> Result<(), Outcome> {
    let fits = (1..=255).contains(&text.len());
    fits.then_some(()).or_invalid("an id or a name has 1 to 255 bytes", field)
}

/// The IP version of a CIDR, if it is one.
pub(crate) fn version_of(cidr: &str) -> Option<IpVersion> {
    let (address, length) = cidr.split_once('/')?;
    let (version, bits) = match address.parse().ok()? {
        IpAddr::V4(_) => (IpVersion::V4, 32),
        IpAddr::V6(_) => (IpVersion::V6, 128),
    };
    length.parse::<u8>().ok().filter(|length| *length <= bits).map(|_| version)
}
