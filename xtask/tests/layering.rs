//! Which crate may know which: section "Layout" of the design, held by `cargo metadata`. A new crate of ours has to be
//! added here, and so somebody has to decide where it belongs.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]
#![allow(dead_code, reason = "the module of sources has what the other test needs")]

mod rust;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use proc_macro2::{TokenStream, TokenTree};
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

/// What cargo knows, for every platform or for one.
fn metadata(platform: Option<&str>) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .args(platform.into_iter().flat_map(|p| ["--filter-platform", p]))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// The graph for every platform, or for one.
fn graph(platform: Option<&str>) -> Graph {
    let metadata = metadata(platform);
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

/// Where sources of ours are.
const SOURCES: [&str; 4] = ["host", "plugins", "tests", "xtask"];

/// Where the compiler is told to look away. Everything else is `forbid`den it, or `deny`ed where one file of the crate needs it.
const UNSAFE: [&str; 5] = [
    // an ioctl
    "host/node/src/netlink/offload.rs",
    // compiled code that we wrote ourselves is taken back
    "host/policy/src/cache.rs",
    // Wasmtime's own check of a function's types is done once, when the module is loaded
    "host/policy/src/call.rs",
    // what a guest exports is called with pointers; both are generated
    "plugins/sdk/src/bindings.rs",
    "plugins/sdk/src/guest.rs",
];

/// Whether an attribute lets unsafe code pass, be it over several lines, beside other lints, or under a condition.
fn lets_unsafe_pass(attribute: TokenStream) -> bool {
    let words = rust::words(attribute);
    let has = |word: &str| words.iter().any(|found| found == word);
    has("unsafe_code") && ["allow", "expect", "warn"].iter().any(|level| has(level))
}

#[test]
fn unsafe_code_is_where_it_was_decided() {
    let is_unsafe = |path: &String| rust::attributes(rust::tokens(path)).into_iter().any(lets_unsafe_pass);
    let found: Vec<String> = rust::files(&SOURCES).into_iter().filter(is_unsafe).collect();
    assert_eq!(found, UNSAFE);
}

/// Without one of these it would be allowed everywhere.
#[test]
fn every_crate_forbids_or_denies_unsafe_code() {
    for manifest in manifests() {
        let text = std::fs::read_to_string(&manifest).unwrap();
        let lints = text.split_once("\n[lints").map_or("", |(_, rest)| rest);
        let is_held =
            lints.starts_with("]\nworkspace = true\n") || lints.contains("\nunsafe_code = \"deny\"\n");
        assert!(is_held, "{}", manifest.display());
    }
}

/// The manifests of our crates.
fn manifests() -> Vec<PathBuf> {
    let metadata = metadata(None);
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().filter(|p| p["source"].is_null()).map(|p| text(p, "manifest_path").into()).collect()
}

/// Sources that a crate compiles in though they are another's: file -> what it takes. The crate that they are of knows nothing of it,
/// and neither does `cargo metadata`.
const TAKEN: [(&str, &str); 4] = [
    // what a list is judged by is the host's, and the records that it turns are generated anew for each side: see there
    ("plugins/sdk/src/lib.rs", "host/policy/src/convert/mod.rs"),
    // the commands of the documentation are run by both, on the lab and in one process
    ("tests/e2e/tests/lab/docs.rs", "host/cli/tests/snippets/mod.rs"),
    // variants of pod-port, which is a cdylib: nothing can depend on it
    ("tests/modules/faults/src/lib.rs", "plugins/pod-port/src/mapping.rs"),
    ("tests/modules/pod-port-next/src/lib.rs", "plugins/pod-port/src/mapping.rs"),
];

/// The folder of the crate that a file is of.
fn crate_of(file: &Path) -> &Path {
    file.ancestors().find(|folder| folder.join("Cargo.toml").is_file()).expect("a file is of a crate")
}

/// The file of `path = "..."`, an attribute of a module, or of `include!("...")`.
fn taken(tokens: TokenStream) -> Vec<String> {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let literal = |tree: Option<&TokenTree>| match tree {
        Some(TokenTree::Literal(literal)) => rust::text(&literal.to_string()),
        Some(TokenTree::Group(group)) => {
            group.stream().into_iter().next().and_then(|t| rust::text(&t.to_string()))
        }
        _ => None,
    };
    let is = |at: usize, word: &str| trees.get(at).is_some_and(|tree| tree.to_string() == word);
    let of_tree = |(at, tree): (usize, &TokenTree)| match tree {
        TokenTree::Ident(word) if word == "path" && is(at + 1, "=") => {
            literal(trees.get(at + 2)).into_iter().collect()
        }
        TokenTree::Ident(word) if word == "include" && is(at + 1, "!") => {
            literal(trees.get(at + 2)).into_iter().collect()
        }
        TokenTree::Group(group) => taken(group.stream()),
        _ => Vec::new(),
    };
    trees.iter().enumerate().flat_map(of_tree).collect()
}

#[test]
fn a_crate_compiles_in_no_source_of_another_but_these() {
    let root = rust::root().canonicalize().unwrap();
    let mut found = Vec::new();
    for file in rust::files(&SOURCES) {
        let from = root.join(&file);
        for path in taken(rust::tokens(&file)).into_iter().filter(|path| path.ends_with(".rs")) {
            // what is no file there is no path of a source
            let Ok(to) = from.parent().unwrap().join(path).canonicalize() else { continue };
            if crate_of(&from) != crate_of(&to) {
                found.push((file.clone(), to.strip_prefix(&root).unwrap().display().to_string()));
            }
        }
    }
    let listed = TAKEN.map(|(file, taken)| (file.to_owned(), taken.to_owned()));
    assert_eq!(found, listed);
}
