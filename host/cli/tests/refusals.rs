//! What the cloud refuses in the in-process world, and what people are told of it.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use std::time::Duration;

use http::Method;
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_openstack::catalog::LOAD_BALANCER;
use isthmus_openstack::neutron::{Port, PortCreate, Subnet};
use isthmus_openstack::octavia::{LoadBalancer, LoadBalancerCreate};
use isthmus_openstack::session::Request;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;
use stage::{LIMIT, Stage, has_words};
use tokio::time::Instant;

/// How many load balancers the project may have, as an administrator says.
async fn may_have_load_balancers(stage: &mut Stage, limit: u32) {
    stage.user = "admin";
    let session = stage.octavia().session().clone();
    let path = format!("/v2/lbaas/quotas/{}", stage.world.project_id());
    let mut request = Request::new(LOAD_BALANCER, "quotas", Method::PUT, path);
    request.body = Some(serde_json::to_vec(&json!({"quota": {"loadbalancer": limit}})).unwrap());
    session.send(&request).await.unwrap();
    stage.user = "isthmus";
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_octavia_is_named_with_its_limit_and_use() {
    let mut stage = Stage::start().await;
    let subnet = stage.neutron.list::<Subnet>(&[("name", "pods-v4")]).await.unwrap().remove(0).id;
    let theirs = LoadBalancerCreate { vip_subnet_id: Some(subnet), ..LoadBalancerCreate::default() };
    stage.octavia().create::<LoadBalancer>(&theirs).await.unwrap();
    may_have_load_balancers(&mut stage, 1).await;
    stage.balanced(json!({})).await;
    let operator = stage.operator(&[]);
    let is_named = |m: &&CloudMapping| {
        let mut conditions = m.status.iter().flat_map(|status| &status.conditions);
        conditions.any(|c| c.reason == "OverQuota" && c.message.ends_with("loadbalancer quota 1, used 1"))
    };
    stage.until("the quota is named", |all| all.iter().any(&is_named)).await;
    let asked = stage.world.stats().of("quotas").reads;
    assert!(
        (1..=3).contains(&asked),
        "the quota is asked for where it is refused, not all the time: {asked}"
    );

    may_have_load_balancers(&mut stage, 2).await;
    stage.ready(1).await;
    stage.stop(operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_somebody_uses_is_waited_for_and_their_port_is_named() {
    let stage = Stage::start().await;
    let others = json!(["kube-*", "default", "isthmus-*"]);
    let config = json!({"ipv4": {"subnetPool": "namespaces"}, "router": "cluster", "exclude": others});
    stage.load("namespace-network", config).await;
    stage.node_and_namespace("node1", "office").await;
    let operator = stage.operator(&[]);
    stage.ready(1).await;
    let own = stage.mappings().await.remove(0);
    let network = own.status.unwrap().resources.into_iter().find(|r| r.name == "network");
    let body = PortCreate { network_id: network.unwrap().id.unwrap(), ..PortCreate::default() };
    let theirs = stage.neutron.create::<Port>(&body).await.unwrap().id;

    let namespaces: Api<Namespace> = Api::all(stage.client.kube());
    namespaces.delete("office", &DeleteParams::default()).await.unwrap();
    let named = format!("held by the ports of others: {theirs} (of no device)");
    stage
        .until("what holds it is named", |all| {
            all.iter().any(|m| has_words(m, "InUse") && has_words(m, &named))
        })
        .await;
    stage.neutron.delete::<Port>(&theirs).await.unwrap();
    stage.until("it is gone", |all| all.is_empty()).await;
    stage.stop(operator).await;
}

/// A provider that no table knows says itself what it lacks: of a load balancer as a whole it does not say which part that is.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_unknown_provider_lacks_is_learnt_once_and_not_tried_again() {
    let stage = Stage::with(|cloud| cloud.noop_lacks = vec!["UDP"]).await;
    stage.balanced(json!({"provider": "noop"})).await;
    let spec = json!({"type": "LoadBalancer", "ports": [{"port": 53, "protocol": "UDP"}]});
    let metadata = json!({"name": "dns", "namespace": "shop"});
    stage.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).await;
    let operator = stage.operator(&["--resync-seconds", "1"]);
    let said = "provider noop has no listeners for UDP";
    let is_said = |all: &[&CloudMapping]| all.iter().any(|m| has_words(m, said));
    stage.until("the Service says what the provider lacks", is_said).await;
    stage.until("who needs no such thing is served", |all| all.iter().any(|m| m.is_ready())).await;

    let stats = || stage.world.stats();
    let (writes, lists) = (stats().load_balancer().writes, stats().of("listeners").reads);
    let begun = Instant::now();
    while stats().of("listeners").reads < lists + 3 {
        assert!(begun.elapsed() < LIMIT, "no resync");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stats().load_balancer().writes, writes, "nothing is tried for ever");
    // Another one learns it from that.
    let metadata = json!({"name": "more", "namespace": "shop"});
    let spec = json!({"type": "LoadBalancer", "ports": [{"port": 54, "protocol": "UDP"}]});
    stage.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).await;
    let both = |all: &[&CloudMapping]| all.iter().filter(|m| has_words(m, said)).count() == 2;
    stage.until("another one says so too", both).await;
    assert_eq!(stats().load_balancer().writes, writes, "and is not tried");
    stage.stop(operator).await;
}

/// What is below goes one by one then.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_deletes_nothing_with_all_below_it_keeps_nothing() {
    let stage = Stage::with(|cloud| cloud.noop_lacks = vec!["cascade"]).await;
    stage.balanced(json!({"provider": "noop"})).await;
    let operator = stage.operator(&[]);
    stage.ready(1).await;
    let services: Api<Service> = Api::namespaced(stage.client.kube(), "shop");
    services.delete("web", &DeleteParams::default()).await.unwrap();
    stage.until("it is gone", |all| all.is_empty()).await;
    assert!(stage.octavia().list::<LoadBalancer>(&[]).await.unwrap().is_empty());
    stage.stop(operator).await;
}
