//! What would be done, and why it would be refused. Nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use isthmus_kubernetes::crd::{CloudMapping, PolicyModule};
use isthmus_kubernetes::{Client, Error, ErrorKind};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_operator::cloud::Cloud;
use kube::ResourceExt;
use serde::Serialize;

use crate::args::UninstallArgs;
use crate::cluster::cloud_session;
use crate::leader::{Leader, leader};
use isthmus_cli::global::Kube;

/// So many Pods are named.
const NAMED: usize = 5;

/// What becomes of what is in the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// It is deleted.
    Drain,
    /// It stays, and is nobody's.
    Keep,
}

/// A cloud resource that stays.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    pub(super) kind: Kind,
    pub(super) id: String,
    /// As `Pod shop/web-0`.
    pub(super) made_for: String,
    /// Local name.
    pub(super) entry: String,
    /// Uid of the CloudMapping that records it.
    #[serde(skip)]
    pub(super) mapping: String,
}

/// Why nothing would be done.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    pub(super) found: String,
    /// What to do.
    pub(super) remedy: String,
}

/// What would be done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Plan {
    pub(super) mode: Mode,
    pub(super) cluster: String,
    pub(super) cloud_mappings: usize,
    /// How many namespaces these are in.
    pub(super) namespaces: usize,
    pub(super) policy_modules: usize,
    /// Cloud resources by kind.
    pub(super) resources: BTreeMap<&'static str, usize>,
    /// Of these, those that modules said to retain.
    pub(super) retained: usize,
    /// Of these, those that have our mark and no CloudMapping.
    pub(super) ownerless: usize,
    /// Cloud resources that are nobody's afterwards.
    pub(super) kept: Vec<Kept>,
    pub(super) refused: Vec<Refusal>,
    /// Seconds for which the lease of an operator that has died holds.
    #[serde(skip)]
    pub(super) waits: u64,
}

impl Plan {
    pub(super) async fn make(client: &Client, kube: &Kube, args: &UninstallArgs) -> anyhow::Result<Self> {
        let cluster = client.cluster_id().await?;
        let mappings = defined(client.all::<CloudMapping>("list CloudMappings").await)?;
        let modules = defined(client.all::<PolicyModule>("list PolicyModules").await)?;
        let all_defined = mappings.is_some() && modules.is_some();
        let mappings = mappings.unwrap_or_default();
        let mut plan = Self::recorded(cluster, &mappings, modules.unwrap_or_default().len());
        match args.keep {
            true => plan.mode = Mode::Keep,
            false => plan.look_at_cloud(&mappings, args.os_cloud.as_deref()).await?,
        }
        match leader(client, &kube.operator_namespace).await? {
            Leader::Leads(holder) => plan.refused.push(operator_leads(&holder, &kube.operator_namespace)),
            Leader::Led { seconds, .. } => plan.waits = u64::try_from(seconds).unwrap_or_default(),
            Leader::Never if !plan.is_empty() && !args.force => {
                plan.refused.push(never_led(&kube.operator_namespace));
            }
            Leader::None | Leader::Never => {}
        }
        if !args.keep && !args.force {
            plan.refused.extend(attached(&mappings));
        }
        plan.refused.extend((!all_defined && !plan.is_empty()).then(|| Refusal {
            found: "the definitions of CloudMappings and PolicyModules are gone".into(),
            remedy: "put them back for this: `isthmus crds | kubectl apply --server-side -f -`".into(),
        }));
        Ok(plan)
    }

    /// By what is recorded.
    fn recorded(cluster: String, mappings: &[CloudMapping], modules: usize) -> Self {
        let namespaces: BTreeSet<String> = mappings.iter().filter_map(ResourceExt::namespace).collect();
        let mut kept: Vec<Kept> = mappings.iter().flat_map(resources).collect();
        kept.sort();
        let stays = |mapping: &CloudMapping| {
            mapping.status.iter().flat_map(|s| &s.resources).filter(|r| r.retained).count()
        };
        Self {
            mode: Mode::Drain,
            cluster,
            cloud_mappings: mappings.len(),
            namespaces: namespaces.len(),
            policy_modules: modules,
            resources: counted(kept.iter().map(|kept| kept.kind)),
            retained: mappings.iter().map(stays).sum(),
            ownerless: 0,
            kept,
            refused: Vec::new(),
            waits: 0,
        }
    }

