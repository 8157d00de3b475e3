//! `isthmus render`: a module on files, without cluster and cloud.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use isthmus_kubernetes::store::{Store, Stored};
use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::outcome::Outcome;
use isthmus_model::projection::Mask;
use isthmus_model::selector::Labels;
use isthmus_policy::{Engine, EngineOptions, Limits, Module, Pipeline, Stage, Stop};
use serde_json::Value;

use crate::args::{Output, RenderArgs};
use crate::output::{columns, print, text_out};

pub(crate) fn run(args: &RenderArgs, output: Output) -> anyhow::Result<()> {
    let engine = Engine::new(EngineOptions { calls_at_once: 2, ..EngineOptions::default() })?;
    let load = |file: &PathBuf| -> anyhow::Result<Arc<Module>> {
        let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        engine.load(&bytes, None).with_context(|| file.display().to_string())
    };
    let config = config(&args.config)?;
    let mapper = load(&args.module)?;
    let refiners = args.refiner.iter().map(load).collect::<anyhow::Result<Vec<_>>>()?;
    let masks = masks(std::iter::once(&mapper).chain(&refiners))?;
    let subject = match objects(&args.subject)?.as_slice() {
        [one] => one.clone(),
        many => bail!("{}: {} objects, expected one", args.subject.display(), many.len()),
    };
    let mut store = Store::new();
    let others = args.snapshot.as_deref().map(objects).transpose()?.unwrap_or_default();
    for object in others.iter().chain([&subject]) {
        if let Some(stored) = stored(object, &masks)? {
            let kind = stored.key.kind.clone();
            store.apply(&kind, stored);
        }
    }
    let kind = key_of(&subject)?.kind;
    let mapped = |m: &Module| m.manifest().maps.iter().any(|p| p.kind == *kind);
    if !mapped(&mapper) {
        let kinds: Vec<String> = mapper.manifest().maps.iter().map(|p| p.kind.to_string()).collect();
        bail!(
            "{}: it is a {kind}; {} maps {}",
            args.subject.display(),
            mapper.manifest().name,
            kinds.join(", ")
        );
    }
    let text = stored(&subject, &masks)?
        .map(|s| s.text)
        .context("nothing of the subject is left by the module's field paths")?;
    let pipeline =
        Pipeline::new(stage(mapper, config), refiners.into_iter().map(|m| stage(m, "{}".into())).collect())?;
    shown(pipeline.map(&text, Arc::new(store.snapshot())).result, output)
}

fn stage(module: Arc<Module>, config: Arc<str>) -> Stage {
    let name = module.manifest().name.as_str().into();
    Stage { name, module, config, limits: Limits::default(), fallback: None }
}

fn shown(result: Result<isthmus_model::desired::DesiredList, Stop>, output: Output) -> anyhow::Result<()> {
    match result {
        Ok(list) => print(&list, output, |list| {
            let row = |e: &isthmus_model::desired::Entry| {
                vec![
                    e.name.clone(),
                    e.kind.to_string(),
                    serde_json::to_string(&e.fields).unwrap_or_default(),
                    e.tags.iter().cloned().collect::<Vec<_>>().join(","),
                ]
            };
            columns(&["NAME", "KIND", "FIELDS", "TAGS"], &list.entries().iter().map(row).collect::<Vec<_>>())
        }),
        Err(Stop::Outcome { outcome: Outcome::NotMapped(why), .. }) => {
            text_out(&format!("not mapped: {why}\n"))
        }
        Err(Stop::Outcome { outcome: Outcome::Waiting(why), .. }) => text_out(&format!("waiting: {why}\n")),
        Err(Stop::Outcome { stage, outcome: Outcome::Invalid { message, field } }) => {
            bail!(
                "{stage} says that the subject or its config is invalid: {message}{}",
                field.map(|f| format!(" (at {f})")).unwrap_or_default()
            )
        }
        Err(Stop::Failed { stage, error }) => bail!("{stage} failed: {}: {error}", error.reason()),
    }
}

/// What the modules are given of each kind.
fn masks<'a>(modules: impl Iterator<Item = &'a Arc<Module>>) -> anyhow::Result<BTreeMap<Gvk, Mask>> {
    let mut masks: BTreeMap<Gvk, Mask> = BTreeMap::new();
    for projection in modules.flat_map(|m| m.manifest().projections()) {
        let mask = Mask::new(projection.fields.iter().map(String::as_str))?;
        masks.entry(projection.kind.clone()).or_default().merge(&mask);
    }
    Ok(masks)
}

/// JSON text of a config: a file's, or the argument itself.
fn config(text: &str) -> anyhow::Result<Arc<str>> {
    let path = Path::new(text);
    let text = match path.is_file() {
        true => std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?,
        false => text.to_owned(),
    };
    let value: Value = serde_saphyr::from_str(&text).context("--config is neither a file nor YAML")?;
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
    let Some(projected) = masks.get(&*key.kind).and_then(|mask| mask.apply(object)) else { return Ok(None) };
    let labels: Labels = match object.pointer("/metadata/labels") {
        Some(labels) => serde_json::from_value(labels.clone()).with_context(|| format!("labels of {key}"))?,
        None => Labels::new(),
    };
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or("rendered").into();
    let deleting = object.pointer("/metadata/deletionTimestamp").is_some();
    Ok(Some(Stored { key, uid, labels, deleting, text: projected.to_string().into() }))
}
