//! `isthmus uninstall`: takes down, or lets go of, everything that the operator made, so that namespaces and definitions can be deleted.

mod plan;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::ensure;
use isthmus_kubernetes::Client;
use isthmus_kubernetes::lease::Timing;
use isthmus_openstack::{CloudConfig, Sources};
use isthmus_operator::Options;
use isthmus_operator::resync::ResyncOptions;
use isthmus_operator::uninstall::{Ended, Left, Limits, Progress, drain, keep};
use serde::Serialize;

use crate::args::UninstallArgs;
use crate::operator::{identity, lease, timing};
use crate::output::print;
use isthmus_cli::global::{Kube, Output};
use isthmus_cli::stop::stop;
use plan::{Kept, Plan};

/// Of the lease, while this holds it.
const LEASE_SECONDS: u64 = 20;
/// A lease that nobody holds is ours within this.
const FOR_LEASE: Duration = Duration::from_secs(15);
/// What is worked on at once.
const PARALLEL: usize = 16;
/// A port that is plugged into a Pod waits for its agent so long: longer than anybody waits for this command.
const FOR_AGENTS: Duration = Duration::from_secs(86_400);
/// It is told how far it is so often.
const TELL: Duration = Duration::from_secs(2);

/// What was done.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    /// CloudMappings that are gone.
    cloud_mappings: usize,
    /// PolicyModules that are gone.
    policy_modules: usize,
    /// Cloud resources that are gone, by kind.
    resources: BTreeMap<&'static str, usize>,
    /// Cloud resources that their modules said to retain.
    retained: usize,
    /// Cloud resources that are nobody's now.
    kept: Vec<Kept>,
    /// What is left, and why.
    left: Vec<Left>,
}

pub(crate) async fn run(kube: &Kube, args: &UninstallArgs, output: Output) -> anyhow::Result<()> {
    let client = Client::connect(kube.kubeconfig.as_deref()).await?;
    let plan = Plan::make(&client, kube, args).await?;
    if !args.yes {
        print(&plan, output, told::plan)?;
        ensure!(plan.refused.is_empty(), "it would be refused");
        return Ok(());
    }
    let refusals: Vec<String> = plan.refused.iter().map(|r| format!("{}; {}", r.found, r.remedy)).collect();
    ensure!(refusals.is_empty(), "nothing was done: {}", refusals.join("; and "));
    let ended = match plan.is_empty() {
        true => Ended::default(),
        false => end(kube, args, client, plan.waits).await?,
    };
    let kept = nobodys(plan.kept, &ended.held);
    let kinds = ended.resources.into_iter().map(|(kind, count)| (kind.name(), count));
    let done = Done {
        cloud_mappings: ended.mappings,
        policy_modules: ended.modules,
        resources: kinds.collect(),
        retained: ended.retained,
        kept,
        left: ended.left,
    };
    print(&done, output, |done| told::done(done, &plan.cluster))?;
    ensure!(done.left.is_empty(), "{} things are left", done.left.len());
    Ok(())
}

/// What is not recorded by a CloudMapping that is left.
fn nobodys(mut kept: Vec<Kept>, held: &BTreeSet<String>) -> Vec<Kept> {
    kept.retain(|kept| !held.contains(&kept.mapping));
    kept
}

/// `waits`: seconds for which the lease of an operator that has died holds.
async fn end(kube: &Kube, args: &UninstallArgs, client: Client, waits: u64) -> anyhow::Result<Ended> {
    if waits > 0 {
        tracing::info!("an operator has died: its lease is waited out, {waits} s");
    }
    let patience = Duration::from_secs(args.wait_seconds);
    let limits = Limits { lease: Duration::from_secs(waits) + FOR_LEASE, patience };
    let (stop, telling) = (stop()?, Telling::default());
    let tell = |progress| telling.tell(progress);
    if args.keep {
        return keep(&options(kube, args, lease(LEASE_SECONDS)?)?, limits, client, stop, tell).await;
    }
    let mut cloud = CloudConfig::load(&Sources::from_process(), args.os_cloud.as_deref())?;
    let options = options(kube, args, timing(LEASE_SECONDS, &mut cloud)?)?;
    drain(options, limits, client, cloud, stop, tell).await
}

/// The operator that this is for a while.
fn options(kube: &Kube, args: &UninstallArgs, timing: Timing) -> anyhow::Result<Options> {
    Ok(Options {
        namespace: kube.operator_namespace.clone(),
        identity: format!("isthmus-uninstall_{}", identity()?),
        timing,
        http: None,
        cache_dir: None,
        parallel: PARALLEL,
        // It lists and deletes by itself.
        resync: ResyncOptions { every: Duration::MAX, max_orphans: 0 },
        agent_wait: if args.force { Duration::ZERO } else { FOR_AGENTS },
    })
}

/// Says how far it is, where it takes longer.
struct Telling(Mutex<Instant>);

impl Default for Telling {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Telling {
    fn tell(&self, progress: Progress) {
        let Ok(mut last) = self.0.lock() else { return };
        if last.elapsed() >= TELL {
            *last = Instant::now();
            let Progress { mappings, resources } = progress;
            tracing::info!("{mappings} CloudMappings and {resources} cloud resources are left");
        }
    }
}

#[cfg(test)]
mod tests {
    use isthmus_model::kinds::Kind;

    use super::*;

    #[test]
    fn what_a_mapping_holds_that_is_left_is_not_nobodys() {
        let of = |id: &str, mapping: &str| Kept {
            kind: Kind::Port,
            id: id.into(),
            made_for: "Pod shop/web-0".into(),
            entry: "port".into(),
            mapping: mapping.into(),
        };
        let kept = nobodys(vec![of("p1", "m1"), of("p2", "m2"), of("p3", "m1")], &["m1".to_owned()].into());
        assert_eq!(kept, [of("p2", "m2")]);
    }
}
