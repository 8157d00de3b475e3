//! The mapping of one NetworkPolicy: its security groups and address groups.

use std::collections::BTreeMap;

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::{Direction, Remote};
use isthmus_sdk::records::values::{IpVersion, NamedPort};

use crate::peers::{AddressGroups, all_pods, lacking};
use crate::policy::{Number, Peers, Pods, Policy, Port, Protocol, Rule};
use crate::ports::{self, Name, Numbers};
use crate::services::{self, Addresses, At};

/// The group that every selected Pod carries.
pub(crate) const POLICY: &str = "policy";

/// The group of those selected Pods in which the name of a port stands for this number.
pub(crate) fn named_group((protocol, name): &Name, number: u16) -> String {
    format!("ingress-{}-{name}-{number}", protocol.in_neutron())
}

/// Why the cloud can't hold this policy; `None`: it can.
pub(crate) fn obstacle(policy: &Policy, extensions: &[String]) -> Option<String> {
    let lacking = lacking(extensions);
    let of_pods = |rule: &Rule| match &rule.peers {
        Peers::These { pods, .. } => !pods.is_empty(),
        Peers::Everybody => false,
    };
    let named = |rule: &Rule| !ports::names(std::slice::from_ref(rule)).is_empty();
    let names_pods = policy.ingress.iter().flatten().any(of_pods)
        || policy.egress.iter().flatten().any(|rule| of_pods(rule) || named(rule));
    if lacking.is_empty() || !names_pods {
        return None;
    }
    Some(format!(
        "Neutron lacks the extension {}: without it a policy can name networks (ipBlock), but no Pods",
        lacking.join(" and ")
    ))
}

/// The list of a policy of this namespace, for the Pods that `selected` chooses there.
pub(crate) fn entries(
    policy: &Policy,
    selected: Pods,
    namespace: &str,
    extensions: &[String],
) -> Result<Vec<Desired>, Outcome> {
    if let Some(reason) = obstacle(policy, extensions) {
        return Err(waiting(reason));
    }
    let mut groups = Groups {
        addresses: AddressGroups::new(lacking(extensions).is_empty()),
        policy: SecurityGroup::new(),
        named: BTreeMap::new(),
    };
    if let Some(rules) = &policy.ingress {
        let numbers = ports::of_pods(&selected, namespace, &ports::names(rules))?;
        groups.ingress(rules, &numbers);
    }
    for rule in policy.egress.iter().flatten() {
        let numbers = numbers_of_peers(rule, namespace)?;
        groups.egress(rule, &numbers);
        groups.services(rule, &services::addresses(rule, namespace)?);
    }
    Ok(groups.list())
}

/// What the names of an egress rule's ports stand for at its peers.
fn numbers_of_peers(rule: &Rule, namespace: &str) -> Result<Numbers, Outcome> {
    let names = ports::names(std::slice::from_ref(rule));
    let everybody = [all_pods()];
    let peers = match &rule.peers {
        Peers::Everybody => everybody.as_slice(),
        Peers::These { pods, .. } => pods.as_slice(),
    };
    let mut numbers = Numbers::new();
    for pods in peers {
        for (name, found) in ports::of_pods(pods, namespace, &names)? {
            numbers.entry(name).or_default().extend(found);
        }
    }
    Ok(numbers)
}

struct Groups {
    addresses: AddressGroups,
    policy: SecurityGroup,
    named: BTreeMap<String, SecurityGroup>,
}

/// The other ends of a rule.
type Remotes = [(IpVersion, Remote)];

