//! The model against the real Keystone, Neutron and Octavia of the lab.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use isthmus_conformance::openstack::compare::{Pair, Stream};
use isthmus_conformance::openstack::identity::{Identity, sign_ins};
use isthmus_conformance::openstack::load_balancer::{self, LoadBalancer};
use isthmus_conformance::openstack::network::{Network, request};
use isthmus_conformance::openstack::{Cloud, Request, Who};
use isthmus_conformance::random::Random;
use isthmus_world::{Options, World};
use serde_json::{Value, json};

/// Streams of requests to Neutron: seed and length.
const NETWORK: [(u64, usize); 4] = [(1, 550), (2, 550), (3, 550), (4, 550)];
/// How long one of them may take.
const STREAM: Duration = Duration::from_secs(120);
const LOAD_BALANCER: [(u64, usize); 2] = [(1, 110), (2, 110)];
const IDENTITY: usize = 100;

/// One test at a time: each takes away what another left in the real cloud.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn pair() -> Result<(World, Pair)> {
    let world = World::start(Options::default()).await?;
    let mut pair = Pair::new(Cloud::real().await?, Cloud::model(&world).await?)?;
    pair.sweep().await?;
    Ok((world, pair))
}

fn id(answer: &Value, key: &str) -> Result<String> {
    let id = answer.get(key).and_then(|o| o.get("id")).and_then(Value::as_str);
    id.map(str::to_owned).with_context(|| format!("no {key}: {answer}"))
}

async fn made(pair: &mut Pair, who: Who, path: &str, key: &str, body: Value) -> Result<String> {
    let asked = Request { who, ..request("POST", path.to_owned(), json!({key: body})) };
    id(&pair.ask(&asked).await?.body, key)
}

fn seeds<const N: usize>(all: [(u64, usize); N]) -> Vec<(u64, usize)> {
    // One seed alone, to look into a difference: CONFORMANCE_SEED=7 CONFORMANCE_REQUESTS=100
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    match number("CONFORMANCE_SEED") {
        Some(seed) => vec![(seed as u64, number("CONFORMANCE_REQUESTS").unwrap_or(500))],
        None => all.to_vec(),
    }
}

