//! New versions of a module beside what waits.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use isthmus_kubernetes::crd::CloudMapping;
use isthmus_openstack::neutron::{SecurityGroup, SecurityGroupCreate};
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
    stage.node_and_namespace("node1", "shop").await;
    let spec = json!({"nodeName": "node1", "containers": [{"name": "c", "image": "none"}]});
    let metadata = json!({"name": "web", "namespace": "shop"});
    stage.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await;
    let operator = stage.operator(&[]);
    stage
        .until("it is mapped, and waits", |all| all.len() == 1 && all.iter().all(|m| hash(m).is_some()))
        .await;
    let before = hash(stage.mappings().await.first().unwrap());

    stage.load("pod-port", config("two")).await;
    stage.until("the new one serves", |all| all.iter().any(|m| hash(m) != before)).await;
    stage.stop(operator).await;
}

/// A version that is held as it refers to what is not there serves once that is there: nothing else tells the operator.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_held_no_longer_than_something_is_missing() {
    let stage = Stage::start().await;
    let config = |group: &str| json!({"network": "pods", "subnets": ["pods-v4"], "securityGroups": [group]});
    stage.load("pod-port", config("pods")).await;
    stage.node_and_namespace("node1", "shop").await;
    let spec = json!({"nodeName": "node1", "containers": [{"name": "c", "image": "none"}]});
    let metadata = json!({"name": "web", "namespace": "shop"});
    stage.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await;
    let operator = stage.operator(&[]);
    stage.ready(1).await;
    let before = hash(stage.mappings().await.first().unwrap());

    stage.load("pod-port", config("late")).await;
    stage.says("pod-port", "ShadowRunFailed").await;
    let group = SecurityGroupCreate { name: "late".into(), ..SecurityGroupCreate::default() };
    stage.neutron.create::<SecurityGroup>(&group).await.unwrap();
    stage.until("the new one serves", |all| all.iter().any(|m| m.is_ready() && hash(m) != before)).await;
    stage.stop(operator).await;
}