impl Groups {
    /// The name of a port belongs to the Pods that the policy is for: those of another number are in another group.
    fn ingress(&mut self, rules: &[Rule], numbers: &Numbers) {
        let all = numbers.iter().flat_map(|(name, found)| found.iter().map(move |number| (name, *number)));
        // Also one that no rule comes to: who carries it has to find it.
        self.named = all.map(|(name, number)| (named_group(name, number), SecurityGroup::new())).collect();
        for rule in rules {
            let remotes = self.addresses.remotes(&rule.peers);
            let Some(ports) = &rule.ports else {
                add(&mut self.policy, Direction::Ingress, None, &remotes);
                continue;
            };
            for Port { protocol, number } in ports {
                let Number::Named(name) = number else {
                    add(&mut self.policy, Direction::Ingress, Some((*protocol, range(number))), &remotes);
                    continue;
                };
                let name = (*protocol, name.clone());
                for number in numbers.get(&name).into_iter().flatten() {
                    if let Some(group) = self.named.get_mut(&named_group(&name, *number)) {
                        let ports = Some((*protocol, Some((*number, *number))));
                        add(group, Direction::Ingress, ports, &remotes);
                    }
                }
            }
        }
    }

    /// The name of a port belongs to the peers: a rule for each number, to those peers where the name stands for it.
    fn egress(&mut self, rule: &Rule, numbers: &Numbers) {
        let Some(ports) = &rule.ports else {
            let remotes = self.addresses.remotes(&rule.peers);
            add(&mut self.policy, Direction::Egress, None, &remotes);
            return;
        };
        for Port { protocol, number } in ports {
            let Number::Named(name) = number else {
                let remotes = self.addresses.remotes(&rule.peers);
                add(&mut self.policy, Direction::Egress, Some((*protocol, range(number))), &remotes);
                continue;
            };
            for number in numbers.get(&(*protocol, name.clone())).into_iter().flatten() {
                let port = NamedPort::new(name, protocol.in_kubernetes(), *number);
                let remotes = self.addresses.with_port(&rule.peers, &port);
                let ports = Some((*protocol, Some((*number, *number))));
                add(&mut self.policy, Direction::Egress, ports, &remotes);
            }
        }
    }

    /// Through Services that lead to the peers. What a rule opens to everybody is open at a Service's address too.
    fn services(&mut self, rule: &Rule, found: &Addresses) {
        for (at, addresses) in found {
            let ports = at.map(|(protocol, port)| (protocol, Some((port, port))));
            if matches!(rule.peers, Peers::Everybody) && is_among(rule, at) {
                continue;
            }
            let remotes = self.addresses.services(&services::purpose(rule, at), &rule.peers, addresses);
            add(&mut self.policy, Direction::Egress, ports, &remotes);
        }
    }

    fn list(self) -> Vec<Desired> {
        let mut list = vec![self.policy.named(POLICY)];
        list.extend(self.named.into_iter().map(|(name, group)| group.named(&name)));
        list.extend(self.addresses.entries());
        list
    }
}

/// Whether the ports of a rule, as numbers, hold this one.
fn is_among(rule: &Rule, at: &At) -> bool {
    let holds = |port: &Port| match (&port.number, at) {
        (_, Some((protocol, _))) if port.protocol != *protocol => false,
        (Number::Any, Some(_)) => true,
        (Number::Range(first, last), Some((_, number))) => (first..=last).contains(&number),
        (Number::Named(_), _) | (_, None) => false,
    };
    rule.ports.iter().flatten().any(holds)
}

fn range(number: &Number) -> Option<(u16, u16)> {
    match number {
        Number::Range(first, last) => Some((*first, *last)),
        Number::Any | Number::Named(_) => None,
    }
}

/// Adds a rule for each other end; `ports`: a protocol and a range of its ports, or all of them. Neutron refuses a rule that is
/// there.
fn add(
    group: &mut SecurityGroup,
    direction: Direction,
    ports: Option<(Protocol, Option<(u16, u16)>)>,
    remotes: &Remotes,
) {
    for (version, remote) in remotes {
        let mut rule = match direction {
            Direction::Ingress => SecurityRule::ingress(*version),
            Direction::Egress => SecurityRule::egress(*version),
        }
        .remote(remote.clone());
        if let Some((protocol, range)) = ports {
            rule = rule.protocol(protocol.in_neutron());
            rule = range.map_or_else(|| rule.clone(), |(first, last)| rule.clone().ports(first, last));
        }
        if !group.rules.contains(&rule) {
            group.rules.push(rule);
        }
    }
}
