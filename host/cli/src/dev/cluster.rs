//! The cluster of `isthmus dev`: our definitions, the modules, and the example.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use isthmus_kubernetes::Client;
use isthmus_kubernetes::crd::{CloudMapping, PolicyModule, crds};
use kube::ResourceExt;
use serde_json::json;

use super::apply::{apply, apply_all};
use super::contents::{CONFIGS, EXAMPLE, MODULES};
use crate::module;

/// Longest time for all to be ready: it takes a second or two.
const LIMIT: Duration = Duration::from_secs(60);

/// Definitions, the operator's namespace, and the modules with their configs.
pub(super) async fn prepare(client: &Client, namespace: &str, modules: &Path) -> anyhow::Result<()> {
    for definition in crds() {
        apply(client, serde_json::to_value(definition)?).await?;
    }
    apply(client, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await?;
    for text in CONFIGS {
        apply_all(client, text).await?;
    }
    for name in MODULES {
        module::put(client, namespace, None, &modules.join(format!("{name}.wasm"))).await?;
    }
    Ok(())
}

/// The example.
pub(super) async fn populate(client: &Client) -> anyhow::Result<()> {
    apply_all(client, EXAMPLE).await
}

/// Waits until every module serves and every CloudMapping is ready.
pub(super) async fn ready(client: &Client, mappings: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let why = match (not_loaded(client).await?, not_ready(client, mappings).await?) {
            (None, None) => return Ok(()),
            (Some(why), _) | (None, Some(why)) => why,
        };
        ensure!(begun.elapsed() < LIMIT, "not ready within {} s: {why}", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn not_loaded(client: &Client) -> anyhow::Result<Option<String>> {
    let all = client.all::<PolicyModule>("list PolicyModules").await?;
    Ok(all.iter().find(|m| !m.is_loaded()).map(|m| format!("PolicyModule {} is not loaded", m.name_any())))
}

async fn not_ready(client: &Client, expected: usize) -> anyhow::Result<Option<String>> {
    let all = client.all::<CloudMapping>("list CloudMappings").await?;
    let done = all.iter().filter(|m| m.is_ready()).count();
    Ok((done < expected || done < all.len()).then(|| format!("{done} of {expected} CloudMappings are ready")))
}

/// Where the modules are: beside the executable, or where a package puts them.
pub(super) fn modules(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let has_all = |folder: &Path| MODULES.iter().all(|name| folder.join(format!("{name}.wasm")).is_file());
    if let Some(given) = given {
        ensure!(has_all(given), "--modules {}: expected {}", given.display(), files());
        return Ok(given.to_owned());
    }
    let own = std::env::current_exe().context("where this executable is")?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    // target/debug/isthmus and target/modules; then an installed one.
    let places = [folder.join("../modules"), folder.join("modules"), "/usr/share/isthmus/modules".into()];
    let found = places.iter().find(|place| has_all(place)).cloned();
    found.with_context(|| {
        let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
        format!(
            "the modules are in none of {}: `cargo xtask plugins` builds them, --modules names their folder ({})",
            places.join(", "),
            files()
        )
    })
}

fn files() -> String {
    MODULES.map(|name| format!("{name}.wasm")).join(", ")
}
