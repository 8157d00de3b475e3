//! What the tests have in common: a cluster with Routes, and a cloud under it.
#![allow(dead_code, reason = "each test uses its part")]

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::{L7Compare, L7Field, L7Rule};
use isthmus_sdk::records::types::Invalid;
use isthmus_sdk::snapshot::{Cloud, Provider};
use isthmus_sdk::testing::Cluster;
use route_l7policy::RouteL7Policy;

const OBJECTS: &str = include_str!("../data/cluster.yaml");

pub(crate) const PLAIN: &str = r#"{"network": "public"}"#;
pub(crate) const TLS: &str =
    r#"{"network": "public", "tls": {"secret": {"namespace": "ingress", "name": "default"}}}"#;
pub(crate) const EXISTING: &str =
    r#"{"existingLoadBalancer": {"loadBalancer": "front", "http": "h", "https": "s"}}"#;

pub(crate) fn route_kind() -> Kind {
    Kind::new("route.openshift.io", "v1", "Route")
}

pub(crate) fn policy_module_kind() -> Kind {
    Kind::new("isthmus.dev", "v1alpha1", "PolicyModule")
}

/// An entry of the PolicyModule's mapping.
pub(crate) fn shared(name: &str) -> Reference {
    let key = ObjectKey { kind: policy_module_kind(), namespace: None, name: "route-l7policy".into() };
    mapped(key, name)
}

/// A Route's document: `NAMESPACE/NAME`, the day of November that it was made, and its spec.
pub(crate) fn route(name: &str, day: u8, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    let metadata = format!(
        r#"{{name: {name}, namespace: {namespace}, creationTimestamp: "2026-11-{day:02}T10:00:00Z"}}"#
    );
    format!(
        "---\n{{apiVersion: route.openshift.io/v1, kind: Route, metadata: {metadata}, spec: {{{spec}}}}}\n"
    )
}

/// The objects of `data`, these Routes, and a cloud that has everything.
pub(crate) fn cluster(routes: &[String]) -> Cluster {
    let text = [&[OBJECTS.to_owned()], routes].concat().join("\n");
    Cluster::from_yaml(&text).unwrap().with_cloud(cloud(&[("amphora", true), ("ovn", false)], true))
}

pub(crate) fn cloud(providers: &[(&str, bool)], has_key_manager: bool) -> Cloud {
    let provider = |(name, l7): &(&str, bool)| Provider {
        name: (*name).into(),
        protocols: vec![],
        algorithms: vec![],
        l7: *l7,
    };
    let load_balancer_providers = providers.iter().map(provider).collect();
    Cloud { network_extensions: vec![], load_balancer_providers, has_key_manager }
}

/// Maps one of these Routes.
pub(crate) fn map_of(routes: &[String], name: &str, config: &str) -> Result<Vec<Desired>, Outcome> {
    cluster(routes).map::<RouteL7Policy>(&route_kind(), name, config)
}

/// Maps the only Route, `shop/web`.
pub(crate) fn map(spec: &str, config: &str) -> Result<Vec<Desired>, Outcome> {
    map_of(&[route("shop/web", 1, spec)], "shop/web", config)
}

/// What is wrong, and where.
pub(crate) fn wrong(result: Result<Vec<Desired>, Outcome>) -> (String, String) {
    match result {
        Err(Outcome::Invalid(Invalid { message, field })) => (message, field.unwrap_or_default()),
        other => panic!("expected `invalid`, found {other:?}"),
    }
}

/// Asserts `invalid` with this field, and this in its message.
pub(crate) fn assert_wrong(result: Result<Vec<Desired>, Outcome>, field: &str, part: &str) {
    let (message, at) = wrong(result);
    assert_eq!(at, field, "{message}");
    assert!(message.contains(part), "{message}");
}

/// That the host is somebody else's: the Route is not mapped.
pub(crate) fn assert_lost(result: Result<Vec<Desired>, Outcome>, part: &str) {
    let Err(Outcome::NotMapped(reason)) = result else { panic!("{result:?}") };
    assert!(reason.starts_with("host already claimed: ") && reason.contains(part), "{reason}");
}

pub(crate) fn names(list: &[Desired]) -> Vec<&str> {
    list.iter().map(|entry| entry.name.as_str()).collect()
}

pub(crate) fn pool(list: &[Desired]) -> &Pool {
    let pool = list.iter().find_map(|entry| match &entry.resource {
        Resource::Pool(pool) => Some(pool),
        _ => None,
    });
    pool.unwrap()
}

/// The policy of this name.
pub(crate) fn policy<'a>(list: &'a [Desired], name: &str) -> &'a L7Policy {
    match &list.iter().find(|entry| entry.name == name).unwrap().resource {
        Resource::L7Policy(policy) => policy,
        other => panic!("expected a policy, found {other:?}"),
    }
}

pub(crate) fn rule(field: L7Field, compare: L7Compare, value: &str) -> L7Rule {
    L7Rule::new(field, compare, value)
}
