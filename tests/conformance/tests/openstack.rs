//! The model against the real Keystone, Neutron and Octavia of the lab.
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use isthmus_conformance::openstack::compare::{Pair, Stream, sweep};
use isthmus_conformance::openstack::identity::{Identity, sign_ins};
use isthmus_conformance::openstack::load_balancer::{self, LoadBalancer};
use isthmus_conformance::openstack::network::{Network, request};
use isthmus_conformance::openstack::{Answer, Cloud, Request, Who};
use isthmus_conformance::random::Random;
use isthmus_world::{Options, World};
use serde_json::{Value, json};

/// Streams of requests to Neutron, which run at once, and the requests of each.
const NETWORK: (u64, usize) = (4, 520);
const LOAD_BALANCER: (u64, usize) = (2, 110);
/// Those to a load balancer that a provider is at work on.
const PENDING: (u64, usize) = (1, 60);
const IDENTITY: usize = 100;
/// What a run compares at least.
const LEAST_NETWORK: usize = 2_000;
const LEAST_LOAD_BALANCER: usize = 200;
const LEAST_IDENTITY: usize = 100;
/// An amphora may boot faster than they are sent.
const LEAST_PENDING: usize = 25;

/// One test at a time: each takes away what another left in the real cloud.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A stream of so many requests with a model of its own: how many were compared.
type Run = fn(Pair, u64, usize) -> std::pin::Pin<Box<dyn Future<Output = Result<usize>> + Send>>;

/// Runs streams at once, each in networks of its own, and takes away what they made, however they end.
///
/// `CONFORMANCE_SEED=7 CONFORMANCE_REQUESTS=100` runs one alone, `CONFORMANCE_FIRST` others than those from 1 on.
async fn streams(name: &str, lengths: (u64, usize), least: usize, run: Run) -> Result<()> {
    streams_to(Options::default(), name, lengths, least, run).await
}

