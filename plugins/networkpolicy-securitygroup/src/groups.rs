//! The mapping of one NetworkPolicy: its security groups and address groups.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::{Direction, Remote};
use isthmus_sdk::records::values::{IpVersion, NamedPort};

use crate::peers::{AddressGroups, Namespaces, lacking};
use crate::policy::{Number, Peers, Pods, Policy, Port, Protocol, Rule};
use crate::ports::{self, Name, Numbers};
use crate::room::{Found, Room};
use crate::services::{self, At, Open, Services};

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
    let named = |rule: &Rule| !names_of(rule).is_empty();
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
    let mut namespaces = Namespaces::seen_from(namespace);
    if let Some(rules) = &policy.ingress {
        let mut numbers = Numbers::new();
        ports::of_pods(&selected, &ports::names(rules), &mut namespaces, |_, name, number| {
            numbers.entry(name).or_default().insert(number);
        });
        groups.ingress(rules, &numbers);
    }
    let rules = policy.egress.as_deref().unwrap_or_default();
    let mut room = Room::new(namespace, rules.iter().map(|rule| names_of(rule).len() + 1).sum());
    let texts = services::read(rules, namespace);
    let mut services = Services::new(&texts);
    for rule in rules {
        let numbers = numbers_of_peers(rule, &mut namespaces, &mut room);
        groups.egress(rule, &numbers);
        groups.services(rule, room.choose(services.addresses(rule, &mut namespaces), |(at, _)| *at));
    }
    Ok(groups.list())
}

fn names_of(rule: &Rule) -> BTreeSet<Name> {
    ports::names(std::slice::from_ref(rule))
}

/// What the names of an egress rule's ports stand for at its peers.
fn numbers_of_peers(rule: &Rule, namespaces: &mut Namespaces<'_>, room: &mut Room<'_>) -> Numbers {
    let names = names_of(rule);
    let mut found: BTreeMap<Name, Found<u16>> =
        names.iter().map(|name| (name.clone(), Found::new())).collect();
    for pods in rule.peers.pods() {
        ports::of_pods(pods, &names, namespaces, |namespace, name, number| {
            if let Some(numbers) = found.get_mut(&name) {
                numbers.add(namespace, number);
            }
        });
    }
    found.into_iter().map(|(name, found)| (name, room.choose(found, |number| *number))).collect()
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

    /// Through Services that lead to the peers.
    fn services(&mut self, rule: &Rule, open: BTreeSet<Open>) {
        let mut addresses = BTreeMap::<At, BTreeSet<IpNet>>::new();
        for (at, address) in open {
            addresses.entry(at).or_default().insert(address);
        }
        for (at, addresses) in addresses {
            let ports = at.map(|(protocol, port)| (protocol, Some((port, port))));
            let remotes = self.addresses.services(&services::purpose(rule, &at), &rule.peers, &addresses);
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
