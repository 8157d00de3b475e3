//! `isthmus why`: what an object's mapping came from, which change caused it, and what it waits for.

use std::sync::Arc;

use anyhow::{Context, bail};
use isthmus_cli::global::{Kube, Output};
use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::store::{StoreSnapshot, Stored};
use isthmus_model::outcome::Outcome;
use isthmus_model::snapshot::{Read, Snapshot};
use isthmus_operator::modules::{Lane, Serving};
use isthmus_policy::{Mapped, Stop};
use serde::Serialize;

use crate::args::WhyArgs;
use crate::cluster::{Cluster, pipelines};
use crate::object::Object;
use crate::output::print;
use crate::tree::branches;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Why {
    subject: String,
    /// The modules, mapper first.
    modules: Vec<String>,
    /// What they say now.
    outcome: String,
    /// What had changed when the CloudMapping was written last.
    last_change: Option<String>,
    /// What is not as it should be, and why.
    waits_for: Vec<String>,
    reads: Vec<Input>,
}

/// Something that was read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    what: String,
    /// How many objects it is now.
    objects: usize,
}

pub(crate) async fn run(kube: &Kube, args: &WhyArgs, output: Output) -> anyhow::Result<()> {
    let cluster = Cluster::connect(kube).await?;
    let object = Object::find(&cluster.client, &args.object, &args.namespace).await?;
    let pipelines = pipelines(cluster.versions().await?)?;
    let served = pipelines.kinds().find(|served| object.is_of(served));
    let unmapped =
        || format!("no module maps {}: `kubectl get policymodules` lists what there is", object.kind);
    let served = served.with_context(unmapped)?;
    let snapshot = cluster.snapshot(&pipelines.masks()).await?;
    let stored = snapshot.iter(&served).find(|stored| object.is(&stored.key)).cloned();
    let stored = stored.with_context(|| format!("there is no {object}"))?;
    let Some(Lane::Serving(serving)) = pipelines.lane(&stored.key) else { bail!(unmapped()) };
    let mappings = object.mappings(&cluster.client, &kube.operator_namespace).await?;
    let mapping = mappings.into_iter().find(|m| m.spec.subject.uid == *stored.uid);
    let why = tokio::task::block_in_place(|| why(serving, &stored, &snapshot, mapping.as_ref()));
    print(&why, output, told)
}

fn why(serving: &Serving, stored: &Stored, snapshot: &StoreSnapshot, mapping: Option<&CloudMapping>) -> Why {
    let mapped = serving.pipeline.map(&stored.text, Arc::new(snapshot.clone()));
    let status = mapping.and_then(|m| m.status.clone()).unwrap_or_default();
    let not_so = status.conditions.iter().filter(|c| c.status == "False" && c.type_ != "Ready");
    let mut waits_for: Vec<String> =
        not_so.map(|c| format!("{} {}: {}", c.type_, c.reason, c.message)).collect();
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready" && c.status == "False");
    if waits_for.is_empty() {
        waits_for.extend(ready.map(|c| format!("{}: {}", c.reason, c.message)));
    }
    let module = |v: &isthmus_policy::StageVersion| format!("{} {}", v.stage, serving.version_of(&v.digest));
    Why {
        subject: stored.key.to_string(),
        modules: mapped.versions.iter().map(module).collect(),
        outcome: outcome(&mapped),
        last_change: status.last_change,
        waits_for,
        reads: mapped.reads.iter().map(|read| input(read, snapshot)).collect(),
    }
}

fn outcome(mapped: &Mapped) -> String {
    match &mapped.result {
        Ok(list) => {
            let names: Vec<String> =
                list.entries().iter().map(|e| format!("{} {}", e.kind, e.name)).collect();
            format!("{} entries: {}", names.len(), names.join(", "))
        }
        Err(Stop::Outcome { stage, outcome }) => match outcome {
            Outcome::NotMapped(why) => format!("{stage} does not map it: {why}"),
            Outcome::Waiting(why) => format!("{stage} waits: {why}"),
            Outcome::Invalid { message, field } => {
                let at = field.as_ref().map(|f| format!(" (at {f})")).unwrap_or_default();
                format!("{stage} says that it is invalid: {message}{at}")
            }
        },
        Err(Stop::Failed { stage, error }) => format!("{stage} failed: {error}"),
    }
}

fn input(read: &Read, snapshot: &StoreSnapshot) -> Input {
    match read {
        Read::Get(key) => {
            let objects = usize::from(snapshot.subject(key).is_some());
            Input { what: key.to_string(), objects }
        }
        Read::List { kind, namespace, selector } => {
            let place =
                namespace.as_deref().map_or_else(|| "all namespaces".into(), |n| format!("namespace {n}"));
            let selected = selector.to_string();
            let with = if selected.is_empty() { String::new() } else { format!(" with {selected}") };
            let objects = snapshot.list(kind, namespace.as_deref(), selector).len();
            Input { what: format!("every {kind} in {place}{with}"), objects }
        }
        Read::Cloud => Input { what: "what the cloud can do".into(), objects: 0 },
    }
}

fn told(why: &Why) -> String {
    let modules = if why.modules.is_empty() { "no module".into() } else { why.modules.join(", then ") };
    let mut lines = vec![format!("mapped by {modules}"), why.outcome.clone()];
    lines.extend(why.last_change.iter().map(|change| format!("last change: {change}")));
    lines.extend(why.waits_for.iter().map(|what| format!("waits for: {what}")));
    let count = |input: &Input| match input.objects {
        _ if input.what.starts_with("what the cloud") => String::new(),
        0 => ": not there".into(),
        1 => String::new(),
        n => format!(": {n} objects"),
    };
    lines.extend(why.reads.iter().map(|input| format!("read {}{}", input.what, count(input))));
    format!("{}\n{}", why.subject, branches(&lines))
}
