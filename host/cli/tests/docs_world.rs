//! `docs/`: what the pages on Namespaces, Services and Routes say to apply works as they say, in the world of `isthmus dev`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod snippets;
mod stage;

use isthmus_kubernetes::crd::CloudMapping;
use serde_json::{Value, json};
use stage::{Stage, contents, has_words};

/// The PolicyModules of a page, in its order.
fn modules(page: &str) -> Vec<Value> {
    let parse = |(place, text): (String, String)| -> Vec<Value> {
        serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{place}: {error}"))
    };
    snippets::objects(page).into_iter().flat_map(parse).collect()
}

/// Applies a PolicyModule, with its file.
async fn load(stage: &Stage, module: &Value) {
    stage.apply(module.clone()).await;
    stage.bytes(module["metadata"]["name"].as_str().unwrap()).await;
}

/// What the pages take for granted of the cloud.
async fn networks(stage: &Stage) {
    let all = [
        ("services", vec![("services-v4", 4, "10.96.0.0/16"), ("services-v6", 6, "fd00:96::/112")]),
        ("system", vec![("system", 4, "10.97.0.0/24")]),
        ("nodes", vec![("nodes", 4, "10.0.0.0/24")]),
    ];
    for (name, subnets) in all {
        let id = stage.make("networks", json!({"network": {"name": name}})).await;
        for (name, version, cidr) in subnets {
            let subnet = json!({"name": name, "network_id": id, "ip_version": version, "cidr": cidr});
            stage.make("subnets", json!({"subnet": subnet})).await;
        }
    }
    for (name, prefix, length) in [("pods", "10.102.0.0/16", 26), ("pods6", "fd00:102::/48", 64)] {
        let pool = json!({"name": name, "prefixes": [prefix], "default_prefixlen": length});
        stage.make("subnetpools", json!({"subnetpool": pool})).await;
    }
}

/// A Pod on a node, and a Service that leads to it.
async fn served(stage: &Stage, name: &str) {
    let (metadata, labels) = (json!({"name": name, "namespace": "shop"}), json!({"app": name}));
    let spec = json!({"nodeName": "node1", "containers": [{"name": "c", "image": "none"}]});
    let pod = json!({"name": name, "namespace": "shop", "labels": labels});
    stage.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": pod, "spec": spec})).await;
    let spec = json!({"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    stage.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).await;
}

/// Waits until all of these are mapped and ready.
async fn ready(stage: &Stage, subjects: &[(&str, &str)]) {
    let is = |mapping: &CloudMapping, kind: &str, name: &str| {
        let subject = &mapping.spec.subject;
        (subject.kind.as_str(), subject.name.as_str()) == (kind, name) && mapping.is_ready()
    };
    let all =
        |all: &[&CloudMapping]| subjects.iter().all(|(kind, name)| all.iter().any(|m| is(m, kind, name)));
    stage.until(&format!("{subjects:?} are ready"), |mappings| all(mappings)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_and_services_are_mapped_as_the_page_says() {
    let stage = Stage::start().await;
    networks(&stage).await;
    let all = modules("services.md");
    let names: Vec<&str> = all.iter().map(|module| module["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["namespace-network", "pod-port", "service-loadbalancer"]);
    for module in &all {
        load(&stage, module).await;
    }
    stage.node_and_namespace("node1", "shop").await;
    served(&stage, "web").await;
    let operator = stage.operator(&[]);
    for name in names {
        stage.says(name, "Loaded").await;
    }
    ready(&stage, &[("Namespace", "shop"), ("Pod", "web"), ("Service", "web")]).await;
    stage.stop(operator).await;
}

/// As the page has it where the cloud has no key manager: the reason is the one that the page gives. And without TLS.
#[tokio::test(flavor = "multi_thread")]
async fn routes_are_mapped_as_the_page_says() {
    let stage = Stage::start().await;
    stage.apply_all(contents::CONFIGS[0]).await;
    stage.node_and_namespace("node1", "shop").await;
    stage.load("pod-port", json!({"network": "pods", "subnets": ["pods-v4"]})).await;
    let all = modules("routes.md");
    let [module] = all.as_slice() else { panic!("{all:?}") };
    load(&stage, module).await;
    let operator = stage.operator(&[]);
    stage.says("route-l7policy", "Loaded").await;
    served(&stage, "safe").await;
    let route = |mut route: Value| {
        route["apiVersion"] = "route.openshift.io/v1".into();
        route["kind"] = "Route".into();
        route["metadata"]["namespace"] = "shop".into();
        route
    };
    let spec = json!({"host": "shop.example.com", "to": {"kind": "Service", "name": "safe"}});
    stage.apply(route(json!({"metadata": {"name": "plain"}, "spec": spec}))).await;
    let why = "the cloud has no key manager (Barbican)";
    stage.until("it says so", |all| all.iter().any(|mapping| has_words(mapping, why))).await;

    let mut module = module.clone();
    module["spec"]["config"]["passthroughPorts"] = json!([{"first": 8443, "last": 8443}]);
    module["spec"]["config"].as_object_mut().unwrap().remove("tls");
    stage.apply(module).await;
    ready(&stage, &[("PolicyModule", "route-l7policy"), ("Route", "plain")]).await;
    let parts = snippets::parts("routes.md");
    let [(place, passthrough)] = parts.as_slice() else { panic!("{parts:?}") };
    let passthrough: Value =
        serde_saphyr::from_str(passthrough).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(passthrough["spec"]["to"]["name"], "safe", "{place}");
    stage.apply(route(passthrough)).await;
    ready(&stage, &[("Route", "safe")]).await;
    stage.stop(operator).await;
}

/// Beside the PolicyModules: what the API server refuses is no example.
#[tokio::test(flavor = "multi_thread")]
async fn every_object_of_the_pages_is_taken() {
    let stage = Stage::start().await;
    let mut kinds = std::collections::BTreeMap::new();
    for page in ["module-author.md", "operator.md", "routes.md", "services.md"] {
        for object in modules(page) {
            *kinds.entry(object["kind"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            stage.apply(object).await;
        }
    }
    assert_eq!(kinds, [("ClusterRole".to_owned(), 1), ("PolicyModule".to_owned(), 6)].into());
}
