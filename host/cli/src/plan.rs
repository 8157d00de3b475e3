//! `isthmus plan`: what a version of a module would change, for everything that lives in a cluster now. Nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{bail, ensure};
use isthmus_cli::global::{Kube, Output};
use isthmus_kubernetes::crd::PolicyModule;
use isthmus_kubernetes::store::{StoreSnapshot, Stored};
use isthmus_model::desired::DesiredList;
use isthmus_model::difference::{Difference, What, differences};
use isthmus_model::manifest::Projection;
use isthmus_model::object::Gvk;
use isthmus_model::outcome::Outcome;
use isthmus_model::plan::Summary;
use isthmus_operator::modules::{Lane, Pipelines, Version, config_of, own_kind};
use isthmus_policy::Stop;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::json;

use crate::args::PlanArgs;
use crate::cluster::{Cluster, pipelines};
use crate::module::open;
use crate::output::print;
use crate::render::config;

/// Subjects that people are shown; the counts are of all.
const SHOWN: usize = 40;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    name: String,
    version: String,
    sha256: String,
    /// Live objects of its kinds.
    subjects: usize,
    summary: Summary,
    changes: Vec<Change>,
}

/// What it would change of one subject.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    subject: String,
    entries: Vec<Difference>,
    /// Why it maps nothing, where it does not.
    refused: Option<String>,
}

pub(crate) async fn run(kube: &Kube, args: &PlanArgs, output: Output) -> anyhow::Result<()> {
    let cluster = Cluster::connect(kube).await?;
    let (compiled, _) = open(&cluster.engine, &args.file)?;
    let name = args.name.clone().unwrap_or_else(|| compiled.manifest().name.clone());
    let found = cluster.modules().await?.into_iter().find(|module| module.name_any() == name);
    let module = found.map_or_else(|| new_module(&name), Ok)?;
    let config = args.config.as_deref().map_or_else(|| Ok(config_of(&module)), config)?;
    let candidate = Version::new(&module, compiled.clone(), config);
    let before = cluster.versions().await?;
    let mut after = before.clone();
    if let Some(replaced) = module.spec.replaces.as_deref() {
        after.remove(replaced);
    }
    if let Some(other) = rival(&after, &candidate) {
        bail!(
            "{name} maps {}, as PolicyModule {} does: the operator would say Conflict (to take over: spec.replaces)",
            other.0,
            other.1
        );
    }
    after.insert(name.as_str().into(), candidate);
    let (old, new) = (pipelines(before)?, pipelines(after)?);
    let mut masks = new.masks();
    for (kind, mask) in old.masks() {
        masks.entry(kind).or_default().merge(&mask);
    }
    let snapshot = cluster.snapshot(&masks).await?;
    let (subjects, changes) = tokio::task::spawn_blocking(move || compare(&old, &new, &snapshot)).await?;
    let summary = changes.iter().flat_map(|change| &change.entries).fold(Summary::default(), counted);
    let (version, sha256) = (compiled.manifest().version.clone(), compiled.digest().to_string());
    let refused = changes.iter().filter(|change| change.refused.is_some()).count();
    let planned = Planned { name, version, sha256, subjects, summary, changes };
    print(&planned, output, told)?;
    ensure!(
        refused == 0,
        "{refused} of {subjects} objects that are mapped now would not be: the operator would hold it"
    );
    Ok(())
}

fn new_module(name: &str) -> anyhow::Result<PolicyModule> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "isthmus.dev/v1alpha1", "kind": "PolicyModule",
        "metadata": {"name": name}, "spec": {"source": {"configMaps": [{"name": name}]}},
    }))?)
}

/// A kind that another module maps already, and that one.
fn rival(before: &BTreeMap<Arc<str>, Version>, candidate: &Version) -> Option<(Gvk, Arc<str>)> {
    let others = || before.values().filter(|other| other.name != candidate.name);
    let of_all = |wanted: &&Projection| wanted.kind != own_kind();
    candidate.module.manifest().maps.iter().filter(of_all).find_map(|wanted| {
        let maps = |other: &&Version| other.module.manifest().maps.iter().any(|p| p.kind == wanted.kind);
        Some((wanted.kind.clone(), others().find(maps)?.name.clone()))
    })
}

/// How many objects there are of all kinds, and what changes.
fn compare(old: &Pipelines, new: &Pipelines, snapshot: &StoreSnapshot) -> (usize, Vec<Change>) {
    let kinds: BTreeSet<Gvk> = old.kinds().chain(new.kinds()).collect();
    let (mut subjects, mut changes) = (0, Vec::new());
    for kind in kinds {
        for stored in snapshot.iter(&kind) {
            subjects += 1;
            let (before, after) = (list(old, stored, snapshot), list(new, stored, snapshot));
            changes.extend(change(stored, before, after));
        }
    }
    (subjects, changes)
}

