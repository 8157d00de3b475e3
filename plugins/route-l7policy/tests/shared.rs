//! The PolicyModule's mapping, and the config.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{EXISTING, PLAIN, TLS, assert_wrong, cloud, map, policy_module_kind, route, route_kind};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::{Certificate, ListenerTls, Vip};
use isthmus_sdk::snapshot::Cloud;
use isthmus_sdk::testing::Cluster;
use route_l7policy::RouteL7Policy;

const MODULES: &str = "
{apiVersion: isthmus.dev/v1alpha1, kind: PolicyModule, metadata: {name: route-l7policy}, spec: {source: {}}}
---
{apiVersion: isthmus.dev/v1alpha1, kind: PolicyModule, metadata: {name: pod-port}, spec: {source: {}}}
";

fn shared_on(cloud: Cloud, name: &str, config: &str) -> Result<Vec<Desired>, Outcome> {
    let cluster = Cluster::from_yaml(MODULES).unwrap().with_cloud(cloud);
    cluster.map::<RouteL7Policy>(&policy_module_kind(), name, config)
}

fn shared(name: &str, config: &str) -> Result<Vec<Desired>, Outcome> {
    shared_on(cloud(&[("amphora", true), ("ovn", false)], true), name, config)
}

fn listener(protocol: &str, port: u16) -> Listener {
    Listener::new(local("lb"), protocol, port)
        .insert_header("X-Forwarded-For", "true")
        .insert_header("X-Forwarded-Port", "true")
        .insert_header("X-Forwarded-Proto", "true")
}

#[test]
fn all_routes_share_a_load_balancer() {
    let plain = [
        Port::new(existing("public")).named("vip"),
        LoadBalancer::new(Vip::Port(local("vip"))).named("lb"),
        listener("HTTP", 80).named("http"),
    ];
    assert_eq!(shared("route-l7policy", PLAIN).unwrap(), plain);

    let config = r#"{"network": "public", "subnets": ["v4", "v6"], "provider": "amphora", "flavor": "big",
        "availabilityZone": "east", "httpPort": 8080, "tls": {"secret": {"namespace": "ingress", "name": "default"},
        "port": 8443, "versions": ["TLSv1.3"], "ciphers": "ECDHE"}}"#;
    let balancer = LoadBalancer::new(Vip::Port(local("vip")))
        .provider("amphora")
        .flavor("big")
        .availability_zone("east")
        .additional_vip(FixedIp::of(existing("v6")));
    let secret =
        ObjectKey { kind: Kind::core("Secret"), namespace: Some("ingress".into()), name: "default".into() };
    let tls = ListenerTls::new(local("default-certificate")).version("TLSv1.3").ciphers("ECDHE");
    let all = [
        Port::new(existing("public")).fixed_ip(FixedIp::of(existing("v4"))).named("vip"),
        balancer.named("lb"),
        listener("HTTP", 8080).named("http"),
        Certificate::of_secret(secret).named("default-certificate"),
        listener("TERMINATED_HTTPS", 8443).tls(tls).named("https"),
    ];
    assert_eq!(shared("route-l7policy", config).unwrap(), all);
}

