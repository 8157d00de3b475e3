//! Rules of security groups in one form. Of two that say the same, Neutron refuses the second, however they say it (`_rule_to_key` in
//! `neutron/db/securitygroups_db.py`).

use crate::address::network;
use crate::desired::Entry;
use crate::kinds::Kind;
use crate::value::{Fields, Value};

/// The name of an IP protocol that is given by any name or by its number (IANA, "Protocol Numbers").
pub fn protocol(text: &str, v6: bool) -> String {
    let text = text.to_ascii_lowercase();
    let name = match (text.as_str(), v6) {
        ("1", false) => "icmp",
        ("icmp" | "icmpv6" | "58" | "ipv6-icmp", true) | ("icmpv6" | "58", false) => "ipv6-icmp",
        ("6", _) => "tcp",
        ("17", _) => "udp",
        ("132", _) => "sctp",
        (other, _) => other,
    };
    name.to_owned()
}

/// Whether a prefix holds every address of its version: as a rule's other end, that is anybody.
pub fn is_anybody(prefix: &str) -> bool {
    network(prefix).is_some_and(|prefix| prefix.prefix_len() == 0)
}

/// Brings the rules of a security group into one form, each of them once.
pub(crate) fn in_one_form(entry: &mut Entry) {
    let Some(Value::List(rules)) =
        entry.fields.get_mut("rules").filter(|_| entry.kind == Kind::SecurityGroup)
    else {
        return;
    };
    let mut once: Vec<Value> = Vec::new();
    for mut rule in std::mem::take(rules) {
        if let Value::Map(rule) = &mut rule {
            simplify(rule);
        }
        if !once.contains(&rule) {
            once.push(rule);
        }
    }
    *rules = once;
}

fn simplify(rule: &mut Fields) {
    let v6 = rule.get("ip_version") == Some(&Value::from("v6"));
    if let Some(Value::Text(given)) = rule.get_mut("protocol") {
        *given = protocol(given, v6);
    }
    let Some(Value::Map(remote)) = rule.get_mut("remote") else { return };
    if matches!(remote.get("cidr"), Some(Value::Text(prefix)) if is_anybody(prefix)) {
        *remote = [("any".to_owned(), Value::Bool(true))].into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(version: &str, protocol: Option<&str>, remote: (&str, Value)) -> Value {
        let mut fields: Fields = [
            ("ip_version".to_owned(), version.into()),
            ("remote".to_owned(), Value::Map([(remote.0.to_owned(), remote.1)].into())),
        ]
        .into();
        fields.extend(protocol.map(|protocol| ("protocol".to_owned(), protocol.into())));
        Value::Map(fields)
    }

    #[test]
    fn what_says_the_same_is_there_once() {
        let any = || ("any", Value::Bool(true));
        let given = vec![
            rule("v4", Some("6"), ("cidr", "0.0.0.0/0".into())),
            rule("v4", Some("TCP"), any()),
            rule("v6", Some("icmp"), ("cidr", "::/0".into())),
            rule("v6", Some("58"), any()),
            rule("v4", Some("icmp"), any()),
            rule("v4", None, ("cidr", "10.0.0.0/8".into())),
        ];
        let fields = [("rules".to_owned(), Value::List(given))].into();
        let mut entry = Entry::new("group", Kind::SecurityGroup, fields);
        in_one_form(&mut entry);
        let wanted = vec![
            rule("v4", Some("tcp"), any()),
            rule("v6", Some("ipv6-icmp"), any()),
            rule("v4", Some("icmp"), any()),
            rule("v4", None, ("cidr", "10.0.0.0/8".into())),
        ];
        assert_eq!(entry.fields.get("rules"), Some(&Value::List(wanted)));
    }
}
