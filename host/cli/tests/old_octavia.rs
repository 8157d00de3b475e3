//! A cloud whose Octavia is from before API 2.5: without tags, and without what came later.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use isthmus_kubernetes::crd::CloudMapping;
use isthmus_model::mark::Mark;
use isthmus_openstack::octavia::{Listener, LoadBalancer, Pool};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use stage::{Stage, has_words};

fn service(name: &str, ports: &[u16], ranges: &[&str]) -> Value {
    let ports: Vec<Value> =
        ports.iter().map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
    let spec = json!({"type": "LoadBalancer", "ports": ports, "loadBalancerSourceRanges": ranges});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

async fn load(stage: &Stage) {
    let config = json!({"network": "pods", "subnets": {"ipv4": "pods-v4"}, "clusterIps": false, "provider": "amphora",
                        "monitor": {"enabled": true}});
    stage.load("service-loadbalancer", config).await;
    stage.node_and_namespace("node1", "shop").await;
}

/// Whose everything of Octavia's is, by description: name and mark. Nothing has tags.
async fn marked(stage: &Stage) -> Vec<(String, Mark)> {
    let mut all: Vec<(String, String, Vec<String>)> = Vec::new();
    let balancers: Vec<LoadBalancer> = stage.octavia().list(&[]).await.unwrap();
    all.extend(balancers.into_iter().map(|found| (found.id, found.description, found.tags)));
    let listeners: Vec<Listener> = stage.octavia().list(&[]).await.unwrap();
    all.extend(listeners.into_iter().map(|found| (found.id, found.description, found.tags)));
    let pools: Vec<Pool> = stage.octavia().list(&[]).await.unwrap();
    all.extend(pools.into_iter().map(|found| (found.id, found.description, found.tags)));
    let mark = |(id, description, tags): (String, String, Vec<String>)| {
        assert!(tags.is_empty(), "{id}: {tags:?}");
        let mark = Mark::from_description(&description);
        (id, mark.unwrap_or_else(|| panic!("no mark: {description:?}")))
    };
    all.into_iter().map(mark).collect()
}

fn applied(mapping: &CloudMapping) -> usize {
    mapping.status.as_ref().map_or(0, |status| status.resources.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_are_in_descriptions_where_there_are_no_tags() {
    let stage = Stage::with(|cloud| cloud.load_balancer_minor = 4).await;
    load(&stage).await;
    stage.apply(service("web", &[80], &[])).await;
    let operator = stage.operator(&[]);
    stage.ready(1).await;
    let made = marked(&stage).await;
    assert_eq!(made.len(), 3, "a load balancer, a listener, a pool: {made:?}");
    stage.stop(operator).await;

    // Another operator finds them by that.
    let operator = stage.operator(&[]);
    let before = applied(stage.mappings().await.first().unwrap());
    stage.apply(service("web", &[80, 443], &[])).await;
    let made_more = |mapping: &CloudMapping| mapping.is_ready() && applied(mapping) == before + 2;
    stage.until("listener and pool of another port are made", |all| all.iter().all(|m| made_more(m))).await;
    let now = marked(&stage).await;
    assert!(made.iter().all(|old| now.contains(old)) && now.len() == 5, "{made:?} {now:?}");

    let services: Api<Service> = Api::namespaced(stage.client.kube(), "shop");
    services.delete("web", &DeleteParams::default()).await.unwrap();
    stage.until("it is gone", |all| all.is_empty()).await;
    assert_eq!(marked(&stage).await, []);
    stage.stop(operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_later_is_refused_with_the_version() {
    let stage = Stage::with(|cloud| cloud.load_balancer_minor = 11).await;
    load(&stage).await;
    stage.apply(service("web", &[80], &["10.0.0.0/8"])).await;
    let operator = stage.operator(&[]);
    let said = "listener.allowed_cidrs came with version 2.12 of Octavia's API, and this cloud has 2.11";
    stage.until("it is refused", |all| all.iter().any(|m| has_words(m, said))).await;
    // Who asks for no such thing is served.
    stage.apply(service("web", &[80], &[])).await;
    stage.ready(1).await;
    stage.stop(operator).await;
}
