//! NetworkPolicies: what one costs that many Pods are selected by, and one that all Pods are peers of.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use isthmus_kubernetes::crd::CloudMapping;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PODS};
use crate::measure::{Measure, ratio, say};
use crate::objects::{apply, apply_in, load, mappings, unload, until};
use crate::operator::Operator;
use crate::process::cpu_of_all;

/// What is added to the name of the PolicyModule.
const MODULE: &str = "policies";
/// Namespace of the policy over all Pods.
const POLICIES: &str = "isthmus-bench-policies";
const OFTEN: Duration = Duration::from_millis(50);
/// Pods that are selected, and Pods that are their peers, on the real Neutron.
pub(crate) const EACH: usize = 50;
/// Pods that stop to be peers, one after the other.
const LEAVING: usize = 50;

/// A policy over all Pods that there are: the peers are a selection that the host keeps. `writes`: those that the cloud has served;
/// an operator that is asked for them works for its answer.
pub(crate) async fn over_all(
    cluster: &Cluster,
    operator: &Operator,
    pods: usize,
    module: Vec<u8>,
    writes: impl Fn() -> u64,
) -> Result<()> {
    let client = &cluster.client();
    load(client, MODULE, |name| json!({"policyModule": name}), module).await?;
    operator.settle(cluster).await?;
    say(&format!("a policy over {pods} Pods"));
    let peers = json!({"namespaceSelector": {}, "podSelector": {"matchExpressions": [{"key": "leaves", "operator": "DoesNotExist"}]}});
    // In a namespace without Pods: the calls are of the policy alone.
    apply_in(
        client,
        POLICIES,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": POLICIES}}),
    )
    .await?;
    operator.settle(cluster).await?;
    let before = operator.numbers().await?;
    apply_in(client, POLICIES, policy(&json!({}), &peers)).await?;
    until("the policy is mapped", OFTEN, async || mapped(client, POLICIES).await).await?;
    operator.settle(cluster).await?;
    let after = operator.numbers().await?;
    let calls = "isthmus_module_call_seconds";
    let ((before, first), (after, last)) = (before.histogram(calls), after.histogram(calls));
    let mean = (after - before) * 1e3 / ratio(last.saturating_sub(first).max(1), 1);
    Measure {
        name: "policy over all Pods: mapped in",
        target: "<= 1 ms",
        measured: format!("{mean:.2} ms"),
        met: Some(mean <= 1.0),
        note: format!("{pods} peers; mean of {} calls", last.saturating_sub(first)),
    }
    .print();
    leave(cluster, operator, pods, writes).await?;
    end(client, POLICIES).await
}

/// What the operator works for one Pod that stops to be a peer.
async fn leave(cluster: &Cluster, operator: &Operator, pods: usize, writes: impl Fn() -> u64) -> Result<()> {
    let client = &cluster.client();
    let api: Api<Pod> = Api::namespaced(client.clone(), PODS);
    let leaves = Patch::Merge(json!({"metadata": {"labels": {"leaves": "yes"}}}));
    operator.settle(cluster).await?;
    let (before, written) = (operator.cpu()?, writes());
    for number in 0..LEAVING.min(pods) {
        api.patch(&format!("pod-{number:05}"), &PatchParams::default(), &leaves).await?;
        // Each on its own: those that come together are one write.
        until("the peer is taken away", Duration::from_millis(5), async || {
            Ok(writes() - written > number as u64)
        })
        .await?;
    }
    let work = (operator.cpu()? - before) * 1e3 / ratio(LEAVING.min(pods) as u64, 1);
    let writes = writes() - written;
    Measure {
        name: "policy over all Pods: work of the host for one Pod changed",
        target: "<= 1 ms",
        measured: format!("{work:.2} ms"),
        met: Some(work <= 1.0),
        note: format!(
            "of the operator's CPU, with the Pod's own mapping, and {:.2} writes to Neutron",
            ratio(writes, LEAVING.min(pods))
        ),
    }
    .print();
    Ok(())
}

