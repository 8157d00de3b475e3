//! The security groups of a Namespace's Pods.
//!
//! There are three, so that NetworkPolicies of a Pod can take the place of what comes in, or of what goes out, and of nothing else
//! (`networkpolicy-securitygroup` does so by their names): who stops carrying `members` is a stranger to his neighbours.

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::Remote;
use isthmus_sdk::records::values::IpVersion;

use crate::config::{Allowance, Isolation, version_of};

/// Who carries it is of the Namespace: rules name it. It has none of its own.
const MEMBERS: &str = "members";
/// What may come in.
const INGRESS: &str = "ingress";
/// What may go out.
const EGRESS: &str = "egress";

const VERSIONS: [IpVersion; 2] = [IpVersion::V4, IpVersion::V6];

/// The groups. What goes out is open in both modes: it is the other end's group that says what comes in. Rules are of both IP
/// versions whatever the subnets are, so that a second one opens no gap.
pub(crate) fn groups(isolation: Isolation, allow: &[Allowance]) -> [Desired; 3] {
    let (mut ingress, mut egress) = (SecurityGroup::new(), SecurityGroup::new());
    egress.rules.extend(VERSIONS.map(SecurityRule::egress));
    match isolation {
        Isolation::Open => ingress.rules.extend(VERSIONS.map(SecurityRule::ingress)),
        Isolation::Isolated => {
            let own = |version| SecurityRule::ingress(version).remote(Remote::Group(local(MEMBERS)));
            ingress.rules.extend(VERSIONS.map(own));
            for rule in allow.iter().flat_map(allowed) {
                // Neutron refuses a rule that is there.
                if !ingress.rules.contains(&rule) {
                    ingress.rules.push(rule);
                }
            }
        }
    }
    [SecurityGroup::new().named(MEMBERS), ingress.named(INGRESS), egress.named(EGRESS)]
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
