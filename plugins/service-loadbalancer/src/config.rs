//! The module's config.

use std::net::IpAddr;

use isthmus_sdk::objects::any_fits;
use isthmus_sdk::prelude::*;
use serde::Deserialize;

use crate::family::Family;
use crate::ranges::Cidr;

/// The module's config; its schema is `config.schema.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Id or name of the network of VIPs: the subnets whose prefixes are the cluster's Service ranges.
    pub(crate) network: String,
    /// Ids or names of subnets of it.
    #[serde(default)]
    pub(crate) subnets: Subnets,
    /// Whether cluster IPs are served: as VIPs. Else there is a kube-proxy, and only Services of type LoadBalancer are mapped.
    #[serde(default = "yes")]
    pub(crate) cluster_ips: bool,
    /// Who may come in although loadBalancerSourceRanges does not name him: the cluster itself, to a VIP that is the cluster IP.
    #[serde(default)]
    pub(crate) cluster_cidrs: Vec<Cidr>,
    /// `spec.loadBalancerClass` of Services that are this module's, beside those that have none.
    #[serde(default = "class")]
    pub(crate) load_balancer_class: String,
    /// What becomes of a Service of another class.
    #[serde(default)]
    pub(crate) foreign_class: ForeignClass,
    /// Id or name of the external network of floating IPs. None: there are none, and a Service is reached at its VIP.
    pub(crate) floating_network: Option<String>,
    /// Id or name of a subnet of it.
    pub(crate) floating_subnet: Option<String>,
    /// Octavia's provider, flavor and availability zone. None: the cloud's.
    pub(crate) provider: Option<String>,
    pub(crate) flavor: Option<String>,
    pub(crate) availability_zone: Option<String>,
    /// Of pools. None: one that the provider has.
    pub(crate) algorithm: Option<String>,
    /// Whether members are watched.
    #[serde(default)]
    pub(crate) monitor: Monitor,
    /// Where members are reached.
    #[serde(default)]
    pub(crate) members: Members,
    /// Who may be on whose load balancer.
    #[serde(default)]
    pub(crate) sharing: SharingConfig,
}

/// By IP version. None: Neutron finds the one that the address is in.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Subnets {
    pub(crate) ipv4: Option<String>,
    pub(crate) ipv6: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ForeignClass {
    /// All of it is somebody else's.
    #[default]
    Ignore,
    /// Its cluster IP is served, as that of a Service of type ClusterIP.
    ClusterIp,
}

/// Defaults of health monitors. A Service's annotations come first.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Monitor {
    pub(crate) enabled: bool,
    /// Seconds.
    pub(crate) delay: u16,
    /// Seconds.
    pub(crate) timeout: u16,
    pub(crate) max_retries: u8,
    pub(crate) max_retries_down: u8,
}

impl Default for Monitor {
    fn default() -> Self {
        Self { enabled: false, delay: 5, timeout: 3, max_retries: 1, max_retries_down: 3 }
    }
}

/// Where members are reached.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Members {
    /// Subnets by the addresses in them, as the nodes' (Pods on their network, `default/kubernetes`). The first that fits counts.
    pub(crate) subnets: Vec<MemberSubnet>,
    /// Whether others are on the subnets that `namespace-network` makes for the Service's namespace. Else on the VIP's.
    pub(crate) from_namespace: bool,
    /// Namespaces that have no subnets of their own: names, or beginnings of names with `*` behind.
    pub(crate) except: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberSubnet {
    pub(crate) cidr: Cidr,
    /// Id or name.
    pub(crate) subnet: String,
}

/// Who may be on whose load balancer, beside Services of one namespace on each other's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SharingConfig {
    /// So many Services at most are on one load balancer, its own one counted.
    pub(crate) max_services: usize,
    /// Who may be on those of other namespaces.
    pub(crate) across: Vec<Across>,
    /// Load balancers that are there.
    pub(crate) load_balancers: Vec<ExistingBalancer>,
}

impl Default for SharingConfig {
    fn default() -> Self {
        // The default of the OpenStack cloud provider (max-shared-lb).
        Self { max_services: 2, across: Vec::new(), load_balancers: Vec::new() }
    }
}

/// Names of namespaces, or beginnings of names with `*` behind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Across {
    /// Whose load balancers.
    pub(crate) of: Vec<String>,
    /// Whose Services may be on them.
    pub(crate) by: Vec<String>,
}

