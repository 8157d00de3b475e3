//! The addresses of a subnet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

/// First and last address.
pub(super) type Range = (IpAddr, IpAddr);

/// The addresses of one subnet, and which are taken.
#[derive(Debug)]
pub(super) struct Pool {
    net: IpNet,
    /// First and last address of each range that addresses are given from.
    ranges: Vec<(u128, u128)>,
    taken: BTreeSet<u128>,
    /// Where the search for a free one goes on: an address just given back is not given again at once.
    next: u128,
}

impl Pool {
    pub(super) fn new(net: IpNet, ranges: &[Range]) -> Self {
        let mut pool = Self { net, ranges: Vec::new(), taken: BTreeSet::new(), next: 0 };
        pool.set_ranges(ranges);
        pool
    }

    /// Gives addresses from these from now on.
    pub(super) fn set_ranges(&mut self, ranges: &[Range]) {
        self.ranges = ranges.iter().map(|(first, last)| (number(*first), number(*last))).collect();
    }

    pub(super) fn net(&self) -> IpNet {
        self.net
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.net.contains(&address)
    }

    /// Whether it is one of IPv6.
    pub(super) fn is_v6(&self) -> bool {
        matches!(self.net, IpNet::V6(_))
    }

    /// Takes any free address; none if all are taken.
    pub(super) fn take_any(&mut self) -> Option<IpAddr> {
        let next = self.next;
        let after = self.ranges.iter().flat_map(|(first, last)| (*first).max(next)..=*last);
        let before = self.ranges.iter().flat_map(|(first, last)| *first..=(*last).min(next));
        let free = after.chain(before).find(|number| !self.taken.contains(number))?;
        self.next = free.saturating_add(1);
        self.taken.insert(free);
        Some(self.address(free))
    }

    /// Takes this one; false if it is taken.
    pub(super) fn take(&mut self, address: IpAddr) -> bool {
        self.taken.insert(number(address))
    }

    pub(super) fn give_back(&mut self, address: IpAddr) {
        self.taken.remove(&number(address));
    }

    pub(super) fn is_used(&self) -> bool {
        !self.taken.is_empty()
    }

    fn address(&self, number: u128) -> IpAddr {
        match self.net {
            // A number of an IPv4 pool came from 32 bits.
            IpNet::V4(_) => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
            IpNet::V6(_) => IpAddr::V6(number.into()),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// The ranges of a subnet that names none: all its hosts but the gateway.
pub(super) fn default_ranges(net: IpNet, gateway: Option<IpAddr>) -> Vec<Range> {
    let (first, last) = hosts(net);
    let Some(gateway) = gateway.filter(|g| (first..=last).contains(g)) else { return vec![(first, last)] };
    let step = |address: IpAddr, up: bool| match address {
        IpAddr::V4(v4) => {
            let n = u32::from(v4);
            IpAddr::V4(if up { n.saturating_add(1) } else { n.saturating_sub(1) }.into())
        }
        IpAddr::V6(v6) => {
            let n = u128::from(v6);
            IpAddr::V6(if up { n.saturating_add(1) } else { n.saturating_sub(1) }.into())
        }
    };
    let below = (gateway > first).then(|| (first, step(gateway, false)));
    let above = (gateway < last).then(|| (step(gateway, true), last));
    below.into_iter().chain(above).collect()
}

/// First and last address that a host may have.
pub(super) fn hosts(net: IpNet) -> Range {
    match net {
        IpNet::V4(v4) if v4.prefix_len() < 31 => {
            let (first, last) = (u32::from(v4.network()), u32::from(v4.broadcast()));
            (IpAddr::V4(first.saturating_add(1).into()), IpAddr::V4(last.saturating_sub(1).into()))
        }
        IpNet::V4(v4) => (IpAddr::V4(v4.network()), IpAddr::V4(v4.broadcast())),
        IpNet::V6(v6) => {
            (IpAddr::V6(u128::from(v6.network()).saturating_add(1).into()), IpAddr::V6(v6.broadcast()))
        }
    }
}

/// The default gateway: of IPv6 the subnet-router anycast address.
pub(super) fn first_host(net: IpNet) -> IpAddr {
    match net {
        IpNet::V4(v4) => IpAddr::V4(u32::from(v4.network()).saturating_add(1).into()),
        IpNet::V6(v6) => IpAddr::V6(v6.network()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_leave_the_gateway_out() {
        for (net, gateway, expected) in [
            ("10.0.0.0/29", Some("10.0.0.1"), vec![("10.0.0.2", "10.0.0.6")]),
            ("10.0.0.0/29", Some("10.0.0.3"), vec![("10.0.0.1", "10.0.0.2"), ("10.0.0.4", "10.0.0.6")]),
            ("10.0.0.0/29", Some("10.0.0.6"), vec![("10.0.0.1", "10.0.0.5")]),
            ("10.0.0.0/29", None, vec![("10.0.0.1", "10.0.0.6")]),
            ("fd00::/126", Some("fd00::1"), vec![("fd00::2", "fd00::3")]),
        ] {
            let expected: Vec<(IpAddr, IpAddr)> =
                expected.into_iter().map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())).collect();
            let gateway = gateway.map(|g| g.parse().unwrap());
            assert_eq!(default_ranges(net.parse().unwrap(), gateway), expected, "{net} {gateway:?}");
        }
    }

    #[test]
    fn every_address_is_given_once_and_again_when_it_came_back() {
        let net: IpNet = "10.0.0.0/29".parse().unwrap();
        let mut pool = Pool::new(net, &default_ranges(net, Some(first_host(net))));
        let mut given: Vec<IpAddr> = std::iter::from_fn(|| pool.take_any()).collect();
        given.sort();
        let all: Vec<IpAddr> = (2..=6).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert_eq!(given, all);
        pool.give_back(all[2]);
        assert_eq!(pool.take_any(), Some(all[2]));
        assert!(!pool.take(all[2]) && pool.take_any().is_none());
    }
}
