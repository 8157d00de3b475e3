//! Source ranges: who may come in from outside.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use isthmus_sdk::objects::Service;
use isthmus_sdk::prelude::*;
use serde::Deserialize;
use serde::de::Error;

use crate::annotations::{SOURCE_RANGES, Wishes};
use crate::config::Config;
use crate::family::Family;
use crate::fronts::Front;

/// An address with the length of its prefix. What is beyond the prefix is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// Reads `10.0.0.1/24` as `10.0.0.0/24`, as Kubernetes does.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let length: u8 = length.parse().ok()?;
        Self::masked(address.parse().ok()?, length)
    }

    fn masked(address: IpAddr, length: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32_u32.checked_sub(u32::from(length))?).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128_u32.checked_sub(u32::from(length))?).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Some(Self { address, length })
    }

    pub(crate) fn family(self) -> Family {
        Family::of(self.address)
    }

    /// Whether the address is in it.
    pub(crate) fn holds(self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && Self::masked(address, self.length) == Some(self)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is no CIDR, as 10.0.0.0/24 or fd00::/64")))
    }
}

/// Who may use the listeners of a front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    Everybody,
    /// Never empty: to Octavia an empty list is everybody.
    Only(Vec<String>),
    Nobody,
}

/// The ranges that a Service names; none: everybody.
pub(crate) fn ranges(service: &Service<'_>, wishes: &Wishes<'_>) -> Result<Vec<Cidr>, Outcome> {
    let of_spec = service.spec.load_balancer_source_ranges.iter().enumerate();
    let of_spec = of_spec.map(|(at, text)| (format!("spec.loadBalancerSourceRanges[{at}]"), text.trim()));
    let named: Vec<(String, &str)> = match service.spec.load_balancer_source_ranges.is_empty() {
        false => of_spec.collect(),
        true => {
            let field = SOURCE_RANGES.first().copied().unwrap_or_default();
            let field = format!("metadata.annotations[\"{field}\"]");
            let texts = wishes.source_ranges.into_iter().flat_map(|text| text.split(','));
            texts.map(|text| (field.clone(), text.trim())).filter(|(_, text)| !text.is_empty()).collect()
        }
    };
    let parse = |(field, text): (String, &str)| {
        Cidr::parse(text).or_invalid(&format!("{text:?} is no CIDR, as 10.0.0.0/24"), &field)
    };
    named.into_iter().map(parse).collect()
}

/// Who may use this front. A front of a family that no range is of is for nobody, since the ranges name all who may come.
pub(crate) fn allowed(ranges: &[Cidr], front: &Front, config: &Config) -> Result<Allowed, Outcome> {
    let mut of_family: Vec<Cidr> =
        ranges.iter().copied().filter(|range| range.family() == front.family).collect();
    if ranges.is_empty() || !front.exposed || of_family.iter().any(|range| range.length == 0) {
        return Ok(Allowed::Everybody);
    }
    if front.cluster {
        let own = config.cluster_cidrs.iter().copied();
        let own: Vec<Cidr> = own.filter(|range| range.family() == front.family).collect();
        if own.is_empty() {
            let message = "with loadBalancerSourceRanges the cluster's own addresses have to be known, since the load \
                           balancer serves the cluster IP too: set the CIDRs of Pods and nodes, of each IP version";
            return Err(invalid_field(message, "config.clusterCidrs"));
        }
        of_family.extend(own);
    }
    of_family.sort();
    of_family.dedup();
    let texts: Vec<String> = of_family.iter().map(Cidr::to_string).collect();
    Ok(if texts.is_empty() { Allowed::Nobody } else { Allowed::Only(texts) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_prefix_is_cut() {
        let table = [
            ("10.1.2.3/24", Some("10.1.2.0/24")),
            ("10.1.2.3/32", Some("10.1.2.3/32")),
            ("10.1.2.3/0", Some("0.0.0.0/0")),
            ("FD00:0:0:1::9/64", Some("fd00:0:0:1::/64")),
            ("::1/0", Some("::/0")),
            ("fd00::1/128", Some("fd00::1/128")),
            ("10.1.2.3/33", None),
            ("fd00::/129", None),
            ("10.1.2.3", None),
            ("a/8", None),
            ("10.1.2.3/-1", None),
        ];
        for (text, expected) in table {
            assert_eq!(Cidr::parse(text).map(|c| c.to_string()).as_deref(), expected, "{text}");
        }
        let range = Cidr::parse("10.1.0.0/16").unwrap();
        assert!(range.holds("10.1.255.1".parse().unwrap()) && !range.holds("10.2.0.1".parse().unwrap()));
        assert!(!range.holds("::ffff:10.1.0.1".parse().unwrap()));
    }
}
