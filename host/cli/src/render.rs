//! `isthmus render`: a module on files, without cluster and cloud.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use isthmus_cli::global::Output;
use isthmus_kubernetes::store::{Store, Stored};
use isthmus_model::desired::{DesiredList, Entry};
use isthmus_model::manifest::Projection;
use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::outcome::Outcome;
use isthmus_model::projection::Mask;
use isthmus_model::selector::Labels;
use isthmus_policy::{Limits, Module, Pipeline, Stage, Stop};
use serde::Serialize;
use serde_json::Value;

use crate::args::RenderArgs;
use crate::module::{engine, open};
use crate::output::{columns, print};

pub(crate) fn run(args: &RenderArgs, output: Output) -> anyhow::Result<()> {
    let subject = match objects(&args.subject)?.as_slice() {
        [one] => one.clone(),
        many => bail!("{}: {} objects, expected one", args.subject.display(), many.len()),
    };
    let pipeline = pipeline(args, &key_of(&subject)?.kind)?;
    let stages = std::iter::once(pipeline.mapper()).chain(pipeline.refiners());
    let masks = masks(stages.map(|stage| &stage.module))?;
    let mut store = Store::new();
    let others = args.snapshot.as_deref().map(objects).transpose()?.unwrap_or_default();
    for object in others.iter().chain([&subject]) {
        if let Some(stored) = stored(object, &masks)? {
            let kind = stored.key.kind.clone();
            store.apply(&kind, stored);
        }
    }
    let text = stored(&subject, &masks)?
        .map(|s| s.text)
        .context("nothing of the subject is left by the module's field paths")?;
    shown(pipeline.map(&text, Arc::new(store.snapshot())).result, output)
}

/// The modules, as the operator would put them together for a subject of this kind.
fn pipeline(args: &RenderArgs, kind: &Gvk) -> anyhow::Result<Pipeline> {
    let engine = engine()?;
    let (mapper, _) = open(&engine, &args.module)?;
    let manifest = mapper.manifest();
    if !names(&manifest.maps, kind) {
        let kinds: Vec<String> = manifest.maps.iter().map(|p| p.kind.to_string()).collect();
        let (subject, name) = (args.subject.display(), &manifest.name);
        ensure!(!kinds.is_empty(), "{name} maps nothing: it is a refiner, to be given to --refiner");
        bail!("{subject}: it is a {kind}; {name} maps {}", kinds.join(", "));
    }
    let mut refiners = Vec::new();
    for text in &args.refiner {
        let (file, text) = refiner(text);
        let (module, _) = open(&engine, file)?;
        if names(&module.manifest().refines, kind) {
            refiners
                .push(stage(module, config(text).with_context(|| format!("--refiner {}", file.display()))?));
        } else {
            tracing::warn!("{}: it does not refine {kind}, and is not called", file.display());
        }
    }
    let config = config(&args.config).context("--config")?;
    Ok(Pipeline::new(stage(mapper, config), refiners)?)
}

fn names(projections: &[Projection], kind: &Gvk) -> bool {
    projections.iter().any(|projection| projection.kind == *kind)
}

/// File and config of `FILE[=CONFIG]`. A file whose name has an equal sign is one.
fn refiner(text: &str) -> (&Path, &str) {
    let (file, config) = match text.split_once('=') {
        Some(both) if !Path::new(text).is_file() => both,
        _ => (text, "{}"),
    };
    (Path::new(file), config)
}

fn stage(module: Arc<Module>, config: Arc<str>) -> Stage {
    let name = module.manifest().name.as_str().into();
    Stage { name, module, config, limits: Limits::default(), fallback: None }
}

/// Why there is no list, named as in the contract.
#[derive(Serialize)]
struct NoList<'a> {
    outcome: &'static str,
    /// The module that said so.
    stage: &'a str,
    reason: &'a str,
    /// Only of `invalid`, where the module knows it.
    field: Option<&'a str>,
}

impl NoList<'_> {
    /// For people.
    fn told(&self) -> String {
        let field = self.field.map(|f| format!(" (at {f})")).unwrap_or_default();
        let reason = if self.reason.is_empty() { "(no reason given)" } else { self.reason };
        format!("{}: {reason}{field}", self.outcome.replace('-', " "))
    }
}

