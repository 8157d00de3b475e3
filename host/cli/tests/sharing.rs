//! One load balancer for several Services in the in-process world: whose it is may go, and who is on it goes on.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the stage has what other tests need")]

mod stage;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use isthmus_kubernetes::crd::CloudMapping;
use isthmus_openstack::neutron::{FloatingIp, Subnet};
use isthmus_openstack::octavia::{Listener, LoadBalancer, LoadBalancerCreate, Member, Pool};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use stage::{LIMIT, Stage, has_words};
use tokio::process::Child;
use tokio::time::Instant;

const SHARE: &str = "isthmus.dev/lb-share-with";

/// Loads the module, with this as `sharing`.
async fn load(stage: &Stage, sharing: Value) {
    let config = json!({"network": "pods", "subnets": {"ipv4": "pods-v4"}, "clusterIps": false, "provider": "amphora",
                        "floatingNetwork": "public", "sharing": sharing});
    stage.load("service-loadbalancer", config).await;
    stage.node_and_namespace("node1", "shop").await;
}

fn ports(numbers: &[u16]) -> Vec<Value> {
    numbers.iter().map(|number| json!({"name": format!("p{number}"), "port": number})).collect()
}

/// A Service of this port with one endpoint.
async fn service(stage: &Stage, name: &str, port: u16, annotations: Value) {
    endpoints(stage, name, &["10.100.9.1"]).await;
    let metadata = json!({"name": name, "namespace": "shop", "annotations": annotations});
    let spec = json!({"type": "LoadBalancer", "ports": ports(&[port])});
    stage.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).await;
}

async fn endpoints(stage: &Stage, name: &str, addresses: &[&str]) {
    let endpoint = |address: &&str| json!({"addresses": [address], "conditions": {"ready": true}});
    let endpoints: Vec<Value> = addresses.iter().map(endpoint).collect();
    let labels = json!({"kubernetes.io/service-name": name});
    let metadata = json!({"name": format!("{name}-1"), "namespace": "shop", "labels": labels});
    let ports = ["p80", "p81", "p82", "p90", "p443"];
    let ports = ports.map(|name| json!({"name": name, "port": 8080, "protocol": "TCP"}));
    stage
        .apply(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                      "metadata": metadata, "ports": ports, "endpoints": endpoints}))
        .await;
}

fn services(stage: &Stage) -> Api<Service> {
    Api::namespaced(stage.client.kube(), "shop")
}

async fn delete(stage: &Stage, name: &str) {
    services(stage).delete(name, &DeleteParams::default()).await.unwrap();
}

async fn edit(stage: &Stage, name: &str, patch: Value) {
    services(stage).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// Service `web` of port 80 on the load balancer of Service `front`, whose port is 443; with the operator.
async fn two_on_one() -> (Stage, Child) {
    let stage = Stage::start().await;
    load(&stage, json!({})).await;
    service(&stage, "front", 443, json!({})).await;
    service(&stage, "web", 80, json!({SHARE: "front"})).await;
    let operator = stage.operator(&[]);
    stage.ready(2).await;
    (stage, operator)
}

/// What there is in the cloud: load balancers, numbers of ports that they listen at, floating IPs that lead somewhere.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    balancers: BTreeSet<String>,
    ports: Vec<u16>,
    floating: Vec<String>,
}

async fn made(stage: &Stage) -> Made {
    let octavia = stage.octavia();
    let balancers: Vec<LoadBalancer> = octavia.list(&[]).await.unwrap();
    let listeners: Vec<Listener> = octavia.list(&[]).await.unwrap();
    let floating: Vec<FloatingIp> = stage.neutron.list(&[]).await.unwrap();
    let mut ports: Vec<u16> = listeners.iter().filter_map(|listener| listener.protocol_port).collect();
    ports.sort_unstable();
    let leads = floating.into_iter().filter(|ip| ip.port_id.is_some());
    Made {
        balancers: balancers.into_iter().map(|found| found.id).collect(),
        ports,
        floating: leads.map(|ip| ip.floating_ip_address).collect(),
    }
}

