//! `isthmus operator`.

use std::time::Duration;

use anyhow::{Context, ensure};
use isthmus_cli::global::Kube;
use isthmus_cli::stop::stop;
use isthmus_kubernetes::Client;
use isthmus_kubernetes::lease::Timing;
use isthmus_openstack::{CloudConfig, Sources};
use isthmus_operator::Options;
use isthmus_operator::resync::ResyncOptions;

use crate::args::OperatorArgs;

pub(crate) async fn run(kube: &Kube, args: OperatorArgs) -> anyhow::Result<()> {
    let client = Client::connect(kube.kubeconfig.as_deref()).await?;
    let mut cloud = CloudConfig::load(&Sources::from_process(), args.os_cloud.as_deref())?;
    let timing = timing(args.lease_seconds, &mut cloud)?;
    let identity = match args.identity {
        Some(identity) => identity,
        None => identity()?,
    };
    let options = Options {
        namespace: kube.operator_namespace.clone(),
        identity,
        timing,
        http: Some(args.http),
        cache_dir: args.cache_dir,
        parallel: usize::from(args.parallel),
        resync: ResyncOptions {
            every: Duration::from_secs(args.resync_seconds),
            max_orphans: usize::try_from(args.max_orphans).unwrap_or(usize::MAX),
        },
        agent_wait: Duration::from_secs(args.agent_wait_seconds),
    };
    isthmus_operator::run(options, client, cloud, stop()?).await
}

/// The renew deadline is half of the lease, so that a request that began just before it ends before the lease does
/// (invariant 4): requests to the cloud may take less than the other half.
pub(crate) fn timing(seconds: u64, cloud: &mut CloudConfig) -> anyhow::Result<Timing> {
    let most = (Duration::from_secs(seconds) / 2).saturating_sub(Duration::from_secs(1));
    ensure!(most >= Duration::from_secs(1), "--lease-seconds {seconds} is too short: at least 10 are needed");
    cloud.request_timeout = cloud.request_timeout.min(most);
    lease(seconds)
}

/// The periods of a lease, for who asks nothing of the cloud.
pub(crate) fn lease(seconds: u64) -> anyhow::Result<Timing> {
    let duration = Duration::from_secs(seconds);
    let deadline = duration / 2;
    let retry = (deadline / 5).min(Duration::from_secs(2));
    Timing::new(duration, deadline, retry).context("--lease-seconds")
}

/// Host name and a random part: two processes of one identity would both lead.
pub(crate) fn identity() -> anyhow::Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").context("reading the host name")?;
    let random =
        std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("reading a random number")?;
    Ok(format!("{}_{}", host.trim(), random.trim()))
}
