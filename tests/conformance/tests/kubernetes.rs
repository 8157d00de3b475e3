//! The model of the Kubernetes API against the real server of the lab.

use anyhow::{Context as _, Result};
use isthmus_conformance::kubernetes::{
    Etcd, crds, define, definitions, discovery, garbage, old_versions, stream,
};
use isthmus_kubernetes::crd;
use isthmus_world::kubernetes::{ApiServer, Controllers, Options};

/// Streams, and requests of each beside the watches.
const STREAMS: u64 = 64;
const LENGTH: usize = 220;
/// How many streams run at a time.
const AT_ONCE: usize = 8;
/// What a run compares at least.
const LEAST: usize = 15_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The real server, a model of it, and the CRDs that both have.
struct Both {
    real: kube::Client,
    model: kube::Client,
    /// Ends when it is dropped.
    _server: ApiServer,
}

impl Both {
    async fn start(controllers: Controllers, history: usize) -> Result<Self> {
        std::env::var("ISTHMUS_LAB").context("`cargo xtask test` runs this in the lab")?;
        let real = kube::Client::try_default().await.context("no kubeconfig of the lab")?;
        let server = ApiServer::start(Options { controllers, history, ..Options::default() }).await?;
        let model = kube::Client::try_from(kube::Config::new(server.url().parse()?))?;
        let given = crd::crds().iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        let crds = crds(given)?;
        define(real.clone(), &crds).await.context("the real server")?;
        define(model.clone(), &crds).await.context("the model")?;
        Ok(Self { real, model, _server: server })
    }
}

/// Seeds of streams: `CONFORMANCE_SEED` is one alone, `CONFORMANCE_FIRST` others than those from 1 on.
fn seeds(count: u64) -> std::ops::Range<u64> {
    // The same streams each time: a change that fails shall have failed by itself. Others are tried by hand.
    let only = number("CONFORMANCE_SEED");
    let first = only.or_else(|| number("CONFORMANCE_FIRST")).unwrap_or(1);
    first..first + if only.is_some() { 1 } else { count }
}

/// Waits for streams and says how many answers were compared.
async fn ended(name: &str, mut running: tokio::task::JoinSet<Result<usize>>, least: usize) -> Result<()> {
    let (mut compared, mut failed) = (0, Vec::new());
    while let Some(ended) = running.join_next().await {
        match ended? {
            Ok(count) => compared += count,
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    println!("{name}: {compared} requests compared; {} streams differ", failed.len());
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("\n"));
    anyhow::ensure!(
        number("CONFORMANCE_SEED").is_some() || compared >= least,
        "only {compared} were compared"
    );
    Ok(())
}

#[tokio::test]
async fn discovery_says_the_same_of_what_both_have() -> Result<()> {
    let both = Both::start(Controllers::none(), 100).await?;
    let compared = discovery(both.real.clone(), both.model.clone()).await?;
    println!("discovery: {compared} documents compared");
    anyhow::ensure!(compared >= 60, "only {compared} documents were compared");
    Ok(())
}

#[tokio::test]
async fn versions_that_are_forgotten_are_refused_alike() -> Result<()> {
    let controllers = Controllers { namespaces: true, ..Controllers::none() };
    let both = Both::start(controllers, 2).await?;
    let etcd = Etcd { url: "http://127.0.0.1:2379".to_owned() };
    let compared = old_versions(both.real.clone(), both.model.clone(), &etcd).await?;
    println!("forgotten versions: {compared} answers compared");
    Ok(())
}

/// Owners and dependents at random: what is left in the end.
#[tokio::test]
async fn the_garbage_collectors_leave_the_same() -> Result<()> {
    let controllers = Controllers { namespaces: true, garbage_collector: true, ..Controllers::none() };
    let both = Both::start(controllers, 100_000).await?;
    let mut running = tokio::task::JoinSet::new();
    for seed in seeds(4) {
        running.spawn(garbage(seed, 8, both.real.clone(), both.model.clone()));
    }
    ended("garbage", running, 150).await
}

#[tokio::test]
async fn definitions_come_change_and_go_alike() -> Result<()> {
    let controllers = Controllers { namespaces: true, ..Controllers::none() };
    let both = Both::start(controllers, 100_000).await?;
    let mut running = tokio::task::JoinSet::new();
    for seed in seeds(6) {
        running.spawn(definitions(seed, 90, both.real.clone(), both.model.clone()));
    }
    ended("definitions", running, 500).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_answers_as_the_real_server() -> Result<()> {
    let controllers = Controllers { service_accounts: true, namespaces: true, ..Controllers::none() };
    let both = Both::start(controllers, 100_000).await?;
    let (real, model) = (both.real.clone(), both.model.clone());
    let mut all = seeds(number("CONFORMANCE_STREAMS").unwrap_or(STREAMS));
    let count = all.clone().count();
    let started = std::time::Instant::now();
    let (mut running, mut compared, mut failed) = (tokio::task::JoinSet::new(), 0, Vec::new());
    loop {
        while running.len() < AT_ONCE
            && let Some(seed) = all.next()
        {
            running.spawn(stream(seed, LENGTH, real.clone(), model.clone()));
        }
        let Some(ended) = running.join_next().await else { break };
        match ended? {
            Ok(count) => compared += count,
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{compared} requests compared in {seconds:.1} s; {} of {count} streams differ", failed.len());
    let shown: Vec<_> = failed.iter().take(12).cloned().collect();
    anyhow::ensure!(failed.is_empty(), "{}", shown.join("\n"));
    anyhow::ensure!(
        number("CONFORMANCE_SEED").is_some() || compared >= LEAST,
        "only {compared} requests were compared"
    );
    Ok(())
}
