//! Rules of security groups in one form. Of two that say the same, Neutron refuses the second, however they say it
//! (`_rule_to_key` and `_make_canonical_port_range` in `neutron/db/securitygroups_db.py`).

use std::collections::HashSet;

use crate::address::network;
use crate::desired::Entry;
use crate::kinds::Kind;
use crate::value::{Fields, Value};

/// Names and numbers of the IP protocols for which Neutron takes both (`IP_PROTOCOL_MAP` in `neutron_lib/constants.py`).
const PROTOCOLS: [(&str, &str); 23] = [
    ("1", "icmp"),
    ("2", "igmp"),
    ("4", "ipip"),
    ("6", "tcp"),
    ("8", "egp"),
    ("17", "udp"),
    ("33", "dccp"),
    ("41", "ipv6-encap"),
    ("43", "ipv6-route"),
    ("44", "ipv6-frag"),
    ("46", "rsvp"),
    ("47", "gre"),
    ("50", "esp"),
    ("51", "ah"),
    ("58", "ipv6-icmp"),
    ("58", "icmpv6"),
    ("59", "ipv6-nonxt"),
    ("60", "ipv6-opts"),
    ("89", "ospf"),
    ("112", "vrrp"),
    ("113", "pgm"),
    ("132", "sctp"),
    ("136", "udplite"),
];

/// The first and the last port: a range of both says no more than none.
const ALL_PORTS: (u16, u16) = (1, 65535);

/// The one name of an IP protocol that is given by name or by number; `None` for any.
pub fn protocol(text: &str, v6: bool) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let number = PROTOCOLS.iter().find(|(_, name)| *name == text).map_or(text.as_str(), |(number, _)| number);
    match number {
        "any" => None,
        // Of IPv6, ICMP by any of its names.
        "1" if v6 => Some("ipv6-icmp".to_owned()),
        number => {
            let name = PROTOCOLS.iter().find(|(known, _)| *known == number).map_or(number, |(_, name)| name);
            Some(name.to_owned())
        }
    }
}

/// The other end that a prefix is: as Neutron writes it, `None` for anybody of that IP version.
pub fn remote(prefix: &str, v6: bool) -> Option<String> {
    match network(prefix) {
        Some(net) if net.prefix_len() == 0 && net.addr().is_ipv6() == v6 => None,
        Some(net) => Some(net.trunc().to_string()),
        None => Some(prefix.to_owned()),
    }
}

/// Whether a range is of all ports.
pub fn is_all_ports(first: u16, last: u16) -> bool {
    (first, last) == ALL_PORTS
}

/// Brings the rules of a security group into one form, each of them once.
pub(crate) fn in_one_form(entry: &mut Entry) {
    let Some(Value::List(rules)) =
        entry.fields.get_mut("rules").filter(|_| entry.kind == Kind::SecurityGroup)
    else {
        return;
    };
    let mut seen = HashSet::new();
    rules.retain_mut(|rule| {
        if let Value::Map(rule) = rule {
            simplify(rule);
        }
        serde_json::to_string(rule).map_or(true, |text| seen.insert(text))
    });
}

fn simplify(rule: &mut Fields) {
    let any = || Value::Map([("any".to_owned(), Value::Bool(true))].into());
    let v6 = rule.get("ip_version") == Some(&Value::from("v6"));
    if let Some(Value::Text(given)) = rule.get("protocol") {
        match protocol(given, v6) {
            Some(name) => drop(rule.insert("protocol".to_owned(), Value::Text(name))),
            None => drop(rule.remove("protocol")),
        }
    }
    if let Some(Value::Map(ports)) = rule.get("ports")
        && let Some(Value::Map(range)) = ports.get("range")
        && let (Some(Value::Int(first)), Some(Value::Int(last))) = (range.get("first"), range.get("last"))
        && (*first, *last) == (ALL_PORTS.0.into(), ALL_PORTS.1.into())
    {
        rule.insert("ports".to_owned(), any());
    }
    if let Some(Value::Map(given)) = rule.get("remote")
        && let Some(Value::Text(prefix)) = given.get("cidr")
    {
        let other = match remote(prefix, v6) {
            Some(prefix) => Value::Map([("cidr".to_owned(), Value::Text(prefix))].into()),
            None => any(),
        };
        rule.insert("remote".to_owned(), other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, value: Value) -> Value {
        Value::Map([(name.to_owned(), value)].into())
    }

    fn any() -> Value {
        case("any", Value::Bool(true))
    }

    fn rule(version: &str, protocol: Option<&str>, ports: Value, remote: Value) -> Value {
        let mut fields: Fields = [
            ("ip_version".to_owned(), version.into()),
            ("ports".to_owned(), ports),
            ("remote".to_owned(), remote),
        ]
        .into();
        fields.extend(protocol.map(|protocol| ("protocol".to_owned(), protocol.into())));
        Value::Map(fields)
    }

    #[test]
    fn what_says_the_same_is_there_once() {
        let range = |first, last| {
            let ends = [("first".to_owned(), Value::Int(first)), ("last".to_owned(), Value::Int(last))];
            case("range", Value::Map(ends.into()))
        };
        let cidr = |prefix: &str| case("cidr", prefix.into());
        let given = vec![
            rule("v4", Some("6"), any(), cidr("0.0.0.0/0")),
            rule("v4", Some("TCP"), range(1, 65535), any()),
            rule("v6", Some("icmp"), any(), cidr("::/0")),
            rule("v6", Some("58"), any(), any()),
            rule("v6", Some("1"), any(), any()),
            rule("v4", Some("any"), any(), cidr("10.0.0.1/8")),
            rule("v4", None, any(), cidr("10.0.0.0/8")),
            rule("v6", Some("47"), any(), cidr("FD00::0/8")),
            rule("v6", Some("gre"), any(), cidr("fd00::/8")),
            rule("v4", Some("udp"), range(1, 65534), cidr("::/0")),
        ];
        let fields = [("rules".to_owned(), Value::List(given))].into();
        let mut entry = Entry::new("group", Kind::SecurityGroup, fields);
        in_one_form(&mut entry);
        let wanted = vec![
            rule("v4", Some("tcp"), any(), any()),
            rule("v6", Some("ipv6-icmp"), any(), any()),
            rule("v4", None, any(), cidr("10.0.0.0/8")),
            rule("v6", Some("gre"), any(), cidr("fd00::/8")),
            // What contradicts itself is Neutron's to refuse.
            rule("v4", Some("udp"), range(1, 65534), cidr("::/0")),
        ];
        assert_eq!(entry.fields.get("rules"), Some(&Value::List(wanted)));
    }
}
