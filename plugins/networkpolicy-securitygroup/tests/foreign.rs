//! What one tenant writes does not keep the policies of another one from being mapped.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{cluster, lines, policy, policy_kind};
use isthmus_sdk::prelude::*;
use isthmus_sdk::testing::take_log;
use networkpolicy_securitygroup::NetworkPolicySecurityGroup;
use serde_json::{Map, Value, json};

/// Rules of namespace `shop` that are about Pods of other namespaces.
const RULES: [&str; 3] = [
    "ports: [{port: 8080}]",
    "to: [{namespaceSelector: {}}], ports: [{port: 8080}]",
    "to: [{namespaceSelector: {}}]",
];

/// A Service of cluster IP 10.96.0.N in this namespace.
fn service(name: &str, n: u8, selector: &Value, ports: &Value) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": format!("10.96.0.{n}"), "selector": selector, "ports": ports}})
}

/// A Pod whose port `http` is this number.
fn pod(name: &str, labels: &Value, http: u16) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    let ports = json!([{"name": "http", "containerPort": http}]);
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": "c", "ports": ports}]}})
}

/// The harness refuses more reads than the host does, and lists that the host refuses.
fn map(rule: &str, objects: impl IntoIterator<Item = Value>) -> Vec<Desired> {
    let mut cluster = cluster(&[policy("shop/web", &format!("egress: [{{{rule}}}]"))]);
    objects.into_iter().for_each(|object| cluster.add(object).unwrap());
    cluster.map::<NetworkPolicySecurityGroup>(&policy_kind(), "shop/web", "{}").unwrap()
}

fn labels(count: usize) -> Value {
    let label = |n: usize| (format!("label-{n}"), json!(format!("{n:060}")));
    Value::Object((0..count).map(label).collect::<Map<_, _>>())
}

fn to_http() -> Value {
    json!([{"port": 80, "targetPort": "http"}])
}

fn opens(list: &[Desired], line: &str) -> bool {
    lines(list).iter().any(|found| found.ends_with(line))
}

#[test]
fn a_selector_longer_than_the_host_takes() {
    let long = labels(300);
    assert!(long.to_string().len() > 16 << 10);
    let long_one = service("other/long", 1, &long, &to_http());
    for rule in RULES {
        let open = map(rule, [long_one.clone(), pod("other/a", &long, 8080)]);
        assert!(
            lines(&open).iter().any(|line| line.contains("10.96.0.1/32")),
            "a Service like any other: {rule}"
        );
    }
    let nobody = map(RULES[0], [long_one, pod("other/a", &labels(299), 8080)]);
    assert_eq!(nobody.len(), 1, "it chooses nobody");
}

#[test]
fn more_selectors_than_the_host_takes_reads() {
    let services =
        (0..12_000).map(|n| service(&format!("other/s{n}"), 1, &json!({"n": n.to_string()}), &to_http()));
    let list = map(RULES[0], services.chain([pod("other/a", &json!({"n": "7"}), 8080)]));
    assert!(opens(&list, "tcp 80-80 [10.96.0.1/32]"));
    assert_eq!(take_log(), []);
}

#[test]
fn more_services_and_pods_than_there_is_time_for() {
    let db = json!({"app": "db"});
    let services =
        (0..150).map(|n| service(&format!("other/s{n}"), 1, &json!({"n": n.to_string()}), &to_http()));
    let pods = (0..1_000).map(|n| pod(&format!("other/p{n}"), &db, 8080));
    let nice = [service("stock/nice", 2, &db, &to_http()), pod("stock/nice", &db, 8080)];
    let list = map(RULES[0], services.chain(pods).chain(nice));
    assert!(opens(&list, "tcp 80-80 [10.96.0.2/32]"), "others are open");
    assert_eq!(take_log().len(), 1, "it says that some are closed");
}

/// Each port of a Service, and each number of a name, is a set of its own.
#[test]
fn more_ports_than_the_host_takes_entries() {
    let db = json!({"app": "db"});
    let ports: Vec<Value> = (1..=3_000).map(|n| json!({"port": n, "targetPort": 8080})).collect();
    // One with all of them would be too long for a list of all namespaces.
    let many = ports
        .chunks(200)
        .zip(10..)
        .map(|(ports, n)| service(&format!("other/many{n}"), n, &db, &json!(ports)));
    let many: Vec<Value> = many.collect();
    let nice = service("stock/nice", 2, &db, &json!([{"port": 9999, "targetPort": 8080}]));
    for rule in &RULES[..2] {
        let list = map(rule, many.iter().chain([&nice]).cloned());
        assert!(list.len() > 10 && opens(&list, "tcp 9999-9999 [10.96.0.2/32]"), "{rule}");
        assert_eq!(take_log().len(), 1, "it says that some are left out");
    }

    for rule in ["ports: [{port: http}]", "to: [{namespaceSelector: {}}], ports: [{port: http}]"] {
        let pods = (1..=3_000).map(|n| pod(&format!("other/p{n}"), &db, n));
        let list = map(rule, pods.chain([pod("stock/nice", &db, 9999)]));
        assert!(list.len() > 10 && lines(&list).iter().any(|line| line.contains("tcp 9999-9999")), "{rule}");
        assert_eq!(take_log().len(), 1, "it says that some are left out");
    }
}