/// A policy of so many selected Pods and as many peers, on the real Neutron. The Pods are there, labelled [`labels`].
pub(crate) async fn of_some(cluster: &Cluster, operator: &Operator, module: Vec<u8>) -> Result<()> {
    let client = &cluster.client();
    load(client, MODULE, |name| json!({"policyModule": name}), module).await?;
    operator.settle(cluster).await?;
    say(&format!("a policy of {EACH} selected Pods and {EACH} peers with the real Neutron"));
    let peers = json!({"podSelector": {"matchLabels": labels(EACH)}});
    let (before, neutron) = (operator.numbers().await?.network(false), cpu_of_all("neutron")?);
    let began = Instant::now();
    apply(client, policy(&labels(0), &peers)).await?;
    until("the policy is mapped", OFTEN, async || mapped(client, PODS).await).await?;
    until("the selected Pods carry its group", OFTEN, async || Ok(carrying(client).await? >= EACH)).await?;
    let took = last_write(operator, began).await?;
    let writes = operator.numbers().await?.network(false) - before;
    let neutron = cpu_of_all("neutron")? - neutron;
    Measure {
        name: "real Neutron: policy of 50 Pods x 50 peers: writes",
        target: "<= 55",
        measured: writes.to_string(),
        met: Some(writes <= 55),
        note: format!("{:.2} s, {neutron:.2} s of Neutron's own CPU", took.as_secs_f64()),
    }
    .print();
    end(client, PODS).await?;
    unload(client, MODULE).await
}

/// Deletes the policy of a namespace, and waits until what it became is gone.
async fn end(client: &kube::Client, namespace: &str) -> Result<()> {
    Api::<NetworkPolicy>::namespaced(client.clone(), namespace)
        .delete("bench", &DeleteParams::default())
        .await?;
    let is_gone = async || Ok(mappings(client, namespace, "NetworkPolicy").await?.is_empty());
    until("the policy is gone", OFTEN, is_gone).await
}

/// Of the Pod of this number, among the selected ones and their peers.
pub(crate) fn labels(number: usize) -> Value {
    json!({"role": if number < EACH { "selected" } else { "peer" }})
}

fn policy(selected: &Value, peers: &Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "bench"},
        "spec": {"podSelector": {"matchLabels": selected}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [peers], "ports": [{"protocol": "TCP", "port": 5432}]}]}})
}

async fn mapped(client: &kube::Client, namespace: &str) -> Result<bool> {
    let all = mappings(client, namespace, "NetworkPolicy").await?;
    Ok(!all.is_empty() && all.iter().all(CloudMapping::is_ready))
}

/// How many Pods have a port that a policy's group is on.
async fn carrying(client: &kube::Client) -> Result<usize> {
    let of_policy = |mapping: &CloudMapping| {
        let status = mapping.status.as_ref().filter(|_| mapping.is_ready());
        let mut references = status.into_iter().flat_map(|s| &s.resources).flat_map(|r| &r.references);
        references.any(|reference| reference.subject.as_ref().is_some_and(|of| of.kind == "NetworkPolicy"))
    };
    Ok(mappings(client, PODS, "Pod").await?.iter().filter(|mapping| of_policy(mapping)).count())
}

/// When Neutron was written to for the last time, since `began`: nothing follows for three seconds.
async fn last_write(operator: &Operator, began: Instant) -> Result<Duration> {
    let (mut last, mut at) = (0, began.elapsed());
    while began.elapsed() < at + Duration::from_secs(3) {
        let now = operator.numbers().await?.network(false);
        if now != last {
            (last, at) = (now, began.elapsed());
        }
        ensure!(at < Duration::from_secs(300), "the operator does not come to rest");
        tokio::time::sleep(OFTEN).await;
    }
    Ok(at)
}
