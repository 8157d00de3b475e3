//! What the cloud refuses in the in-process world, and what people are told of it.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use http::Method;
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_openstack::catalog::LOAD_BALANCER;
use isthmus_openstack::neutron::Subnet;
use isthmus_openstack::octavia::{LoadBalancer, LoadBalancerCreate};
use isthmus_openstack::session::Request;
use serde_json::json;
use stage::Stage;

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
    let config = json!({"network": "pods", "subnets": {"ipv4": "pods-v4"}, "clusterIps": false});
    stage.load("service-loadbalancer", config).await;
    stage.node_and_namespace("node1", "shop").await;
    let spec = json!({"type": "LoadBalancer", "ports": [{"port": 80}]});
    let metadata = json!({"name": "web", "namespace": "shop"});
    stage.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).await;
    let operator = stage.operator(&[]);
    let is_named = |m: &&CloudMapping| {
        let mut conditions = m.status.iter().flat_map(|status| &status.conditions);
        conditions.any(|c| c.reason == "OverQuota" && c.message.ends_with("loadbalancer quota 1, used 1"))
    };
    stage.until("the quota is named", |all| all.iter().any(|m| is_named(m))).await;
    let asked = stage.world.stats().of("quotas").reads;
    assert!(
        (1..=3).contains(&asked),
        "the quota is asked for where it is refused, not all the time: {asked}"
    );

    may_have_load_balancers(&mut stage, 2).await;
    stage.ready(1).await;
    stage.stop(operator).await;
}
