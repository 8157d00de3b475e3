//! One module call on a fresh instance against the same mapping compiled natively: p50, p99 and their ratio.
//!
//! Prints a line of JSON on stdout; `cargo xtask bench` holds it against its targets. Needs `cargo xtask plugins`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a program for people")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::selector::Selector;
use isthmus_model::snapshot::{CloudFacts, Snapshot};
use isthmus_policy::{Engine, EngineOptions, Limits, Pipeline, Stage};
use isthmus_sdk::{Mapper, Module};
use pod_port::PodPort;

const CALLS: usize = 20_000;
const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-5d8f7","namespace":"shop",
    "uid":"0b9e1f6c-6a44-4c0e-8b0a-1f2d3c4b5a69"},"spec":{"nodeName":"node-1"},"status":{"phase":"Pending"}}"#;
const NAMESPACE: &str = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop",
    "annotations":{"isthmus.dev/security-groups":"web,monitoring"}}}"#;
const CONFIG: &str = r#"{"network":"pods","subnets":["pods-v4","pods-v6"],"tags":["cluster=blue"]}"#;

struct OneNamespace(Arc<str>);

impl Snapshot for OneNamespace {
    fn get(&self, key: &ObjectKey) -> Option<Arc<str>> {
        (&*key.name == "shop").then(|| self.0.clone())
    }
    fn list(&self, _: &Gvk, _: Option<&str>, _: &Selector) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn cloud(&self) -> Arc<CloudFacts> {
        Arc::default()
    }
}

fn measure(mut call: impl FnMut()) -> (Duration, Duration) {
    (0..CALLS / 10).for_each(|_| call());
    let mut times: Vec<Duration> = (0..CALLS)
        .map(|_| {
            let began = Instant::now();
            call();
            began.elapsed()
        })
        .collect();
    times.sort();
    let at = |share: usize| times.get(CALLS * share / 100).copied().unwrap_or_default();
    (at(50), at(99))
}

fn main() {
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/modules");
    let folder = std::env::var("ISTHMUS_MODULES").unwrap_or_else(|_| ours.into());
    let bytes = std::fs::read(format!("{folder}/pod-port.wasm")).expect("run `cargo xtask plugins` first");
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let began = Instant::now();
    let module = engine.load(&bytes, None).unwrap();
    let load = began.elapsed();
    let stage = Stage {
        name: "pod-port".into(),
        module,
        config: CONFIG.into(),
        limits: Limits::default(),
        fallback: None,
    };
    let pipeline = Pipeline::new(stage, Vec::new()).unwrap();
    let snapshot: Arc<dyn Snapshot + Send + Sync> = Arc::new(OneNamespace(NAMESPACE.into()));
    let wasm = measure(|| {
        let mapped = black_box(pipeline.map(black_box(POD), snapshot.clone()));
        assert!(mapped.result.is_ok());
    });

    let mut cluster = isthmus_sdk::testing::Cluster::default();
    cluster.add(serde_json::from_str(NAMESPACE).unwrap()).unwrap();
    let _entered = cluster.enter(&PodPort::manifest());
    let native = measure(|| {
        let config = serde_json::from_str(black_box(CONFIG)).unwrap();
        black_box(PodPort::map(black_box(POD), config).unwrap());
    });

    let us = |time: Duration| (time.as_secs_f64() * 1e7).round() / 10.0;
    let result = serde_json::json!({
        "bench": "module-call", "unit": "us", "calls": CALLS,
        "wasm": {"p50": us(wasm.0), "p99": us(wasm.1)},
        "native": {"p50": us(native.0), "p99": us(native.1)},
        "ratio-p50": (wasm.0.as_secs_f64() / native.0.as_secs_f64() * 10.0).round() / 10.0,
        "load-ms": load.as_millis(),
    });
    println!("{result}");
}
