//! What values of attributes must be, and what Neutron says to others (`neutron_lib.api.validators` and `converters`).

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::fault::{Fault, Result};
use crate::python;

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Check {
    Any,
    Text(usize),
    GroupName,
    Bool,
    Int(i64, i64),
    Numbers(&'static [i64]),
    Values(&'static [&'static str]),
    Modes,
    Uuid,
    UuidOrNull,
    Uuids,
    Mac,
    Cidr,
    AddressOrNull,
    Ranges,
    Nameservers,
    Routes,
    FixedIps,
    Pairs,
    Map,
    MapOrNull,
    Tags,
    Protocol,
    PortNumber,
    Ethertype,
    Prefix,
    Prefixes,
    Subports,
}

/// Protocols of rules, in the order of Neutron's message.
const PROTOCOLS: &[&str] = &[
    "ah",
    "dccp",
    "egp",
    "esp",
    "gre",
    "hopopt",
    "icmp",
    "igmp",
    "ip",
    "ipip",
    "ipv6-encap",
    "ipv6-frag",
    "ipv6-icmp",
    "icmpv6",
    "ipv6-nonxt",
    "ipv6-opts",
    "ipv6-route",
    "ospf",
    "pgm",
    "rsvp",
    "sctp",
    "tcp",
    "udp",
    "udplite",
    "vrrp",
];

type Checked = std::result::Result<(), String>;

impl Check {
    /// The value as it is kept.
    pub(super) fn apply(self, name: &str, value: &Value) -> Result<Value> {
        let converted = self.convert(value)?;
        match self.validate(&converted) {
            Ok(()) => Ok(converted),
            Err(reason) => Err(Fault::attribute(name, reason)),
        }
    }

    fn convert(self, value: &Value) -> Result<Value> {
        let listed = |value: &Value| if value.is_null() { json!([]) } else { value.clone() };
        match self {
            Self::Bool => boolean(value).map(Value::Bool),
            Self::Int(..) | Self::Numbers(_) => match integer(value) {
                Some(number) => Ok(json!(number)),
                None => Err(Fault::input(format_args!("'{}' is not an integer", python::str(value)))),
            },
            Self::Pairs => pairs(listed(value)),
            Self::Nameservers | Self::Routes | Self::Uuids | Self::Prefixes => Ok(listed(value)),
            Self::Cidr => match value.as_str() {
                Some(text) => match text.parse::<IpNet>() {
                    Ok(net) => Ok(json!(net.trunc().to_string())),
                    Err(_) => Err(Fault::input(format_args!("{text} is not in a CIDR format"))),
                },
                None => Ok(value.clone()),
            },
            Self::Protocol => protocol(value),
            Self::PortNumber => port(value),
            Self::Ethertype => {
                let found = ["IPv4", "IPv6"]
                    .into_iter()
                    .find(|e| value.as_str().is_some_and(|v| e.eq_ignore_ascii_case(v)));
                found.map(|e| json!(e)).ok_or_else(|| {
                    let message = format!(
                        "Security group rule for ethertype '{}' not supported. Allowed values are ['IPv4', 'IPv6'].",
                        python::str(value)
                    );
                    Fault::invalid("SecurityGroupRuleInvalidEtherType", message)
                })
            }
            Self::Prefix => prefix(value),
            Self::Mac => {
                Ok(value.as_str().map_or_else(|| value.clone(), |text| json!(text.to_ascii_lowercase())))
            }
            Self::AddressOrNull => Ok(match value.as_str().and_then(|text| text.parse::<IpAddr>().ok()) {
                Some(address) => json!(address.to_string()),
                None => value.clone(),
            }),
            Self::GroupName if value.as_str().is_some_and(|name| name.eq_ignore_ascii_case("default")) => {
                Err(Fault::conflict(
                    "SecurityGroupDefaultAlreadyExists",
                    "Default security group already exists.",
                ))
            }
            _ => Ok(value.clone()),
        }
    }

