use isthmus_openstack::neutron::{AddressGroup, Port, SecurityGroup};
use serde_json::{Value, json};

use super::firewall::{Connection, Firewall};

fn port(id: &str, groups: &[&str], address: &str) -> Port {
    let port = json!({"id": id, "security_groups": groups, "fixed_ips": [{"ip_address": address}]});
    serde_json::from_value(port).unwrap()
}

/// Two ports with a group each: the first lets everything out, the second has these rules.
fn firewall(rules: Value) -> Firewall {
    let mut firewall = Firewall::default();
    let out = json!([{"id": "o", "direction": "egress", "ethertype": "IPv4"}]);
    for (id, rules) in [("out", out), ("in", rules)] {
        let group = json!({"id": id, "name": id, "security_group_rules": rules});
        firewall.groups.insert(id.into(), serde_json::from_value::<SecurityGroup>(group).unwrap());
    }
    let peers = json!({"id": "peers", "addresses": ["10.0.0.5/32"]});
    firewall.addresses.insert("peers".into(), serde_json::from_value::<AddressGroup>(peers).unwrap());
    firewall.owners.insert("in".into(), "NetworkPolicy shop/web".into());
    firewall
}

/// What is missed by each rule; empty where the connection passes.
fn misses(rules: Value, address: &str, connection: &Connection) -> Vec<String> {
    let ways =
        firewall(rules).ways(&port("a", &["out"], address), &port("b", &["in"], "10.0.0.7"), connection);
    assert_eq!(ways.len(), 1);
    let way = ways.first().unwrap();
    assert!(way.egress.allowed);
    match way.allowed {
        true => Vec::new(),
        false => {
            let group = way.ingress.groups.first().unwrap();
            assert_eq!(group.to_string(), "NetworkPolicy shop/web");
            let rules = group.rules.iter();
            let said: Vec<String> = rules.map(|r| format!("{}: {}", r.rule, r.misses.join(", "))).collect();
            if said.is_empty() { vec!["nothing".into()] } else { said }
        }
    }
}

#[test]
fn every_part_of_a_rule_counts() {
    let web = |port| Connection { protocol: "tcp".into(), port };
    let rule = |more: Value| {
        let mut rule = json!({"id": "r", "direction": "ingress", "ethertype": "IPv4"});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([rule])
    };
    let ports = json!({"protocol": "tcp", "port_range_min": 80, "port_range_max": 81});
    let table = [
        (rule(json!({})), "10.0.0.5", 80, ""),
        (rule(json!({"protocol": "6"})), "10.0.0.5", 80, ""),
        (rule(json!({"protocol": "udp"})), "10.0.0.5", 80, "UDP from anybody: the protocol differs"),
        (rule(ports.clone()), "10.0.0.5", 81, ""),
        (rule(ports), "10.0.0.5", 82, "TCP ports 80-81 from anybody: the port differs"),
        (rule(json!({"remote_ip_prefix": "10.0.0.0/29"})), "10.0.0.5", 80, ""),
        (
            rule(json!({"remote_ip_prefix": "10.0.0.0/30"})),
            "10.0.0.5",
            80,
            "any protocol from 10.0.0.0/30: 10.0.0.5 is not of it",
        ),
        (rule(json!({"remote_address_group_id": "peers"})), "10.0.0.5", 80, ""),
        (
            rule(json!({"remote_address_group_id": "peers"})),
            "10.0.0.6",
            80,
            "any protocol from the 1 address of address group peers: 10.0.0.6 is not of it",
        ),
        (rule(json!({"remote_group_id": "out"})), "10.0.0.5", 80, ""),
        (
            rule(json!({"remote_group_id": "in"})),
            "10.0.0.5",
            80,
            "any protocol from ports that carry the group of NetworkPolicy shop/web: 10.0.0.5 is not of it",
        ),
        (rule(json!({"ethertype": "IPv6"})), "10.0.0.5", 80, "nothing"),
        (rule(json!({"direction": "egress"})), "10.0.0.5", 80, "nothing"),
    ];
    for (rules, from, port, expected) in table {
        assert_eq!(misses(rules.clone(), from, &web(port)).join("; "), expected, "{rules}");
    }
}

#[test]
fn what_rules_do_not_hold_for_passes() {
    let connection = Connection { protocol: "tcp".into(), port: 80 };
    let closed = firewall(json!([]));
    let alone = port("b", &["in"], "10.0.0.7");
    assert!(
        closed.ways(&alone, &alone, &connection).iter().all(|way| way.allowed),
        "it does not leave the Pod"
    );
    let mut open = port("b", &["in"], "10.0.0.7");
    open.port_security_enabled = Some(false);
    let from = port("a", &["out"], "10.0.0.5");
    assert!(closed.ways(&from, &open, &connection).iter().all(|way| way.allowed), "port security is off");
    assert!(!closed.ways(&from, &alone, &connection).iter().all(|way| way.allowed));
    assert!(closed.ways(&from, &port("c", &["in"], "fd00::7"), &connection).is_empty());
}
