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

/// What a Pod carries that policies isolate in these directions, beside the groups of its policies.
pub(crate) fn carried(
    isolated_for_ingress: bool,
    isolated_for_egress: bool,
    config: &Config,
) -> Vec<Reference> {
    let kind = Kind::new("isthmus.dev", "v1alpha1", "PolicyModule");
    let key = ObjectKey { kind, namespace: None, name: config.policy_module.clone() };
    let own = |name: &str| vec![mapped(key.clone(), name)];
    let open = |configured: &Option<Vec<String>>, name: &str| {
        configured.as_deref().map_or_else(|| own(name), theirs)
    };
    let mut groups = theirs(&config.keep_groups);
    if !isolated_for_ingress {
        groups.extend(open(&config.ingress_open_groups, INGRESS_OPEN));
    } else if has_allowance(config) {
        groups.extend(own(ALLOWED));
    }
    if !isolated_for_egress {
        groups.extend(open(&config.egress_open_groups, EGRESS_OPEN));
    }
    groups
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
