//! The security group of a Namespace's Pods.

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::Remote;
use isthmus_sdk::records::values::IpVersion;

use crate::config::{Allowance, Isolation, version_of};

/// The entry's name: a rule names the group that it is of.
pub(crate) const GROUP: &str = "group";

const VERSIONS: [IpVersion; 2] = [IpVersion::V4, IpVersion::V6];

/// The group. What goes out is open in both modes: it is the other end's group that says what comes in. Rules are of both IP
/// versions whatever the subnets are, so that a second one opens no gap.
pub(crate) fn group(isolation: Isolation, allow: &[Allowance]) -> SecurityGroup {
    let mut group = SecurityGroup::new();
    group.rules.extend(VERSIONS.map(SecurityRule::egress));
    match isolation {
        Isolation::Open => group.rules.extend(VERSIONS.map(SecurityRule::ingress)),
        Isolation::Isolated => {
            let own = |version| SecurityRule::ingress(version).remote(Remote::Group(local(GROUP)));
            group.rules.extend(VERSIONS.map(own));
            for rule in allow.iter().flat_map(allowed) {
                // Neutron refuses a rule that is there.
                if !group.rules.contains(&rule) {
                    group.rules.push(rule);
                }
            }
        }
    }
    group
}

fn allowed(allowance: &Allowance) -> Vec<SecurityRule> {
    let remotes: Vec<(IpVersion, Remote)> = match (&allowance.cidr, &allowance.group) {
        (Some(cidr), _) => {
            version_of(cidr).map(|version| (version, Remote::Cidr(cidr.clone()))).into_iter().collect()
        }
        (None, Some(group)) => {
            VERSIONS.map(|version| (version, Remote::Group(existing(group)))).into_iter().collect()
        }
        (None, None) => Vec::new(),
    };
    let rule = |(version, remote)| {
        let mut rule = SecurityRule::ingress(version).remote(remote);
        rule.protocol = allowance.protocol.as_deref().map(|name| of_version(name, version).to_owned());
        match allowance.ports {
            Some((first, last)) => rule.ports(first, last),
            None => rule,
        }
    };
    remotes.into_iter().map(rule).collect()
}

/// ICMP has another name in each version: who allows it means both.
fn of_version(protocol: &str, version: IpVersion) -> &str {
    match (protocol, version) {
        ("icmp", IpVersion::V6) => "ipv6-icmp",
        ("ipv6-icmp" | "icmpv6", IpVersion::V4) => "icmp",
        (protocol, _) => protocol,
    }
}
