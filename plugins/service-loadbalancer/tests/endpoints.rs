//! Which endpoints are members, and where they are reached.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::collections::BTreeMap;

use common::{Given, PLAIN, at, given, places, pool};
use isthmus_sdk::prelude::*;

fn members(given: &Given) -> Vec<(String, u16)> {
    places(&given.list(PLAIN), "pool-v4-tcp-80")
}

#[test]
fn ready_endpoints_are_members_and_else_those_that_end_and_serve() {
    let ready = "{addresses: [10.0.0.1], conditions: {ready: true}}";
    let unsaid = "{addresses: [10.0.0.2]}";
    let not_ready = "{addresses: [10.0.0.3], conditions: {ready: false, serving: false}}";
    let ending = "{addresses: [10.0.0.4], conditions: {ready: false, serving: true, terminating: true}}";
    let ended = "{addresses: [10.0.0.5], conditions: {ready: false, serving: false, terminating: true}}";
    let unready_serving = "{addresses: [10.0.0.6], conditions: {ready: false, serving: true}}";
    let table: [(&[&str], &[&str]); 7] = [
        (&[ready, unsaid, not_ready, ending, ended], &["10.0.0.1", "10.0.0.2"]),
        (&[not_ready, ending, ended], &["10.0.0.4"]),
        (&[not_ready, ended, unready_serving], &[]),
        (&[], &[]),
        // one in two slices for a moment
        (&[ready, ready], &["10.0.0.1"]),
        (&["{addresses: [10.0.0.1], conditions: {ready: false}}", ready], &["10.0.0.1"]),
        (&[ready, unsaid, &ending.replace("0.4", "0.1")], &["10.0.0.1", "10.0.0.2"]),
    ];
    for (endpoints, expected) in table {
        let given = endpoints.iter().fold(given(""), |given, one| given.slice(one, "{port: 8080}"));
        let expected: Vec<(&str, u16)> = expected.iter().map(|address| (*address, 8080)).collect();
        assert_eq!(members(&given), at(&expected), "{endpoints:?}");
    }
    let all = [ready, not_ready, ending, ended].join(", ");
    let published = given("publishNotReadyAddresses: true").slice(&all, "{port: 8080}");
    assert_eq!(members(&published).len(), 4, "readiness is not asked for");
}

#[test]
fn slices_are_matched_by_the_name_and_protocol_of_the_port() {
    let ports =
        "ports: [{name: http, port: 80}, {name: dns, port: 53}, {name: dns-udp, port: 53, protocol: UDP}]";
    let given = given(ports).slice(
        "{addresses: [10.0.0.1]}",
        "{name: http, port: 8080}, {name: dns, port: 5353, protocol: TCP}, {name: dns-udp, port: 5354, protocol: UDP}, \
         {name: other, port: 1}, {name: http, port: 9, protocol: UDP}, {name: dns}, {name: dns, port: 0}",
    );
    let list = given.list(PLAIN);
    assert_eq!(places(&list, "pool-v4-tcp-80"), at(&[("10.0.0.1", 8080)]));
    assert_eq!(places(&list, "pool-v4-tcp-53"), at(&[("10.0.0.1", 5353)]));
    assert_eq!(places(&list, "pool-v4-udp-53"), at(&[("10.0.0.1", 5354)]));
}

#[test]
fn a_named_target_port_may_be_another_number_in_each_endpoint() {
    let given = given("ports: [{name: http, port: 80, targetPort: web}]")
        .slice("{addresses: [10.0.0.1]}", "{name: http, port: 8080}")
        .slice("{addresses: [10.0.0.2]}", "{name: http, port: 9090}");
    assert_eq!(members(&given), at(&[("10.0.0.1", 8080), ("10.0.0.2", 9090)]));
}

#[test]
fn names_of_hosts_and_second_addresses_are_no_members() {
    let given = given("").slice(
        "{addresses: [a.example.com]}, {addresses: [10.0.0.1, 10.0.0.2]}, {addresses: []}",
        "{port: 1}",
    );
    assert_eq!(members(&given), at(&[("10.0.0.1", 1)]));
}

#[test]
fn slices_of_others_are_not_read() {
    let mut given = given("");
    given.slices.push("endpoints: [{addresses: [10.0.0.1]}], ports: [{port: 80}]".into());
    let mut cluster = given.cluster();
    for (namespace, service) in [("other", "web"), ("shop", "other")] {
        let labels = serde_json::json!({"kubernetes.io/service-name": service});
        let metadata = serde_json::json!({"name": "x", "namespace": namespace, "labels": labels});
        let object = serde_json::json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": metadata, "endpoints": [{"addresses": ["10.9.9.9"]}], "ports": [{"port": 80}]});
        cluster.add(object).unwrap();
    }
    let list = cluster
        .map::<service_loadbalancer::ServiceLoadBalancer>(&common::service_kind(), "shop/web", PLAIN)
        .unwrap();
    assert_eq!(places(&list, "pool-v4-tcp-80"), at(&[("10.0.0.1", 80)]));
}

