//! `docs/`: what needs neither cluster nor cloud works as it is written there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod snippets;

use std::collections::BTreeMap;
use std::path::Path;

use isthmus_cni::config::{NetworkConfig, SOCKET};
use isthmus_cni::input::Verb;
use isthmus_kubernetes::crd::PolicyModule;
use isthmus_node::install::Install;
use isthmus_openstack::{CloudConfig, Sources};
use serde_json::Value;

/// Parts of files, by words of theirs; each has a test that reads it.
const PARTS: [&str; 6] = [
    "v3applicationcredential",
    "policy.yaml of Neutron",
    "\"plugins\"",
    "\"vhostname\"",
    "load_balancer_providers:",
    "isthmus.dev/passthrough-port",
];
/// How many blocks of commands nobody runs, which say why. A new one is to be run.
const BY_HAND: [(&str, usize); 3] = [("../README.md", 7), ("module-author.md", 1), ("operator.md", 12)];

/// The only block `yaml` or `json` of a page with this word, and its place.
fn part(page: &str, word: &str) -> (String, String) {
    let mut found: Vec<_> =
        snippets::parts(page).into_iter().filter(|(_, text)| text.contains(word)).collect();
    assert_eq!(found.len(), 1, "docs/{page} and {word}: {found:?}");
    found.remove(0)
}

#[test]
fn every_block_is_run_or_read_or_says_why_not() {
    let mut by_hand: BTreeMap<String, usize> = BTreeMap::new();
    let docs = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")).unwrap();
    let pages = docs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for page in pages.chain(["../README.md".to_owned()]) {
        for fence in snippets::fences(&page) {
            let info: Vec<&str> = fence.info.iter().map(String::as_str).collect();
            match info.as_slice() {
                ["sh", "run" | "lab" | "real"]
                | ["sh", "run" | "lab" | "real", "fails"]
                | ["console", "run" | "lab"]
                | ["mermaid"] => {}
                ["sh", "by-hand", _, ..] => *by_hand.entry(page.clone()).or_default() += 1,
                ["yaml"] if fence.text().starts_with("apiVersion:") => {}
                ["yaml" | "json"] if PARTS.iter().any(|word| fence.text().contains(word)) => {}
                _ => panic!("docs/{page}:{}: no test runs or reads a block of {info:?}", fence.at),
            }
        }
    }
    assert_eq!(by_hand, BY_HAND.map(|(page, count)| (page.to_owned(), count)).into());
}

#[test]
fn the_commands_that_need_nothing_work() {
    let isthmus = Path::new(env!("CARGO_BIN_EXE_isthmus"));
    for page in ["../README.md", "module-author.md", "operator.md"] {
        if let Err(said) = snippets::follow(page, &["run"], isthmus, &snippets::modules(), &[]) {
            panic!("{said}");
        }
    }
}

#[test]
fn policy_modules_of_the_pages_are_whole() {
    let mut seen = 0;
    for page in ["module-author.md", "operator.md", "routes.md", "services.md"] {
        for (place, text) in snippets::objects(page) {
            let objects: Vec<Value> =
                serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
            for object in objects.into_iter().filter(|object| object["kind"] == "PolicyModule") {
                let module: PolicyModule =
                    serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{place}: {error}"));
                let known = serde_json::to_value(&module.spec).unwrap();
                let fields = object["spec"].as_object().unwrap();
                let unknown: Vec<&String> =
                    fields.keys().filter(|field| known.get(field.as_str()).is_none()).collect();
                assert!(unknown.is_empty(), "{place}: spec has no {unknown:?}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 6, "{seen} PolicyModules");
}

/// The cloud of a page's clouds.yaml, with what another page adds to its entry.
#[test]
fn the_clouds_yaml_of_the_pages_is_taken() {
    let (place, file) = part("operator.md", "v3applicationcredential");
    let (added_at, added) = part("services.md", "load_balancer_providers:");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clouds.yaml");
    let added: String = added.lines().map(|line| format!("    {line}\n")).collect();
    std::fs::write(&path, format!("{file}{added}")).unwrap();
    let variables = [("OS_CLIENT_CONFIG_FILE".to_owned(), path.display().to_string())].into();
    let loaded = CloudConfig::load(&Sources::new(variables, folder.path()), Some("isthmus"));
    let config = loaded.unwrap_or_else(|error| panic!("{place}, {added_at}: {error}"));
    let ovn = config.providers.first().unwrap();
    assert_eq!((ovn.name.as_str(), ovn.l7), ("ovn", Some(false)));
}

/// It is what the agent installs, and each plugin of it is understood in every version, as a runtime gives it.
#[test]
fn the_network_configuration_of_the_page_is_the_agents() {
    let (place, text) = part("operator.md", "\"plugins\"");
    let list: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("isthmus-cni");
    std::fs::write(&plugin, "").unwrap();
    let install = Install { plugin, bin: folder.path().join("bin"), conf: folder.path().to_owned() };
    install.put(Path::new(SOCKET)).unwrap();
    let installed = std::fs::read(folder.path().join("10-isthmus.conflist")).unwrap();
    assert_eq!(list, serde_json::from_slice::<Value>(&installed).unwrap(), "{place}");
    for version in list["cniVersions"].as_array().unwrap() {
        for plugin in list["plugins"].as_array().unwrap() {
            let mut plugin = plugin.clone();
            (plugin["cniVersion"], plugin["name"]) = (version.clone(), list["name"].clone());
            let input = plugin.to_string();
            let parsed = NetworkConfig::parse(input.as_bytes(), Verb::Add);
            let parsed = parsed.unwrap_or_else(|error| panic!("{place}: {input}: {error}"));
            assert_eq!((&*parsed.name, parsed.socket.as_path()), ("isthmus", Path::new(SOCKET)));
        }
    }
}

/// Neutron itself is not here: its rules are said once, for all three operations, and to the role that the page makes.
#[test]
fn the_policy_of_the_page_lets_one_role_bind_ports() {
    let (place, text) = part("operator.md", "policy.yaml of Neutron");
    let rules: BTreeMap<String, String> =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
    let names: Vec<&str> = rules.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["create_port:binding:host_id", "get_port:binding:host_id", "update_port:binding:host_id"]
    );
    let made = snippets::fences("operator.md").into_iter().flat_map(|fence| fence.lines);
    let role =
        made.into_iter().find_map(|line| Some(line.strip_prefix("openstack role create ")?.to_owned()));
    let own = format!("(role:{} and project_id:%(project_id)s)", role.unwrap());
    for (name, rule) in rules {
        let parts: Vec<&str> = rule.split(" or ").collect();
        assert_eq!(parts, ["rule:admin_only", "rule:service_api", &own], "{place}: {name}");
    }
}