#[test]
fn only_the_own_policy_module_is_mapped() {
    let part = |result: Result<Vec<Desired>, Outcome>| match result {
        Err(Outcome::NotMapped(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(part(shared("pod-port", PLAIN)).contains("PolicyModule route-l7policy"));
    assert!(part(shared("route-l7policy", EXISTING)).contains("existingLoadBalancer"));
    let config = r#"{"network": "public", "policyModule": "pod-port"}"#;
    assert!(part(shared("route-l7policy", config)).contains("PolicyModule pod-port"));
    assert_eq!(shared("pod-port", config).unwrap().len(), 3);
}

#[test]
fn a_wrong_config_is_named() {
    let table = [
        ("{}", "config.network", "existingLoadBalancer"),
        (r#"{"network": 7}"#, "config.network", "expected a string"),
        (r#"{"network": ""}"#, "config.network", "1 to 255 bytes"),
        (r#"{"network": "n", "subnets": [""]}"#, "config.subnets", "1 to 255 bytes"),
        (r#"{"network": "n", "subnet": "s"}"#, "config.subnet", "unknown field"),
        (r#"{"network": "n", "httpPort": 0}"#, "config.httpPort", "1 to 65535"),
        (r#"{"network": "n", "httpPort": 65536}"#, "config.httpPort", "65536"),
        (r#"{"network": "n", "namespaceOwnership": "Loose"}"#, "config.namespaceOwnership", "Strict"),
        (r#"{"network": "n", "tls": {}}"#, "config.tls", "secret"),
        (r#"{"network": "n", "tls": {"secret": {"namespace": "i"}}}"#, "config.tls.secret", "name"),
        (
            r#"{"network": "n", "tls": {"secret": {"namespace": "i", "name": "D"}}}"#,
            "config.tls.secret.name",
            "no object",
        ),
        (
            r#"{"network": "n", "tls": {"secret": {"namespace": "i", "name": "d"}, "port": 80}}"#,
            "config.tls.port",
            "ports of their own",
        ),
        (
            r#"{"network": "n", "monitor": {"timeout": 6}}"#,
            "config.monitor.timeout",
            "no longer than the delay",
        ),
        (r#"{"network": "n", "monitor": {"delay": 0}}"#, "config.monitor.delay", "a second"),
        (r#"{"network": "n", "monitor": {"maxRetries": 11}}"#, "config.monitor.maxRetries", "1 to 10"),
        (r#"{"network": "n", "monitor": {"path": "up"}}"#, "config.monitor.path", "slash"),
        (r#"{"network": "n", "monitor": {"expectedCodes": "200"}}"#, "config.monitor.expectedCodes", "path"),
        (r#"{"existingLoadBalancer": {"http": "h"}}"#, "config.existingLoadBalancer", "loadBalancer"),
        (
            r#"{"existingLoadBalancer": {"loadBalancer": "l", "tcp": "h"}}"#,
            "config.existingLoadBalancer.tcp",
            "unknown field",
        ),
        (
            r#"{"existingLoadBalancer": {"loadBalancer": ""}}"#,
            "config.existingLoadBalancer.loadBalancer",
            "1 to 255 bytes",
        ),
        (
            r#"{"existingLoadBalancer": {"loadBalancer": "l"}, "network": "n"}"#,
            "config.network",
            "not with `existingLoadBalancer`",
        ),
        (
            r#"{"existingLoadBalancer": {"loadBalancer": "l"}, "flavor": "n"}"#,
            "config.flavor",
            "not with `existingLoadBalancer`",
        ),
    ];
    for (config, field, part) in table {
        assert_wrong(shared("route-l7policy", config), field, part);
        assert_wrong(map("host: a.b, to: {name: web}", config), field, part);
    }
    let nobody = r#"{"network": "n", "policyModule": "No Name"}"#;
    assert_wrong(
        map("host: a.b, to: {name: web}", nobody),
        "config.policyModule",
        "no object of such a name",
    );
}

#[test]
fn a_provider_without_l7_is_named() {
    let ovn = r#"{"network": "public", "provider": "ovn"}"#;
    let unknown = r#"{"network": "public", "provider": "f5"}"#;
    let both: &[(&str, bool)] = &[("amphora", true), ("ovn", false)];
    let only: &[(&str, bool)] = &[("ovn", false)];
    let table = [
        (both, ovn, Some("provider ovn has no L7 policies; of the cloud's providers have them: amphora")),
        (only, ovn, Some("provider ovn has no L7 policies; no other one")),
        (only, PLAIN, Some("no load-balancer provider of the cloud (ovn)")),
        (both, PLAIN, None),
        (both, unknown, None),
        (&[], ovn, None),
        (&[], PLAIN, None),
        (only, EXISTING, None),
    ];
    for (providers, config, refused) in table {
        let cluster = Cluster::from_yaml(&route("shop/web", 1, "host: a.b, to: {name: web}")).unwrap();
        let cluster = cluster.with_cloud(cloud(providers, true));
        let route = cluster.map::<RouteL7Policy>(&route_kind(), "shop/web", config);
        let module = shared_on(cloud(providers, true), "route-l7policy", config);
        match refused {
            Some(part) => {
                assert_wrong(route, "config.provider", part);
                assert_wrong(module, "config.provider", part);
            }
            None => {
                assert!(route.is_ok(), "{route:?}");
                assert!(!matches!(module, Err(Outcome::Invalid(_))), "{module:?}");
            }
        }
    }
}

#[test]
fn tls_needs_a_key_manager() {
    let result = shared_on(cloud(&[], false), "route-l7policy", TLS);
    assert_wrong(result, "config.tls", "Barbican");
    assert!(shared_on(cloud(&[], false), "route-l7policy", PLAIN).is_ok());
}

#[test]
fn every_field_of_the_config_is_in_its_schema() {
    let schema = RouteL7Policy::manifest().config_schema.unwrap();
    let fields = [
        "policyModule",
        "routerName",
        "routerCanonicalHostname",
        "namespaceOwnership",
        "network",
        "subnets",
        "provider",
        "flavor",
        "availabilityZone",
        "httpPort",
        "tls",
        "secret",
        "namespace",
        "name",
        "port",
        "versions",
        "ciphers",
        "existingLoadBalancer",
        "loadBalancer",
        "http",
        "https",
        "memberSubnet",
        "passthroughPorts",
        "first",
        "last",
        "namespaces",
        "monitor",
        "path",
        "expectedCodes",
        "delay",
        "timeout",
        "maxRetries",
        "maxRetriesDown",
    ];
    for field in fields {
        assert!(schema.contains(&format!("\"{field}\": {{")), "{field}");
    }
}
