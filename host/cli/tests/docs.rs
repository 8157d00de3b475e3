//! `docs/`: what needs neither cluster nor cloud works as it is written there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod snippets;

use std::path::Path;

use isthmus_kubernetes::crd::PolicyModule;
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
    for page in ["module-author.md", "operator.md"] {
        for (place, text) in snippets::objects(page) {
            let object: Value =
                serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
            if object["kind"] == "PolicyModule" {
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
    assert!(seen >= 2, "{seen} PolicyModules");
}
