//! Which Services are served, and with what.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use common::{
    FLOATING, OUTSIDE, PLAIN, assert_wrong, balancer, entry, given, listener, names, own, pool, port,
};
use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::SessionPersistence;

#[test]
fn a_service_is_a_port_a_load_balancer_a_listener_and_a_pool() {
    let given = given("").slice("{addresses: [10.0.0.2]}, {addresses: [10.0.0.1]}", "{port: 8080}");
    let pool = Pool::new(local("lb-v4"), "TCP", "ROUND_ROBIN")
        .member(Member::new("10.0.0.1", 8080))
        .member(Member::new("10.0.0.2", 8080));
    let mut at = FixedIp::at("10.96.0.9");
    at.subnet = Some(existing("s4"));
    let expected = [
        Port::new(existing("services")).fixed_ip(at).named("vip-v4"),
        LoadBalancer::new(own("vip-v4")).named("lb-v4"),
        pool.named("pool-v4-tcp-80"),
        Listener::new(local("lb-v4"), "TCP", 80)
            .default_pool(local("pool-v4-tcp-80"))
            .named("listener-v4-tcp-80"),
    ];
    assert_eq!(given.list(FLOATING), expected);
    let without_subnet = given.list(PLAIN);
    assert_eq!(port(&without_subnet, "vip-v4").fixed_ips, Some(vec![FixedIp::at("10.96.0.9")]));
}

#[test]
fn who_is_left_alone_says_why() {
    let table = [
        ("type: ExternalName, externalName: a.b, clusterIP: ''", PLAIN, "ExternalName"),
        ("clusterIP: None", PLAIN, "headless"),
        ("type: LoadBalancer, loadBalancerClass: example.com/other", PLAIN, "class example.com/other"),
        ("type: ClusterIP", OUTSIDE, "kube-proxy"),
        ("type: NodePort", OUTSIDE, "kube-proxy"),
    ];
    for (spec, config, part) in table {
        let result = given(spec).map(config);
        let Err(Outcome::NotMapped(reason)) = &result else { panic!("{spec}: {result:?}") };
        assert!(reason.contains(part), "{reason}");
        assert_eq!(given(spec).report(config, result.err(), vec![]), None, "nothing is said of it");
    }
    assert_eq!(given("clusterIP: ''").map(PLAIN), Err(waiting("the Service has no cluster IP yet")));
}

