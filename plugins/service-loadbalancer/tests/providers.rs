//! What a provider can't do is refused with a reason, and not tried for ever.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{FLOATING, PLAIN, SUBNETS, assert_wrong, balancer, given, listener, pool};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::Vip;

const OVN: &str = "isthmus.dev/lb-provider: ovn";
const PROVIDER: &str = "metadata.annotations[\"isthmus.dev/lb-provider\"]";

#[test]
fn the_algorithm_is_one_that_the_provider_has() {
    let of = |annotations: &str, config: &str, providers: &[&'static str]| {
        let list = given("").annotated(annotations).over(providers).list(config);
        (balancer(&list, "lb-v4").provider.clone(), pool(&list, "pool-v4-tcp-80").algorithm.clone())
    };
    let named = |provider: &str| {
        format!(r#"{{"network": "services", "subnets": {{"ipv4": "s4"}}, "provider": "{provider}"}}"#)
    };
    let least = r#"{"network": "services", "subnets": {"ipv4": "s4"}, "provider": "amphora", "algorithm": "LEAST_CONNECTIONS", "flavor": "f"}"#;
    let both = &["amphora", "ovn"];
    /// Annotations, config, providers of the cloud; provider and algorithm that are asked for.
    type Row<'a> = (&'a str, &'a str, &'a [&'static str], Option<&'a str>, &'a str);
    let table: [Row<'_>; 8] = [
        ("", PLAIN, both, None, "ROUND_ROBIN"),
        ("", SUBNETS, &["ovn"], None, "SOURCE_IP_PORT"),
        ("", PLAIN, &["limited"], None, "LEAST_CONNECTIONS"),
        ("", &named("ovn"), both, Some("ovn"), "SOURCE_IP_PORT"),
        // no list of providers: Octavia did not say
        ("", &named("ovn"), &[], Some("ovn"), "SOURCE_IP_PORT"),
        (OVN, &named("amphora"), both, Some("ovn"), "SOURCE_IP_PORT"),
        ("", least, both, Some("amphora"), "LEAST_CONNECTIONS"),
        // what the config says is for the config's provider
        (OVN, least, both, Some("ovn"), "SOURCE_IP_PORT"),
    ];
    for (annotations, config, providers, provider, algorithm) in table {
        let (found, by) = of(annotations, config, providers);
        assert_eq!(
            (found.as_deref(), by.as_str()),
            (provider, algorithm),
            "{annotations} {config} {providers:?}"
        );
    }
    let wrong = given("").annotated("isthmus.dev/lb-method: source_ip_port").over(&["amphora"]).map(PLAIN);
    assert_wrong(
        wrong,
        "metadata.annotations[\"isthmus.dev/lb-method\"]",
        "amphora has no algorithm SOURCE_IP_PORT",
    );
}

#[test]
fn a_provider_that_is_not_there_is_named_with_those_that_are() {
    let wrong = given("").annotated("isthmus.dev/lb-provider: f5").over(&["amphora", "ovn"]).map(PLAIN);
    assert_wrong(wrong, PROVIDER, "it has amphora, ovn");
    let config = r#"{"network": "services", "provider": "f5"}"#;
    assert_wrong(given("").over(&["amphora"]).map(config), "config.provider", "no load-balancer provider f5");
    assert!(given("").map(config).is_ok(), "without a list nothing is known");
}

#[test]
fn protocols_that_the_provider_lacks_are_refused() {
    let sctp = given("ports: [{port: 1}, {port: 2, protocol: SCTP}]");
    let wrong = sctp.clone().over(&["limited"]).map(PLAIN);
    assert_wrong(
        wrong,
        "spec.ports[1].protocol",
        "limited has no listeners for SCTP; it has them for HTTP, TCP",
    );
    assert!(sctp.clone().over(&["ovn"]).map(SUBNETS).is_ok());
    assert!(sctp.over(&["amphora", "limited"]).map(PLAIN).is_ok(), "which one is the default is not known");
}

#[test]
fn ovn_refuses_what_it_can_only_ignore() {
    let annotation = |name: &str| format!("metadata.annotations[\"isthmus.dev/{name}\"]");
    let theirs = |name: &str| format!("metadata.annotations[\"loadbalancer.openstack.org/{name}\"]");
    let ranges = "type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.0/24]";
    let table = [
        (ranges, "", "spec.loadBalancerSourceRanges".to_owned(), "NetworkPolicy"),
        ("", "isthmus.dev/lb-proxy-protocol: 'true'", annotation("lb-proxy-protocol"), "PROXY"),
        ("", "loadbalancer.openstack.org/x-forwarded-for: 'true'", theirs("x-forwarded-for"), "HTTP"),
        ("", "loadbalancer.openstack.org/flavor-id: f", theirs("flavor-id"), "flavors"),
        ("", "isthmus.dev/lb-availability-zone: az", annotation("lb-availability-zone"), "zones"),
    ];
    for (spec, annotations, field, part) in table {
        let given = given(spec).annotated(annotations);
        assert!(given.map(FLOATING).is_ok(), "{field}: amphora can");
        assert_wrong(given.over(&["ovn"]).map(FLOATING), &field, part);
    }
    let annotation = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let annotated =
        given("type: LoadBalancer").annotated(&format!("{annotation}: 192.0.2.0/24")).over(&["ovn"]);
    assert_wrong(
        annotated.map(FLOATING),
        &format!("metadata.annotations[\"{annotation}\"]"),
        "allowed_cidrs",
    );
    let config = r#"{"network": "services", "provider": "ovn", "flavor": "f"}"#;
    assert_wrong(given("").map(config), "config.flavor", "flavors");
    // Everybody is everybody, with ranges or without.
    let open = given("type: LoadBalancer, loadBalancerSourceRanges: [0.0.0.0/0]").over(&["ovn"]);
    assert!(open.map(FLOATING).is_ok());
}

/// ovn-octavia-provider 10.0.0 makes a port with the address of the one that it is given, which Neutron refuses.
#[test]
fn ovn_makes_the_port_of_a_vip_itself() {
    let outside = r#"{"network": "services", "subnets": {"ipv4": "s4"}, "clusterIps": false}"#;
    let table = [("", SUBNETS, Some("10.96.0.9")), ("type: LoadBalancer", outside, None)];
    for (spec, config, address) in table {
        let of = |providers: &[&'static str]| given(spec).over(providers).list(config);
        let (amphora, ovn) = (of(&["amphora"]), of(&["ovn"]));
        assert_eq!(balancer(&amphora, "lb-v4").vip, Vip::Port(local("vip-v4")));
        let expected = FixedIp { subnet: Some(existing("s4")), address: address.map(Into::into) };
        assert_eq!(balancer(&ovn, "lb-v4").vip, Vip::FixedIp(expected));
        assert!(ovn.iter().all(|entry| entry.name != "vip-v4"), "no port of ours");
    }
    let field = "config.subnets.ipv4";
    assert_wrong(given("").over(&["ovn"]).map(PLAIN), field, "has to be told its subnet");
    let elsewhere = given("type: LoadBalancer").annotated("isthmus.dev/lb-network: front").over(&["ovn"]);
    let field = "metadata.annotations[\"isthmus.dev/lb-subnet\"]";
    assert_wrong(elsewhere.map(SUBNETS), field, "has to be told its subnet");
    let theirs = given("type: LoadBalancer").annotated("isthmus.dev/lb-port: p").over(&["ovn"]);
    assert_wrong(theirs.map(SUBNETS), "metadata.annotations[\"isthmus.dev/lb-port\"]", "name a subnet");
}

#[test]
fn ovn_watches_no_sctp() {
    let config = r#"{"network": "services", "subnets": {"ipv4": "s4"}, "provider": "ovn", "monitor": {"enabled": true}}"#;
    let list = given("ports: [{port: 1}, {port: 2, protocol: SCTP}, {port: 3, protocol: UDP}]").list(config);
    assert!(pool(&list, "pool-v4-tcp-1").monitor.is_some() && pool(&list, "pool-v4-udp-3").monitor.is_some());
    assert_eq!(pool(&list, "pool-v4-sctp-2").monitor, None);
    assert_eq!(listener(&list, "listener-v4-sctp-2").protocol, "SCTP");
}
