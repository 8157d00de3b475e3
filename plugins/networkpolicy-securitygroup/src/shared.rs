//! The groups that all Pods with policies share: the mapping of the module's own PolicyModule.

use ipnet::IpNet;
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::Remote;
use isthmus_sdk::records::values::IpVersion;

use crate::cidr;
use crate::config::Config;

/// Lets everything in: for Pods that no policy isolates for ingress.
const INGRESS_OPEN: &str = "ingress-open";
/// Lets everything out: for Pods that no policy isolates for egress.
const EGRESS_OPEN: &str = "egress-open";
/// Lets in what the config always allows.
const ALLOWED: &str = "always-allowed";

/// Entries of `namespace-network`: without rules, of who is of the Namespace; and of one direction each.
const MEMBERS: &str = "members";
const INGRESS: &str = "ingress";
const EGRESS: &str = "egress";

const VERSIONS: [IpVersion; 2] = [IpVersion::V4, IpVersion::V6];

/// The groups, for the one PolicyModule of this name.
pub(crate) fn map(name: &str, config: &Config) -> Result<Vec<Desired>, Outcome> {
    if name != config.policy_module {
        let message =
            format!("the groups of all Pods are the mapping of PolicyModule {}", config.policy_module);
        return Err(not_mapped(message));
    }
    let open = |rule: fn(IpVersion) -> SecurityRule| {
        VERSIONS.into_iter().fold(SecurityGroup::new(), |group, version| group.rule(rule(version)))
    };
    let mut list = Vec::new();
    if config.ingress_open_groups.is_none() {
        list.push(open(SecurityRule::ingress).named(INGRESS_OPEN));
    }
    if config.egress_open_groups.is_none() {
        list.push(open(SecurityRule::egress).named(EGRESS_OPEN));
    }
    if has_allowance(config) {
        list.push(allowance(config).named(ALLOWED));
    }
    Ok(list)
}

/// What a port carries beside the groups of its Pod's policies, which isolate it in these directions; `base`: what it would carry
/// without them.
///
/// Of the groups that `namespace-network` makes, known by their names, it keeps that of who is of the Namespace, and in a direction
/// that no policy isolates, that of this direction: a policy for egress must not open the Pod to other tenants.
pub(crate) fn carried(
    isolated_for_ingress: bool,
    isolated_for_egress: bool,
    base: &[Reference],
    config: &Config,
) -> Vec<Reference> {
    let kind = Kind::new("isthmus.dev", "v1alpha1", "PolicyModule");
    let key = ObjectKey { kind, namespace: None, name: config.policy_module.clone() };
    let own = |name: &str| mapped(key.clone(), name);
    let of_namespace =
        |name: &str| base.iter().filter(|group| is_of_namespace(group, name)).cloned().collect();
    let open = |configured: &Option<Vec<String>>, direction: &str, otherwise: &str| match configured {
        Some(names) => theirs(names),
        None => {
            let kept: Vec<Reference> = of_namespace(direction);
            if kept.is_empty() { vec![own(otherwise)] } else { kept }
        }
    };
    let mut groups: Vec<Reference> = of_namespace(MEMBERS);
    groups.extend(theirs(&config.keep_groups));
    if !isolated_for_ingress {
        groups.extend(open(&config.ingress_open_groups, INGRESS, INGRESS_OPEN));
    }
    // Beside what lets everything in it has nothing to say.
    if has_allowance(config) && !groups.contains(&own(INGRESS_OPEN)) {
        groups.push(own(ALLOWED));
    }
    if !isolated_for_egress {
        groups.extend(open(&config.egress_open_groups, EGRESS, EGRESS_OPEN));
    }
    groups
}

/// Whether it is this entry of a Namespace's mapping.
fn is_of_namespace(group: &Reference, name: &str) -> bool {
    matches!(group, Reference::Mapped(found) if found.subject.kind == Kind::core("Namespace") && found.name == name)
}

fn theirs(names: &[String]) -> Vec<Reference> {
    names.iter().map(|name| existing(name)).collect()
}

fn has_allowance(config: &Config) -> bool {
    !config.allow_from.is_empty() || !config.allow_from_groups.is_empty()
}

fn allowance(config: &Config) -> SecurityGroup {
    let mut group = SecurityGroup::new();
    for block in config.allow_from.iter().filter_map(|text| cidr::parse(text)) {
        let version = match block {
            IpNet::V4(_) => IpVersion::V4,
            IpNet::V6(_) => IpVersion::V6,
        };
        let whole = block.prefix_len() == 0;
        let remote = if whole { Remote::Any } else { Remote::Cidr(block.to_string()) };
        group.rules.push(SecurityRule::ingress(version).remote(remote));
    }
    for name in &config.allow_from_groups {
        let rule = |version| SecurityRule::ingress(version).remote(Remote::Group(existing(name)));
        group.rules.extend(VERSIONS.map(rule));
    }
    let mut once = Vec::new();
    for rule in group.rules.drain(..) {
        if !once.contains(&rule) {
            once.push(rule);
        }
    }
    SecurityGroup { rules: once, ..group }
}
