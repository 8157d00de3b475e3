//! What Kubernetes says of a packet: its documentation ("Network Policies", and the API's `NetworkPolicySpec`), sentence by
//! sentence and without a thought for speed.

use std::net::IpAddr;

use crate::cluster::{Labels, Number, Packet, Peer, Policy, Port, Rule, Selector, World};

/// Seen from the Pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What comes to it.
    Ingress,
    /// What it sends.
    Egress,
}
use Direction::{Egress, Ingress};

/// "For a connection from a source pod to a destination pod to be allowed, both the egress policy on the source pod and the ingress
/// policy on the destination pod need to allow the connection."
pub fn allowed(world: &World, packet: &Packet) -> bool {
    let (source, destination) = (world.pod(packet.from), world.pod(packet.to));
    // "A pod cannot block access to itself"
    if source.is_some() && source == destination {
        return true;
    }
    source.is_none_or(|pod| allowed_by(world, packet, pod, Egress))
        && destination.is_none_or(|pod| allowed_by(world, packet, pod, Ingress))
}

/// Whether a Pod at one of the packet's ends is isolated in the direction that matters.
pub fn concerns_isolated(world: &World, packet: &Packet) -> bool {
    let isolated =
        |pod: Option<usize>, direction| pod.is_some_and(|pod| !policies(world, pod, direction).is_empty());
    isolated(world.pod(packet.from), Egress) || isolated(world.pod(packet.to), Ingress)
}

/// "By default, a pod is non-isolated; all connections are allowed. A pod is isolated if there is any NetworkPolicy that both selects
/// the pod and has the direction in its policyTypes. [...] The effects of those lists combine additively."
fn allowed_by(world: &World, packet: &Packet, pod: usize, direction: Direction) -> bool {
    let policies = policies(world, pod, direction);
    // The module's config: what it always lets in.
    let source = world.address(packet.from, packet.v6);
    let always = direction == Ingress && world.allow_from.iter().any(|block| is_in(source, block));
    policies.is_empty() || always || policies.iter().any(|policy| allows(world, packet, policy, direction))
}

/// The policies that isolate a Pod in a direction.
fn policies(world: &World, pod: usize, direction: Direction) -> Vec<&Policy> {
    let pod = &world.pods[pod];
    let is_of = |policy: &&Policy| {
        policy.namespace == pod.namespace
            && matches(&policy.selector, &pod.labels)
            && has_type(policy, direction)
    };
    world.policies.iter().filter(is_of).collect()
}

/// "If no policyTypes are specified on a NetworkPolicy then by default Ingress will always be set and Egress will be set if the
/// NetworkPolicy has any egress rules."
pub fn has_type(policy: &Policy, direction: Direction) -> bool {
    match (&policy.types, direction) {
        (Some(types), Ingress) if !types.is_empty() => types.contains(&"Ingress"),
        (Some(types), Egress) if !types.is_empty() => types.contains(&"Egress"),
        (_, Ingress) => true,
        (_, Egress) => policy.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
    }
}

fn allows(world: &World, packet: &Packet, policy: &Policy, direction: Direction) -> bool {
    let rules = if direction == Ingress { &policy.ingress } else { &policy.egress };
    rules.iter().flatten().any(|rule| rule_allows(world, packet, policy, rule, direction))
}

/// "Each rule allows traffic which matches both the from and ports sections." "If this field is empty or missing, this rule matches
/// all [...]."
fn rule_allows(world: &World, packet: &Packet, policy: &Policy, rule: &Rule, direction: Direction) -> bool {
    let any_peer = [None];
    let peers: Vec<Option<&Peer>> = match &rule.peers {
        Some(peers) if !peers.is_empty() => peers.iter().map(Some).collect(),
        _ => any_peer.into(),
    };
    let any_port = [None];
    let ports: Vec<Option<&Port>> = match &rule.ports {
        Some(ports) if !ports.is_empty() => ports.iter().map(Some).collect(),
        _ => any_port.into(),
    };
    peers.iter().any(|peer| {
        ports.iter().any(|port| {
            // The text does not say what a name stands for at an address of no Pod; the module says: nothing.
            let nameless = matches!(peer, Some(Peer::Block { .. }))
                && direction == Egress
                && matches!(port, Some(Port { number: Number::Named(_), .. }));
            !nameless
                && peer.is_none_or(|peer| is_peer(world, packet, policy, peer, direction))
                && port.is_none_or(|port| is_port(world, packet, port))
        })
    })
}

fn is_peer(world: &World, packet: &Packet, policy: &Policy, peer: &Peer, direction: Direction) -> bool {
    let other = if direction == Ingress { packet.from } else { packet.to };
    match peer {
        // "Except values [...] are CIDRs that should not be included within the IP Block."
        Peer::Block { cidr, except } => {
            let address = world.address(other, packet.v6);
            is_in(address, cidr) && !except.iter().any(|except| is_in(address, except))
        }
        // "podSelector: Pods in the same namespace as the NetworkPolicy. namespaceSelector: all Pods in particular namespaces. Both:
        // particular Pods within particular namespaces."
        Peer::Pods { namespaces, pods } => world.pod(other).is_some_and(|other| {
            let other = &world.pods[other];
            let in_namespace = match namespaces {
                Some(selector) => matches(selector, &world.namespaces[other.namespace]),
                None => other.namespace == policy.namespace,
            };
            in_namespace && pods.as_ref().is_none_or(|selector| matches(selector, &other.labels))
        }),
    }
}

/// "protocol: if not specified, this field defaults to TCP." "port: a numerical or named port on a pod; if not provided, this matches
/// all port names and numbers." "endPort: the range of ports from port to endPort, inclusive."
fn is_port(world: &World, packet: &Packet, port: &Port) -> bool {
    let protocol = port.protocol.unwrap_or("TCP");
    protocol == packet.protocol
        && match port.number {
            Number::Absent => true,
            Number::One(number) => packet.port == number,
            Number::Range(first, last) => first <= packet.port && packet.port <= last,
            // In both directions the port is the destination's.
            Number::Named(name) => world
                .pod(packet.to)
                .is_some_and(|pod| world.pods[pod].ports.contains(&(name, protocol, packet.port))),
        }
}

/// "matchLabels [...] matchExpressions [...] All of the requirements are ANDed together."
fn matches(selector: &Selector, labels: &Labels) -> bool {
    let equal = selector.labels.iter().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.expressions.iter().all(|(key, operator, values)| match *operator {
            "In" => labels.get(key).is_some_and(|value| values.contains(value)),
            "NotIn" => !labels.get(key).is_some_and(|value| values.contains(value)),
            "Exists" => labels.contains_key(key),
            "DoesNotExist" => !labels.contains_key(key),
            other => panic!("{other}"),
        })
}

/// Whether an address is in a block, bit by bit.
pub fn is_in(address: IpAddr, cidr: &str) -> bool {
    let (block, length) = cidr.split_once('/').unwrap();
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => format!("{:032b}", address.to_bits()),
        IpAddr::V6(address) => format!("{:0128b}", address.to_bits()),
    };
    let (address, block, length) = (bits(address), bits(block.parse().unwrap()), length.parse().unwrap());
    address.len() == block.len() && address[..length] == block[..length]
}
