//! The order of a listener's L7 policies, which others change too.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use isthmus_kubernetes::crd::CloudMapping;
use isthmus_openstack::octavia::L7Policy;
use serde_json::json;
use stage::{Stage, contents};

/// Ids of the policies in their order, each with what it is sorted by.
async fn policies(stage: &Stage) -> Vec<(String, String)> {
    let mut all: Vec<L7Policy> = stage.octavia().list(&[]).await.unwrap();
    all.sort_by_key(|policy| policy.position);
    let precedence = |policy: &L7Policy| {
        policy.tags.iter().find_map(|tag| tag.strip_prefix("isthmus:asked:precedence=")).unwrap().to_owned()
    };
    all.into_iter().map(|policy| (precedence(&policy), policy.id)).map(|(by, id)| (id, by)).collect()
}

fn has(mapping: &CloudMapping, id: &str) -> bool {
    let resources = mapping.status.iter().flat_map(|status| &status.resources);
    resources.into_iter().any(|resource| resource.id.as_deref() == Some(id))
}

/// One that somebody has deleted is put back where it was, at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_others_deleted_comes_back_in_its_place() {
    let stage = Stage::start().await;
    stage.apply_all(contents::CONFIGS[0]).await;
    stage.node_and_namespace("node1", "shop").await;
    stage
        .load("route-l7policy", json!({"network": "pods", "subnets": ["pods-v4"], "provider": "amphora"}))
        .await;
    let spec = json!({"ports": [{"name": "http", "port": 80}]});
    stage
        .apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}))
        .await;
    let operator = stage.operator(&["--resync-seconds", "10"]);
    for (name, path) in [("one", "/a/b/c"), ("two", "/a/b"), ("three", "/a")] {
        let spec =
            json!({"host": "shop.example.com", "path": path, "to": {"kind": "Service", "name": "web"}});
        let metadata = json!({"name": name, "namespace": "shop"});
        stage
            .apply(json!({"apiVersion": "route.openshift.io/v1", "kind": "Route", "metadata": metadata, "spec": spec}))
            .await;
    }
    stage.ready(4).await;
    let before = policies(&stage).await;
    let (first, _) = before.first().unwrap();
    stage.octavia().delete::<L7Policy>(first).await.unwrap();
    let back = |all: &[&CloudMapping]| all.iter().all(|mapping| !has(mapping, first) && mapping.is_ready());
    stage.until("it is made again", |all| back(all)).await;
    let sorted = |all: &[(String, String)]| all.is_sorted_by_key(|(_, by)| by.clone());
    let after = policies(&stage).await;
    assert!(
        before.len() == 3 && after.len() == 3 && sorted(&before) && sorted(&after),
        "{before:?} {after:?}"
    );
    stage.stop(operator).await;
}