fn change(
    stored: &Stored,
    before: Result<DesiredList, String>,
    after: Result<DesiredList, String>,
) -> Option<Change> {
    let subject = stored.key.to_string();
    match (before, after) {
        // What is recorded stays as it is; that it was so before is not this version's doing.
        (Ok(_), Err(why)) => Some(Change { subject, entries: Vec::new(), refused: Some(why) }),
        (_, Err(_)) => None,
        (before, Ok(after)) => {
            let entries = differences(&before.unwrap_or_default(), &after);
            (!entries.is_empty()).then_some(Change { subject, entries, refused: None })
        }
    }
}

/// What a subject is mapped to; an error, where what is recorded would stay as it is.
fn list(pipelines: &Pipelines, stored: &Stored, snapshot: &StoreSnapshot) -> Result<DesiredList, String> {
    let Some(Lane::Serving(serving)) = pipelines.lane(&stored.key) else {
        return Err(format!("no module maps {}", stored.key.kind));
    };
    match serving.pipeline.map(&stored.text, Arc::new(snapshot.clone())).result {
        Ok(list) => Ok(list),
        Err(Stop::Outcome { outcome: Outcome::NotMapped(_), .. }) => Ok(DesiredList::default()),
        Err(Stop::Outcome { outcome: Outcome::Waiting(why), .. }) => Err(format!("waiting: {why}")),
        Err(Stop::Outcome { outcome: Outcome::Invalid { message, .. }, .. }) => {
            Err(format!("invalid: {message}"))
        }
        Err(Stop::Failed { stage, error }) => Err(format!("{stage} failed: {error}")),
    }
}

fn counted(mut summary: Summary, difference: &Difference) -> Summary {
    match difference.what {
        What::Added => summary.added += 1,
        What::Deleted => summary.deleted += 1,
        What::Renamed(_) | What::Changed(_) => summary.changed += 1,
        What::Replaced(_) => summary.replaced += 1,
    }
    summary
}

fn told(planned: &Planned) -> String {
    let mut text = String::new();
    for change in planned.changes.iter().take(SHOWN) {
        text += &format!("{}\n", change.subject);
        change.refused.iter().for_each(|why| text += &format!("  ! {why}\n"));
        change.entries.iter().for_each(|entry| text += &format!("  {}\n", line(entry)));
    }
    let more = planned.changes.len().saturating_sub(SHOWN);
    if more > 0 {
        text += &format!("... and {more} more objects (all of them with --output json)\n");
    }
    let Summary { added, changed, deleted, replaced } = planned.summary;
    let Planned { name, version, subjects, .. } = planned;
    text + &format!(
        "{name} {version}: of {subjects} objects, it would add {added}, change {changed}, replace {replaced} and delete {deleted} cloud resources\n"
    )
}

fn line(entry: &Difference) -> String {
    let Difference { name, kind, what } = entry;
    let fields = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    match what {
        What::Added => format!("+ {kind} {name}"),
        What::Deleted => format!("- {kind} {name}"),
        What::Renamed(before) => format!("~ {kind} {name} (was {before})"),
        What::Changed(names) => format!("~ {kind} {name} ({})", fields(names)),
        What::Replaced(names) => format!("-/+ {kind} {name} ({})", fields(names)),
    }
}

#[cfg(test)]
mod tests {
    use isthmus_model::kinds::Kind;

    use super::*;

    #[test]
    fn people_read_what_would_change() {
        let entry = |name: &str, what| Difference { name: name.into(), kind: Kind::Port, what };
        let entries = vec![
            entry("a", What::Added),
            entry("b", What::Changed(["tags".to_owned()].into())),
            entry("c", What::Replaced(["network".to_owned()].into())),
            entry("d", What::Renamed("old".into())),
        ];
        let summary = entries.iter().fold(Summary::default(), counted);
        let changes = vec![
            Change { subject: "Pod shop/web".into(), entries, refused: None },
            Change { subject: "Pod shop/db".into(), entries: vec![], refused: Some("invalid: no".into()) },
        ];
        let (name, version, sha256) = ("m".into(), "1.0.0".into(), String::new());
        let planned = Planned { name, version, sha256, subjects: 2, summary, changes };
        let expected = "Pod shop/web\n  + port a\n  ~ port b (tags)\n  -/+ port c (network)\n  ~ port d (was old)\n\
                        Pod shop/db\n  ! invalid: no\n\
                        m 1.0.0: of 2 objects, it would add 1, change 2, replace 1 and delete 0 cloud resources\n";
        assert_eq!(told(&planned), expected);
    }
}
