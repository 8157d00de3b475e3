//! A policy of a thousand peers in the in-process world: what one that comes or goes costs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use isthmus_openstack::neutron::AddressGroup;
use isthmus_world::Counts;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use stage::{LIMIT, Stage};
use tokio::time::Instant;

/// Peers of the policy.
const MANY: usize = 1_000;
/// They are waited for in so many parts.
const PARTS: usize = 5;
/// Beside the peers: a Pod that serves, one that is no peer, the policy, and the groups that all Pods share.
const OTHERS: usize = 4;

async fn pod(stage: &Stage, name: &str, app: &str) {
    let metadata = json!({"name": name, "namespace": "shop", "labels": {"app": app}});
    let spec = json!({"nodeName": "node1", "containers": [{"name": "c", "image": "none"}]});
    stage.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await;
}

async fn label(stage: &Stage, name: &str, app: &str) {
    let api: Api<Pod> = Api::namespaced(stage.client.kube(), "shop");
    let patch = Patch::Merge(json!({"metadata": {"labels": {"app": app}}}));
    api.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

/// Web's Pods are reached by a thousand clients, as mapped by an operator that runs.
async fn with_a_policy(stage: &Stage) -> tokio::process::Child {
    let pods = json!({"network": "pods", "subnets": ["pods-v4"], "securityGroups": ["pods"]});
    stage.load("pod-port", pods).await;
    stage.load("networkpolicy-securitygroup", json!({"keepGroups": ["pods"]})).await;
    stage.node_and_namespace("node1", "shop").await;
    pod(stage, "web", "web").await;
    pod(stage, "other", "nobody").await;
    let only = |app: &str| json!({"matchLabels": {"app": app}});
    let from = json!([{"from": [{"podSelector": only("client")}], "ports": [{"port": 8080}]}]);
    stage
        .apply(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                      "metadata": {"name": "web", "namespace": "shop"},
                      "spec": {"podSelector": only("web"), "ingress": from}}))
        .await;
    let operator = stage.operator(&[]);
    for part in 1..=PARTS {
        for number in (part - 1) * MANY / PARTS..part * MANY / PARTS {
            pod(stage, &format!("client-{number}"), "client").await;
        }
        stage.ready(part * MANY / PARTS + OTHERS).await;
    }
    operator
}

/// The addresses of the only address group, once one that was there or was not has gone or come, and there are so many.
async fn peers(stage: &Stage, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let mut all: Vec<AddressGroup> = stage.neutron.list(&[]).await.unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        let addresses = all.remove(0).addresses;
        if is_so(&addresses) {
            return addresses;
        }
        assert!(begun.elapsed() < LIMIT, "not in time: {what}: {} peers", addresses.len());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Waits until address groups were written to so often.
async fn written(stage: &Stage, writes: u64) {
    let begun = Instant::now();
    while stage.world.stats().of("address-groups").writes < writes {
        assert!(begun.elapsed() < LIMIT, "not in time: {writes} writes to address groups");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Writes to address groups; all writes to Neutron; calls of rules.
fn counts(stage: &Stage) -> (u64, u64, Counts) {
    let stats = stage.world.stats();
    let rules = stats.of("security-group-rules");
    (stats.of("address-groups").writes, stats.network().writes, rules)
}

/// Neutron adds a peer, and its answer is lost, as are those of the next tries; before one comes through, the set is again what it was.
/// That is mended by no list of everything: there is one in ten minutes, but for two soon after a start.
async fn who_joined_by_a_lost_answer_does_not_stay(stage: &Stage) {
    let lists = || stage.world.stats().of("floatingips").reads;
    for _ in 0..4 {
        let before = lists();
        stage.world.faults().lose_next_writes(4);
        label(stage, "other", "client").await;
        peers(stage, "one came", |all| all.len() == MANY + 1).await;
        label(stage, "other", "nobody").await;
        peers(stage, "it went", |all| all.len() == MANY).await;
        if lists() == before {
            return;
        }
    }
    panic!("it went by a list each time");
}

/// The set is kept by the host: neither the policy's rules nor anybody's port has to do with who is in it.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_peers_one_that_comes_or_goes_is_one_write() {
    let stage = Stage::start().await;
    let operator = with_a_policy(&stage).await;
    let first = peers(&stage, "all are peers", |all| all.len() == MANY).await;
    let before = counts(&stage);
    assert!(before.0 > 0 && before.2.writes > 0, "they are counted: {before:?}");

    let reads = || stage.world.stats().of("address-groups").reads;
    let read = reads();
    label(&stage, "other", "client").await;
    written(&stage, before.0 + 1).await;
    assert_eq!(reads(), read, "what is in a group was said by the last answer");
    let joined = peers(&stage, "one came", |all| all.len() == MANY + 1).await;
    let now = counts(&stage);
    assert_eq!((now.0 - before.0, now.1 - before.1), (1, 1), "writes for one that comes");

    label(&stage, "client-0", "nobody").await;
    let left = peers(&stage, "one went", |all| all.len() == MANY).await;
    let now = counts(&stage);
    assert_eq!((now.0 - before.0, now.1 - before.1), (2, 2), "writes for one that goes beside");
    assert!(first != left && left.iter().all(|address| joined.contains(address)));

    label(&stage, "client-0", "client").await;
    label(&stage, "client-1", "nobody").await;
    let swapped = |all: &[String]| all.len() == MANY && all.iter().any(|address| !left.contains(address));
    let now = peers(&stage, "one came and one went", swapped).await;
    let gone: Vec<String> = left.iter().filter(|address| !now.contains(address)).cloned().collect();
    let now = counts(&stage);
    assert!(now.1 - before.1 <= 4, "at most two for one of each: {before:?} {now:?}");

    // Somebody else adds one that is to come, and another: the next change finds it so, and mends it.
    let group = stage.neutron.list::<AddressGroup>(&[]).await.unwrap().remove(0).id;
    let theirs = "10.200.0.1/32".to_owned();
    stage.neutron.add_addresses(&group, &[gone[0].clone(), theirs.clone()]).await.unwrap();
    label(&stage, "client-1", "client").await;
    let is_mended = |all: &[String]| all.len() == MANY + 1 && !all.contains(&theirs);
    peers(&stage, "all are there and no other", is_mended).await;
    // And takes away one that is to go, and another.
    let goes = joined.iter().find(|address| !first.contains(address)).unwrap();
    stage.neutron.remove_addresses(&group, &[goes.clone(), gone[0].clone()]).await.unwrap();
    label(&stage, "other", "nobody").await;
    let are_back = |all: &[String]| all.len() == MANY && all.contains(&gone[0]);
    peers(&stage, "who was taken away is back", are_back).await;

    // Theirs are two; each of ours began with one that was refused.
    let mended = counts(&stage);
    assert!(mended.1 - before.1 <= 4 + 2 + 4, "{before:?} {mended:?}");

    who_joined_by_a_lost_answer_does_not_stay(&stage).await;
    stage.stop(operator).await;
    assert_eq!(counts(&stage).2, before.2, "no rule is looked at or put again");
}
