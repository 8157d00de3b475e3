//! What a Route's status says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{PLAIN, cluster, map_of, policy_module_kind, route, route_kind};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::types::State;
use isthmus_sdk::testing::Cluster;
use route_l7policy::RouteL7Policy;
use serde_json::{Value, json};

fn entry(name: &str, id: &str, state: State, message: Option<&str>) -> Realized {
    Realized {
        name: name.into(),
        id: id.into(),
        addresses: vec![],
        state,
        operating: None,
        properties: vec![],
        message: message.map(Into::into),
    }
}

fn status(routes: &[String], config: &str, outcome: Option<Outcome>, realized: Vec<Realized>) -> Value {
    let report =
        cluster(routes).report::<RouteL7Policy>(&route_kind(), "shop/web", config, outcome, realized);
    let report = report.unwrap();
    assert_eq!(report.annotations, []);
    serde_json::from_str(&report.status.unwrap()).unwrap()
}

fn admitted(outcome: Option<Outcome>, realized: Vec<Realized>) -> (String, String, String) {
    let routes = [route("shop/web", 1, "host: a.b, to: {name: web}")];
    let status = status(&routes, PLAIN, outcome, realized);
    let condition = &status["ingress"][0]["conditions"][0];
    assert_eq!(condition["type"], "Admitted");
    let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

#[test]
fn an_entry_of_this_router() {
    let ready =
        || vec![entry("pool", "p", State::Ready, None), entry("policy-http", "l", State::Ready, None)];
    let plain = [route("shop/web", 1, "host: a.b, to: {name: web}")];
    let condition = json!({"type": "Admitted", "status": "True"});
    let expected = json!({"ingress": [
        {"host": "a.b", "routerName": "isthmus", "wildcardPolicy": "None", "conditions": [condition]}
    ]});
    assert_eq!(status(&plain, PLAIN, None, ready()), expected);

    let wild = [route("shop/web", 1, "host: A.b.c, wildcardPolicy: Subdomain, to: {name: web}")];
    let config = r#"{"network": "n", "routerName": "edge", "routerCanonicalHostname": "edge.example.com"}"#;
    let expected = json!({"ingress": [{
        "host": "A.b.c", "routerName": "edge", "routerCanonicalHostname": "edge.example.com",
        "wildcardPolicy": "Subdomain", "conditions": [condition],
    }]});
    assert_eq!(status(&wild, config, None, ready()), expected);
}

#[test]
fn admitted_is_what_came_to_be() {
    use State::{Failed, Pending, Ready};
    let ready = || entry("pool", "p", Ready, None);
    let told = |status: &str, reason: &str, message: &str| (status.into(), reason.into(), message.into());
    let table: [(Vec<Realized>, (String, String, String)); 6] = [
        (vec![ready(), entry("policy-http", "l", Ready, None)], told("True", "", "")),
        (vec![entry("pool", "p", Pending, None)], told("True", "", "")),
        (vec![], told("Unknown", "Pending", "nothing is made yet")),
        (
            vec![ready(), entry("policy-http", "", Pending, Some("waits for its listener"))],
            told("Unknown", "Pending", "not made yet: policy-http: waits for its listener"),
        ),
        (vec![ready(), entry("sni", "", Pending, None)], told("Unknown", "Pending", "not made yet: sni")),
        (
            vec![entry("pool", "", Failed, Some("quota")), entry("policy-http", "", Pending, None)],
            told("False", "CloudFailed", "failed: pool: quota"),
        ),
    ];
    for (realized, expected) in table {
        assert_eq!(admitted(None, realized), expected);
    }
}

#[test]
fn admitted_says_why_not() {
    let web = |name, day, rest: &str| route(name, day, &format!("host: a.b, to: {{name: web}}{rest}"));
    let refused = |routes: &[String], config| map_of(routes, "shop/web", config).unwrap_err();
    let table = [
        (
            refused(&[web("shop/web", 2, ""), web("shop/old", 1, "")], PLAIN),
            "False",
            "HostAlreadyClaimed",
            "Route shop/old has it",
        ),
        (
            refused(&[web("shop/web", 2, ", path: x")], PLAIN),
            "False",
            "ExtendedValidationFailed",
            "spec.path: a path begins",
        ),
        (
            refused(&[web("shop/web", 2, "")], "{}"),
            "False",
            "RouterMisconfigured",
            "config.network: no network",
        ),
        (waiting("later"), "Unknown", "Waiting", "later"),
        (not_mapped("never"), "False", "NotMapped", "never"),
        (
            not_mapped("port already claimed: by x"),
            "False",
            "PortAlreadyClaimed",
            "passthrough-port\"]: port",
        ),
        (invalid("all of it"), "False", "ExtendedValidationFailed", "all of it"),
    ];
    for (outcome, status, reason, part) in table {
        let found = admitted(Some(outcome), vec![entry("pool", "p", State::Ready, None)]);
        assert_eq!((found.0.as_str(), found.1.as_str()), (status, reason), "{}", found.2);
        assert!(found.2.contains(part), "{}", found.2);
    }
}

#[test]
fn the_policy_module_says_nothing_here() {
    let text = "{apiVersion: isthmus.dev/v1alpha1, kind: PolicyModule, metadata: {name: route-l7policy}}";
    let cluster = Cluster::from_yaml(text).unwrap();
    let report =
        cluster.report::<RouteL7Policy>(&policy_module_kind(), "route-l7policy", PLAIN, None, vec![]);
    assert_eq!(report, None);
    assert!(RouteL7Policy::manifest().reports);
}
