//! A module that a cluster's operator wrote, for a kind that Kubernetes does not have, in an operator that runs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use isthmus_kubernetes::crd::CloudMapping;
use isthmus_openstack::neutron::Port;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::json;
use stage::{LIMIT, Stage};
use tokio::time::Instant;

const DEFINITION: &str = include_str!("../../../plugins/examples/dns-name-port/deploy/crd.yaml");
const EXAMPLE: &str = include_str!("../../../plugins/examples/dns-name-port/deploy/example.yaml");

/// The module, its kind and an object come while the operator runs.
async fn come(stage: &Stage) {
    stage.load("dns-name-port", json!({})).await;
    stage.apply_all(DEFINITION).await;
    stage.apply_all(EXAMPLE).await;
}

fn objects(stage: &Stage) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("example.com", "v1", "ReservedPort");
    let resource = ApiResource::from_gvk_with_plural(&kind, "reservedports");
    Api::namespaced_with(stage.client.kube(), "default", &resource)
}

/// The only port of the example's name.
async fn port(stage: &Stage, dns_name: &str) -> Option<Port> {
    let mut all: Vec<Port> = stage.neutron.list(&[]).await.unwrap();
    all.retain(|port| port.dns_name == dns_name);
    assert!(all.len() <= 1, "{all:?}");
    all.pop()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_ones_own_kind_has_a_port_as_long_as_it_is_there() {
    let stage = Stage::with(|cloud| cloud.dns_names = true).await;
    let operator = stage.operator(&[]);
    come(&stage).await;
    stage.ready(1).await;
    let made = port(&stage, "printer").await.unwrap();
    assert!(made.name.ends_with("default/printer/port"), "{made:?}");

    let before = stage.mappings().await.first().unwrap().status.as_ref().unwrap().output_hash.clone();
    let patch = Patch::Merge(json!({"spec": {"dnsName": "plotter"}}));
    objects(&stage).patch("printer", &PatchParams::default(), &patch).await.unwrap();
    let hash = |m: &CloudMapping| m.status.as_ref().unwrap().output_hash.clone();
    let changed = |m: &CloudMapping| m.is_ready() && hash(m) != before;
    stage.until("the change is mapped", |all| all.iter().all(|m| changed(m))).await;
    let renamed = port(&stage, "plotter").await.unwrap();
    assert_eq!((&renamed.id, &renamed.fixed_ips), (&made.id, &made.fixed_ips));

    objects(&stage).delete("printer", &DeleteParams::default()).await.unwrap();
    stage.until("it is gone", |all| all.is_empty()).await;
    assert_eq!(port(&stage, "plotter").await, None);
    stage.stop(operator).await;
}

/// As the lab's Neutron is.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_cloud_has_no_names_it_waits_and_says_for_what() {
    let stage = Stage::start().await;
    let operator = stage.operator(&[]);
    let before = stage.neutron.list::<Port>(&[]).await.unwrap().len();
    come(&stage).await;
    let begun = Instant::now();
    loop {
        let said = stage.prints(&["why", "reservedport/printer", "-n", "default"]).await;
        if said.contains("the cloud has no DNS names for ports (Neutron extension dns-integration)") {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "{said}");
    }
    assert_eq!(stage.neutron.list::<Port>(&[]).await.unwrap().len(), before);
    stage.stop(operator).await;
}
