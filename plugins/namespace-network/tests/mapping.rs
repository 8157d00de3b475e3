//! The mapping, natively, on the objects of `tests/data`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::{Prefix, Remote};
use isthmus_sdk::records::values::IpVersion::{self, V4, V6};
use isthmus_sdk::testing::Cluster;
use namespace_network::NamespaceNetwork;

const V4_ONLY: &str = r#"{"ipv4": {"subnetPool": "pods"}, "router": "r"}"#;
const BOTH: &str = r#"{"ipv4": {"subnetPool": "pods", "prefixLength": 26}, "ipv6": {"subnetPool": "pods6"}, "router": "r",
    "mtu": 1400, "dnsNameservers": ["10.96.0.10", "fd00::a"], "tags": ["blue"]}"#;

/// Names of all groups.
const GROUPS: &str = "members ingress egress";

fn cluster() -> Cluster {
    Cluster::from_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).unwrap()
}

fn map(namespace: &str, config: &str) -> Result<Vec<Desired>, Outcome> {
    cluster().map::<NamespaceNetwork>(&Kind::core("Namespace"), namespace, config)
}

fn names(list: &[Desired]) -> Vec<&str> {
    list.iter().map(|entry| entry.name.as_str()).collect()
}

fn group<'a>(list: &'a [Desired], name: &str) -> &'a SecurityGroup {
    match &list.iter().find(|entry| entry.name == name).unwrap().resource {
        Resource::SecurityGroup(group) => group,
        other => panic!("{other:?}"),
    }
}

fn rules(rule: fn(IpVersion) -> SecurityRule) -> SecurityGroup {
    SecurityGroup::new().rule(rule(V4)).rule(rule(V6))
}

#[test]
fn a_namespace_is_a_network_with_all_that_pods_need() {
    let subnet = |version, pool, length, server: &str| {
        let prefix = Prefix::pool(existing(pool), length);
        Subnet::new(local("network"), version, prefix).without_dhcp().dns_nameserver(server)
    };
    let interface = |subnet| RouterInterface::new(existing("r"), local(subnet));
    let list = [
        Network::new().mtu(1400_u16).named("network"),
        subnet(V4, "pods", Some(26), "10.96.0.10").named("subnet-v4"),
        subnet(V6, "pods6", None, "fd00::a").named("subnet-v6"),
        interface("subnet-v4").named("router-v4"),
        interface("subnet-v6").named("router-v6"),
        SecurityGroup::new().named("members"),
        rules(SecurityRule::ingress).named("ingress"),
        rules(SecurityRule::egress).named("egress"),
    ];
    assert_eq!(map("shop", BOTH).unwrap(), list.map(|entry| entry.tag("blue")));
}

#[test]
fn what_is_there_is_used_and_not_made() {
    let six = r#"{"ipv6": {"subnetPool": "pods6"}}"#;
    let table: [(&str, &str, &[&str]); 9] = [
        ("shop", V4_ONLY, &["network", "subnet-v4", "router-v4", GROUPS]),
        ("shop", six, &["network", "subnet-v6", GROUPS]),
        ("there", V4_ONLY, &[GROUPS]),
        ("there", "{}", &[GROUPS]),
        ("attached", V4_ONLY, &["router-0", "router-1", GROUPS]),
        ("joined", V4_ONLY, &["subnet-v4", "router-v4", GROUPS]),
        ("grouped", V4_ONLY, &["network", "subnet-v4", "router-v4"]),
        ("unrouted", V4_ONLY, &["network", "subnet-v4", GROUPS]),
        ("kube-system", V4_ONLY, &["network", "subnet-v4", "router-v4", GROUPS]),
    ];
    for (namespace, config, expected) in table {
        let found = names(&map(namespace, config).unwrap()).join(" ");
        assert_eq!(found, expected.join(" "), "{namespace} {config}");
    }
    let attached = RouterInterface::new(existing("r2"), existing("b")).named("router-1");
    assert!(map("attached", V4_ONLY).unwrap().contains(&attached));
    let on_theirs = Subnet::new(existing("theirs"), V4, Prefix::pool(existing("pods"), None)).without_dhcp();
    assert!(map("joined", V4_ONLY).unwrap().contains(&on_theirs.named("subnet-v4")));
}

#[test]
fn an_isolated_namespace_lets_in_itself_and_who_is_allowed() {
    let config = r#"{"ipv4": {"subnetPool": "pods"}, "isolation": "isolated", "allow": [
        {"cidr": "10.0.0.0/24"}, {"cidr": "fd00::/64", "protocol": "tcp", "ports": [1024, 65535]},
        {"cidr": "10.0.0.0/24"}, {"group": "amphorae"}, {"cidr": "fd01::/64", "protocol": "icmp"}]}"#;
    let from = |version, remote| SecurityRule::ingress(version).remote(remote);
    let own = || Remote::Group(local("members"));
    let amphorae = || Remote::Group(existing("amphorae"));
    let expected = SecurityGroup::new()
        .rule(from(V4, own()))
        .rule(from(V6, own()))
        .rule(from(V4, Remote::Cidr("10.0.0.0/24".into())))
        .rule(from(V6, Remote::Cidr("fd00::/64".into())).protocol("tcp").ports(1024, 65535))
        .rule(from(V4, amphorae()))
        .rule(from(V6, amphorae()))
        .rule(from(V6, Remote::Cidr("fd01::/64".into())).protocol("ipv6-icmp"));
    let list = map("shop", config).unwrap();
    assert_eq!(*group(&list, "ingress"), expected);
    assert_eq!(*group(&list, "egress"), rules(SecurityRule::egress));
    // A Pod of which policies isolate both directions carries this one, and is let in by its neighbours all the same.
    assert_eq!(*group(&list, "members"), SecurityGroup::new());
    let opened = map("opened", config).unwrap();
    assert_eq!(*group(&opened, "ingress"), rules(SecurityRule::ingress), "the Namespace's own word");
}

