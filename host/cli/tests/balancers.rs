//! Routes on one load balancer in the in-process world: what one costs among many, and a load balancer that Octavia mends.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use std::time::Duration;

use isthmus_kubernetes::crd::{CloudMapping, PolicyModule};
use isthmus_model::kinds::Kind;
use isthmus_openstack::Neutron;
use isthmus_openstack::neutron::{Network, NetworkCreate, Subnet, SubnetCreate};
use isthmus_openstack::octavia::{L7Policy, Listener, ListenerCreate, LoadBalancer};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::json;
use stage::contents::CONFIGS;
use stage::{LIMIT, Stage, has_words};
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

fn route_kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("route.openshift.io", "v1", "Route"), "routes")
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
    let api: Api<DynamicObject> = Api::namespaced_with(stage.client.kube(), "shop", &route_kind());
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

async fn without_module(stage: &Stage) {
    // Its file first: of a file without a PolicyModule the operator makes one.
    let files: Api<ConfigMap> = Api::namespaced(stage.client.kube(), "isthmus-system");
    files.delete("route-l7policy", &DeleteParams::default()).await.unwrap();
    let modules: Api<PolicyModule> = Api::all(stage.client.kube());
    modules.delete("route-l7policy", &DeleteParams::default()).await.unwrap();
}

/// One call takes along all that is below it, if all of that is ours: what somebody else has there stays, and the load balancer with it.
#[tokio::test(flavor = "multi_thread")]
async fn it_goes_in_one_call_and_takes_nothing_along_that_is_not_ours() {
    let stage = Stage::start().await;
    let operator = with_a_route(&stage, "pods", "pods-v4", &["--resync-seconds", "1"]).await;
    let routes: Api<DynamicObject> = Api::namespaced_with(stage.client.kube(), "shop", &route_kind());
    routes.delete("r-000", &DeleteParams::default()).await.unwrap();
    stage.until("the Route is gone", |all| all.len() == 1).await;
    let before = writes(&stage);
    without_module(&stage).await;
    stage.until("all is gone", |all| all.is_empty()).await;
    assert_eq!(writes(&stage) - before, 1, "the load balancer with its listener");

    let config = json!({"network": "pods", "subnets": ["pods-v4"], "provider": "amphora"});
    stage.load("route-l7policy", config).await;
    stage.ready(1).await;
    let octavia = stage.octavia();
    let active = |lb: &LoadBalancer| lb.provisioning_status == "ACTIVE";
    let shared = balancer(&stage, "it is there again", active).await;
    let theirs = ListenerCreate {
        loadbalancer_id: Some(shared.id.clone()),
        protocol: "TCP".into(),
        protocol_port: 9000,
        ..ListenerCreate::default()
    };
    let theirs = octavia.create::<Listener>(&theirs).await.unwrap();
    balancer(&stage, "their listener is there", active).await;
    without_module(&stage).await;
    let ours_went = |lb: &LoadBalancer| active(lb) && lb.listeners == [theirs.id.clone()];
    balancer(&stage, "ours is gone, and theirs is there", ours_went).await;
    let says_why = |m: &CloudMapping| {
        let parts = m.status.iter().flat_map(|status| &status.resources);
        let is = |kind: Kind| parts.clone().any(|part| part.kind == kind);
        has_words(m, "Cannot delete Load Balancer") && is(Kind::LoadBalancer) && !is(Kind::Listener)
    };
    stage.until("it says why it stays, and that alone", |all| all.iter().any(|m| says_why(m))).await;
    octavia.delete::<Listener>(&theirs.id).await.unwrap();
    // What the cloud refuses is tried again after minutes; a start tries it at once.
    stage.stop(operator).await;
    let operator = stage.operator(&[]);
    stage.until("with theirs all is gone", |all| all.is_empty()).await;
    assert!(octavia.list::<LoadBalancer>(&[]).await.unwrap().is_empty());
    stage.stop(operator).await;
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