#[tokio::test]
async fn neutron() -> Result<()> {
    let _alone = ALONE.lock().await;
    let began = Instant::now();
    let mut compared = 0;
    for (seed, requests) in seeds(NETWORK) {
        let (_world, mut pair) = pair().await?;
        let outside = json!({"name": "conformance-outside", "router:external": true});
        let external = made(&mut pair, Who::Admin, "/networks", "network", outside).await?;
        let subnet =
            json!({"network_id": external, "ip_version": 4, "cidr": "172.30.0.0/24", "enable_dhcp": false});
        let begun = made(&mut pair, Who::Admin, "/subnets", "subnet", subnet).await;
        let mut stream = Network::new(Some(external.clone()));
        let ran = match begun {
            Ok(_) => tokio::time::timeout(STREAM, pair.run(&mut stream, seed, requests))
                .await
                .unwrap_or_else(|_late| bail!("seed {seed}: not done after {STREAM:?}")),
            Err(refused) => Err(refused),
        };
        let gone = pair.sweep().await;
        ran?;
        gone?;
        compared += pair.compared();
        println!("neutron: seed {seed}, {:?}", began.elapsed());
    }
    println!("neutron: {compared} requests compared in {:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn octavia() -> Result<()> {
    let _alone = ALONE.lock().await;
    let began = Instant::now();
    let mut compared = 0;
    for (seed, requests) in seeds(LOAD_BALANCER) {
        let (_world, mut pair) = pair().await?;
        let network =
            made(&mut pair, Who::Operator, "/networks", "network", json!({"name": "conformance"})).await?;
        let ran = balancer(&mut pair, &network, seed, requests).await;
        let gone = pair.sweep().await;
        ran?;
        gone?;
        compared += pair.compared();
    }
    println!("octavia: {compared} requests compared in {:?}", began.elapsed());
    Ok(())
}

async fn balancer(pair: &mut Pair, network: &str, seed: u64, requests: usize) -> Result<()> {
    let subnet = json!({"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"});
    let subnet = made(pair, Who::Operator, "/subnets", "subnet", subnet).await?;
    for body in [
        json!({"name": "x"}),
        json!({"vip_subnet_id": "11111111-1111-4111-8111-111111111111"}),
        json!({"vip_subnet_id": subnet, "provider": "x"}),
        json!({"vip_subnet_id": subnet, "provider": "noop", "vip_address": "10.9.0.1"}),
    ] {
        // The last one is refused by Neutron, and in other words by each: only that it is refused counts.
        let asked =
            load_balancer::request("POST", "/loadbalancers".to_owned(), json!({"loadbalancer": body}));
        if body.get("vip_address").is_none() {
            pair.ask(&asked).await?;
        }
    }
    let body = json!({"loadbalancer": {
        "name": "conformance", "vip_subnet_id": subnet, "provider": "noop", "tags": ["a"],
        "listeners": [{"name": "web", "protocol": "HTTP", "protocol_port": 88, "default_pool": {"name": "web"}, "l7policies": [
            {"name": "api", "action": "REDIRECT_TO_POOL", "rules": [{"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"}],
             "redirect_pool": {"name": "api", "protocol": "HTTP", "lb_algorithm": "SOURCE_IP"}}]}],
        "pools": [{"name": "web", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
                   "healthmonitor": {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2},
                   "members": [{"address": "10.0.0.7", "protocol_port": 80}]}]}});
    let created = pair.ask(&load_balancer::request("POST", "/loadbalancers".to_owned(), body)).await?;
    let mut stream = LoadBalancer::new(id(&created.body, "loadbalancer")?, subnet);
    let ran = requests_of(pair, &mut stream, seed, requests).await;
    let gone = deleted(pair, &stream).await;
    ran.and(gone)
}

/// As [`Pair::run`], with a wait after each write: what is pending is refused by both, but for different times.
async fn requests_of(pair: &mut Pair, stream: &mut LoadBalancer, seed: u64, requests: usize) -> Result<()> {
    settled(pair, stream).await?;
    let mut random = Random::new(seed);
    for n in 0..requests {
        let asked = stream.next(&mut random);
        let answer = pair.note(&asked, format_args!("seed {seed}, request {n}")).await?;
        stream.answered(&asked, answer.status, &answer.body);
        if stream.pending() {
            settled(pair, stream).await.with_context(|| format!("seed {seed}, request {n}: {asked:?}"))?;
        }
    }
    pair.report()
}

async fn settled(pair: &mut Pair, stream: &LoadBalancer) -> Result<()> {
    pair.until(&stream.look(), |answer| {
        let status = answer.body.pointer("/loadbalancer/provisioning_status").and_then(Value::as_str);
        status.is_some_and(|status| !status.starts_with("PENDING"))
    })
    .await
}

async fn deleted(pair: &mut Pair, stream: &LoadBalancer) -> Result<()> {
    for asked in stream.cleaning() {
        pair.until(&asked, |answer| answer.status == 204 || answer.status == 404).await?;
    }
    pair.until(&stream.look(), |answer| answer.status == 404).await
}

#[tokio::test]
async fn keystone() -> Result<()> {
    let _alone = ALONE.lock().await;
    let began = Instant::now();
    let (_world, mut pair) = pair().await?;
    for asked in sign_ins() {
        pair.ask(&asked).await?;
    }
    pair.run(&mut Identity, 1, IDENTITY).await?;
    println!("keystone: {} requests compared in {:?}", pair.compared(), began.elapsed());
    ensure!(began.elapsed() < Duration::from_secs(120), "too slow");
    Ok(())
}