/// As [`streams`], to models with these options.
#[expect(clippy::print_stdout, reason = "the report of a run shows it")]
async fn streams_to(
    options: Options,
    name: &str,
    (count, length): (u64, usize),
    least: usize,
    run: Run,
) -> Result<()> {
    let _alone = ALONE.lock().await;
    let began = Instant::now();
    let real = Cloud::real().await?;
    sweep(&real).await?;
    let only = number("CONFORMANCE_SEED");
    let first = only.or_else(|| number("CONFORMANCE_FIRST")).unwrap_or(1);
    let count = if only.is_some() { 1 } else { count };
    let length = number("CONFORMANCE_REQUESTS").map_or(Ok(length), usize::try_from)?;
    let (mut running, mut compared, mut failed) = (tokio::task::JoinSet::new(), 0, Vec::new());
    for seed in first..first + count {
        let (real, options) = (real.clone(), options.clone());
        running.spawn(async move {
            let world = World::start(options).await?;
            let pair = Pair::new(real, Cloud::model(&world).await?)?;
            run(pair, seed, length).await.with_context(|| format!("seed {seed}"))
        });
    }
    while let Some(ended) = running.join_next().await {
        match ended? {
            Ok(count) => compared += count,
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    let gone = sweep(&real).await;
    println!(
        "{name}: {compared} requests compared in {:.1} s; {} of {count} streams differ",
        began.elapsed().as_secs_f64(),
        failed.len()
    );
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    gone?;
    let whole = only.is_none() && number("CONFORMANCE_REQUESTS").is_none();
    ensure!(!whole || compared >= least, "only {compared} requests were compared, not {least}");
    Ok(())
}

fn id(answer: &Value, key: &str) -> Result<String> {
    let id = answer.get(key).and_then(|o| o.get("id")).and_then(Value::as_str);
    id.map(str::to_owned).with_context(|| format!("no {key}: {answer}"))
}

async fn made(pair: &mut Pair, who: Who, path: &str, key: &str, body: Value) -> Result<String> {
    let asked = Request { who, ..request("POST", path.to_owned(), json!({key: body})) };
    id(&pair.ask(&asked).await?.body, key)
}

#[tokio::test]
async fn neutron() -> Result<()> {
    streams("neutron", NETWORK, LEAST_NETWORK, |pair, seed, requests| Box::pin(network(pair, seed, requests)))
        .await
}

async fn network(mut pair: Pair, seed: u64, requests: usize) -> Result<usize> {
    let outside = json!({"name": "conformance-outside", "router:external": true});
    let external = made(&mut pair, Who::Admin, "/networks", "network", outside).await?;
    let subnet =
        json!({"network_id": external, "ip_version": 4, "cidr": "172.30.0.0/24", "enable_dhcp": false});
    made(&mut pair, Who::Admin, "/subnets", "subnet", subnet).await?;
    pair.run(&mut Network::new(Some(external)), seed, requests).await?;
    Ok(pair.compared())
}

#[tokio::test]
async fn octavia() -> Result<()> {
    streams("octavia", LOAD_BALANCER, LEAST_LOAD_BALANCER, |mut pair, seed, requests| {
        Box::pin(async move {
            balancer(&mut pair, seed, requests).await?;
            Ok(pair.compared())
        })
    })
    .await
}

/// A real amphora takes seconds to boot. All that is asked meanwhile changes nothing.
#[tokio::test]
async fn octavia_while_a_provider_is_at_work() -> Result<()> {
    let options = Options { provisioning: Duration::from_secs(3600), ..Options::default() };
    streams_to(options, "octavia, pending", PENDING, LEAST_PENDING, |mut pair, seed, requests| {
        Box::pin(async move {
            let subnet = subnet(&mut pair).await?;
            let mut stream = made_whole(&mut pair, subnet, "amphora").await?;
            let mut random = Random::new(seed);
            for n in 0..requests {
                let asked = stream.next(&mut random);
                let answer = pair.ask(&asked).await.with_context(|| format!("seed {seed}, request {n}"));
                // The model's is for ever, the real one's is not.
                let seen = pair.real(&stream.look()).await?;
                if !is_pending(&seen) || is_heard_of(&seen) {
                    break;
                }
                let (method, status) = (asked.method, answer?.status);
                ensure!(method == "GET" || status >= 300, "request {n}: {asked:?}: {status}");
            }
            Ok(pair.compared())
        })
    })
    .await
}

async fn subnet(pair: &mut Pair) -> Result<String> {
    let network = json!({"name": "conformance"});
    let network = made(pair, Who::Operator, "/networks", "network", network).await?;
    let subnet = json!({"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"});
    made(pair, Who::Operator, "/subnets", "subnet", subnet).await
}

async fn balancer(pair: &mut Pair, seed: u64, requests: usize) -> Result<()> {
    let subnet = subnet(pair).await?;
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
    let mut stream = made_whole(pair, subnet, "noop").await?;
    let ran = requests_of(pair, &mut stream, seed, requests).await;
    let gone = deleted(pair, &stream).await;
    ran.and(gone)
}

/// A load balancer with something of each kind, made in one.
async fn made_whole(pair: &mut Pair, subnet: String, provider: &str) -> Result<LoadBalancer> {
    let body = json!({"loadbalancer": {
        "name": "conformance", "vip_subnet_id": subnet, "provider": provider, "tags": ["a"],
        "listeners": [{"name": "web", "protocol": "HTTP", "protocol_port": 88, "default_pool": {"name": "web"}, "l7policies": [
            {"name": "api", "action": "REDIRECT_TO_POOL", "rules": [{"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api"}],
             "redirect_pool": {"name": "api", "protocol": "HTTP", "lb_algorithm": "SOURCE_IP"}}]}],
        "pools": [{"name": "web", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
                   "healthmonitor": {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 2},
                   "members": [{"address": "10.0.0.7", "protocol_port": 80}]}]}});
    let created = pair.ask(&load_balancer::request("POST", "/loadbalancers".to_owned(), body)).await?;
    LoadBalancer::new(&created.body, subnet)
}

/// As [`Pair::run`], with a wait after each write: what is pending is refused by both, but for different times.
async fn requests_of(pair: &mut Pair, stream: &mut LoadBalancer, seed: u64, requests: usize) -> Result<()> {
    settled(pair, stream).await?;
    let mut random = Random::new(seed);
    for n in 0..requests {
        let asked = stream.next(&mut random);
        let answer = pair.note(&asked, &format!("seed {seed}, request {n}")).await?;
        stream.answered(&asked, answer.status, &answer.body);
        if stream.pending() {
            settled(pair, stream).await.with_context(|| format!("seed {seed}, request {n}: {asked:?}"))?;
        }
    }
    pair.report()
}

async fn settled(pair: &mut Pair, stream: &LoadBalancer) -> Result<()> {
    pair.until(&stream.look(), |answer| !is_pending(answer)).await
}

/// Whether a provider is at work on the load balancer that was looked at.
fn is_pending(answer: &Answer) -> bool {
    let status = answer.body.pointer("/loadbalancer/provisioning_status").and_then(Value::as_str);
    status.is_none_or(|status| status.starts_with("PENDING"))
}

/// An amphora says that it is up a moment before Octavia is through with its load balancer.
fn is_heard_of(answer: &Answer) -> bool {
    answer.body.pointer("/loadbalancer/operating_status").and_then(Value::as_str) == Some("ONLINE")
}

/// With all that is in it, and what is asked of each part afterwards.
async fn deleted(pair: &mut Pair, stream: &LoadBalancer) -> Result<()> {
    for asked in stream.cleaning() {
        let answer = pair.ask(&asked).await?;
        ensure!(answer.status == 204, "{asked:?}: {answer:?}");
    }
    pair.until(&stream.look(), |answer| answer.status == 404).await?;
    for asked in stream.look_at_all() {
        let answer = pair.ask(&asked).await?;
        ensure!(answer.status == 404, "{asked:?}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn keystone() -> Result<()> {
    streams("keystone", (1, IDENTITY), LEAST_IDENTITY, |mut pair, seed, requests| {
        Box::pin(async move {
            for asked in sign_ins() {
                pair.ask(&asked).await?;
            }
            pair.run(&mut Identity, seed, requests).await?;
            Ok(pair.compared())
        })
    })
    .await
}
