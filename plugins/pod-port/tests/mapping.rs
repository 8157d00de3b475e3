//! The mapping, natively, on the objects of `tests/data`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use isthmus_sdk::prelude::*;
use isthmus_sdk::testing::Cluster;
use pod_port::PodPort;

const CONFIG: &str = r#"{"network": "pods", "subnets": ["pods-v4", "pods-v6"], "tags": ["blue"]}"#;

fn map(pod: &str, config: &str) -> Result<Vec<Desired>, Outcome> {
    let cluster = Cluster::from_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).unwrap();
    cluster.map::<PodPort>(&Kind::core("Pod"), pod, config)
}

fn port(pod: &str, config: &str) -> Port {
    match map(pod, config).unwrap().remove(0).resource {
        Resource::Port(port) => port,
        other => panic!("expected a port, found {other:?}"),
    }
}

fn of(subnets: &[&str]) -> Option<Vec<FixedIp>> {
    Some(subnets.iter().map(|s| FixedIp::of(existing(s))).collect())
}

#[test]
fn a_pod_is_a_port_and_an_interface() {
    let expected = Port::new(existing("pods"))
        .fixed_ip(FixedIp::of(existing("pods-v4")))
        .fixed_ip(FixedIp::of(existing("pods-v6")))
        .host("n1");
    let interface = Vif::new("eth0", local("port")).default_route();
    let list = [expected.named("port").tag("blue"), interface.named("eth0")];
    assert_eq!(map("shop/web", CONFIG).unwrap(), list);
    assert_eq!(map("shop/ending", CONFIG).unwrap(), list, "a Pod in its grace period keeps its port");
}

#[test]
fn config_and_namespace_choose_the_place() {
    // Pod, config, network, addresses of, groups
    let table = [
        ("shop/web", r#"{"network": "pods"}"#, "pods", None, None),
        ("shop/web", r#"{"network": "pods", "subnets": ["v6"]}"#, "pods", of(&["v6"]), None),
        ("shop/web", r#"{"network": "pods", "securityGroups": []}"#, "pods", None, Some(vec![])),
        ("shop/web", r#"{"network": "pods", "securityGroups": ["a"]}"#, "pods", None, Some(vec!["a"])),
        ("lab/probe", CONFIG, "lab-net", None, Some(vec!["web", "db"])),
        ("lab/probe", "{}", "lab-net", None, Some(vec!["web", "db"])),
        ("narrow/six", CONFIG, "pods", of(&["only-v6"]), Some(vec![])),
    ];
    for (pod, config, network, addresses, groups) in table {
        let port = port(pod, config);
        assert_eq!(port.network, existing(network), "{pod} {config}");
        assert_eq!(port.fixed_ips, addresses, "{pod} {config}");
        let groups = groups.map(|g| g.into_iter().map(existing).collect());
        assert_eq!(port.security_groups, groups, "{pod} {config}");
    }
    assert_eq!(
        port("shop/web", r#"{"network": "n", "vnicType": "direct"}"#).vnic_type.as_deref(),
        Some("direct")
    );
}

fn of_namespace(namespace: &str, entry: &str) -> Reference {
    mapped(ObjectKey { kind: Kind::core("Namespace"), namespace: None, name: namespace.into() }, entry)
}

#[test]
fn a_pod_is_on_the_network_of_its_namespace() {
    let v4 = r#"{"network": {"fromNamespace": ["IPv4"]}}"#;
    let both = r#"{"network": {"fromNamespace": ["IPv6", "IPv4"]}, "securityGroups": ["site"]}"#;
    let except = r#"{"network": {"fromNamespace": ["IPv4"], "except": {"namespaces": ["kube-*", "shop"], "network": "pods"}},
                     "subnets": ["pods-v4"]}"#;
    let own = |namespace: &str, entries: &[&str]| {
        entries.iter().map(|entry| of_namespace(namespace, entry)).collect::<Vec<_>>()
    };
    let named = |names: &[&str]| names.iter().map(|name| existing(name)).collect::<Vec<_>>();
    const GROUPS: [&str; 3] = ["members", "ingress", "egress"];
    // Pod, config, network, subnets of its addresses, groups
    let table = [
        ("shop/web", v4, own("shop", &["network"]), own("shop", &["subnet-v4"]), Some(own("shop", &GROUPS))),
        (
            "shop/web",
            both,
            own("shop", &["network"]),
            own("shop", &["subnet-v4", "subnet-v6"]),
            Some([own("shop", &GROUPS), named(&["site"])].concat()),
        ),
        ("shop/web", except, named(&["pods"]), named(&["pods-v4"]), None),
        // what the namespace names is used in its place
        ("lab/probe", v4, named(&["lab-net"]), vec![], Some(named(&["web", "db"]))),
        ("joined/one", v4, named(&["theirs"]), own("joined", &["subnet-v4"]), Some(own("joined", &GROUPS))),
    ];
    for (pod, config, network, subnets, groups) in table {
        let port = port(pod, config);
        assert_eq!(vec![port.network], network, "{pod} {config}");
        let found = port.fixed_ips.unwrap_or_default().into_iter().map(|ip| ip.subnet.unwrap());
        assert_eq!(found.collect::<Vec<_>>(), subnets, "{pod} {config}");
        assert_eq!(port.security_groups, groups, "{pod} {config}");
    }
}

#[test]
fn what_is_not_mapped_says_why() {
    let table = [
        ("shop/on-host", not_mapped("the Pod is on the host's network")),
        ("shop/done", not_mapped("all containers of the Pod have ended")),
        ("shop/crashed", not_mapped("all containers of the Pod have ended")),
        ("shop/unscheduled", waiting("the Pod is not scheduled to a node")),
        ("not-seen-yet/early", waiting("the Pod's namespace is not known yet")),
    ];
    for (pod, outcome) in table {
        assert_eq!(map(pod, CONFIG), Err(outcome), "{pod}");
    }
}

#[test]
fn a_wrong_config_is_named() {
    let table = [
        ("{}", "config.network", "no network"),
        (r#"{"network": 7}"#, "config.network", "expected a string"),
        (r#"{"network": "n", "subnets": ["a", 1]}"#, "config.subnets[1]", "expected a string"),
        (r#"{"network": "n", "subnet": "a"}"#, "config.subnet", "unknown field"),
        (r#"{"network": {"fromNamespace": []}}"#, "config.network.fromNamespace", "which addresses"),
        (r#"{"network": {"fromNamespace": ["ipv4"]}}"#, "config.network.fromNamespace[0]", "IPv4"),
        (r#"{"network": {}}"#, "config.network", "missing field `fromNamespace`"),
        (r#"{"network": {"fromNamespace": ["IPv4"], "net": 1}}"#, "config.network.net", "unknown field"),
    ];
    for (config, path, part) in table {
        let Err(Outcome::Invalid(invalid)) = map("shop/web", config) else { panic!("{config} is invalid") };
        assert_eq!(invalid.field.as_deref(), Some(path), "{config}");
        assert!(invalid.message.contains(part), "{}", invalid.message);
    }
}

#[test]
fn every_field_of_the_config_is_in_its_schema() {
    let schema = PodPort::manifest().config_schema.unwrap();
    for field in ["network", "subnets", "securityGroups", "vnicType", "tags"] {
        assert!(schema.contains(&format!("\"{field}\": {{")), "{field}");
    }
}
