//! The groups that the ports of a Pod carry.

use std::collections::BTreeSet;

use isthmus_sdk::log;
use isthmus_sdk::prelude::*;

use crate::config::Config;
use crate::groups::{self, POLICY, named_group};
use crate::mapping::network_policy_kind;
use crate::objects::{self, NetworkPolicy};
use crate::policy::{Policy, selected};
use crate::ports;
use crate::shared;

/// Gives every port of the Pod the groups of its policies, in the place of those that it has (but see [`shared::carried`]). A Pod that
/// no policy selects stays as it is.
pub(crate) fn refine(
    subject: &str,
    config: &Config,
    mut desired: Vec<Desired>,
) -> Result<Vec<Desired>, Outcome> {
    let pod: objects::Pod<'_> = parse_subject(subject)?;
    let is_port = |entry: &Desired| matches!(entry.resource, Resource::Port(_));
    // Without a port (on the node's network, ended) there is nothing that could be isolated, nor anything to wait for.
    if pod.spec.host_network || !desired.iter().any(is_port) {
        return Ok(desired);
    }
    let Some(policies) = policies_of(&pod)? else {
        return Ok(desired);
    };
    for entry in &mut desired {
        let Resource::Port(port) = &mut entry.resource else {
            continue;
        };
        if port.port_security == Some(false) {
            let message = format!(
                "NetworkPolicies select this Pod, but its port {:?} has no port security, so nothing could enforce them",
                entry.name
            );
            return Err(invalid(message));
        }
        if let Some(vnic) = port.vnic_type.as_deref().filter(|vnic| *vnic != "normal") {
            log::warn(&format!(
                "port {:?} is of VNIC type {vnic}: where the switch does not see its packets, nothing enforces NetworkPolicies",
                entry.name
            ));
        }
        let base = port.security_groups.take().unwrap_or_default();
        let Policies { groups, for_ingress, for_egress } = &policies;
        let others = shared::carried(*for_ingress, *for_egress, &base, config);
        port.security_groups = Some(groups.iter().cloned().chain(others).collect());
    }
    Ok(desired)
}

/// The policies of a Pod.
struct Policies {
    groups: Vec<Reference>,
    /// Whether any isolates it in this direction.
    for_ingress: bool,
    for_egress: bool,
}

/// `None`: no policy selects the Pod.
fn policies_of(pod: &objects::Pod<'_>) -> Result<Option<Policies>, Outcome> {
    let namespace =
        pod.metadata.namespace.as_deref().or_invalid("a Pod has a namespace", "metadata.namespace")?;
    let (mut groups, mut for_ingress, mut for_egress) = (Vec::new(), false, false);
    for text in snapshot::list(&network_policy_kind(), Some(namespace), "") {
        let found: NetworkPolicy<'_> = parse_subject(&text)?;
        let name: &str = &found.metadata.name;
        if !selected(&found.spec).map_err(|outcome| blocked(name, &outcome))?.matches(&pod.metadata.labels) {
            continue;
        }
        let policy = Policy::new(&found.spec).map_err(|outcome| blocked(name, &outcome))?;
        if let Some(reason) = groups::obstacle(&policy, &snapshot::cloud_facts().network_extensions) {
            return Err(blocked(name, &waiting(reason)));
        }
        for_ingress |= policy.ingress.is_some();
        for_egress |= policy.egress.is_some();
        let key = || ObjectKey {
            kind: network_policy_kind(),
            namespace: Some(namespace.into()),
            name: name.into(),
        };
        groups.push(mapped(key(), POLICY));
        let names = ports::names(policy.ingress.as_deref().unwrap_or_default());
        let numbers: BTreeSet<_> = ports::of_pod(pod).filter(|(name, _)| names.contains(name)).collect();
        groups.extend(numbers.iter().map(|(name, number)| mapped(key(), &named_group(name, *number))));
    }
    Ok((!groups.is_empty()).then_some(Policies { groups, for_ingress, for_egress }))
}

/// A Pod waits for a policy that can't be told to hold: it gets no port without it, and one that has a port keeps its groups.
fn blocked(policy: &str, why: &Outcome) -> Outcome {
    let why = match why {
        Outcome::NotMapped(reason) | Outcome::Waiting(reason) => reason.clone(),
        Outcome::Invalid(found) => match &found.field {
            Some(field) => format!("{field}: {}", found.message),
            None => found.message.clone(),
        },
    };
    waiting(format!("NetworkPolicy {policy} of the Pod's namespace can't be enforced: {why}"))
}