#[test]
fn a_namespace_that_goes_or_is_excluded_has_nothing() {
    let exclude = r#"{"ipv4": {"subnetPool": "pods"}, "exclude": ["kube-*", "grouped", "sho"]}"#;
    let excluded = || not_mapped("the module's config excludes this Namespace");
    assert_eq!(map("going", V4_ONLY), Err(not_mapped("the Namespace is being deleted")));
    assert_eq!(map("kube-system", exclude), Err(excluded()));
    assert_eq!(map("grouped", exclude), Err(excluded()));
    assert!(map("shop", exclude).is_ok(), "a name without * is the whole name");
    // What goes is taken away whatever else is wrong: nothing may hold up the end of a Namespace.
    assert_eq!(map("going", "{}"), Err(not_mapped("the Namespace is being deleted")));
}

#[test]
fn when_needed_waits_for_a_pod_off_the_hosts_network() {
    let config = r#"{"ipv4": {"subnetPool": "pods"}, "create": "when-needed"}"#;
    let wait = || waiting("no Pod needs the Namespace's network yet");
    assert!(map("shop", config).is_ok());
    assert_eq!(map("grouped", config), Err(wait()), "its only Pod is on the host's network");
    assert_eq!(map("there", config), Err(wait()), "it has no Pod");
    assert_eq!(map("going", config), Err(not_mapped("the Namespace is being deleted")));
}

#[test]
fn what_is_wrong_is_named() {
    let with = |annotations: &str| {
        let subject = format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: a, annotations: {{{annotations}}}}}}}"
        );
        Cluster::from_yaml(&subject).unwrap().map::<NamespaceNetwork>(&Kind::core("Namespace"), "a", V4_ONLY)
    };
    let annotation = |name: &str| format!("metadata.annotations[\"isthmus.dev/{name}\"]");
    let table = [
        (with("isthmus.dev/subnets: a"), annotation("subnets"), "isthmus.dev/network"),
        (with("isthmus.dev/make-subnets: 'true'"), annotation("make-subnets"), "isthmus.dev/network"),
        (with("isthmus.dev/make-subnets: 'yes'"), annotation("make-subnets"), "true or false"),
        (with("isthmus.dev/isolation: strict"), annotation("isolation"), "open or isolated"),
        (
            with("isthmus.dev/network: net, isthmus.dev/subnets: a, isthmus.dev/make-subnets: 'true'"),
            annotation("make-subnets"),
            "either",
        ),
        (
            with(&format!("isthmus.dev/network: {}", "n".repeat(256))),
            annotation("network"),
            "at most 255 bytes",
        ),
        // a list with a project in it, the operator's own too, would be a breach of the contract
        (with("isthmus.dev/project: p1"), annotation("project"), "take the annotation away"),
        (
            with("openstack.org/kuryr-project: p1"),
            "metadata.annotations[\"openstack.org/kuryr-project\"]".into(),
            "take the annotation away",
        ),
        (map("shop", "{}"), "config.ipv4".into(), "no subnet pool"),
        (map("shop", r#"{"ipv4": {"subnetPool": ""}}"#), "config.ipv4.subnetPool".into(), "1 to 255"),
        (
            map("shop", r#"{"ipv4": {"subnetPool": "p", "prefixLength": 33}}"#),
            "config.ipv4.prefixLength".into(),
            "1 to 32",
        ),
        (map("shop", r#"{"isolation": "off"}"#), "config.isolation".into(), "unknown variant"),
        (map("shop", r#"{"allow": [{}]}"#), "config.allow[0]".into(), "`cidr` or by `group`"),
        (map("shop", r#"{"allow": [{"cidr": "10.0.0.0"}]}"#), "config.allow[0].cidr".into(), "no CIDR"),
        (
            map("shop", r#"{"allow": [{"cidr": "::/0", "ports": [1, 2]}]}"#),
            "config.allow[0].protocol".into(),
            "ports are of a protocol",
        ),
        (
            map("shop", r#"{"allow": [{"cidr": "::/0", "protocol": "tcp", "ports": [2, 1]}]}"#),
            "config.allow[0].ports".into(),
            "1 to 65535",
        ),
        (map("shop", r#"{"dnsNameservers": ["dns"]}"#), "config.dnsNameservers[0]".into(), "no IP address"),
    ];
    for (result, path, part) in table {
        let Err(Outcome::Invalid(invalid)) = result else { panic!("{path}: {result:?}") };
        assert_eq!(invalid.field, Some(path), "{}", invalid.message);
        assert!(invalid.message.contains(part), "{}", invalid.message);
    }
}

#[test]
fn every_field_of_the_config_is_in_its_schema() {
    let schema = NamespaceNetwork::manifest().config_schema.unwrap();
    let fields =
        "ipv4 ipv6 router mtu dnsNameservers isolation allow create exclude tags subnetPool prefixLength";
    for field in fields.split(' ') {
        assert!(schema.contains(&format!("\"{field}\": {{")), "{field}");
    }
    serde_json::from_str::<serde_json::Value>(&schema).unwrap();
}

#[test]
fn every_annotation_is_in_the_guide() {
    let guide = include_str!("../../../docs/services.md");
    let fields = NamespaceNetwork::manifest().maps.remove(0).fields;
    let names =
        fields.iter().filter_map(|field| field.strip_prefix("metadata.annotations[\"")?.strip_suffix("\"]"));
    let missing: Vec<&str> = names.filter(|name| !guide.contains(&format!("`{name}`"))).collect();
    assert_eq!(missing, [""; 0]);
}
