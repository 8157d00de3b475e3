//! New versions of a module beside what waits.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use isthmus_kubernetes::crd::{CloudMapping, PolicyModule};
use serde_json::{Value, json};
use stage::Stage;

fn config(tag: &str) -> Value {
    json!({"network": "pods", "subnets": ["pods-v4"], "securityGroups": ["absent"], "tags": [tag]})
}

fn hash(mapping: &CloudMapping) -> Option<String> {
    mapping.status.as_ref()?.output_hash.as_deref().map(String::from)
}

/// What a subject waits for anyway is no fault of a version that changes something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_not_held_for_what_was_missing_before() {
    let stage = Stage::start().await;
    stage.load("pod-port", config("one")).await;
    stage.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})).await;
    stage.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}})).await;
    let spec = json!({"nodeName": "node1", "containers": [{"name": "c", "image": "none"}]});
    stage
        .apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec}))
        .await;
    let operator = stage.operator(&[]);
    stage
        .until("it is mapped, and waits", |all| all.len() == 1 && all.iter().all(|m| hash(m).is_some()))
        .await;
    let before = hash(stage.mappings().await.first().unwrap());

    let source = json!({"configMaps": [{"name": "pod-port"}]});
    stage
        .apply(json!({"apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule", "metadata": {"name": "pod-port"},
                      "spec": {"source": source, "config": config("two")}}))
        .await;
    let changed = |all: &[&CloudMapping]| all.iter().any(|m| hash(m) != before);
    let swapped =
        tokio::time::timeout(std::time::Duration::from_secs(20), stage.until("the new one serves", changed));
    let modules: Vec<PolicyModule> = match swapped.await {
        Ok(()) => Vec::new(),
        Err(_late) => stage.client.all("list PolicyModules").await.unwrap(),
    };
    assert!(modules.is_empty(), "{:?}", modules.first().unwrap().status);
    stage.stop(operator).await;
}
