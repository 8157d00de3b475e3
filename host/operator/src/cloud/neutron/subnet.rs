//! Subnets.

use std::net::IpAddr;

use ipnet::IpNet;
use isthmus_model::kinds::Kind;
use isthmus_model::observed::Observed;
use isthmus_openstack::neutron::{AllocationPool, HostRoute, Subnet, SubnetCreate, SubnetUpdate};
use serde::{Deserialize, Serialize};

use super::standard::{About, Standard};
use super::{Scope, text};
use crate::cloud::{CloudError, Create, Result, Update, cleared, set, typed};

pub(super) struct Subnets;

/// The contract's `subnet`, references as ids.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_version: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<Prefix>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Gateway>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dhcp: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allocation_pools: Option<Vec<Pool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6_address_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6_ra_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_nameservers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_routes: Option<Vec<Route>>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Version {
    V4,
    V6,
}

/// As desired, one of the two is set; as observed, both may be.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prefix {
    #[serde(skip_serializing_if = "Option::is_none")]
    cidr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_pool: Option<FromPool>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromPool {
    subnet_pool: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u8>,
}

/// As desired, one of the three is set; as observed, the first address of the prefix is `automatic` too.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gateway {
    #[serde(skip_serializing_if = "Option::is_none")]
    automatic: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    none: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool {
    first: String,
    last: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    destination: String,
    next_hop: String,
}

impl From<Pool> for AllocationPool {
    fn from(pool: Pool) -> Self {
        Self { start: pool.first, end: pool.last }
    }
}

impl From<Route> for HostRoute {
    fn from(route: Route) -> Self {
        Self { destination: route.destination, nexthop: route.next_hop }
    }
}

/// Whether Neutron may have given a gateway this address by itself: the first one of the prefix, and of an IPv6 prefix the routers'
/// anycast address `::` (RFC 4291, 2.6.1), which it is by default.
fn is_automatic(cidr: &str, address: IpAddr) -> bool {
    let is_anycast = matches!(cidr.parse(), Ok(IpNet::V6(net)) if address == net.network());
    is_anycast || first_address(cidr) == Some(address)
}

fn first_address(cidr: &str) -> Option<IpAddr> {
    match cidr.parse().ok()? {
        IpNet::V4(net) => Some(IpAddr::V4((u32::from(net.network()).checked_add(1)?).into())),
        IpNet::V6(net) => Some(IpAddr::V6((u128::from(net.network()).checked_add(1)?).into())),
    }
}

fn gateway(cidr: &str, address: Option<String>) -> Gateway {
    match address {
        None => Gateway { none: Some(true), ..Gateway::default() },
        Some(address) => {
            let automatic = address.parse().is_ok_and(|address| is_automatic(cidr, address));
            Gateway { automatic: automatic.then_some(true), address: Some(address), ..Gateway::default() }
        }
    }
}

fn prefix(cidr: &str, pool: Option<String>) -> Prefix {
    let length = cidr.parse::<IpNet>().ok().map(|net| net.prefix_len());
    Prefix {
        cidr: text(cidr.to_owned()),
        from_pool: pool.map(|subnet_pool| FromPool { subnet_pool, length }),
    }
}

/// `gateway_ip` as a body says it: `None` leaves it to Neutron.
fn gateway_ip(gateway: Option<Gateway>) -> Option<Option<String>> {
    let gateway = gateway?;
    match (gateway.none, gateway.address) {
        (Some(true), _) => Some(None),
        (_, Some(address)) => Some(Some(address)),
        (_, None) => None,
    }
}