    fn validate(self, value: &Value) -> Checked {
        match self {
            Self::Text(most) => text(value, most),
            Self::GroupName => text(value, 255),
            Self::Int(least, most) => match value.as_i64() {
                Some(n) if n < least => Err(format!("'{n}' is too small - must be at least '{least}'")),
                Some(n) if n > most => Err(format!("'{n}' is too large - must be no larger than '{most}'")),
                _ => Ok(()),
            },
            Self::Numbers(values) => one_of(value, value.as_i64().is_some_and(|n| values.contains(&n))),
            Self::Values(values) => one_of(value, value.as_str().is_some_and(|v| values.contains(&v))),
            Self::Modes => {
                let modes = ["dhcpv6-stateful", "dhcpv6-stateless", "slaac"];
                one_of(value, value.is_null() || value.as_str().is_some_and(|v| modes.contains(&v)))
            }
            Self::Uuid => uuid(value),
            Self::UuidOrNull if value.is_null() => Ok(()),
            Self::UuidOrNull => uuid(value),
            Self::Uuids => list(value, uuid),
            Self::Mac => match value.as_str().is_some_and(is_mac) {
                true => Ok(()),
                false => Err(format!("'{}' is not a valid MAC address", python::str(value))),
            },
            Self::AddressOrNull if value.is_null() => Ok(()),
            Self::AddressOrNull => address(value),
            Self::Ranges => ranges(value),
            Self::Nameservers => nameservers(value),
            Self::Routes => routes(value),
            Self::FixedIps => fixed_ips(value),
            Self::Map if value.is_object() || value.is_null() => Ok(()),
            Self::MapOrNull if value.is_object() || value.is_null() => Ok(()),
            Self::Map | Self::MapOrNull => Err(format!("'{}' is not a dictionary", python::str(value))),
            Self::Tags => list(value, |tag| text(tag, 255)),
            Self::Prefixes => list(value, subnet),
            Self::Subports if !value.is_array() => {
                Err(format!("Invalid data format for subports: '{}' is not a list", python::str(value)))
            }
            _ => Ok(()),
        }
    }
}

/// As `convert_to_boolean`.
fn boolean(value: &Value) -> Result<bool> {
    let flag = match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) if number.as_i64() == Some(0) => Some(false),
        Value::Number(number) if number.as_i64() == Some(1) => Some(true),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "t" | "yes" | "on" | "y" => Some(true),
            "false" | "0" | "f" | "no" | "off" | "n" => Some(false),
            _ => None,
        },
        _ => None,
    };
    flag.ok_or_else(|| Fault::input(format_args!("'{}' cannot be converted to boolean", python::str(value))))
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        _ => None,
    }
}

fn text(value: &Value, most: usize) -> Checked {
    match value.as_str() {
        None => Err(format!("'{}' is not a valid string", python::str(value))),
        Some(text) if text.chars().count() > most => {
            Err(format!("'{text}' exceeds maximum length of {most}"))
        }
        Some(_) => Ok(()),
    }
}

/// A tag.
pub(super) fn tag(value: &Value) -> Checked {
    text(value, 255)
}

fn one_of(value: &Value, holds: bool) -> Checked {
    if holds { Ok(()) } else { Err(format!("{} is not in valid_values", python::str(value))) }
}

fn uuid(value: &Value) -> Checked {
    let hex: String = value.as_str().unwrap_or_default().chars().filter(|c| *c != '-').collect();
    match hex.len() == 32 && hex.chars().all(|c| c.is_ascii_hexdigit()) {
        true => Ok(()),
        false => Err(format!("'{}' is not a valid UUID", python::str(value))),
    }
}

fn address(value: &Value) -> Checked {
    match value.as_str().and_then(|text| text.parse::<IpAddr>().ok()) {
        Some(_) => Ok(()),
        None => Err(format!("'{}' is not a valid IP address", python::str(value))),
    }
}

fn subnet(value: &Value) -> Checked {
    match value.as_str().and_then(|text| text.parse::<IpNet>().ok()) {
        Some(_) => Ok(()),
        None => Err(format!("'{}' is not a valid IP subnet", python::str(value))),
    }
}