#[test]
fn a_class_of_ours_is_served_and_of_another_its_cluster_ip_if_so_wished() {
    let ours = given("type: LoadBalancer, loadBalancerClass: isthmus.dev/octavia").list(FLOATING);
    assert!(names(&ours).contains(&"floating-ip"));
    let other = given("type: LoadBalancer, loadBalancerClass: example.com/other");
    let config = FLOATING.replacen('{', r#"{"foreignClass": "cluster-ip", "#, 1);
    assert_eq!(other.list(&config), given("").list(FLOATING));
    let renamed = FLOATING.replacen('{', r#"{"loadBalancerClass": "example.com/other", "#, 1);
    assert!(names(&other.list(&renamed)).contains(&"floating-ip"));
}

#[test]
fn two_families_are_two_load_balancers_with_their_own_members() {
    let given = given("clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9, 'fd00::9'], ipFamilies: [IPv4, IPv6]")
        .slice("{addresses: [10.0.0.1]}", "{port: 8080}")
        .slice("{addresses: ['FD00:0::1']}", "{port: 8080}");
    let list = given.list(PLAIN);
    let expected = [
        "vip-v4",
        "lb-v4",
        "pool-v4-tcp-80",
        "listener-v4-tcp-80",
        "vip-v6",
        "lb-v6",
        "pool-v6-tcp-80",
        "listener-v6-tcp-80",
    ];
    assert_eq!(names(&list), expected);
    assert_eq!(common::places(&list, "pool-v4-tcp-80"), common::at(&[("10.0.0.1", 8080)]));
    assert_eq!(common::places(&list, "pool-v6-tcp-80"), common::at(&[("fd00::1", 8080)]));
    assert_eq!(port(&list, "vip-v6").fixed_ips, Some(vec![FixedIp::at("fd00::9")]));

    // The family that was there first stays as it is when the second one comes.
    let mut single = given.clone();
    single.spec = common::given("").spec;
    assert_eq!(single.list(PLAIN), list[..4]);
    let six = common::given("clusterIP: 'fd00::9', ipFamilies: [IPv6]").list(PLAIN);
    assert_eq!(names(&six), ["vip-v6", "lb-v6", "pool-v6-tcp-80", "listener-v6-tcp-80"]);
}

#[test]
fn ports_are_listeners_by_number_and_protocol() {
    let ports = "ports: [{name: a, port: 53, protocol: UDP}, {name: b, port: 53}, {name: c, port: 53, protocol: SCTP}, {name: d, port: 80}]";
    let list = given(ports).list(PLAIN);
    for (protocol, number) in [("UDP", 53), ("TCP", 53), ("SCTP", 53), ("TCP", 80)] {
        let name = format!("v4-{}-{number}", protocol.to_lowercase());
        let found = listener(&list, &format!("listener-{name}"));
        assert_eq!((found.protocol.as_str(), found.port), (protocol, number));
        assert_eq!(found.default_pool, Some(local(&format!("pool-{name}"))));
        assert_eq!(pool(&list, &format!("pool-{name}")).protocol, protocol);
    }
    assert_eq!(list.len(), 2 + 8);
}

#[test]
fn affinity_is_by_the_clients_address() {
    let ports = "ports: [{name: a, port: 53, protocol: UDP}, {name: b, port: 53}, {name: c, port: 53, protocol: SCTP}]";
    let of = |affinity: &str| given(&format!("{ports}, sessionAffinity: {affinity}")).list(PLAIN);
    let found = |list: &[Desired], protocol: &str| {
        pool(list, &format!("pool-v4-{protocol}-53")).session_persistence.clone()
    };
    let by_source = || SessionPersistence::new("SOURCE_IP");
    let list = of("ClientIP");
    assert_eq!(found(&list, "udp"), Some(by_source().timeout_s(10800_u32)));
    assert_eq!(found(&list, "sctp"), Some(by_source().timeout_s(10800_u32)));
    assert_eq!(found(&list, "tcp"), Some(by_source()), "Octavia takes no time of a TCP pool");
    let list = of("ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}");
    assert_eq!(found(&list, "udp"), Some(by_source().timeout_s(60_u32)));
    assert_eq!(found(&of("None"), "udp"), None);
}

#[test]
fn annotations_tune_what_is_made_whatever_they_are_called() {
    // ours, the OpenStack cloud provider's
    let table = [
        ("isthmus.dev/lb-", "isthmus.dev/lb-flavor", "isthmus.dev/lb-method", "isthmus.dev/lb-"),
        (
            "loadbalancer.openstack.org/",
            "loadbalancer.openstack.org/flavor-id",
            "loadbalancer.openstack.org/lb-method",
            "openstack.org/kuryr-",
        ),
    ];
    for (prefix, flavor, method, timeouts) in table {
        let annotations = format!(
            "{flavor}: big, {prefix}availability-zone: az, {method}: least_connections, \
             {prefix}connection-limit: '100', {timeouts}timeout-client-data: '70000', \
             {timeouts}timeout-member-data: '75000', {prefix}timeout-member-connect: '1000', \
             {prefix}timeout-tcp-inspect: '0', {prefix}enable-health-monitor: 'true', {prefix}health-monitor-delay: '7', \
             {prefix}health-monitor-timeout: '6', {prefix}health-monitor-max-retries: '2', \
             {prefix}health-monitor-max-retries-down: '4'"
        );
        let list = given("").annotated(&annotations).list(PLAIN);
        let balancer = balancer(&list, "lb-v4");
        assert_eq!(balancer.flavor.as_deref(), Some("big"));
        assert_eq!(balancer.availability_zone.as_deref(), Some("az"));
        let listener = listener(&list, "listener-v4-tcp-80");
        assert_eq!(listener.connection_limit, Some(100));
        assert_eq!(listener.timeouts.client_data_ms, Some(70000), "{timeouts}");
        assert_eq!(listener.timeouts.member_data_ms, Some(75000));
        assert_eq!(listener.timeouts.member_connect_ms, Some(1000));
        assert_eq!(listener.timeouts.tcp_inspect_ms, Some(0));
        let pool = pool(&list, "pool-v4-tcp-80");
        assert_eq!(pool.algorithm, "LEAST_CONNECTIONS");
        assert_eq!(pool.monitor, Some(HealthMonitor::new("TCP", 7, 6, 2).max_retries_down(4_u8)));
    }
    let both = "isthmus.dev/lb-connection-limit: '1', loadbalancer.openstack.org/connection-limit: '2'";
    let list = given("").annotated(both).list(PLAIN);
    assert_eq!(listener(&list, "listener-v4-tcp-80").connection_limit, Some(1), "ours comes first");
    let unlimited = given("").annotated("loadbalancer.openstack.org/connection-limit: '-1'").list(PLAIN);
    assert_eq!(listener(&unlimited, "listener-v4-tcp-80").connection_limit, None);
}

#[test]
fn tcp_ports_may_speak_proxy_or_http() {
    let ports = "ports: [{name: a, port: 80}, {name: b, port: 53, protocol: UDP}]";
    let of = |annotations: &str| given(ports).annotated(annotations).list(PLAIN);
    let table = [("'true'", "PROXY"), ("v1", "PROXY"), ("v2", "PROXYV2"), ("'false'", "TCP")];
    for (value, protocol) in table {
        let list = of(&format!("loadbalancer.openstack.org/proxy-protocol: {value}"));
        assert_eq!(pool(&list, "pool-v4-tcp-80").protocol, protocol);
        assert_eq!(pool(&list, "pool-v4-udp-53").protocol, "UDP");
        assert_eq!(listener(&list, "listener-v4-tcp-80").protocol, "TCP");
    }
    let list = of("isthmus.dev/lb-x-forwarded-for: 'true'");
    let expected = Listener::new(local("lb-v4"), "HTTP", 80)
        .insert_header("X-Forwarded-For", "true")
        .default_pool(local("pool-v4-tcp-80"));
    assert_eq!(*listener(&list, "listener-v4-tcp-80"), expected);
    assert_eq!(pool(&list, "pool-v4-tcp-80").protocol, "HTTP");
    assert_eq!(listener(&list, "listener-v4-udp-53").protocol, "UDP");
}

#[test]
fn members_are_watched_if_so_wished() {
    let config = r#"{"network": "services", "monitor": {"enabled": true, "delay": 2, "timeout": 1}}"#;
    let ports =
        "ports: [{name: a, port: 1}, {name: b, port: 2, protocol: UDP}, {name: c, port: 3, protocol: SCTP}]";
    let list = given(ports).list(config);
    let monitor = |kind, delay| Some(HealthMonitor::new(kind, delay, 1, 1).max_retries_down(3_u8));
    assert_eq!(pool(&list, "pool-v4-tcp-1").monitor, monitor("TCP", 2));
    assert_eq!(pool(&list, "pool-v4-udp-2").monitor, monitor("UDP-CONNECT", 3), "Octavia's least");
    assert_eq!(pool(&list, "pool-v4-sctp-3").monitor, monitor("SCTP", 2));
    let off = given(ports).annotated("isthmus.dev/lb-enable-health-monitor: 'false'").list(config);
    assert_eq!(pool(&off, "pool-v4-tcp-1").monitor, None);
}

#[test]
fn what_is_wrong_is_named() {
    let annotation = |name: &str| format!("metadata.annotations[\"{name}\"]");
    let annotated = |name: &str, value: &str| {
        (given("").annotated(&format!("{name}: '{value}'")).map(PLAIN), annotation(name))
    };
    let table = [
        (annotated("isthmus.dev/lb-internal", "yes"), "true or false"),
        (annotated("loadbalancer.openstack.org/connection-limit", "-2"), "from -1"),
        (annotated("openstack.org/kuryr-timeout-client-data", "1s"), "whole number"),
        (annotated("isthmus.dev/lb-health-monitor-max-retries", "11"), "from 1 to 10"),
        (annotated("isthmus.dev/lb-proxy-protocol", "v3"), "v1, v2"),
        (annotated("isthmus.dev/lb-flavor", &"f".repeat(256)), "255 bytes"),
        ((given("ports: [{port: 80}, {port: 80}]").map(PLAIN), "spec.ports[1].port".into()), "another port"),
        ((given("ports: [{port: 0}]").map(PLAIN), "spec.ports[0].port".into()), "1 to 65535"),
        (
            (given("ports: [{port: 1, protocol: ICMP}]").map(PLAIN), "spec.ports[0].protocol".into()),
            "TCP, UDP or SCTP",
        ),
        ((given("clusterIP: x").map(PLAIN), "spec.clusterIPs[0]".into()), "no IP address"),
        ((given("").map("{}"), "config".into()), "missing field `network`"),
        ((given("").map(r#"{"network": ""}"#), "config.network".into()), "1 to 255"),
        (
            (given("").map(r#"{"network": "n", "clusterCidrs": ["10/8"]}"#), "config.clusterCidrs[0]".into()),
            "no CIDR",
        ),
    ];
    for ((result, field), part) in table {
        assert_wrong(result, &field, part);
    }
    let slow = "isthmus.dev/lb-enable-health-monitor: 'true', isthmus.dev/lb-health-monitor-timeout: '9'";
    let field = annotation("isthmus.dev/lb-health-monitor-timeout");
    assert_wrong(given("").annotated(slow).map(PLAIN), &field, "9 s");
}

#[test]
fn the_kubernetes_service_itself_is_served() {
    let text = r#"
{apiVersion: v1, kind: Service, metadata: {name: kubernetes, namespace: default},
 spec: {type: ClusterIP, clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ipFamilies: [IPv4],
        ports: [{name: https, port: 443, protocol: TCP, targetPort: 6443}], sessionAffinity: None}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
 metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}},
 endpoints: [{addresses: [192.0.2.1], conditions: {ready: true}}], ports: [{name: https, port: 6443, protocol: TCP}]}"#;
    let config =
        r#"{"network": "services", "members": {"subnets": [{"cidr": "192.0.2.0/24", "subnet": "nodes"}]}}"#;
    let cluster = isthmus_sdk::testing::Cluster::from_yaml(text).unwrap();
    let list = cluster
        .map::<service_loadbalancer::ServiceLoadBalancer>(
            &common::service_kind(),
            "default/kubernetes",
            config,
        )
        .unwrap();
    let member = Member::new("192.0.2.1", 6443).subnet(existing("nodes"));
    assert_eq!(pool(&list, "pool-v4-tcp-443").members, [member]);
    assert_eq!(listener(&list, "listener-v4-tcp-443").port, 443);
    entry(&list, "vip-v4");
}

#[test]
fn every_field_of_the_config_is_in_its_schema() {
    let schema = service_loadbalancer::ServiceLoadBalancer::manifest().config_schema.unwrap();
    let fields = "network subnets clusterIps clusterCidrs loadBalancerClass foreignClass floatingNetwork floatingSubnet \
                  provider flavor availabilityZone algorithm monitor enabled delay timeout maxRetries maxRetriesDown \
                  members fromNamespace except ipv4 ipv6";
    for field in fields.split_whitespace() {
        assert!(schema.contains(&format!("\"{field}\": {{")), "{field}");
    }
    serde_json::from_str::<serde_json::Value>(&schema).unwrap();
}

#[test]
fn every_annotation_is_in_the_guide() {
    let guide = include_str!("../../../docs/services.md");
    let fields = service_loadbalancer::ServiceLoadBalancer::manifest().maps.remove(0).fields;
    let names =
        fields.iter().filter_map(|field| field.strip_prefix("metadata.annotations[\"")?.strip_suffix("\"]"));
    let missing: Vec<&str> = names.filter(|name| !guide.contains(&format!("`{name}`"))).collect();
    assert_eq!(missing, [""; 0]);
}
