//! The pages of `docs/` against what they are about: what a person looks for at night is there, and what is named there exists.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]
#![allow(dead_code, reason = "the module of sources has what the other test needs")]

mod rust;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rust::root;

/// The crates that conditions, Events and results come from.
const CRATES: [&str; 6] = ["model", "policy", "openstack", "kubernetes", "operator", "node"];
/// CamelCase in their sources that is no reason, by what it is instead.
const NO_REASONS: [(&str, &[&str]); 7] = [
    ("statuses of conditions", &["True", "False", "Unknown"]),
    (
        "kinds, and scopes of kinds",
        &[
            "CloudMapping",
            "CloudMappings",
            "Namespace",
            "Namespaced",
            "Node",
            "Pod",
            "PolicyModule",
            "PolicyModules",
            "Secret",
        ],
    ),
    ("types and actions of Events", &["Normal", "Warning", "Map", "Load", "Apply"]),
    ("what fields of others have", &["Always", "InternalIP"]),
    (
        "what Kubernetes and Neutron call errors of theirs, where we act on them",
        &[
            "AlreadyExists",
            "AddressGroupNotFound",
            "AddressesAlreadyExist",
            "AddressesNotFound",
            "AllowedAddressPairExhausted",
            "DuplicateSubPort",
            "ExternalIpAddressExhausted",
            "FloatingIPNotFound",
            "HTTPNotFound",
            "IpAddressGenerationFailure",
            "NetworkInUse",
            "NetworkNotFound",
            "NeutronError",
            "NoMoreIpAddresses",
            "PortNotFound",
            "RevisionNumberConstraintFailed",
            "SecurityGroupNotFound",
            "SubnetInUse",
            "SubnetNotFound",
            "TagResourceNotFound",
        ],
    ),
    ("tables of Open vSwitch", &["Bridge", "Interface", "Port"]),
    (
        "names of types, where they are written for debugging",
        &["Bundle", "Cloud", "Content", "Engine", "Gate", "Request", "SecretCreate", "Sources"],
    ),
];
const PAGES: [&str; 7] = [
    "README.md",
    "docs/operator.md",
    "docs/routes.md",
    "docs/services.md",
    "docs/module-author.md",
    "docs/architecture.md",
    "docs/contract.md",
];
/// Of a scenario, in the order of the columns that count them.
const STATES: [&str; 4] = ["shown", "in part", "not yet", "does not apply"];

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A source without its tests.
fn source(path: &str) -> String {
    read(path).split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// What stands between `open` and `close`, at each place.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| Some(rest.split_once(close)?.0)).collect()
}

/// Those that the page does not name, as code.
fn missing<'a>(page: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    names.into_iter().filter(|name| !page.contains(&format!("`{name}`"))).collect()
}

/// Words in CamelCase that the crates have as texts, by the files in which they are.
fn camel_case() -> BTreeMap<String, BTreeSet<String>> {
    let folders = CRATES.map(|name| format!("host/{name}/src"));
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for path in rust::files(&folders.each_ref().map(String::as_str)) {
        if path.ends_with("/tests.rs") || path.ends_with("_tests.rs") {
            continue;
        }
        let texts = rust::texts(rust::tokens(&path)).into_iter().filter(|text| {
            text.starts_with(|c: char| c.is_ascii_uppercase())
                && text.chars().skip(1).any(|c| c.is_ascii_lowercase())
                && text.chars().all(|c| c.is_ascii_alphabetic())
        });
        for text in texts {
            found.entry(text).or_default().insert(path.clone());
        }
    }
    found
}

/// Also one that comes to be in a file that nobody has thought of.
#[test]
fn every_reason_has_its_remedy() {
    let page = read("docs/operator.md");
    let mut reasons = camel_case();
    for name in NO_REASONS.iter().flat_map(|(_, names)| *names) {
        assert!(reasons.remove(*name).is_some(), "{name} is said to be no reason, and is nowhere");
    }
    assert!(reasons.len() > 50, "only {} reasons were found: {reasons:?}", reasons.len());
    reasons.retain(|name, _| !page.contains(&format!("`{name}`")));
    assert!(
        reasons.is_empty(),
        "docs/operator.md does not say what these mean and what to do, nor does NO_REASONS say that they are none: {reasons:#?}"
    );
}