    /// What there is, whatever is recorded.
    async fn look_at_cloud(
        &mut self,
        mappings: &[CloudMapping],
        os_cloud: Option<&str>,
    ) -> anyhow::Result<()> {
        let cloud = cloud_session(os_cloud).context("OpenStack settings, as the operator's")?;
        let cloud = Cloud::to_look_at(&cloud).await?;
        let found = cloud.list(&Mark::cluster_tag(&self.cluster)).await?;
        let uids: BTreeSet<&str> = mappings.iter().map(|m| m.spec.subject.uid.as_str()).collect();
        let marks = || found.resources.iter().filter_map(|found| found.mark.as_ref());
        self.ownerless = marks().filter(|mark| !uids.contains(mark.subject.as_str())).count();
        // Of some only the record tells.
        let told = std::mem::take(&mut self.kept).into_iter().map(|kept| kept.kind);
        let told = told.filter(|kind| kind.is_told_by_record());
        self.resources = counted(found.resources.iter().map(|found| found.kind).chain(told));
        self.refused.extend(found.unlisted.iter().map(|kind| Refusal {
            found: format!("the cloud gives no list of kind {kind}"),
            remedy: "the log says why; wait until the service answers".into(),
        }));
        Ok(())
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.cloud_mappings == 0 && self.policy_modules == 0 && self.resources.is_empty()
    }
}

/// All of a kind of ours; `None`: its definition is gone.
fn defined<K>(listed: Result<Vec<K>, Error>) -> Result<Option<Vec<K>>, Error> {
    match listed {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        listed => listed.map(Some),
    }
}

fn counted(kinds: impl Iterator<Item = Kind>) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    kinds.for_each(|kind| *counts.entry(kind.name()).or_default() += 1);
    counts
}

fn made_for(mapping: &CloudMapping) -> String {
    mapping.spec.subject.subject().key.to_string()
}

fn resources(mapping: &CloudMapping) -> Vec<Kept> {
    let in_cloud = mapping.status.iter().flat_map(|s| &s.resources).filter(|r| r.kind.in_cloud());
    let kept = in_cloud.filter_map(|resource| {
        let (id, entry) = (resource.id.clone()?, resource.name.clone());
        let (made_for, mapping) = (made_for(mapping), mapping.uid().unwrap_or_default());
        Some(Kept { kind: resource.kind, id, made_for, entry, mapping })
    });
    kept.collect()
}

/// One that leads somewhere else would make again what goes.
fn never_led(namespace: &str) -> Refusal {
    Refusal {
        found: format!("namespace {namespace} has no lease of an operator"),
        remedy: "name the namespace that it ran in (`--operator-namespace`); where that was deleted and no operator runs, make it again and use `--force`; the guide says how finalizers come off by hand".into(),
    }
}

fn operator_leads(holder: &str, namespace: &str) -> Refusal {
    Refusal {
        found: format!("operator {holder} leads, and would make again what goes"),
        remedy: format!(
            "stop it: `kubectl -n {namespace} scale deployment isthmus --replicas=0`, and wait until its Pods are gone"
        ),
    }
}

/// Pods that would lose their network.
fn attached(mappings: &[CloudMapping]) -> Option<Refusal> {
    let plugged = |mapping: &&CloudMapping| mapping.status.as_ref().is_some_and(|s| s.is_attached());
    let pods: Vec<String> = mappings.iter().filter(plugged).map(made_for).collect();
    let (count, named) = (pods.len(), pods.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "));
    let more = if count > NAMED { ", ..." } else { "" };
    (count > 0).then(|| Refusal {
        found: format!("{count} of the ports are plugged into Pods, as their nodes' agents say: {named}{more}"),
        remedy: "delete these Pods or move them to another network first; `--force` takes the network from under them".into(),
    })
}