/// Items of a list that are all different.
pub(super) fn list(value: &Value, item: impl Fn(&Value) -> Checked) -> Checked {
    let Some(all) = value.as_array() else { return Err(format!("'{}' is not a list", python::str(value))) };
    let mut twice: Vec<String> = Vec::new();
    for (at, one) in all.iter().enumerate() {
        let shown = python::str(one);
        if all.iter().take(at).any(|other| other == one) && !twice.contains(&shown) {
            twice.push(shown);
        }
    }
    if !twice.is_empty() {
        return Err(format!("Duplicate items in the list: '{}'", twice.join(", ")));
    }
    all.iter().try_for_each(item)
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    parts.len() == 6 && parts.iter().all(|p| p.len() == 2 && p.chars().all(|c| c.is_ascii_hexdigit()))
}

fn ranges(value: &Value) -> Checked {
    let Some(all) = value.as_array() else {
        return Err(format!("Invalid data format for IP pool: '{}'", python::str(value)));
    };
    for range in all {
        let (start, end) = (range.get("start"), range.get("end"));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(format!(
                "Validation of dictionary's keys failed. Expected keys: ['end', 'start'] Provided keys: {}",
                python::str(range)
            ));
        };
        address(start)?;
        address(end)?;
    }
    Ok(())
}

fn nameservers(value: &Value) -> Checked {
    let Some(all) = value.as_array() else {
        return Err(format!("Invalid data format for nameserver: '{}'", python::str(value)));
    };
    for (at, host) in all.iter().enumerate() {
        let shown = python::str(host);
        address(host).map_err(|reason| format!("'{shown}' is not a valid nameserver. {reason}"))?;
        if all.iter().take(at).any(|other| other == host) {
            return Err(format!("Duplicate nameserver '{shown}'"));
        }
    }
    Ok(())
}

fn routes(value: &Value) -> Checked {
    let Some(all) = value.as_array() else {
        return Err(format!("Invalid data format for hostroute: '{}'", python::str(value)));
    };
    for (at, route) in all.iter().enumerate() {
        let (Some(destination), Some(next)) = (route.get("destination"), route.get("nexthop")) else {
            return Err(format!(
                "Validation of dictionary's keys failed. Expected keys: ['destination', 'nexthop'] Provided keys: {}",
                python::str(route)
            ));
        };
        if destination.as_str().and_then(|text| text.parse::<IpNet>().ok()).is_none() {
            return Err(format!("'{}' is not a valid CIDR", python::str(destination)));
        }
        address(next)?;
        if all.iter().take(at).any(|other| other == route) {
            return Err(format!("Duplicate hostroute '{}'", python::str(route)));
        }
    }
    Ok(())
}

fn fixed_ips(value: &Value) -> Checked {
    let bad = |value: &Value| Err(format!("Invalid data format for fixed IP: '{}'", python::str(value)));
    let Some(all) = value.as_array() else { return bad(value) };
    let mut seen = Vec::new();
    for ip in all {
        if !ip.is_object() {
            return bad(ip);
        }
        if let Some(given) = ip.get("ip_address") {
            if seen.contains(&given) {
                return Err(format!("Duplicate IP address '{}'", python::str(given)));
            }
            address(given)?;
            seen.push(given);
        }
        if let Some(subnet) = ip.get("subnet_id") {
            uuid(subnet)?;
        }
    }
    Ok(())
}

fn protocol(value: &Value) -> Result<Value> {
    let refused = || {
        let known: Vec<String> = PROTOCOLS.iter().map(|p| format!("'{p}'")).collect();
        let message = format!(
            "Security group rule protocol {} not supported. Only protocol values (None, 'any', {}) and integer representations [0 to 255] are supported.",
            python::str(value),
            known.join(", ")
        );
        Fault::invalid("SecurityGroupRuleInvalidProtocol", message)
    };
    match value {
        Value::Null => Ok(Value::Null),
        Value::String(text) if text == "any" => Ok(Value::Null),
        Value::Number(number) if number.as_u64().is_some_and(|n| n <= 255) => Ok(json!(number.to_string())),
        Value::String(text) => match text.parse::<i64>() {
            Ok(number) if (0..=255).contains(&number) => Ok(json!(text)),
            Ok(_) => Err(refused()),
            Err(_) => {
                let lower = text.to_ascii_lowercase();
                if PROTOCOLS.contains(&lower.as_str()) { Ok(json!(lower)) } else { Err(refused()) }
            }
        },
        _ => Err(refused()),
    }
}