#[test]
fn members_are_reached_on_the_subnet_that_they_are_in() {
    let made = |entry: &str| {
        Some(mapped(ObjectKey { kind: Kind::core("Namespace"), namespace: None, name: "shop".into() }, entry))
    };
    let there = |name: &str| Some(existing(name));
    let nodes = r#""subnets": [{"cidr": "192.0.2.0/24", "subnet": "nodes"}, {"cidr": "0.0.0.0/0", "subnet": "rest"}]"#;
    let config = |members: &str| format!(r#"{{"network": "services", "members": {{{members}}}}}"#);
    let (network, make) = (("isthmus.dev/network", "a"), ("isthmus.dev/make-subnets", "true"));
    let subnets = |names| ("isthmus.dev/subnets", names);
    type Annotations<'a> = &'a [(&'a str, &'a str)];
    // config, annotations of the namespace, annotations of the Service, subnet of a Pod, of one on its node's network
    let from_namespace = r#""fromNamespace": true, "subnets": [{"cidr": "192.0.2.0/24", "subnet": "nodes"}]"#;
    type Row<'a> = (&'a str, Annotations<'a>, &'a str, Option<Reference>, Option<Reference>);
    let table: [Row<'_>; 9] = [
        ("", &[], "", None, None),
        (nodes, &[], "", there("rest"), there("nodes")),
        (nodes, &[], "loadbalancer.openstack.org/member-subnet-id: m", there("m"), there("m")),
        (from_namespace, &[], "", made("subnet-v4"), there("nodes")),
        (from_namespace, &[network, subnets("b")], "", there("b"), there("nodes")),
        (from_namespace, &[network, subnets("b, c")], "", None, there("nodes")),
        (from_namespace, &[network], "", None, there("nodes")),
        (from_namespace, &[network, make], "", made("subnet-v4"), there("nodes")),
        (r#""fromNamespace": true, "except": ["sh*"]"#, &[], "", None, None),
    ];
    for (members, of_namespace, of_service, pod, on_node) in table {
        let given = given("")
            .annotated(of_service)
            .slice("{addresses: [10.0.0.1]}, {addresses: [192.0.2.7]}", "{port: 80}");
        let mut cluster = given.cluster();
        let annotations: BTreeMap<&str, &str> = of_namespace.iter().copied().collect();
        let metadata = serde_json::json!({"name": "shop", "annotations": annotations});
        cluster
            .add(serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
            .unwrap();
        let list = cluster
            .map::<service_loadbalancer::ServiceLoadBalancer>(
                &common::service_kind(),
                "shop/web",
                &config(members),
            )
            .unwrap();
        let found: Vec<Option<Reference>> =
            pool(&list, "pool-v4-tcp-80").members.iter().map(|member| member.subnet.clone()).collect();
        assert_eq!(found, [pod, on_node], "{members} {of_namespace:?} {of_service}");
    }
}

/// Members of IPv6 were said to be on the subnet of IPv4 that a Service wishes.
#[test]
fn a_subnet_that_is_known_is_for_members_of_its_family() {
    let given = given("clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ipFamilies: [IPv4, IPv6]")
        .slice("{addresses: [10.0.0.1]}", "{port: 80}")
        .slice("{addresses: ['fd01::1']}", "{port: 80}");
    let subnets = |wished: &str, config: &str| {
        let annotation = format!("isthmus.dev/lb-member-subnet: {wished}");
        let list = given.clone().annotated(&annotation).list(config);
        ["pool-v4-tcp-80", "pool-v6-tcp-80"].map(|name| pool(&list, name).members[0].subnet.clone())
    };
    let there = |name: &str| Some(existing(name));
    let config = r#"{"network": "services", "subnets": {"ipv4": "s4", "ipv6": "s6"},
        "members": {"subnets": [{"cidr": "10.0.0.0/8", "subnet": "pods"}, {"cidr": "fd01::/16", "subnet": "pods6"}]}}"#;
    assert_eq!(subnets("s4", config), [there("s4"), there("pods6")]);
    assert_eq!(subnets("s6", config), [there("pods"), there("s6")]);
    assert_eq!(subnets("pods6", config), [there("pods"), there("pods6")]);
    assert_eq!(
        subnets("other", config),
        [there("other"), there("other")],
        "of which family it is, nobody says"
    );
    let of_namespace =
        r#"{"network": "services", "subnets": {"ipv4": "s4"}, "members": {"fromNamespace": true}}"#;
    let key = ObjectKey { kind: Kind::core("Namespace"), namespace: None, name: "shop".into() };
    assert_eq!(subnets("s4", of_namespace), [there("s4"), Some(mapped(key, "subnet-v6"))]);
}
