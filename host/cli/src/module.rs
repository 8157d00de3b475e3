//! `isthmus module check` and `isthmus module load`.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use isthmus_kubernetes::Client;
use isthmus_model::manifest::{Manifest, Projection};
use isthmus_operator::modules::keep::packed;
use isthmus_operator::modules::source;
use isthmus_policy::{Engine, EngineOptions, Module};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde::Serialize;

use crate::args::{CheckArgs, Kube, LoadArgs, Output};
use crate::output::{print, text_out, yaml};

/// Loads a module from a file, as the operator would.
pub(crate) fn open(file: &Path) -> anyhow::Result<(Arc<Module>, Vec<u8>)> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let engine = Engine::new(EngineOptions { calls_at_once: 2, ..EngineOptions::default() })?;
    let module = engine.load(&bytes, None).with_context(|| file.display().to_string())?;
    Ok((module, bytes))
}

#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    sha256: &'a str,
    bytes: usize,
    packed: usize,
    manifest: &'a Manifest,
}

pub(crate) fn check(args: &CheckArgs, output: Output) -> anyhow::Result<()> {
    let (module, bytes) = open(&args.file)?;
    let checked = Checked {
        file: args.file.display().to_string(),
        sha256: module.digest(),
        bytes: bytes.len(),
        packed: packed(&bytes).len(),
        manifest: module.manifest(),
    };
    print(&checked, output, |checked| {
        let m = checked.manifest;
        let mut text = format!("{} {}: {}\n", m.name, m.version, m.description);
        text += &format!(
            "sha256   {}\nsize     {} bytes, {} packed\n",
            checked.sha256, checked.bytes, checked.packed
        );
        for (label, projections) in [("maps", &m.maps), ("refines", &m.refines), ("reads", &m.reads)] {
            projections.iter().for_each(|p| text += &described(label, p));
        }
        text += &format!("reports  {}\n", if m.reports { "yes" } else { "no" });
        text
    })
}

fn described(label: &str, projection: &Projection) -> String {
    format!("{label:<8} {} ({})\n", projection.kind, projection.fields.join(", "))
}

pub(crate) async fn load(kube: &Kube, args: &LoadArgs) -> anyhow::Result<()> {
    let (module, bytes) = open(&args.file)?;
    let name = args.name.as_deref().unwrap_or(&module.manifest().name);
    let maps = source::write(name, &packed(&bytes), module.digest());
    if args.dry_run {
        for map in &maps {
            text_out(&format!("---\napiVersion: v1\nkind: ConfigMap\n{}", yaml(map)?))?;
        }
        return Ok(());
    }
    let client = Client::connect(kube.kubeconfig.as_deref()).await?;
    write(&client, &kube.operator_namespace, name, &maps).await?;
    let manifest = module.manifest();
    let digest = module.digest().get(..12).unwrap_or_default();
    text_out(&format!(
        "{name}: version {} ({digest}) is in {} ConfigMap{} of namespace {}\nkubectl get policymodule {name} shows whether it serves\n",
        manifest.version,
        maps.len(),
        if maps.len() == 1 { "" } else { "s" },
        kube.operator_namespace,
    ))
}

/// Writes the ConfigMaps, and removes parts of an earlier version that had more.
async fn write(client: &Client, namespace: &str, name: &str, maps: &[ConfigMap]) -> anyhow::Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.kube(), namespace);
    let parameters = PatchParams::apply("isthmus-cli").force();
    for map in maps {
        let part = map.name_any();
        let what = format!("write ConfigMap {namespace}/{part}");
        client.write("apply", "configmaps", &what, api.patch(&part, &parameters, &Patch::Apply(map))).await?;
    }
    let ours =
        ListParams::default().labels(&format!("{}={name}", isthmus_kubernetes::names::LABEL_POLICY_MODULE));
    let there = client.read("list ConfigMaps", api.list(&ours)).await?;
    let written: Vec<String> = maps.iter().map(ResourceExt::name_any).collect();
    for old in there.items.iter().map(ResourceExt::name_any).filter(|n| !written.contains(n)) {
        let parameters = DeleteParams::default();
        client
            .write(
                "delete",
                "configmaps",
                &format!("delete ConfigMap {namespace}/{old}"),
                api.delete(&old, &parameters),
            )
            .await?;
    }
    Ok(())
}
