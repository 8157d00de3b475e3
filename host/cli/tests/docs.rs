//! `docs/`: what needs neither cluster nor cloud works as it is written there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod snippets;

use std::path::Path;

use isthmus_kubernetes::crd::PolicyModule;
use isthmus_openstack::{CloudConfig, Sources};
use serde_json::Value;

#[test]
fn the_commands_that_need_nothing_work() {
    let isthmus = Path::new(env!("CARGO_BIN_EXE_isthmus"));
    for page in ["module-author.md", "operator.md"] {
        if let Err(said) = snippets::follow(page, &["run"], isthmus, &snippets::modules()) {
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
    let one = |page: &str, word: &str| {
        let found = snippets::parts(page).into_iter().find(|(_, text)| text.contains(word));
        found.unwrap_or_else(|| panic!("docs/{page} has no {word}"))
    };
    let (place, file) = one("operator.md", "v3applicationcredential");
    let (added_at, added) = one("services.md", "load_balancer_providers:");
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
