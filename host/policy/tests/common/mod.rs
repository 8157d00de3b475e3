//! The real modules, and a cluster of one namespace.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::selector::Selector;
use isthmus_model::snapshot::{CloudFacts, Snapshot};
use isthmus_policy::{Engine, EngineOptions, Limits, Mapped, Module, Pipeline, Stage};

pub(crate) const CONFIG: &str = r#"{"network": "pods", "tags": ["own"]}"#;

/// The bytes of a component that `cargo xtask plugins` has built.
pub(crate) fn component(name: &str) -> Vec<u8> {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/modules");
    let folder = std::env::var_os("ISTHMUS_MODULES").map_or_else(ours, Into::into);
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask plugins` first", path.display()))
}

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    Engine::new(EngineOptions { count_fuel: true, calls_at_once: 4, ..EngineOptions::default() }).unwrap()
});

/// One engine for all tests of a file.
pub(crate) fn engine() -> &'static Engine {
    &ENGINE
}

static POD_PORT: LazyLock<Arc<Module>> =
    LazyLock::new(|| engine().load(&component("pod-port"), None).unwrap());
static FAULTS: LazyLock<Arc<Module>> = LazyLock::new(|| engine().load(&component("faults"), None).unwrap());
static TAG_BY_TEAM: LazyLock<Arc<Module>> =
    LazyLock::new(|| engine().load(&component("tag-by-team"), None).unwrap());

pub(crate) fn pod_port() -> Arc<Module> {
    POD_PORT.clone()
}
pub(crate) fn faults() -> Arc<Module> {
    FAULTS.clone()
}
pub(crate) fn tag_by_team() -> Arc<Module> {
    TAG_BY_TEAM.clone()
}

/// A namespace `shop` of team blue; nothing else.
pub(crate) struct Shop;

impl Snapshot for Shop {
    fn get(&self, key: &ObjectKey) -> Option<Arc<str>> {
        let shop = r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "blue"}}}"#;
        (&*key.kind.kind == "Namespace" && &*key.name == "shop").then(|| shop.into())
    }
    fn list(&self, _: &Gvk, _: Option<&str>, _: &Selector) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn cloud(&self) -> Arc<CloudFacts> {
        Arc::default()
    }
}

pub(crate) fn pod(namespace: &str, name: &str) -> String {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": "u"},
        "spec": {"nodeName": "n1"},
    })
    .to_string()
}

/// With time enough for a busy machine: whose subject is the deadline sets one.
pub(crate) fn stage(name: &str, module: Arc<Module>, config: &str) -> Stage {
    let limits = Limits { deadline: Duration::from_secs(30), ..Limits::default() };
    Stage { name: name.into(), module, config: config.into(), limits, fallback: None }
}

/// Config of the module of faults.
pub(crate) fn fault(fault: &str) -> String {
    format!(r#"{{"pods": {CONFIG}, "fault": "{fault}"}}"#)
}

pub(crate) fn run(pipeline: &Pipeline) -> Mapped {
    pipeline.map(&pod("shop", "web"), Arc::new(Shop))
}
