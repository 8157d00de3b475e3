//! Routes on one load balancer in the in-process world: what one costs among many, and a load balancer that Octavia mends.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use std::time::Duration;

use isthmus_kubernetes::crd::CloudMapping;
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{Network, NetworkCreate, Subnet, SubnetCreate};
use isthmus_openstack::octavia::{L7Policy, LoadBalancer};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::json;
use stage::contents::CONFIGS;
use stage::{LIMIT, Stage};
use tokio::process::Child;
use tokio::time::Instant;

/// Routes beside the one that is counted.
const MANY: usize = 200;
/// So many are made before it is looked whether they are mapped.
const AT_ONCE: usize = 25;
/// A Service with two endpoints.
const SERVICE: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.100.9.1], conditions: {ready: true}}, {addresses: [10.100.9.2], conditions: {ready: true}}]
"#;

/// The first Route, and the load balancer in this subnet of this network.
async fn with_a_route(stage: &Stage, network: &str, subnet: &str, flags: &[&str]) -> Child {
    let [definition, _] = CONFIGS;
    stage.apply_all(definition).await;
    stage.apply_all(SERVICE).await;
    let config = json!({"network": network, "subnets": [subnet], "provider": "amphora"});
    stage.load("route-l7policy", config).await;
    route(stage, 0).await;
    let operator = stage.operator(flags);
    stage.ready(2).await;
    operator
}

async fn route(stage: &Stage, number: usize) {
    let spec = json!({"host": format!("h{number:03}.example.com"), "to": {"kind": "Service", "name": "web", "weight": 1}});
    let metadata = json!({"name": format!("r-{number:03}"), "namespace": "shop"});
    stage.apply(json!({"apiVersion": "route.openshift.io/v1", "kind": "Route", "metadata": metadata, "spec": spec})).await;
}

/// Requests to Octavia that change something.
fn writes(stage: &Stage) -> u64 {
    stage.world.stats().load_balancer().writes
}

/// What one more Route costs, when all others are mapped.
async fn one_more(stage: &Stage, number: usize) -> u64 {
    let before = writes(stage);
    route(stage, number).await;
    stage.ready(number + 2).await;
    writes(stage) - before
}

/// `cargo xtask bench` does the same with a thousand.
#[tokio::test(flavor = "multi_thread")]
async fn one_more_route_costs_the_same_however_many_there_are() {
    let stage = Stage::with(|cloud| cloud.provisioning = Duration::from_millis(1)).await;
    let operator = with_a_route(&stage, "pods", "pods-v4", &[]).await;
    let second = one_more(&stage, 1).await;
    for number in 2..MANY {
        route(&stage, number).await;
        if number % AT_ONCE == 0 {
            stage.ready(number + 2).await;
        }
    }
    stage.ready(MANY + 1).await;
    let last = one_more(&stage, MANY).await;
    assert_eq!(last, second, "writes for Route {MANY}, and for the second one");
    assert!((1..=5).contains(&last), "{last} writes");

    // Its module reads the Routes of its host: one more calls it for no other.
    let told = stage.prints(&["why", "route/r-100", "-n", "shop"]).await;
    let lists: Vec<&str> =
        told.lines().filter(|line| line.contains("every route.openshift.io/v1/Route")).collect();
    let [list] = lists.as_slice() else { panic!("{told}") };
    assert!(list.contains("with spec.host=h100.example.com"), "{told}");

    let before = writes(&stage);
    let kind = GroupVersionKind::gvk("route.openshift.io", "v1", "Route");
    let kind = ApiResource::from_gvk_with_plural(&kind, "routes");
    let api: Api<DynamicObject> = Api::namespaced_with(stage.client.kube(), "shop", &kind);
    let hash = |m: &CloudMapping| m.status.as_ref().and_then(|status| status.output_hash.clone());
    let old = stage.mappings().await.iter().find(|m| m.spec.subject.name == "r-100").and_then(hash);
    let patch = Patch::Merge(json!({"spec": {"host": "other.example.com"}}));
    api.patch("r-100", &PatchParams::default(), &patch).await.unwrap();
    let changed = |m: &&CloudMapping| m.spec.subject.name == "r-100" && m.is_ready() && hash(m) != old;
    stage.until("the change is mapped", |all| all.iter().copied().any(|m| changed(&m))).await;
    assert_eq!(writes(&stage) - before, 1, "writes for another host");
    // Nothing came after that.
    stage.stop(operator).await;
    assert_eq!(writes(&stage) - before, 1);
}

/// The only load balancer, once it is so.
async fn balancer(stage: &Stage, what: &str, is_so: impl Fn(&LoadBalancer) -> bool) -> LoadBalancer {
    let (octavia, begun) = (stage.octavia(), Instant::now());
    loop {
        let all: Vec<LoadBalancer> = octavia.list(&[]).await.unwrap();
        if let [one] = all.as_slice()
            && is_so(one)
        {
            return one.clone();
        }
        assert!(begun.elapsed() < LIMIT, "not in time: {what}: {all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Who may have Octavia replace what runs a load balancer does that first. Only what comes back in ERROR is made again.
#[tokio::test(flavor = "multi_thread")]
async fn one_in_error_is_failed_over_by_who_may_and_keeps_its_address() {
    let mut stage = Stage::start().await;
    stage.user = "admin";
    let neutron = Neutron::new(stage.octavia().session().clone());
    let network = NetworkCreate { name: Some("front".into()), ..NetworkCreate::default() };
    let network_id = neutron.create::<Network>(&network).await.unwrap().id;
    let subnet = SubnetCreate {
        network_id,
        name: Some("front-v4".into()),
        ip_version: 4,
        cidr: Some("10.90.0.0/24".into()),
        ..SubnetCreate::default()
    };
    neutron.create::<Subnet>(&subnet).await.unwrap();
    let operator = with_a_route(&stage, "front", "front-v4", &["--resync-seconds", "1"]).await;
    let active = |lb: &LoadBalancer| lb.provisioning_status == "ACTIVE";
    let first = balancer(&stage, "it is there", active).await;

    for _ in 0..2 {
        let before = writes(&stage);
        assert!(stage.world.set_provisioning_status(&first.id, "ERROR"));
        let mended = balancer(&stage, "it is failed over", active).await;
        assert_eq!((&mended.id, &mended.vip_address), (&first.id, &first.vip_address));
        stage.ready(2).await;
        assert_eq!(writes(&stage) - before, 1, "a failover, and nothing else");
    }

    stage.world.faults().break_next_load_balancers(1);
    assert!(stage.world.set_provisioning_status(&first.id, "ERROR"));
    let made = balancer(&stage, "another one is made", |lb| active(lb) && lb.id != first.id).await;
    assert_eq!(made.vip_address, first.vip_address);
    stage.until("all is mapped", |all| all.len() == 2 && all.iter().all(|m| m.is_ready())).await;
    let policies: Vec<L7Policy> = stage.octavia().list(&[]).await.unwrap();
    assert_eq!(policies.len(), 1, "{policies:?}");
    stage.stop(operator).await;
}
