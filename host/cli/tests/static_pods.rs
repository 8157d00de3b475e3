//! Pods whose objects go while they run: a static one, whose mirror comes and goes, and one that is force-deleted.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use isthmus_kubernetes::crd::CloudMapping;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use stage::Stage;

fn pod(name: &str, annotations: Value) -> Value {
    let metadata = json!({"name": name, "namespace": "shop", "annotations": annotations});
    let spec = json!({"nodeName": "node1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "none"}]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn of<'a>(all: &[&'a CloudMapping], uid: &str) -> Option<&'a CloudMapping> {
    all.iter().find(|mapping| mapping.spec.subject.uid == uid).copied()
}

/// Whether it says so for this reason.
fn has(mapping: &CloudMapping, reason: &str) -> bool {
    let mut conditions = mapping.status.iter().flat_map(|status| &status.conditions);
    conditions.any(|condition| condition.reason == reason)
}

/// The uid of a Pod's only mapping, plugged in as the agent says.
async fn attached(stage: &Stage, name: &str) -> String {
    let all = stage.mappings().await;
    let mapping = all.iter().find(|mapping| mapping.spec.subject.name == name).unwrap();
    stage.attach(mapping, "True").await;
    mapping.spec.subject.uid.clone()
}

/// The agent lets go of a static Pod's port when the Pod ends, whatever becomes of its mirror.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_made_anew_leaves_its_pod_the_port_that_it_runs_on() {
    let stage = Stage::start().await;
    let pods = json!({"network": "pods", "subnets": ["pods-v4"], "securityGroups": ["pods"]});
    stage.load("pod-port", pods).await;
    stage.node_and_namespace("node1", "shop").await;
    let mirror =
        pod("static-node1", json!({"kubernetes.io/config.mirror": "0f343b0931126a20f133d67c2b018a3b"}));
    stage.apply(mirror.clone()).await;
    for name in ["web", "turned"] {
        stage.apply(pod(name, json!({}))).await;
    }
    let operator = stage.operator(&[]);
    stage.ready(3).await;
    stage.stop(operator).await;
    let (first, other) = (attached(&stage, "static-node1").await, attached(&stage, "web").await);
    let turned = attached(&stage, "turned").await;

    let api: Api<Pod> = Api::namespaced(stage.client.kube(), "shop");
    for name in ["static-node1", "web", "turned"] {
        api.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }
    stage.apply(mirror.clone()).await;
    // A static Pod of that name came later: it does not run on the port of the one before.
    let (annotations, name) = (mirror["metadata"]["annotations"].clone(), "turned");
    stage.apply(pod(name, annotations)).await;
    // One that begins knows what the agent has said, and that the Pods are gone.
    let operator = stage.operator(&["--agent-wait-seconds", "1"]);
    stage
        .until("the others' are gone", |all| [&other, &turned].iter().all(|uid| of(all, uid).is_none()))
        .await;
    stage.apply(pod("last", json!({}))).await;
    let is_mapped = |mapping: &&CloudMapping| has(mapping, "Ready");
    stage.until("the new ones are mapped", |all| all.iter().copied().filter(is_mapped).count() == 3).await;
    let all = stage.mappings().await;
    let kept = all.iter().find(|mapping| mapping.spec.subject.uid == first).unwrap();
    assert!(has(kept, "WaitingForAgent"), "{kept:?}");

    stage.attach(kept, "False").await;
    stage.until("it is gone when its agent has let go", |all| of(all, &first).is_none()).await;
    stage.ready(3).await;
    stage.stop(operator).await;
}

/// It may be the first Pod of its node, and be plugged in just now: that nodes have agents shows another node's.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_kept_for_an_agent_that_has_not_spoken_yet_where_another_has() {
    let stage = Stage::start().await;
    let pods = json!({"network": "pods", "subnets": ["pods-v4"], "securityGroups": ["pods"]});
    stage.load("pod-port", pods).await;
    for node in ["node1", "node2"] {
        stage.node_and_namespace(node, "shop").await;
    }
    let mut first = pod("first", json!({}));
    first["spec"]["nodeName"] = "node2".into();
    for pod in [pod("web", json!({})), first] {
        stage.apply(pod).await;
    }
    let operator = stage.operator(&[]);
    stage.ready(2).await;
    stage.stop(operator).await;
    attached(&stage, "web").await;
    let api: Api<Pod> = Api::namespaced(stage.client.kube(), "shop");
    api.delete("first", &DeleteParams::default().grace_period(0)).await.unwrap();

    let operator = stage.operator(&["--agent-wait-seconds", "5"]);
    let is_first = |mapping: &&CloudMapping| mapping.spec.subject.name == "first";
    let waits =
        |all: &[&CloudMapping]| all.iter().copied().find(is_first).is_some_and(|m| has(m, "WaitingForAgent"));
    stage.until("its port is kept", waits).await;
    stage.until("and not for ever", |all| !all.iter().copied().any(|m| is_first(&m))).await;
    stage.stop(operator).await;
}
