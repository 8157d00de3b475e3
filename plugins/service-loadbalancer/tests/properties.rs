//! What holds for all Services.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use common::{FLOATING, OUTSIDE, PLAIN, places, service_kind};
use isthmus_sdk::prelude::*;
use isthmus_sdk::testing::Cluster;
use proptest::prelude::*;
use serde_json::{Value, json};
use service_loadbalancer::ServiceLoadBalancer;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Name, number and protocol of a Service's port.
type Port = (String, u16, &'static str);

fn ports() -> impl Strategy<Value = Vec<Port>> {
    let port = (1u16..4, prop::sample::select(PROTOCOLS.to_vec()));
    prop::collection::btree_set(port, 1..5).prop_map(|ports| {
        let named = |(at, (number, protocol))| (format!("p{at}"), number, protocol);
        ports.into_iter().enumerate().map(named).collect()
    })
}

#[derive(Clone, Debug)]
struct Endpoint {
    address: String,
    conditions: BTreeMap<&'static str, bool>,
}

impl Endpoint {
    fn says(&self, condition: &str) -> Option<bool> {
        self.conditions.get(condition).copied()
    }
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let address =
        prop::sample::select(vec!["10.0.0.1", "10.0.0.2", "fd00::1", "FD00:0::1", "fd00::2", "a.b"]);
    let condition = prop::sample::select(vec!["ready", "serving", "terminating"]);
    (address, prop::collection::btree_map(condition, any::<bool>(), 0..4))
        .prop_map(|(address, conditions)| Endpoint { address: address.into(), conditions })
}

#[derive(Clone, Debug)]
struct Slice {
    endpoints: Vec<Endpoint>,
    ports: Vec<(String, u16, &'static str)>,
}

fn slice() -> impl Strategy<Value = Slice> {
    // few names and numbers, so that slices meet often
    let name = prop::sample::select(vec!["p0", "p0", "p1", "other"]);
    let protocol = prop::sample::select(vec!["TCP", "TCP", "UDP", "SCTP"]);
    let port = (name.prop_map(str::to_owned), 8080u16..8082, protocol);
    let endpoints = prop::collection::vec(endpoint(), 0..4);
    (endpoints, prop::collection::vec(port, 0..4)).prop_map(|(endpoints, ports)| Slice { endpoints, ports })
}

fn cluster(annotations: &Value, spec: &Value, slices: &[Slice]) -> Cluster {
    let metadata = json!({"name": "web", "namespace": "shop", "annotations": annotations});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
    let mut cluster = Cluster::default();
    cluster.add(service).unwrap();
    for (at, slice) in slices.iter().enumerate() {
        let port = |(name, port, protocol): &Port| json!({"name": name, "port": port, "protocol": protocol});
        let endpoint = |e: &Endpoint| json!({"addresses": [e.address], "conditions": e.conditions});
        let labels = json!({"kubernetes.io/service-name": "web"});
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("web-{at}"), "namespace": "shop", "labels": labels},
            "endpoints": slice.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
            "ports": slice.ports.iter().map(port).collect::<Vec<_>>(),
        });
        cluster.add(object).unwrap();
    }
    cluster
}

fn spec(ports: &[Port]) -> Value {
    let port = |(name, port, protocol): &Port| json!({"name": name, "port": port, "protocol": protocol});
    json!({
        "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"], "ipFamilies": ["IPv4", "IPv6"],
        "ports": ports.iter().map(port).collect::<Vec<_>>(),
    })
}

fn map(annotations: &Value, spec: &Value, slices: &[Slice], config: &str) -> Result<Vec<Desired>, Outcome> {
    cluster(annotations, spec, slices).map::<ServiceLoadBalancer>(&service_kind(), "shop/web", config)
}

/// The same as Kubernetes' text says it: of each place the best that any slice says of it; then the ready ones, or if there are
/// none those that end and serve.
fn members((name, _, protocol): &Port, slices: &[Slice], v6: bool, all: bool) -> Vec<(String, u16)> {
    /// Address, port, whether it is ready, whether it ends and serves.
    type Found = (IpAddr, u16, bool, bool);
    let mut found: Vec<Found> = Vec::new();
    for slice in slices {
        for (_, number, _) in slice.ports.iter().filter(|(n, _, p)| n == name && p == protocol) {
            for endpoint in &slice.endpoints {
                let Ok(address) = endpoint.address.parse::<IpAddr>() else { continue };
                let ready = all || endpoint.says("ready") != Some(false);
                let serving = endpoint.says("serving").unwrap_or(ready);
                let ending = serving && endpoint.says("terminating") == Some(true);
                found.push((address, *number, ready, ending));
            }
        }
    }
    found.retain(|(address, ..)| address.is_ipv6() == v6);
    let chosen = |by: &dyn Fn(&Found) -> bool| -> BTreeSet<(IpAddr, u16)> {
        found.iter().filter(|one| by(one)).map(|one| (one.0, one.1)).collect()
    };
    let ready = chosen(&|one| one.2);
    let chosen = if ready.is_empty() { chosen(&|one| one.3) } else { ready };
    chosen.into_iter().map(|(address, port)| (address.to_string(), port)).collect()
}