/// What is found, once it is so.
async fn until<T: Debug>(
    stage: &Stage,
    what: &str,
    look: impl AsyncFn() -> T,
    is_so: impl Fn(&T) -> bool,
) -> T {
    let begun = Instant::now();
    loop {
        let found = look().await;
        if is_so(&found) {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "not in time: {what}: {found:?} {:#?}", stage.mappings().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until it is so in the cloud.
async fn until_made(stage: &Stage, what: &str, is_so: impl Fn(&Made) -> bool) -> Made {
    until(stage, what, async || made(stage).await, is_so).await
}

/// Address and conditions of a Service.
async fn says(stage: &Stage, name: &str) -> (Option<String>, String) {
    let status = services(stage).get(name).await.unwrap().status.unwrap_or_default();
    let conditions = format!("{:?}", status.conditions.unwrap_or_default());
    let ingress = status.load_balancer.and_then(|lb| lb.ingress).unwrap_or_default();
    (ingress.into_iter().find_map(|ingress| ingress.ip), conditions)
}

/// Waits until a Service says this address, and these words in a condition.
async fn until_says(stage: &Stage, name: &str, address: Option<&str>, words: &str) {
    let what = format!("{name} says {address:?} and {words}");
    let is_so = |(said, conditions): &(Option<String>, String)| {
        said.as_deref() == address && conditions.contains(words)
    };
    until(stage, &what, async || says(stage, name).await, is_so).await;
}

/// Addresses of all members.
async fn members(stage: &Stage) -> Vec<String> {
    let octavia = stage.octavia();
    let mut found = Vec::new();
    for pool in octavia.list::<Pool>(&[]).await.unwrap() {
        let members: Vec<Member> = octavia.list_in(&pool.id, &[]).await.unwrap();
        found.extend(members.into_iter().map(|member| member.address));
    }
    found.sort();
    found
}

fn of<'a>(all: &[&'a CloudMapping], name: &str) -> Option<&'a CloudMapping> {
    all.iter().copied().find(|mapping| mapping.spec.subject.name == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_outlives_its_service_while_others_are_on_it() {
    let (stage, operator) = two_on_one().await;
    let both = made(&stage).await;
    assert_eq!((both.balancers.len(), &*both.ports, both.floating.len()), (1, &[80, 443][..], 1), "{both:?}");
    let address = both.floating.first().map(String::as_str);
    for name in ["front", "web"] {
        until_says(&stage, name, address, "MembersAnswer").await;
    }

    // Only who names the same load balancer is read: another Service maps it for nobody.
    let told = stage.prints(&["why", "service/web", "-n", "shop"]).await;
    let lists: Vec<&str> = told.lines().filter(|line| line.contains("every v1/Service")).collect();
    assert!(!lists.is_empty() && lists.iter().all(|line| line.contains("lb-share-with")), "{told}");

    // What was its own goes, and nothing that others use.
    delete(&stage, "front").await;
    let left = until_made(&stage, "its listener is gone", |made| made.ports == [80]).await;
    assert_eq!((&left.balancers, &left.floating), (&both.balancers, &both.floating));
    let in_use = |m: &CloudMapping| has_words(m, "another mapping refers to it");
    stage.until("it says why it stays", |all| of(all, "front").is_some_and(in_use)).await;
    until_says(&stage, "web", address, "there is no Service shop/front").await;
    stage.stop(operator).await;

    // Who is on it follows its own endpoints and ports, by another operator too.
    let operator = stage.operator(&[]);
    endpoints(&stage, "web", &["10.100.9.1", "10.100.9.2"]).await;
    edit(&stage, "web", json!({"spec": {"ports": ports(&[80, 81])}})).await;
    let grown = until_made(&stage, "another port", |made| made.ports == [80, 81]).await;
    assert_eq!((&grown.balancers, &grown.floating), (&both.balancers, &both.floating));
    let all = ["10.100.9.1", "10.100.9.1", "10.100.9.2", "10.100.9.2"];
    until(&stage, "its members follow", async || members(&stage).await, |found| *found == all).await;
    // One that comes now has nothing to share.
    service(&stage, "late", 90, json!({SHARE: "front"})).await;
    until_says(&stage, "late", None, "there is no Service shop/front").await;

    // Another one of that name has a load balancer of its own, to which they go over.
    service(&stage, "front", 443, json!({})).await;
    let moved = |made: &Made| made.ports == [80, 81, 443] && made.balancers.is_disjoint(&both.balancers);
    let moved =
        until_made(&stage, "all are on another one", |made| made.balancers.len() == 1 && moved(made)).await;
    let address = moved.floating.first().map(String::as_str);
    until_says(&stage, "web", address, "MembersAnswer").await;

    for name in ["front", "web", "late"] {
        delete(&stage, name).await;
    }
    stage.until("all is gone", |all| all.is_empty()).await;
    let left = made(&stage).await;
    assert!(left.balancers.is_empty() && left.floating.is_empty(), "{left:?}");
    stage.stop(operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shares_no_more_has_its_own_and_lets_go_of_the_other() {
    let (stage, operator) = two_on_one().await;
    // The floating IP is the other one's to give up.
    edit(&stage, "front", json!({"metadata": {"annotations": {"isthmus.dev/lb-internal": "true"}}})).await;
    let internal = until_made(&stage, "no floating IP", |made| made.floating.is_empty()).await;
    assert_eq!(internal.ports, [80, 443]);
    edit(&stage, "front", json!({"metadata": {"annotations": {"isthmus.dev/lb-internal": null}}})).await;
    let back = until_made(&stage, "a floating IP", |made| made.floating.len() == 1).await;
    until_says(&stage, "web", back.floating.first().map(String::as_str), "MembersAnswer").await;

    delete(&stage, "front").await;
    until_made(&stage, "its listener is gone", |made| made.ports == [80]).await;
    edit(&stage, "web", json!({"metadata": {"annotations": {SHARE: null}}})).await;
    let own = |made: &Made| made.balancers.len() == 1 && made.balancers.is_disjoint(&back.balancers);
    let now = until_made(&stage, "it has its own, and the other one is gone", own).await;
    stage.ready(1).await;
    until_says(&stage, "web", made(&stage).await.floating.first().map(String::as_str), "MembersAnswer").await;
    assert_eq!(now.ports, [80]);
    stage.stop(operator).await;
}

/// Who is on the old load balancer is served there as long as the new one has no address.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_made_again_with_its_address_waits_for_who_is_on_the_old_one() {
    let stage = Stage::start().await;
    load(&stage, json!({})).await;
    let front = async || {
        let pinned = json!({"spec": {"loadBalancerIP": "10.100.200.7"}});
        service(&stage, "front", 443, json!({"isthmus.dev/lb-internal": "true"})).await;
        edit(&stage, "front", pinned).await;
    };
    front().await;
    service(&stage, "web", 80, json!({SHARE: "front"})).await;
    let operator = stage.operator(&[]);
    stage.ready(2).await;
    let both = made(&stage).await;
    stage.stop(operator).await;

    delete(&stage, "front").await;
    front().await;
    let operator = stage.operator(&[]);
    let refused = |m: &&CloudMapping| has_words(m, "10.100.200.7");
    stage.until("it has not the address", |all| all.iter().copied().any(|m| refused(&m))).await;
    endpoints(&stage, "web", &["10.100.9.1", "10.100.9.2"]).await;
    until(
        &stage,
        "its members follow",
        async || members(&stage).await,
        |all| all.contains(&"10.100.9.2".into()),
    )
    .await;
    assert_eq!(made(&stage).await.balancers, both.balancers);

    edit(&stage, "web", json!({"metadata": {"annotations": {SHARE: null}}})).await;
    until_made(&stage, "each has its own", |made| {
        made.balancers.len() == 2 && made.balancers.is_disjoint(&both.balancers)
    })
    .await;
    stage.ready(2).await;
    stage.stop(operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_the_older_services_and_comes_to_the_younger_when_it_is_free() {
    let stage = Stage::start().await;
    load(&stage, json!({"maxServices": 3})).await;
    service(&stage, "front", 443, json!({})).await;
    // Of one second the name decides.
    service(&stage, "api", 80, json!({SHARE: "front"})).await;
    service(&stage, "web", 80, json!({SHARE: "front"})).await;
    let operator = stage.operator(&[]);
    until_says(&stage, "web", None, "port 80 of TCP is Service shop/api's").await;
    let both = until_made(&stage, "one has the port", |made| made.ports == [80, 443]).await;
    until_says(&stage, "api", both.floating.first().map(String::as_str), "MembersAnswer").await;

    delete(&stage, "api").await;
    until_says(&stage, "web", both.floating.first().map(String::as_str), "MembersAnswer").await;

    // The one whose load balancer it is comes first, also when it comes later.
    edit(&stage, "front", json!({"spec": {"ports": ports(&[80, 443])}})).await;
    until_says(&stage, "web", None, "port 80 of TCP is Service shop/front's").await;
    let is_whole = |m: &CloudMapping| m.is_ready() && has_words(m, "7 entries");
    stage.until("it has both", |all| of(all, "front").is_some_and(is_whole)).await;
    assert_eq!(made(&stage).await.ports, [80, 443]);
    stage.stop(operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_there_is_shared_and_stays() {
    let stage = Stage::start().await;
    let subnet = stage.neutron.list::<Subnet>(&[("name", "pods-v4")]).await.unwrap().remove(0).id;
    let theirs = LoadBalancerCreate { vip_subnet_id: Some(subnet), ..LoadBalancerCreate::default() };
    let theirs = stage.octavia().create::<LoadBalancer>(&theirs).await.unwrap();
    load(&stage, json!({"loadBalancers": [{"id": theirs.id, "addresses": [theirs.vip_address], "namespaces": ["shop"]}]})).await;
    service(&stage, "web", 80, json!({"isthmus.dev/lb-load-balancer": theirs.id})).await;
    service(&stage, "api", 81, json!({"loadbalancer.openstack.org/load-balancer-id": theirs.id})).await;
    service(&stage, "no", 82, json!({"isthmus.dev/lb-load-balancer": "another"})).await;
    let operator = stage.operator(&[]);
    for name in ["web", "api"] {
        until_says(&stage, name, Some(&theirs.vip_address), "MembersAnswer").await;
    }
    until_says(&stage, "no", None, "load balancer another is none").await;
    let there = made(&stage).await;
    assert_eq!((&there.balancers, &*there.ports), (&BTreeSet::from([theirs.id.clone()]), &[80, 81][..]));

    for name in ["web", "api", "no"] {
        delete(&stage, name).await;
    }
    stage.until("all is gone", |all| all.is_empty()).await;
    let left = made(&stage).await;
    assert_eq!((left.balancers, left.ports), (there.balancers, vec![]), "it stays as it was");
    stage.stop(operator).await;
}
