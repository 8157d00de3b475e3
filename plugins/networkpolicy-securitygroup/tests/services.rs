//! Egress to Pods through the Services that lead to them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{cloud, cluster, lines, map_among, pod, policy, policy_kind, serving};
use networkpolicy_securitygroup::NetworkPolicySecurityGroup;

const DB: &str = "podSelector: {matchLabels: {app: db}}";

/// A Service's document: `NAMESPACE/NAME`, and its spec.
fn service(name: &str, spec: &str) -> String {
    with_status(name, spec, "")
}

fn with_status(name: &str, spec: &str, status: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    let metadata = format!("{{name: {name}, namespace: {namespace}}}");
    format!("{{apiVersion: v1, kind: Service, metadata: {metadata}, spec: {{{spec}}}, status: {{{status}}}}}")
}

/// One of cluster IP 10.96.0.N, port 80 of target 8080, with this selector.
fn web(name: &str, n: u8, selector: &str) -> String {
    let spec =
        format!("clusterIP: 10.96.0.{n}, clusterIPs: [10.96.0.{n}], ports: [{{port: 80, targetPort: 8080}}]");
    service(name, &format!("{spec}, selector: {{{selector}}}"))
}

/// The rules to addresses of Services of an egress rule with these peers and ports.
fn opened(rule: &str, objects: &[String]) -> Vec<String> {
    let list = map_among(&format!("egress: [{{{rule}}}]"), objects).unwrap();
    lines(&list).into_iter().filter(|line| line.contains("10.96.") || line.contains("fd00:")).collect()
}

#[test]
fn the_services_of_peers_are_open_and_no_others() {
    let objects = [
        web("shop/db", 1, "app: db"),
        web("shop/part", 2, "app: db, tier: x"),
        web("shop/other", 3, "app: web"),
        // it chooses Pods that are no peers too
        web("shop/wide", 4, "tier: x"),
        web("stock/db", 5, "app: db"),
        web("other/db", 6, "app: db"),
        service("shop/none", "clusterIP: 10.96.0.7, ports: [{port: 80}]"),
        service("shop/empty", "clusterIP: 10.96.0.7, ports: [{port: 80}], selector: {}"),
        service("shop/headless", "clusterIP: None, ports: [{port: 80}], selector: {app: db}"),
        service("shop/name", "type: ExternalName, externalName: 10.96.0.8, selector: {app: db}"),
    ];
    let blue = "namespaceSelector: {matchLabels: {team: blue}}";
    let expressions = |text: &str| format!("podSelector: {{matchExpressions: [{{{text}}}]}}");
    let table: &[(&str, &[u8])] = &[
        (DB, &[1, 2]),
        ("podSelector: {}", &[1, 2, 3, 4]),
        ("podSelector: {matchLabels: {app: db, tier: x}}", &[2]),
        (blue, &[1, 2, 3, 4, 5]),
        (&format!("{blue}, {DB}"), &[1, 2, 5]),
        ("namespaceSelector: {}", &[1, 2, 3, 4, 5, 6]),
        (&expressions("key: app, operator: In, values: [db, cache]"), &[1, 2]),
        (&expressions("key: app, operator: NotIn, values: [web]"), &[1, 2]),
        (&expressions("key: tier, operator: Exists"), &[2, 4]),
        // a Pod may have any label that its Service does not ask for
        (&expressions("key: tier, operator: DoesNotExist"), &[]),
    ];
    for (peer, expected) in table {
        let found = opened(&format!("to: [{{{peer}}}]"), &objects);
        let addresses: Vec<String> = expected.iter().map(|n| format!("10.96.0.{n}/32")).collect();
        let line = format!("policy: out v4 any [{}]", addresses.join(" + "));
        assert_eq!(found, if expected.is_empty() { vec![] } else { vec![line] }, "{peer}");
    }
    let two = format!("to: [{{{DB}}}, {{podSelector: {{matchLabels: {{app: web}}}}}}]");
    assert_eq!(opened(&two, &objects), ["policy: out v4 any [10.96.0.1/32 + 10.96.0.2/32 + 10.96.0.3/32]"]);
    // an address is what it says
    assert_eq!(opened("to: [{ipBlock: {cidr: 192.0.2.0/24}}]", &objects), [""; 0]);
}