#[test]
fn every_metric_is_told() {
    let page = read("docs/operator.md");
    let told = |path: &str, prefix: &str, open: &str| {
        let source = source(path).replace(|c: char| c.is_whitespace(), "");
        let names = between(&source, open, '"').into_iter().map(|name| format!("{prefix}_{name}"));
        let names: Vec<String> = names.collect();
        assert!(!names.is_empty(), "{path} registers nothing?");
        // A counter's name ends so where it is shown.
        let is_told =
            |name: &String| page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}_total`"));
        let missing: Vec<&String> = names.iter().filter(|name| !is_told(name)).collect();
        assert!(missing.is_empty(), "docs/operator.md lacks {missing:?}");
    };
    told("host/operator/src/metrics.rs", "isthmus", "r.register(\"");
    told("host/openstack/src/metrics.rs", "isthmus_openstack", "registry.register(\"");
    told("host/operator/src/metrics.rs", "isthmus", "encode_descriptor(\"isthmus_");
}

#[test]
fn every_option_of_the_operator_is_told() {
    let page = read("docs/operator.md");
    for (file, group, field) in
        [("args", "struct OperatorArgs {", "pub(crate) "), ("global", "struct Kube {", "pub ")]
    {
        let arguments = read(&format!("host/cli/src/{file}.rs"));
        let fields = arguments.split_once(group).unwrap().1.split_once("\n}").unwrap().0;
        let options: Vec<String> =
            between(fields, field, ':').iter().map(|f| format!("--{}", f.replace('_', "-"))).collect();
        assert!(!options.is_empty());
        let missing = missing(&page, options.iter().map(String::as_str));
        assert!(missing.is_empty(), "docs/operator.md lacks {missing:?}");
    }
}

#[test]
fn every_field_of_a_policy_module_is_told() {
    let source = source("host/kubernetes/src/crd/module.rs");
    let page = read("docs/operator.md");
    let camel = |name: &str| {
        let mut words = name.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        words.fold(first, |all, word| all + &word[..1].to_uppercase() + &word[1..])
    };
    for (of, before) in [
        ("PolicyModuleSpec", ""),
        ("ModuleSource", "source."),
        ("Limits", "limits."),
        ("Rollout", "rollout."),
    ] {
        let fields =
            source.split_once(&format!("pub struct {of} {{")).unwrap().1.split_once("\n}").unwrap().0;
        // `pub name: Type`; those that are groups themselves are told by their fields.
        let lines = fields.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'));
        let leaves = lines.filter(|(_, of)| !["ModuleSource,", "Limits,", "Rollout,"].contains(&of.trim()));
        let names: Vec<String> = leaves
            .map(|(name, _)| format!("{before}{}", camel(name).replace("Mib", "MiB").replace("Kib", "KiB")))
            .collect();
        assert!(names.len() > 1, "{of}");
        let missing = missing(&page, names.iter().map(String::as_str));
        assert!(missing.is_empty(), "docs/operator.md lacks {missing:?} of a PolicyModule's spec");
    }
}

#[test]
fn every_test_and_file_that_is_named_exists() {
    for (page, least) in [("docs/architecture.md", 40), ("tests/SCENARIOS.md", 150)] {
        let text = read(page);
        let named: Vec<&str> =
            text.split('`').skip(1).step_by(2).filter(|code| code.contains(".rs")).collect();
        assert!(named.len() > least, "{page}: {} are named", named.len());
        for code in named {
            let (file, test) = code.split_once("::").unwrap_or((code, ""));
            assert!(root().join(file).is_file(), "{page} names {file}, which is not there");
            assert!(
                test.is_empty() || read(file).contains(&format!("fn {test}(")),
                "{page} names the test {code}, which is not there"
            );
        }
    }
}

#[test]
fn scenarios_are_counted() {
    let page = read("tests/SCENARIOS.md");
    for of in ["T", "X", "W"] {
        let is_row = |line: &&str| {
            let number = line.strip_prefix("| ").and_then(|line| line.strip_prefix(of));
            number.is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
        };
        // `| T01 | scenario | state | level | tests |`
        let rows: Vec<Vec<&str>> =
            page.lines().filter(is_row).map(|line| line.split('|').map(str::trim).collect()).collect();
        for row in &rows {
            assert!(row.len() == 7 && STATES.contains(&row[3]), "what is the state of {row:?}?");
            let shown = ["shown", "in part"].contains(&row[3]);
            assert!(!shown || row[5].contains(".rs::"), "{}: which test shows it?", row[1]);
            assert!(row[3] != "in part" || row[5].contains("Lacks: "), "{}: what is missing?", row[1]);
        }
        let counts = STATES.map(|state| rows.iter().filter(|row| row[3] == state).count().to_string());
        let counted = format!("| {of} | {} | {} |", counts.join(" | "), rows.len());
        assert!(page.contains(&counted), "tests/SCENARIOS.md does not count as its rows do: {counted}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    // As GitHub makes anchors of headings.
    let anchors = |text: &str| -> BTreeSet<String> {
        let mut fenced = false;
        let headings = text.lines().filter(|line| {
            fenced ^= line.starts_with("```");
            !fenced && line.starts_with('#')
        });
        let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
        headings
            .map(|line| {
                line.trim_start_matches('#')
                    .trim()
                    .to_lowercase()
                    .chars()
                    .filter(kept)
                    .collect::<String>()
                    .replace(' ', "-")
            })
            .collect()
    };
    for page in PAGES {
        let text = read(page);
        for link in between(&text, "](", ')').into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                root().join(page)
            } else {
                root().join(page).parent().unwrap().join(file)
            };
            assert!(target.exists(), "{page} links to {link}, which is not there");
            let found = anchor.is_empty() || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
            assert!(found, "{page} links to {link}: there is no such heading");
        }
    }
}
