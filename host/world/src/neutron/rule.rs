//! Rules of security groups.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::fault::{Fault, Result};
use super::{Kind, Neutron, Object, text};
use crate::call::Caller;

/// Numbers of the protocols that rules name.
const NUMBERS: &[(&str, u8)] = &[
    ("ah", 51),
    ("dccp", 33),
    ("egp", 8),
    ("esp", 50),
    ("gre", 47),
    ("hopopt", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ip", 0),
    ("ipip", 4),
    ("ipv6-encap", 41),
    ("ipv6-frag", 44),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ipv6-route", 43),
    ("ospf", 89),
    ("pgm", 113),
    ("rsvp", 46),
    ("sctp", 132),
    ("tcp", 6),
    ("udp", 17),
    ("udplite", 136),
    ("vrrp", 112),
];
const WITH_PORTS: [u8; 5] = [33, 132, 6, 17, 136];
const ICMP: [u8; 2] = [1, 58];
/// Protocols of IPv6 alone.
const ONLY_V6: [&str; 13] = [
    "ipv6-encap",
    "ipv6-frag",
    "ipv6-icmp",
    "icmpv6",
    "ipv6-nonxt",
    "ipv6-opts",
    "ipv6-route",
    "41",
    "44",
    "58",
    "59",
    "60",
    "43",
];

impl Neutron {
    pub(super) fn new_rule(&mut self, mut rule: Object, caller: &Caller) -> Result<String> {
        check(&mut rule)?;
        let peer = text(&rule, "remote_group_id");
        if !peer.is_empty() {
            self.visible(Kind::SecurityGroup, peer, caller)?;
        }
        let peer = text(&rule, "remote_address_group_id");
        if !peer.is_empty() {
            self.visible(Kind::AddressGroup, peer, caller)?;
        }
        let group = text(&rule, "security_group_id").to_owned();
        self.visible(Kind::SecurityGroup, &group, caller)?;
        let beside = self.index.rules.get(&group).into_iter().flatten();
        let key = key(&rule);
        for other in beside.filter_map(|id| self.find(Kind::SecurityGroupRule, id)) {
            if self::key(other) == key {
                let message =
                    format!("Security group rule already exists. Rule id is {}.", text(other, "id"));
                return Err(Fault::conflict("SecurityGroupRuleExists", message));
            }
        }
        let net = text(&rule, "remote_ip_prefix").parse::<IpNet>().ok();
        rule.insert("normalized_cidr".to_owned(), json!(net.map(|net| net.trunc().to_string())));
        Ok(self.store(Kind::SecurityGroupRule, rule))
    }
}

/// As `_validate_base_security_group_rule_attributes`.
fn check(rule: &mut Object) -> Result<()> {
    let v6 = text(rule, "ethertype") == "IPv6";
    match text(rule, "protocol") {
        "icmp" | "icmpv6" if v6 => rule.insert("protocol".to_owned(), json!("ipv6-icmp")),
        "1" if v6 => rule.insert("protocol".to_owned(), json!("58")),
        _ => None,
    };
    let port = |rule: &Object, name: &str| rule.get(name).and_then(Value::as_i64);
    if port(rule, "port_range_min") == Some(1) && port(rule, "port_range_max") == Some(65535) {
        rule.insert("port_range_min".to_owned(), Value::Null);
        rule.insert("port_range_max".to_owned(), Value::Null);
    }
    check_ports(rule, port(rule, "port_range_min"), port(rule, "port_range_max"))?;
    let prefix = text(rule, "remote_ip_prefix");
    if let Ok(net) = prefix.parse::<IpNet>()
        && net.addr().is_ipv6() != v6
    {
        let message = format!("Conflicting value ethertype {} for CIDR {prefix}", text(rule, "ethertype"));
        return Err(Fault::invalid("SecurityGroupRuleParameterConflict", message));
    }
    let protocol = text(rule, "protocol");
    if !v6 && ONLY_V6.contains(&protocol) {
        let message = format!("Invalid ethertype IPv4 for protocol {protocol}.");
        return Err(Fault::invalid("SecurityGroupEthertypeConflictWithProtocol", message));
    }
    let peers = ["remote_ip_prefix", "remote_group_id", "remote_address_group_id"];
    if peers.iter().filter(|name| !text(rule, name).is_empty()).count() > 1 {
        let message =
            "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.";
        return Err(Fault::invalid("SecurityGroupMultipleRemoteEntites", message));
    }
    Ok(())
}

fn check_ports(rule: &Object, least: Option<i64>, most: Option<i64>) -> Result<()> {
    if least.is_none() && most.is_none() {
        return Ok(());
    }
    let Some(number) = number(text(rule, "protocol")) else {
        let message = "Must also specify protocol if port range is given.";
        return Err(Fault::invalid("SecurityGroupProtocolRequiredWithPorts", message));
    };
    if WITH_PORTS.contains(&number) {
        if least == Some(0) || most == Some(0) {
            return Err(Fault::invalid("SecurityGroupInvalidPortValue", "Invalid value for port 0"));
        }
        return match least.zip(most) {
            Some((least, most)) if least <= most => Ok(()),
            _ => {
                let message = "For TCP/UDP protocols, port_range_min must be <= port_range_max";
                Err(Fault::invalid("SecurityGroupInvalidPortRange", message))
            }
        };
    }
    if ICMP.contains(&number) {
        for (field, name, value) in [("type", "port_range_min", least), ("code", "port_range_max", most)] {
            if let Some(value) = value.filter(|value| !(0..=255).contains(value)) {
                let message =
                    format!("Invalid value for ICMP {field} ({name}) {value}. It must be 0 to 255.");
                return Err(Fault::invalid("SecurityGroupInvalidIcmpValue", message));
            }
        }
        if let (None, Some(code)) = (least, most) {
            let message = format!(
                "ICMP code (port-range-max) {code} is provided but ICMP type (port-range-min) is missing."
            );
            return Err(Fault::invalid("SecurityGroupMissingIcmpType", message));
        }
        return Ok(());
    }
    let message = format!(
        "Ports cannot be specified for protocol {number}. Ports are only supported for DCCP, SCTP, TCP, UDP, UDPLITE."
    );
    Err(Fault::invalid("SecurityGroupInvalidProtocolForPort", message))
}

fn number(protocol: &str) -> Option<u8> {
    let named = NUMBERS.iter().find(|(name, _)| *name == protocol).map(|(_, number)| *number);
    named.or_else(|| protocol.parse().ok())
}

/// What tells one rule of a group from another: an address that stands for all is none, a name is its number.
fn key(rule: &Object) -> [Value; 8] {
    let of = |name: &str| rule.get(name).cloned().unwrap_or_default();
    let prefix = match text(rule, "remote_ip_prefix") {
        "" | "0.0.0.0/0" | "::/0" => Value::Null,
        other => json!(other),
    };
    [
        of("direction"),
        of("ethertype"),
        json!(number(text(rule, "protocol"))),
        of("port_range_min"),
        of("port_range_max"),
        of("remote_group_id"),
        of("remote_address_group_id"),
        prefix,
    ]
}
