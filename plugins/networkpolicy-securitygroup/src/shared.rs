//! The groups that all Pods with policies share: the mapping of the module's own PolicyModule.

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::Remote;
use isthmus_sdk::records::values::{IpVersion, MappedReference};

use crate::cidr;
use crate::config::Config;
use crate::peers::{VERSIONS, version_of};

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
    let open = |configured: &Option<Vec<String>>, direction: &str, otherwise: &str| {
        let kept = configured.as_deref().map_or_else(|| of_namespace(base, direction), theirs);
        if kept.is_empty() && configured.is_none() { vec![own(otherwise)] } else { kept }
    };
    let mut groups = of_namespace(base, MEMBERS);
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

/// Those that are this entry of a Namespace's mapping.
fn of_namespace(groups: &[Reference], name: &str) -> Vec<Reference> {
    let is_it = |found: &MappedReference| found.subject.kind == Kind::core("Namespace") && found.name == name;
    let groups = groups.iter().filter(|group| matches!(group, Reference::Mapped(found) if is_it(found)));
    groups.cloned().collect()
}

fn theirs(names: &[String]) -> Vec<Reference> {
    names.iter().map(|name| existing(name)).collect()
}

fn has_allowance(config: &Config) -> bool {
    !config.allow_from.is_empty() || !config.allow_from_groups.is_empty()
}

fn allowance(config: &Config) -> SecurityGroup {
    let blocks = config.allow_from.iter().filter_map(|text| cidr::parse(text)).map(|block| {
        let whole = block.prefix_len() == 0;
        (version_of(&block), if whole { Remote::Any } else { Remote::Cidr(block.to_string()) })
    });
    let named = config
        .allow_from_groups
        .iter()
        .flat_map(|name| VERSIONS.map(|version| (version, Remote::Group(existing(name)))));
    let mut group = SecurityGroup::new();
    for (version, remote) in blocks.chain(named) {
        let rule = SecurityRule::ingress(version).remote(remote);
        if !group.rules.contains(&rule) {
            group.rules.push(rule);
        }
    }
    group
}
