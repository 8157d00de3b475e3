//! Defects of the predecessor (Kuryr-Kubernetes), each as the test that would have caught it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{FLOATING, PLAIN, association, at, entry, floating_ip, given, listener, names, places, pool};
use isthmus_sdk::prelude::*;

/// Entries that differ between two lists, by name.
fn changed<'a>(before: &'a [Desired], after: &'a [Desired]) -> Vec<&'a str> {
    let in_both = |entry: &&Desired| !(before.contains(entry) && after.contains(entry));
    let mut all: Vec<&str> = before.iter().chain(after).filter(in_both).map(|e| e.name.as_str()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A Service whose Pods never get ready crashed the controller.
#[test]
fn only_endpoints_that_are_not_ready_are_a_pool_without_members() {
    let given = given("").slice("{addresses: [10.0.0.1], conditions: {ready: false}}", "{port: 8080}");
    assert!(pool(&given.list(PLAIN), "pool-v4-tcp-80").members.is_empty());
}

/// Nothing was made until there were endpoints, and what was left when they went was not told from what is not known yet.
#[test]
fn without_endpoints_all_is_there_but_members() {
    let empty = given("").list(PLAIN);
    let full = given("").slice("{addresses: [10.0.0.1]}", "{port: 8080}").list(PLAIN);
    assert_eq!(changed(&empty, &full), ["pool-v4-tcp-80"]);
    assert_eq!(places(&empty, "pool-v4-tcp-80"), at(&[]));
}

/// A port with a named target port lost its listener under a policy with numbers.
#[test]
fn a_named_target_port_has_a_listener_like_any_other() {
    let given = given("ports: [{name: http, port: 80, targetPort: web}]")
        .slice("{addresses: [10.0.0.1]}", "{name: http, port: 8080}");
    let list = given.list(PLAIN);
    assert_eq!(listener(&list, "listener-v4-tcp-80").default_pool, Some(local("pool-v4-tcp-80")));
    assert_eq!(places(&list, "pool-v4-tcp-80"), at(&[("10.0.0.1", 8080)]));
}

/// Another provider, or a load balancer in ERROR, lost the floating IP and leaked it.
#[test]
fn another_provider_or_flavor_keeps_port_and_floating_ip() {
    let of = |annotations: &str| given("type: LoadBalancer").annotated(annotations).list(FLOATING);
    let amphora = of("isthmus.dev/lb-provider: amphora");
    let switched = of("isthmus.dev/lb-provider: f5");
    assert_eq!(changed(&amphora, &switched), ["lb-v4"]);
    // ovn makes the VIP's port itself: the floating IP is the same, and points to the load balancer in place of our port.
    let ovn = of("isthmus.dev/lb-provider: ovn");
    assert_eq!(changed(&amphora, &ovn), ["floating-ip", "lb-v4", "pool-v4-tcp-80", "vip-v4"]);
    let there = |list: &[Desired]| floating_ip(list, "floating-ip").network.clone();
    assert_eq!(there(&amphora), there(&ovn));
    let bigger = of("isthmus.dev/lb-provider: amphora, isthmus.dev/lb-flavor: big");
    assert_eq!(changed(&amphora, &bigger), ["lb-v4"]);
    assert_eq!(entry(&amphora, "floating-ip"), entry(&switched, "floating-ip"));
    // It points to a port of ours, which no load balancer takes along.
    let target = &floating_ip(&amphora, "floating-ip").target;
    assert_eq!(*target, isthmus_sdk::records::networking::FloatingTarget::Port(local("vip-v4")));
}

/// Edits of type and loadBalancerIP did not reliably add, move or remove the floating IP.
#[test]
fn edits_of_type_and_address_change_the_floating_ip_and_nothing_else() {
    let inside = given("type: ClusterIP").list(FLOATING);
    let outside = given("type: LoadBalancer").list(FLOATING);
    let first = given("type: LoadBalancer, loadBalancerIP: 203.0.113.8").list(FLOATING);
    let second = given("type: LoadBalancer, loadBalancerIP: 203.0.113.9").list(FLOATING);
    assert_eq!(changed(&inside, &outside), ["floating-ip"]);
    assert_eq!(changed(&outside, &first), ["floating-ip", "floating-ip-association"]);
    assert_eq!(changed(&first, &second), ["floating-ip-association"]);
    assert_eq!(changed(&second, &inside), ["floating-ip-association"]);
    assert_eq!(association(&second, "floating-ip-association").floating_ip, existing("203.0.113.9"));
}

/// A second protocol of a port's number was a crash, or a listener less.
#[test]
fn a_number_in_two_protocols_is_two_listeners() {
    let list = given("ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}]").list(PLAIN);
    assert!(names(&list).contains(&"listener-v4-tcp-53") && names(&list).contains(&"listener-v4-udp-53"));
}

/// 2 + 4P + 2PN calls: a Service of 3 ports and 100 endpoints took minutes. The list is one tree, and a changed endpoint is one
/// change of each pool: a batch.
#[test]
fn an_endpoint_that_comes_changes_its_pools_alone() {
    let spec = "ports: [{name: a, port: 1}, {name: b, port: 2}, {name: c, port: 3, protocol: UDP}]";
    let ports = "{name: a, port: 10}, {name: b, port: 20}, {name: c, port: 30, protocol: UDP}";
    let endpoints: Vec<String> = (0..100).map(|n| format!("{{addresses: [10.0.1.{n}]}}")).collect();
    let before = given(spec).slice(&endpoints.join(", "), ports).list(PLAIN);
    let after = given(spec).slice(&endpoints[1..].join(", "), ports).list(PLAIN);
    assert_eq!(before.len(), 2 + 3 * 2);
    assert_eq!(changed(&before, &after), ["pool-v4-tcp-1", "pool-v4-tcp-2", "pool-v4-udp-3"]);
    assert_eq!(pool(&before, "pool-v4-tcp-1").members.len(), 100);
}

/// A Service without a selector had to have the addresses of Pods or nodes.
#[test]
fn a_service_without_a_selector_has_the_endpoints_that_somebody_wrote() {
    let given = given("").slice("{addresses: [198.51.100.7]}", "{port: 443}");
    assert_eq!(places(&given.list(PLAIN), "pool-v4-tcp-80"), at(&[("198.51.100.7", 443)]));
}

/// One cluster IP and one address of an endpoint: no dual stack.
#[test]
fn the_second_cluster_ip_is_served_too() {
    let spec = "clusterIP: 'fd00::9', clusterIPs: ['fd00::9', 10.96.0.9], ipFamilies: [IPv6, IPv4]";
    let list = given(spec).list(PLAIN);
    assert!(names(&list).contains(&"lb-v4") && names(&list).contains(&"lb-v6"));
}

/// A timeout that was annotated later did not reach listeners that were there.
#[test]
fn a_timeout_that_comes_later_changes_the_listener_in_place() {
    let before = given("").list(PLAIN);
    let after = given("").annotated("openstack.org/kuryr-timeout-client-data: '70000'").list(PLAIN);
    assert_eq!(changed(&before, &after), ["listener-v4-tcp-80"]);
}
