//! Which rules let a connection's first packet pass. Answers pass by connection tracking. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use isthmus_model::address::network;
use isthmus_model::security_rule::protocol;
use isthmus_openstack::neutron::{AddressGroup, Port, SecurityGroup, SecurityGroupRule};
use serde::Serialize;

/// The groups that ports carry, with what their rules name, by id.
#[derive(Default)]
pub(super) struct Firewall {
    pub(super) groups: BTreeMap<String, SecurityGroup>,
    pub(super) addresses: BTreeMap<String, AddressGroup>,
    /// Objects that groups and address groups were made for, by the ids of these.
    pub(super) owners: BTreeMap<String, String>,
}

/// A connection.
pub(super) struct Connection {
    /// `tcp`, `udp` or `sctp`.
    pub(super) protocol: String,
    /// The destination's.
    pub(super) port: u16,
}

/// From one address to another.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Way {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Whether both sides let it pass.
    pub(super) allowed: bool,
    pub(super) egress: Side,
    pub(super) ingress: Side,
}

/// What one end's port says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Side {
    pub(super) allowed: bool,
    /// Why rules do not count.
    pub(super) always: Option<&'static str>,
    pub(super) groups: Vec<Group>,
}

/// A group that a port carries, with its rules of a direction and IP version.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    /// The object that it was made for.
    pub(super) owner: Option<String>,
    pub(super) rules: Vec<Judged>,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "{owner}"),
            None if self.name.is_empty() => write!(f, "group {}", self.id),
            None => write!(f, "group {}", self.name),
        }
    }
}

/// A rule, and why it does not let the packet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Judged {
    pub(super) id: String,
    /// In words.
    pub(super) rule: String,
    /// Empty: it does.
    pub(super) misses: Vec<String>,
}

impl Judged {
    pub(super) fn lets(&self) -> bool {
        self.misses.is_empty()
    }
}

/// What a rule judges: the other end, by address and port.
struct Peer<'a> {
    address: IpAddr,
    port: &'a Port,
}

impl Firewall {
    /// One way for each IP version that both ends have, IPv4 first.
    pub(super) fn ways(&self, from: &Port, to: &Port, connection: &Connection) -> Vec<Way> {
        let pairs = [IpAddr::is_ipv4, IpAddr::is_ipv6].map(|of| Some((first(from, of)?, first(to, of)?)));
        let same = from.id == to.id;
        let way = |(source, destination): (IpAddr, IpAddr)| {
            let (source_end, destination_end) =
                (Peer { address: source, port: from }, Peer { address: destination, port: to });
            let egress = self.side("egress", from, &destination_end, connection, same);
            let ingress = self.side("ingress", to, &source_end, connection, same);
            Way { source, destination, allowed: egress.allowed && ingress.allowed, egress, ingress }
        };
        pairs.into_iter().flatten().map(way).collect()
    }

    fn side(
        &self,
        direction: &str,
        end: &Port,
        peer: &Peer<'_>,
        connection: &Connection,
        same: bool,
    ) -> Side {
        let always = match end.port_security_enabled {
            _ if same => Some("it does not leave the Pod"),
            Some(false) => Some("port security is off: its groups do not count"),
            _ => None,
        };
        let groups: Vec<Group> =
            end.security_groups.iter().map(|id| self.group(id, direction, peer, connection)).collect();
        let let_in = groups.iter().any(|group| group.rules.iter().any(Judged::lets));
        Side { allowed: always.is_some() || let_in, always, groups }
    }

    fn group(&self, id: &str, direction: &str, peer: &Peer<'_>, connection: &Connection) -> Group {
        let group = self.groups.get(id);
        let version = if peer.address.is_ipv4() { "IPv4" } else { "IPv6" };
        let rules = group.iter().flat_map(|group| &group.security_group_rules);
        let concerned = rules.filter(|rule| rule.direction == direction && rule.ethertype == version);
        Group {
            id: id.to_owned(),
            name: group.map(|group| group.name.clone()).unwrap_or_default(),
            owner: self.owners.get(id).cloned(),
            rules: concerned.map(|rule| self.judged(rule, peer, connection)).collect(),
        }
    }

    fn judged(&self, rule: &SecurityGroupRule, peer: &Peer<'_>, connection: &Connection) -> Judged {
        let misses = [
            (!of_protocol(rule, &connection.protocol)).then(|| "the protocol differs".to_owned()),
            (!of_port(rule, connection.port)).then(|| "the port differs".to_owned()),
            (!self.of_peer(rule, peer)).then(|| format!("{} is not of it", peer.address)),
        ];
        Judged {
            id: rule.id.clone(),
            rule: self.in_words(rule),
            misses: misses.into_iter().flatten().collect(),
        }
    }

    fn of_peer(&self, rule: &SecurityGroupRule, peer: &Peer<'_>) -> bool {
        let within = |prefix: &String| network(prefix).is_some_and(|prefix| prefix.contains(&peer.address));
        let of_addresses =
            |id: &String| self.addresses.get(id).is_some_and(|group| group.addresses.iter().any(within));
        rule.remote_ip_prefix.as_ref().is_none_or(within)
            && rule.remote_group_id.as_ref().is_none_or(|id| peer.port.security_groups.contains(id))
            && rule.remote_address_group_id.as_ref().is_none_or(of_addresses)
    }

    fn in_words(&self, rule: &SecurityGroupRule) -> String {
        let protocol = rule.protocol.as_deref().map_or("any protocol".into(), str::to_ascii_uppercase);
        let ports = match (rule.port_range_min, rule.port_range_max) {
            (Some(first), Some(last)) if first == last => format!(" port {first}"),
            (Some(first), Some(last)) => format!(" ports {first}-{last}"),
            (Some(first), None) => format!(" ports from {first}"),
            (None, Some(last)) => format!(" ports to {last}"),
            (None, None) => String::new(),
        };
        let towards = if rule.direction == "ingress" { "from" } else { "to" };
        format!("{protocol}{ports} {towards} {}", self.remote(rule))
    }

    fn remote(&self, rule: &SecurityGroupRule) -> String {
        if let Some(prefix) = &rule.remote_ip_prefix {
            return prefix.clone();
        }
        if let Some(id) = &rule.remote_group_id {
            return format!("ports that carry the group of {}", self.owners.get(id).unwrap_or(id));
        }
        let Some(id) = &rule.remote_address_group_id else { return "anybody".into() };
        let owner = self.owners.get(id).map_or_else(|| id.clone(), |owner| format!("{id} ({owner})"));
        match self.addresses.get(id).map(|group| group.addresses.len()) {
            Some(1) => format!("the 1 address of address group {owner}"),
            Some(count) => format!("the {count} addresses of address group {owner}"),
            None => format!("address group {owner}"),
        }
    }
}

/// A port's first address of a version.
fn first(port: &Port, of: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    port.fixed_ips.iter().filter_map(|ip| ip.ip_address.parse().ok()).find(of)
}

fn of_protocol(rule: &SecurityGroupRule, wanted: &str) -> bool {
    let named = rule.protocol.as_deref().and_then(|given| protocol(given, rule.ethertype == "IPv6"));
    named.is_none_or(|named| named == wanted)
}

fn of_port(rule: &SecurityGroupRule, port: u16) -> bool {
    rule.port_range_min.is_none_or(|first| first <= port)
        && rule.port_range_max.is_none_or(|last| port <= last)
}
