//! What Kuryr-Kubernetes got wrong in its translation of NetworkPolicies, each as a test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{OPEN, carried, lines, map_among, pod, policy, rules, serving};
use isthmus_sdk::prelude::*;

const TO_DB: &str = "egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]";

/// Its handler of changed labels did nothing: a Pod kept its group until the policy was changed.
#[test]
fn a_pod_that_stops_matching_loses_the_group_at_once() {
    let web = policy("shop/web", "podSelector: {matchLabels: {app: web}}");
    let labelled = |labels| carried(&[pod("shop/a", labels, ""), web.clone()], "shop/a");
    assert_eq!(labelled("app: web"), ["web/policy", "shared/egress-open"]);
    assert_eq!(labelled("app: retired"), [OPEN]);
}

/// It kept only the last of the namespaces that a namespaceSelector with a podSelector chose.
#[test]
fn a_namespace_selector_with_a_pod_selector_holds_for_all_namespaces() {
    let peer = "namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: db}}";
    let found = rules(&format!("ingress: [{{from: [{{{peer}}}]}}]"));
    assert_eq!(found[0], "policy: in v4 any [in team in (blue): app in (db)]");
}

/// Each except was taken out of the whole block, and the results were joined: together they allowed everything.
#[test]
fn two_excepts_are_both_excepted() {
    let found =
        rules("ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.0/26, 10.0.0.64/26]}}]}]");
    assert_eq!(found, ["policy: in v4 any 10.0.0.128/25"]);
}

/// A port without a number opened the unnamed ports of containers alone.
#[test]
fn a_protocol_alone_is_all_ports_of_it() {
    assert_eq!(rules("ingress: [{ports: [{protocol: TCP}]}]")[0], "policy: in v4 tcp all");
}

/// endPort was ignored.
#[test]
fn an_end_port_is_honoured() {
    assert_eq!(
        rules("ingress: [{ports: [{port: 8000, endPort: 8999}]}]")[0],
        "policy: in v4 tcp 8000-8999 all"
    );
}

/// An empty rule allowed everything only as the first of the list.
#[test]
fn an_empty_rule_allows_everything_wherever_it_is() {
    let found = rules("ingress: [{ports: [{port: 80}]}, {}]");
    assert!(found.contains(&"policy: in v4 any all".to_owned()), "{found:?}");
}

/// A peer without labels opened egress to every Service of the cluster, and a Service was opened by the port of its Pods. (What of
/// Services is opened: `services.rs`.)
#[test]
fn egress_is_to_the_peers_and_to_nothing_else() {
    let found = lines(&map_among(TO_DB, &[pod("shop/a", "", ""), pod("shop/b", "app: db", "")]).unwrap());
    assert_eq!(found, ["policy: out v4 any [own: app in (db)]", "policy: out v6 any [own: app in (db)]"]);
}

/// Rules had the address of each peer: they grew with Pods, and every Pod that came or went wrote them all.
#[test]
fn rules_do_not_grow_with_pods() {
    let spec = format!("{TO_DB}, ingress: [{{ports: [{{port: http}}]}}]");
    let of = |count: usize| {
        let pods = (0..count).map(|i| pod(&format!("shop/p{i}"), "app: db", &serving("http", 80)));
        map_among(&spec, &pods.collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(of(1), of(200));
}

/// A rule of a peer was of one IP version.
#[test]
fn peers_are_of_both_ip_versions() {
    let found = rules("ingress: [{from: [{podSelector: {}}]}]");
    assert!(found[0].contains("v4") && found[1].contains("v6"), "{found:?}");
}

/// A port's name was looked for without its protocol, and not among side-cars.
#[test]
fn names_of_ports_have_a_protocol_and_may_be_a_side_cars() {
    let spec = "initContainers: [{name: s, restartPolicy: Always, ports: [{name: dns, containerPort: 53, protocol: UDP}]}, \
                {name: i, ports: [{name: dns, containerPort: 99, protocol: UDP}]}], \
                containers: [{name: c, ports: [{name: dns, containerPort: 54}]}]";
    let pods = [pod("shop/a", "", spec)];
    let found = lines(&map_among("ingress: [{ports: [{port: dns, protocol: UDP}]}]", &pods).unwrap());
    assert_eq!(found[0], "ingress-udp-dns-53: in v4 udp 53-53 all");
    assert_eq!(found.len(), 2, "{found:?}");
}

/// Of a Pod that is a peer and selected by the policy, the names of ports were left out.
#[test]
fn a_peer_may_be_selected_too() {
    let pods = [pod("shop/a", "app: db", &serving("http", 80))];
    let spec = "podSelector: {}, egress: [{to: [{podSelector: {}}], ports: [{port: http}]}]";
    let found = lines(&map_among(spec, &pods).unwrap());
    assert_eq!(found[0], "policy: out v4 tcp 80-80 [own: all with TCP http=80]");
}

/// The subnets of all nodes were always let in, and the groups were of the first interface alone.
#[test]
fn nothing_is_let_in_that_nobody_asked_for() {
    let objects = [
        pod("shop/a", "app: web", ""),
        policy("shop/none", "podSelector: {}, policyTypes: [Ingress, Egress]"),
    ];
    // of both ports, as `carried` asserts
    assert_eq!(carried(&objects, "shop/a"), ["none/policy"]);
    assert_eq!(rules("podSelector: {}, policyTypes: [Ingress, Egress]"), [""; 0]);
}

/// A policy that only opens egress opened ingress, too, for Pods that other policies isolate for it.
#[test]
fn an_egress_policy_opens_no_ingress() {
    let objects = [
        pod("shop/a", "", ""),
        policy("shop/in", "podSelector: {}, policyTypes: [Ingress]"),
        policy("shop/out", "podSelector: {}, policyTypes: [Egress]"),
    ];
    assert_eq!(carried(&objects, "shop/a"), ["in/policy", "out/policy"]);
    let list: Vec<Desired> = map_among("podSelector: {}, policyTypes: [Egress]", &[]).unwrap();
    assert_eq!(lines(&list), [""; 0]);
}
