//! The model of the Kubernetes API against the real server of the lab.

use anyhow::{Context as _, Result};
use isthmus_conformance::kubernetes::{crds, define, stream};
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

/// `CONFORMANCE_SEED` runs one stream, `CONFORMANCE_FIRST` others than those from 1 on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_answers_as_the_real_server() -> Result<()> {
    std::env::var("ISTHMUS_LAB").context("`cargo xtask test` runs this in the lab")?;
    let real = kube::Client::try_default().await.context("no kubeconfig of the lab")?;
    let controllers = Controllers { service_accounts: true, namespaces: true, ..Controllers::none() };
    let server = ApiServer::start(Options { controllers, history: 100_000, ..Options::default() }).await?;
    let model = kube::Client::try_from(kube::Config::new(server.url().parse()?))?;
    let given = crd::crds().iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
    let crds = crds(given)?;
    define(real.clone(), &crds).await.context("the real server")?;
    define(model.clone(), &crds).await.context("the model")?;

    let only = number("CONFORMANCE_SEED");
    // The same streams each time: a change that fails shall have failed by itself. Others are tried by hand.
    let first = only.or_else(|| number("CONFORMANCE_FIRST")).unwrap_or(1);
    let count = if only.is_some() { 1 } else { number("CONFORMANCE_STREAMS").unwrap_or(STREAMS) };
    let started = std::time::Instant::now();
    let mut seeds = (0..count).map(|n| first + n);
    let (mut running, mut compared, mut failed) = (tokio::task::JoinSet::new(), 0, Vec::new());
    loop {
        while running.len() < AT_ONCE
            && let Some(seed) = seeds.next()
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
    anyhow::ensure!(only.is_some() || compared >= LEAST, "only {compared} requests were compared");
    Ok(())
}