/// A load balancer that is there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ExistingBalancer {
    /// As annotations name it.
    pub(crate) id: String,
    /// Where clients reach it, one of each IP family that it has: said by Services that are on it.
    pub(crate) addresses: Vec<IpAddr>,
    /// Octavia's provider that it is of. None: as of those that are made.
    pub(crate) provider: Option<String>,
    /// Whose Services may be on it: names, or beginnings of names with `*` behind. `*`: everybody's.
    pub(crate) namespaces: Vec<String>,
}

impl ExistingBalancer {
    pub(crate) fn is_for(&self, namespace: &str) -> bool {
        any_fits(&self.namespaces, namespace)
    }
}

impl SharingConfig {
    fn check(&self) -> Result<(), Outcome> {
        for balancer in &self.load_balancers {
            if !(1..=255).contains(&balancer.id.len()) {
                let message = "the id of a load balancer";
                return Err(invalid_field(message, "config.sharing.loadBalancers.id"));
            }
            let mut families: Vec<Family> = balancer.addresses.iter().map(|a| Family::of(*a)).collect();
            families.dedup();
            if families.len() != balancer.addresses.len() || !(1..=2).contains(&families.len()) {
                let message = "an address of each IP family that the load balancer has, one or two";
                return Err(invalid_field(message, "config.sharing.loadBalancers.addresses"));
            }
        }
        match self.max_services {
            0 => Err(invalid_field("at least 1, with which nobody shares", "config.sharing.maxServices")),
            _ => Ok(()),
        }
    }

    /// Whether Services of one namespace may be on load balancers of another one's.
    pub(crate) fn lets(&self, of: &str, by: &str) -> bool {
        let allowed = |across: &Across| any_fits(&across.of, of) && any_fits(&across.by, by);
        of == by || self.across.iter().any(allowed)
    }

    /// Whether there may be Services of other namespaces on those of this one.
    pub(crate) fn is_open(&self, of: &str) -> bool {
        self.across.iter().any(|across| any_fits(&across.of, of))
    }
}

fn yes() -> bool {
    true
}
fn class() -> String {
    "isthmus.dev/octavia".into()
}

impl Config {
    /// Refuses what the types of the fields do not.
    pub(crate) fn check(&self) -> Result<(), Outcome> {
        let names = [
            ("network", Some(&self.network)),
            ("subnets.ipv4", self.subnets.ipv4.as_ref()),
            ("subnets.ipv6", self.subnets.ipv6.as_ref()),
            ("floatingNetwork", self.floating_network.as_ref()),
            ("floatingSubnet", self.floating_subnet.as_ref()),
        ];
        let members = self.members.subnets.iter().map(|member| ("members.subnets", Some(&member.subnet)));
        let wrong = |name: Option<&String>| name.is_some_and(|name| !(1..=255).contains(&name.len()));
        if let Some((field, _)) = names.into_iter().chain(members).find(|(_, name)| wrong(*name)) {
            return Err(invalid_field("an id or a name has 1 to 255 bytes", &format!("config.{field}")));
        }
        if self.floating_subnet.is_some() && self.floating_network.is_none() {
            return Err(invalid_field("a subnet is of a network: set it", "config.floatingNetwork"));
        }
        self.sharing.check()
    }

    /// The IP family of a subnet that the config names.
    pub(crate) fn family_of(&self, subnet: &str) -> Option<Family> {
        let of_vips =
            [Family::V4, Family::V6].into_iter().find(|family| self.subnet(*family) == Some(subnet));
        let of_members = || self.members.subnets.iter().find(|member| member.subnet == subnet);
        of_vips.or_else(|| of_members().map(|member| member.cidr.family()))
    }

    /// The subnet of VIPs of this family.
    pub(crate) fn subnet(&self, family: Family) -> Option<&str> {
        match family {
            Family::V4 => self.subnets.ipv4.as_deref(),
            Family::V6 => self.subnets.ipv6.as_deref(),
        }
    }
}

impl Members {
    /// Whether members in this namespace are on its own subnets.
    pub(crate) fn of_namespace(&self, namespace: &str) -> bool {
        self.from_namespace && !any_fits(&self.except, namespace)
    }
}