fn shown(result: Result<DesiredList, Stop>, output: Output) -> anyhow::Result<()> {
    let (stage, outcome) = match result {
        Ok(list) => return print(&list, output, table),
        Err(Stop::Outcome { stage, outcome }) => (stage, outcome),
        Err(Stop::Failed { stage, error }) => bail!("{stage} failed: {}: {error}", error.reason()),
    };
    let (outcome, reason, field) = match &outcome {
        Outcome::NotMapped(reason) => ("not-mapped", reason, None),
        Outcome::Waiting(reason) => ("waiting", reason, None),
        Outcome::Invalid { message, field } => ("invalid", message, field.as_deref()),
    };
    let no_list = NoList { outcome, stage: &stage, reason, field };
    let wrong = outcome == "invalid";
    // People read it on standard error, as what went wrong.
    if !wrong || output != Output::Table {
        print(&no_list, output, |no_list| no_list.told() + "\n")?;
    }
    ensure!(!wrong, "{stage} says that the subject or its config is {}", no_list.told());
    Ok(())
}

fn table(list: &DesiredList) -> String {
    let row = |e: &Entry| {
        vec![
            e.name.clone(),
            e.kind.to_string(),
            serde_json::to_string(&e.fields).unwrap_or_default(),
            e.tags.iter().cloned().collect::<Vec<_>>().join(","),
        ]
    };
    columns(&["NAME", "KIND", "FIELDS", "TAGS"], &list.entries().iter().map(row).collect::<Vec<_>>())
}

/// What the modules are given of each kind.
fn masks<'a>(modules: impl Iterator<Item = &'a Arc<Module>>) -> anyhow::Result<BTreeMap<Gvk, Mask>> {
    let mut masks: BTreeMap<Gvk, Mask> = BTreeMap::new();
    for projection in modules.flat_map(|m| m.manifest().projections()) {
        masks.entry(projection.kind.clone()).or_default().merge(&projection.mask()?);
    }
    Ok(masks)
}

/// JSON text of a config: a file's, or the argument itself.
pub(crate) fn config(text: &str) -> anyhow::Result<Arc<str>> {
    let path = Path::new(text);
    let is_name = ["yaml", "yml", "json"].iter().any(|e| path.extension().is_some_and(|found| found == *e));
    ensure!(path.is_file() || !is_name || text.contains([':', '{']), "{} is not there", path.display());
    let text = match path.is_file() {
        true => std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?,
        false => text.to_owned(),
    };
    let value: Value = serde_saphyr::from_str(&text).context("the config is neither a file nor YAML")?;
    Ok(value.to_string().into())
}

/// All objects of a file, or of a folder's .yaml, .yml and .json files.
fn objects(path: &Path) -> anyhow::Result<Vec<Value>> {
    let mut files = vec![path.to_path_buf()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
        files = entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
        files.retain(|f| f.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json"));
        files.sort();
    }
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let found: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("{} is no YAML", file.display()))?;
        all.extend(found.into_iter().filter(|v| !v.is_null()));
    }
    Ok(all)
}

fn key_of(object: &Value) -> anyhow::Result<ObjectKey> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (Some(version), Some(kind), Some(name)) =
        (text("/apiVersion"), text("/kind"), text("/metadata/name"))
    else {
        bail!("an object lacks apiVersion, kind or metadata.name: {object}");
    };
    Ok(ObjectKey::new(Gvk::from_api_version(version, kind), text("/metadata/namespace"), name))
}

/// The object as a module sees it; `None`: of a kind that no module reads.
fn stored(object: &Value, masks: &BTreeMap<Gvk, Mask>) -> anyhow::Result<Option<Stored>> {
    let mut key = key_of(object)?;
    if key.namespace.is_none() && *key.kind == Gvk::new("", "v1", "Pod") {
        key.namespace = Some("default".into());
    }
    let Some(mask) = masks.get(&*key.kind) else { return Ok(None) };
    let Some(projected) = mask.apply(object) else { return Ok(None) };
    let labels: Labels = match object.pointer("/metadata/labels") {
        Some(labels) => serde_json::from_value(labels.clone()).with_context(|| format!("labels of {key}"))?,
        None => Labels::new(),
    };
    let labels = mask.labels(object, labels);
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or("rendered").into();
    let deleting = object.pointer("/metadata/deletionTimestamp").is_some();
    Ok(Some(Stored { key, uid, labels, deleting, text: projected.to_string().into() }))
}