#[test]
fn a_service_is_open_at_its_own_ports_where_the_rule_has_those_of_its_pods() {
    let named =
        "[{port: 80, targetPort: http}, {port: 81}, {port: 82, targetPort: 0}, {port: 53, protocol: UDP}]";
    let objects = [
        web("shop/db", 1, "app: db"),
        service("shop/named", &format!("clusterIP: 10.96.0.2, selector: {{app: db}}, ports: {named}")),
        pod("shop/a", "app: db", &serving("http", 8080)),
        pod("shop/b", "app: web", &serving("http", 9090)),
    ];
    let to = |ports: &str| opened(&format!("to: [{{{DB}}}], ports: [{ports}]"), &objects);
    let both = "policy: out v4 tcp 80-80 [10.96.0.1/32 + 10.96.0.2/32]";
    assert_eq!(to("{port: 8080}"), [both]);
    assert_eq!(to("{port: 8000, endPort: 8100}"), [both]);
    assert_eq!(to("{port: 80}"), [""; 0], "the Service's number is not the Pods'");
    assert_eq!(to("{port: 8080, protocol: UDP}"), [""; 0]);
    assert_eq!(to("{port: http}"), ["policy: out v4 tcp 80-80 [10.96.0.2/32]"]);
    assert_eq!(
        to("{port: 81}, {port: 82}"),
        ["policy: out v4 tcp 81-81 [10.96.0.2/32]", "policy: out v4 tcp 82-82 [10.96.0.2/32]"]
    );
    assert_eq!(to("{protocol: UDP}"), ["policy: out v4 udp 53-53 [10.96.0.2/32]"]);

    // One of its Pods has another number there.
    let objects = [&objects[..], &[pod("shop/c", "app: db", &serving("http", 9090))]].concat();
    let to = |ports: &str| opened(&format!("to: [{{{DB}}}], ports: [{ports}]"), &objects);
    assert_eq!(to("{port: 8080}"), ["policy: out v4 tcp 80-80 [10.96.0.1/32]"]);
    assert_eq!(to("{port: 8080}, {port: 9090}"), [both]);
    assert_eq!(to("{port: http}"), ["policy: out v4 tcp 80-80 [10.96.0.2/32]"]);
}

#[test]
fn ports_that_are_open_to_everybody_are_open_through_services() {
    let objects = [web("shop/db", 1, "app: db"), web("other/db", 2, "app: db")];
    assert_eq!(
        opened("ports: [{port: 8080}]", &objects),
        ["policy: out v4 tcp 80-80 [10.96.0.1/32 + 10.96.0.2/32]"]
    );
    for open in ["", "ports: [{port: 80}, {port: 8080}]", "ports: [{protocol: TCP}]"] {
        assert_eq!(opened(open, &objects), [""; 0], "open all the same: {open}");
    }
    let without =
        cluster(&[objects.to_vec(), vec![policy("shop/web", "egress: [{ports: [{port: 8080}]}]")]].concat())
            .with_cloud(cloud(&[]))
            .map::<NetworkPolicySecurityGroup>(&policy_kind(), "shop/web", "{}");
    let found = lines(&without.unwrap());
    assert_eq!(
        found[2..],
        ["policy: out v4 tcp 80-80 10.96.0.1/32", "policy: out v4 tcp 80-80 10.96.0.2/32"]
    );
}

/// Of what is not the Service's alone, only its ports are opened; and what a user may claim, not at all.
#[test]
fn addresses_are_those_of_the_service_and_of_its_load_balancer() {
    let spec = "type: LoadBalancer, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00:96::1'], externalIPs: [10.96.9.9], \
                selector: {app: db}, ports: [{port: 80}, {port: 53, protocol: UDP}]";
    let status = "loadBalancer: {ingress: [{ip: 10.96.7.7}, {hostname: example.org}]}";
    let objects = [with_status("shop/db", spec, status)];
    assert_eq!(
        opened(&format!("to: [{{{DB}}}]"), &objects),
        [
            "policy: out v4 any [10.96.0.1/32 + fd00:96::1/128]",
            "policy: out v6 any [10.96.0.1/32 + fd00:96::1/128]",
            "policy: out v4 tcp 80-80 [10.96.7.7/32]",
            "policy: out v4 udp 53-53 [10.96.7.7/32]",
        ]
    );
    assert_eq!(
        opened(&format!("to: [{{{DB}}}], ports: [{{port: 80}}]"), &objects),
        [
            "policy: out v4 tcp 80-80 [10.96.0.1/32 + 10.96.7.7/32 + fd00:96::1/128]",
            "policy: out v6 tcp 80-80 [10.96.0.1/32 + 10.96.7.7/32 + fd00:96::1/128]",
        ]
    );
}

#[test]
fn a_service_that_comes_is_an_address_in_a_group_that_is_there() {
    let of = |count: u8| {
        let services: Vec<String> = (1..=count).map(|n| web(&format!("shop/s{n}"), n, "app: db")).collect();
        let list = map_among(&format!("egress: [{{to: [{{{DB}}}], ports: [{{port: 8080}}]}}]"), &services);
        let list = list.unwrap();
        let addresses = list.iter().find(|entry| entry.name.starts_with("services-")).cloned().unwrap();
        let rules = list.iter().find(|entry| entry.name == "policy").cloned().unwrap();
        (rules, addresses)
    };
    let ((rules, one), (same, many)) = (of(1), of(100));
    assert_eq!(rules, same, "rules do not grow with Services");
    assert_eq!(one.name, many.name);
    // as in `address_groups_are_named_after_what_they_hold`
    assert_eq!(one.name, "services-fed577721cacb624");
}