proptest! {
    #[test]
    fn members_are_what_kubernetes_says(ports in ports(), slices in prop::collection::vec(slice(), 0..4), all in any::<bool>()) {
        let mut spec = spec(&ports);
        spec["publishNotReadyAddresses"] = json!(all);
        let list = map(&json!({}), &spec, &slices, PLAIN).unwrap();
        for port in &ports {
            for (family, v6) in [("v4", false), ("v6", true)] {
                let name = format!("pool-{family}-{}-{}", port.2.to_lowercase(), port.1);
                prop_assert_eq!(places(&list, &name), members(port, &slices, v6, all));
            }
        }
        // The order in which slices are known says nothing.
        let reversed: Vec<Slice> = slices.iter().rev().cloned().collect();
        prop_assert_eq!(list, map(&json!({}), &spec, &reversed, PLAIN).unwrap());
    }

    /// An edit of what a Service is from outside leaves what it is from inside.
    #[test]
    fn the_cluster_ip_is_served_whatever_else_is(
        ports in ports(),
        slices in prop::collection::vec(slice(), 0..3),
        placed in any::<bool>(),
        internal in any::<bool>(),
        address in any::<bool>(),
    ) {
        let inside = spec(&ports);
        let before = map(&json!({}), &inside, &slices, FLOATING).unwrap();
        let mut annotations = json!({"isthmus.dev/lb-internal": internal.to_string()});
        if placed {
            annotations["isthmus.dev/lb-network"] = json!("dmz");
        }
        let mut outside = inside;
        outside["type"] = json!("LoadBalancer");
        if address {
            outside["loadBalancerIP"] = json!("203.0.113.9");
        }
        let after = map(&annotations, &outside, &slices, FLOATING).unwrap();
        prop_assert_eq!(&after[..before.len()], &before[..]);
        let floating = after.iter().filter(|entry| entry.name.starts_with("floating-ip")).count();
        prop_assert_eq!(floating, usize::from(!internal));
    }

    /// With ranges no listener is for more than they and the cluster are.
    #[test]
    fn ranges_are_never_everybody(
        ports in ports(),
        ranges in prop::collection::vec(prop::sample::select(vec!["192.0.2.1/24", "198.51.100.0/25", "2001:db8::/32", "10.0.0.0/8"]), 1..4),
        config in prop::sample::select(vec![FLOATING, OUTSIDE]),
        placed in any::<bool>(),
    ) {
        let mut outside = spec(&ports);
        outside["type"] = json!("LoadBalancer");
        outside["loadBalancerSourceRanges"] = json!(ranges);
        let annotations = if placed { json!({"isthmus.dev/lb-network": "dmz"}) } else { json!({}) };
        for entry in map(&annotations, &outside, &[], config).unwrap() {
            let Resource::Listener(listener) = entry.resource else { continue };
            let inside = config == FLOATING && placed && !entry.name.contains("public");
            prop_assert_eq!(listener.allowed_cidrs.is_empty(), inside);
            let v6 = entry.name.contains("-v6-");
            prop_assert!(listener.allowed_cidrs.iter().all(|cidr| cidr.contains(':') == v6));
        }
    }

    /// Whatever is written there: never a panic, no list that the host refuses (the harness would panic), and a report for each.
    #[test]
    fn a_list_or_a_reason(
        fields in prop::collection::btree_map(
            prop::sample::select(vec!["type", "clusterIP", "loadBalancerIP", "loadBalancerClass", "sessionAffinity", "externalTrafficPolicy"]),
            prop_oneof![
                prop::sample::select(vec!["LoadBalancer", "NodePort", "None", "10.0.0.1", "fd00::1", "ClientIP", "Local", ""]).prop_map(str::to_owned),
                ".{0,20}",
            ],
            0..6,
        ),
        annotations in prop::collection::btree_map(
            prop::sample::select(vec![
                "isthmus.dev/lb-internal", "isthmus.dev/lb-port", "isthmus.dev/lb-network", "isthmus.dev/lb-subnet",
                "isthmus.dev/lb-provider", "isthmus.dev/lb-method", "isthmus.dev/lb-proxy-protocol", "isthmus.dev/lb-hostname",
                "isthmus.dev/lb-connection-limit", "isthmus.dev/lb-member-subnet", "isthmus.dev/lb-enable-health-monitor",
                "service.beta.kubernetes.io/load-balancer-source-ranges",
            ]),
            prop_oneof![
                prop::sample::select(vec!["true", "ovn", "v2", "10.0.0.0/8", "7", "-1", ""]).prop_map(str::to_owned),
                ".{0,20}",
            ],
            0..5,
        ),
        ports in ports(),
        slices in prop::collection::vec(slice(), 0..2),
        config in prop::sample::select(vec![PLAIN, FLOATING, OUTSIDE]),
    ) {
        let mut spec = spec(&ports);
        for (field, value) in &fields {
            spec[*field] = json!(value);
        }
        let cluster = cluster(&json!(annotations), &spec, &slices);
        let result = cluster.map::<ServiceLoadBalancer>(&service_kind(), "shop/web", config);
        let not_mapped = matches!(result, Err(Outcome::NotMapped(_)));
        let realized = result.iter().flatten().map(|entry| common::ready(&entry.name)).collect();
        let report = cluster.report::<ServiceLoadBalancer>(&service_kind(), "shop/web", config, result.err(), realized);
        prop_assert_eq!(report.is_none(), not_mapped);
    }
}