fn port(value: &Value) -> Result<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let number = integer(value).filter(|n| (0..=65535).contains(n));
    number.map(|n| json!(n)).ok_or_else(|| {
        Fault::invalid(
            "SecurityGroupInvalidPortValue",
            format!("Invalid value for port {}", python::str(value)),
        )
    })
}

fn prefix(value: &Value) -> Result<Value> {
    let text = value.as_str().unwrap_or_default();
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    net.map(|net| json!(net.to_string()))
        .ok_or_else(|| Fault::invalid("InvalidCIDR", format!("Invalid CIDR {text} given as IP prefix.")))
}

/// As `_validate_allowed_address_pairs`, which comes before anything that they refer to is looked for.
fn pairs(all: Value) -> Result<Value> {
    let mut seen: Vec<(Value, &Value)> = Vec::new();
    for pair in all.as_array().into_iter().flatten() {
        let Some(ip) = pair.get("ip_address") else {
            let message = "AllowedAddressPair must contain ip_address";
            return Err(Fault::invalid("AllowedAddressPairsMissingIP", message));
        };
        let key = (pair.get("mac_address").cloned().unwrap_or_default(), ip);
        if seen.contains(&key) {
            let message = format!(
                "Request contains duplicate address pair: mac_address {} ip_address {}.",
                python::str(&key.0),
                python::str(ip)
            );
            return Err(Fault::invalid("DuplicateAddressPairInRequest", message));
        }
        seen.push(key);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_converted_or_refused_in_neutrons_words() {
        let refused = |check: Check, value: Value| {
            check.apply("x", &value).unwrap_err().reply().body["NeutronError"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(
            refused(Check::Bool, json!("maybe")),
            "Invalid input for operation: 'maybe' cannot be converted to boolean."
        );
        assert_eq!(
            refused(Check::Text(3), json!(5)),
            "Invalid input for x. Reason: '5' is not a valid string."
        );
        assert_eq!(
            refused(Check::Text(3), json!("long")),
            "Invalid input for x. Reason: 'long' exceeds maximum length of 3."
        );
        assert_eq!(
            refused(Check::Pairs, json!([{"mac_address": "02:00:00:00:00:01"}])),
            "AllowedAddressPair must contain ip_address"
        );
        assert_eq!(refused(Check::Uuid, json!("x")), "Invalid input for x. Reason: 'x' is not a valid UUID.");
        assert_eq!(
            refused(Check::Tags, json!(["a", "a"])),
            "Invalid input for x. Reason: Duplicate items in the list: 'a'."
        );
        assert_eq!(
            refused(Check::Numbers(&[4, 6]), json!(5)),
            "Invalid input for x. Reason: 5 is not in valid_values."
        );
        let applied = |check: Check, value: Value| check.apply("x", &value).unwrap();
        assert_eq!(applied(Check::Cidr, json!("10.8.0.7/30")), json!("10.8.0.4/30"));
        assert_eq!(applied(Check::Prefix, json!("10.0.0.1")), json!("10.0.0.1/32"));
        assert_eq!(applied(Check::Prefix, json!("10.0.0.5/8")), json!("10.0.0.5/8"));
        assert_eq!(applied(Check::Protocol, json!("TCP")), json!("tcp"));
        assert_eq!(applied(Check::Protocol, json!(6)), json!("6"));
        assert_eq!(applied(Check::Protocol, json!("any")), Value::Null);
        assert_eq!(applied(Check::Ethertype, json!("ipv6")), json!("IPv6"));
        assert_eq!(applied(Check::Bool, json!("yes")), json!(true));
    }
}