impl Standard for Subnets {
    type Resource = Subnet;
    const GONE: &'static [&'static str] = &["SubnetNotFound"];

    fn observed(subnet: Subnet) -> Observed {
        let pools = subnet.allocation_pools.into_iter();
        let routes = subnet.host_routes.into_iter();
        let fields = Fields {
            network: text(subnet.network_id),
            ip_version: match subnet.ip_version {
                4 => Some(Version::V4),
                6 => Some(Version::V6),
                _ => None,
            },
            prefix: Some(prefix(&subnet.cidr, subnet.subnetpool_id)),
            gateway: Some(gateway(&subnet.cidr, subnet.gateway_ip)),
            dhcp: subnet.enable_dhcp,
            allocation_pools: Some(pools.map(|p| Pool { first: p.start, last: p.end }).collect()),
            ipv6_address_mode: subnet.ipv6_address_mode,
            ipv6_ra_mode: subnet.ipv6_ra_mode,
            dns_nameservers: Some(subnet.dns_nameservers),
            host_routes: Some(
                routes.map(|r| Route { destination: r.destination, next_hop: r.nexthop }).collect(),
            ),
        };
        Observed { cidr: text(subnet.cidr), ..observed!(Kind::Subnet, subnet, &fields) }
    }

    async fn creation(_: &Scope, create: &Create<'_>, about: About) -> Result<SubnetCreate> {
        let fields: Fields = typed(create.entry, create.fields.clone())?;
        let prefix = fields.prefix.unwrap_or_default();
        let pool = prefix.from_pool;
        Ok(SubnetCreate {
            network_id: fields.network.unwrap_or_default(),
            ip_version: match fields.ip_version {
                Some(Version::V6) => 6,
                _ => 4,
            },
            cidr: prefix.cidr,
            prefixlen: pool.as_ref().and_then(|pool| pool.length),
            subnetpool_id: pool.map(|pool| pool.subnet_pool),
            gateway_ip: gateway_ip(fields.gateway),
            enable_dhcp: fields.dhcp,
            allocation_pools: fields.allocation_pools.map(|all| all.into_iter().map(Into::into).collect()),
            ipv6_address_mode: fields.ipv6_address_mode,
            ipv6_ra_mode: fields.ipv6_ra_mode,
            dns_nameservers: fields.dns_nameservers,
            host_routes: fields.host_routes.map(|all| all.into_iter().map(Into::into).collect()),
            name: about.name,
            description: about.description,
            project_id: about.project,
        })
    }

    async fn change(_: &Scope, update: &Update<'_>, about: About) -> Result<Option<SubnetUpdate>> {
        let fields: Fields = typed(update.entry, set(update))?;
        let automatic = fields.gateway.as_ref().is_some_and(|gateway| gateway.automatic == Some(true));
        let cidr = update.observed.cidr.as_deref().unwrap_or_default();
        if cleared(update, "allocation_pools") {
            return Err(CloudError::Field {
                kind: Kind::Subnet,
                name: update.entry.name.clone(),
                message: format!(
                    "`allocation-pools` was set, and Neutron has no way back to its default: name the whole range of {cidr}"
                ),
            });
        }
        let body = SubnetUpdate {
            name: about.name,
            description: about.description,
            gateway_ip: match automatic {
                true => Some(first_address(cidr).map(|address| address.to_string())),
                false => gateway_ip(fields.gateway),
            },
            enable_dhcp: fields.dhcp,
            allocation_pools: fields.allocation_pools.map(|all| all.into_iter().map(Into::into).collect()),
            dns_nameservers: fields.dns_nameservers,
            host_routes: fields.host_routes.map(|all| all.into_iter().map(Into::into).collect()),
        };
        Ok((body != SubnetUpdate::default()).then_some(body))
    }

    fn described(description: String) -> SubnetUpdate {
        SubnetUpdate { description: Some(description), ..SubnetUpdate::default() }
    }
}

#[cfg(test)]
mod tests {
    use isthmus_model::kinds::Compare;
    use isthmus_model::plan::satisfies;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_neutron_chose_is_what_was_left_to_it() {
        let observed = |cidr: &str, gateway: Option<&str>, pool: Option<&str>| {
            Subnets::observed(Subnet {
                cidr: cidr.into(),
                gateway_ip: gateway.map(Into::into),
                subnetpool_id: pool.map(Into::into),
                ..Subnet::default()
            })
        };
        let table = [
            ("10.0.0.0/26", Some("10.0.0.1"), "gateway", json!({"automatic": true}), true),
            ("10.0.0.0/26", Some("10.0.0.9"), "gateway", json!({"automatic": true}), false),
            ("10.0.0.0/26", Some("10.0.0.9"), "gateway", json!({"address": "10.0.0.9"}), true),
            ("10.0.0.0/26", None, "gateway", json!({"automatic": true}), false),
            ("10.0.0.0/26", None, "gateway", json!({"none": true}), true),
            ("fd00::/64", Some("fd00::1"), "gateway", json!({"automatic": true}), true),
            ("fd00::/64", Some("fd00::"), "gateway", json!({"automatic": true}), true),
            ("fd00::/64", Some("fd00::2"), "gateway", json!({"automatic": true}), false),
            ("10.0.0.0/26", Some("10.0.0.0"), "gateway", json!({"automatic": true}), false),
            ("10.0.0.0/26", None, "prefix", json!({"cidr": "10.0.0.0/26"}), true),
            ("10.0.0.0/26", None, "prefix", json!({"from_pool": {"subnet_pool": "p"}}), true),
            ("10.0.0.0/26", None, "prefix", json!({"from_pool": {"subnet_pool": "p", "length": 26}}), true),
            ("10.0.0.0/26", None, "prefix", json!({"from_pool": {"subnet_pool": "p", "length": 24}}), false),
            ("10.0.0.0/26", None, "prefix", json!({"from_pool": {"subnet_pool": "q"}}), false),
        ];
        for (cidr, gateway, field, desired, expected) in table {
            let found = observed(cidr, gateway, Some("p"));
            let same = satisfies(&desired, found.fields.get(field), Compare::Equal, |_| false);
            assert_eq!(same, expected, "{cidr} {gateway:?}: {desired}");
        }
    }
}
