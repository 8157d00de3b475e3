//! Which crate may know which: section "Layout" of the design, held by `cargo metadata`. A new crate of ours has to be
//! added here, and so somebody has to decide where it belongs.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Crate -> the crates of ours that it may depend on; guests aside.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("isthmus-model", &[]),
    ("isthmus-policy", &["isthmus-model"]),
    ("isthmus-openstack", &["isthmus-model"]),
    ("isthmus-kubernetes", &["isthmus-model"]),
    ("isthmus-operator", &["isthmus-model", "isthmus-policy", "isthmus-openstack", "isthmus-kubernetes"]),
    // a shim, and the protocol that it speaks with the agent
    ("isthmus-cni", &[]),
    // no cloud client, no modules: a node has no credential and maps nothing
    ("isthmus-node", &["isthmus-cni", "isthmus-model", "isthmus-kubernetes"]),
    ("isthmus-node-tests", &["isthmus-cni", "isthmus-node", "isthmus-kubernetes"]),
    ("isthmus-world", &["isthmus-model", "isthmus-openstack", "isthmus-kubernetes", "isthmus-operator"]),
    (
        "isthmus",
        &[
            "isthmus-model",
            "isthmus-policy",
            "isthmus-openstack",
            "isthmus-kubernetes",
            "isthmus-operator",
            "isthmus-cni",
            "isthmus-node",
            "isthmus-world",
        ],
    ),
    // natively, for the test harness of guest authors; in Wasm nothing: see below
    ("isthmus-sdk", &["isthmus-model"]),
    ("isthmus-conformance", &["isthmus-world"]),
    ("isthmus-e2e", &["isthmus-model", "isthmus-openstack", "isthmus-kubernetes"]),
    // what tests hold ours against: it must not share an error with it
    ("isthmus-judge", &[]),
    (
        "isthmus-bench",
        &["isthmus-kubernetes", "isthmus-node", "isthmus-node-tests", "isthmus-openstack", "isthmus-world"],
    ),
    ("xtask", &[]),
];

/// What a guest may know. A guest is a member with a cdylib target.
const GUEST_MAY_KNOW: &[&str] = &["isthmus-sdk"];

/// Crates of others that would bring IO, a clock or a runtime into a pure crate.
const IMPURE: &[&str] = &["tokio", "reqwest", "hyper", "kube", "wasmtime", "futures", "axum", "rustls"];

/// Name -> names of what it depends on directly (dev-dependencies left out), of every package in the graph.
struct Graph {
    members: BTreeSet<String>,
    guests: BTreeSet<String>,
    normal: BTreeMap<String, BTreeSet<String>>,
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("cargo metadata has no {field} in {value}"))
}

/// The graph for every platform, or for one.
fn graph(platform: Option<&str>) -> Graph {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .args(platform.into_iter().flat_map(|p| ["--filter-platform", p]))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let names: BTreeMap<String, String> = list(&metadata["packages"])
        .iter()
        .map(|p| (text(p, "id").to_owned(), text(p, "name").to_owned()))
        .collect();
    let members =
        list(&metadata["workspace_members"]).iter().map(|id| names[id.as_str().unwrap()].clone()).collect();
    let mut normal = BTreeMap::<String, BTreeSet<String>>::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let known = normal.entry(names[text(&node, "id")].clone()).or_default();
        for dependency in list(&node["deps"]) {
            // kind null: a normal dependency
            if list(&dependency["dep_kinds"]).iter().any(|k| k["kind"].is_null()) {
                known.insert(names[text(&dependency, "pkg")].clone());
            }
        }
    }
    let guests = list(&metadata["packages"])
        .iter()
        .filter(|p| p["source"].is_null() && p["targets"].to_string().contains("\"cdylib\""))
        .map(|p| text(p, "name").to_owned())
        .collect();
    Graph { members, guests, normal }
}

impl Graph {
    /// Everything that a crate pulls in, directly or not.
    fn reach(&self, from: &str) -> BTreeSet<&str> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(name) = open.pop() {
            for next in self.normal.get(name).into_iter().flatten() {
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        seen
    }
}

#[test]
fn a_crate_knows_only_those_below_it() {
    let graph = graph(None);
    let allowed: BTreeMap<&str, &[&str]> = MAY_KNOW.iter().copied().collect();
    for member in &graph.members {
        let may =
            if graph.guests.contains(member) { Some(&GUEST_MAY_KNOW) } else { allowed.get(member.as_str()) };
        let may = may.unwrap_or_else(|| {
            panic!("{member} is not in the table of this test: decide which crates it may know, as the design's layout says")
        });
        for known in graph.normal[member].intersection(&graph.members) {
            assert!(may.contains(&known.as_str()), "{member} must not know {known}");
        }
    }
}

#[test]
fn the_table_names_no_crate_that_is_gone() {
    let members = graph(None).members;
    for (name, may) in MAY_KNOW {
        for name in [name].into_iter().chain(*may) {
            assert!(members.contains(*name), "{name} is in the table but not in the workspace");
        }
    }
}

#[test]
fn the_pure_crates_bring_in_no_io() {
    let graph = graph(None);
    for pure in ["isthmus-model", "isthmus-sdk"] {
        let reach = graph.reach(pure);
        for impure in IMPURE {
            assert!(!reach.contains(impure), "{pure} must stay pure, but brings in {impure}");
        }
    }
}

/// It is started twice for each Pod: it has to be small, and there at once.
#[test]
fn the_plugin_brings_in_no_runtime_and_no_command_line() {
    let graph = graph(None);
    let reach = graph.reach("isthmus-cni");
    for heavy in IMPURE.iter().chain(&["clap", "anyhow", "tracing", "k8s-openapi"]) {
        assert!(!reach.contains(heavy), "isthmus-cni must stay small, but brings in {heavy}");
    }
}

#[test]
fn only_the_policy_crate_and_those_above_it_know_wasmtime() {
    let graph = graph(None);
    for member in &graph.members {
        let above = member == "isthmus-policy" || graph.reach(member).contains("isthmus-policy");
        assert!(above || !graph.reach(member).contains("wasmtime"), "{member} must not bring in wasmtime");
    }
}

#[test]
fn in_wasm_a_guest_knows_only_the_sdk() {
    let graph = graph(Some("wasm32-unknown-unknown"));
    for guest in &graph.guests {
        let reach = graph.reach(guest);
        for member in &graph.members {
            assert!(
                GUEST_MAY_KNOW.contains(&member.as_str()) || !reach.contains(member.as_str()),
                "{guest} must not bring {member} into its module"
            );
        }
    }
}

/// Where the compiler is told to look away. Everything else is `forbid`den it, or `deny`ed where one file of the crate needs it.
const UNSAFE: [&str; 4] = [
    // an ioctl
    "host/node/src/netlink/offload.rs",
    // Wasmtime's own check of a function's types is done once, when the module is loaded
    "host/policy/src/call.rs",
    // what a guest exports is called with pointers; both are generated
    "plugins/sdk/src/bindings.rs",
    "plugins/sdk/src/guest.rs",
];

#[test]
fn unsafe_code_is_where_it_was_decided() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let (mut open, mut found) =
        (["host", "plugins", "tests", "xtask"].map(|d| root.join(d)).to_vec(), Vec::new());
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let mut lines = text.lines().map(|line| line.trim_start().replacen("#!", "#", 1));
                if lines.any(|line| {
                    ["#[allow(unsafe_code", "#[expect(unsafe_code"].iter().any(|a| line.starts_with(a))
                }) {
                    found.push(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
    }
    found.sort();
    assert_eq!(found, UNSAFE);
}
