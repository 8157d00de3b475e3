//! What holds for all Namespaces.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use std::collections::BTreeMap;

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::networking::{Direction, Remote};
use isthmus_sdk::testing::Cluster;
use namespace_network::NamespaceNetwork;
use proptest::prelude::*;
use serde_json::{Value, json};

fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = prop::sample::select(vec![
        "isthmus.dev/network",
        "isthmus.dev/subnets",
        "isthmus.dev/make-subnets",
        "isthmus.dev/router",
        "isthmus.dev/security-groups",
        "isthmus.dev/isolation",
        "isthmus.dev/project",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec!["", "a", "a,b", "true", "open", "isolated", " , "]).prop_map(str::to_owned),
        ".{0,30}",
    ];
    prop::collection::btree_map(name.prop_map(str::to_owned), value, 0..5)
}

fn config() -> impl Strategy<Value = Value> {
    let isolation = prop::sample::select(vec!["open", "isolated"]);
    (any::<bool>(), any::<bool>(), any::<bool>(), isolation).prop_map(|(v4, v6, router, isolation)| {
        let mut config = json!({"isolation": isolation, "allow": [{"cidr": "10.0.0.0/24"}]});
        for (field, set) in [("ipv4", v4), ("ipv6", v6)] {
            if set {
                config[field] = json!({"subnetPool": field});
            }
        }
        if router {
            config["router"] = json!("r");
        }
        config
    })
}

/// An annotation that says something.
fn set<'a>(annotations: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    annotations.get(&format!("isthmus.dev/{name}")).map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// What can't be meant, or has no pool to be made of.
fn is_refused(annotations: &BTreeMap<String, String>, config: &Value) -> bool {
    let set = |name| set(annotations, name);
    let (named, makes) = (set("network").is_some(), set("make-subnets"));
    let subnets = set("subnets").is_some_and(|names| names.split(',').any(|name| !name.trim().is_empty()));
    let makes_any = !named || makes == Some("true");
    makes.is_some_and(|text| !["true", "false"].contains(&text))
        || set("isolation").is_some_and(|text| !["open", "isolated"].contains(&text))
        || set("project").is_some()
        || (subnets && makes_any)
        || (!named && makes == Some("true"))
        || (makes_any && config.get("ipv4").is_none() && config.get("ipv6").is_none())
}

proptest! {
    /// Whatever is written there: never a panic, and no list that the host refuses (the harness would panic).
    #[test]
    fn a_list_or_a_reason(annotations in annotations(), config in config()) {
        let object = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "a", "annotations": annotations}});
        let mut cluster = Cluster::default();
        cluster.add(object).unwrap();
        let kind = Kind::core("Namespace");
        let list = cluster.map::<NamespaceNetwork>(&kind, "a", &config.to_string());
        prop_assert_eq!(list.is_err(), is_refused(&annotations, &config), "{:?}", list);
        let Ok(list) = list else { return Ok(()) };
        let has = |name: &str| list.iter().any(|entry| entry.name == name);
        let named = set(&annotations, "network").is_some();
        prop_assert_eq!(has("network"), !named);
        for group in ["members", "ingress", "egress"] {
            prop_assert_eq!(has(group), !annotations.contains_key("isthmus.dev/security-groups"));
        }
        if !named {
            prop_assert_eq!(has("subnet-v4"), config.get("ipv4").is_some());
            prop_assert_eq!(has("subnet-v6"), config.get("ipv6").is_some());
        }
        prop_assert!(!has("router-v4") || has("subnet-v4"));
        prop_assert!(!has("router-v6") || has("subnet-v6"));
    }

    /// Of an isolated Namespace nothing lets in everybody.
    #[test]
    fn isolated_is_isolated(annotations in annotations(), config in config()) {
        let mut annotations = annotations;
        annotations.insert("isthmus.dev/isolation".into(), "isolated".into());
        let object = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "a", "annotations": annotations}});
        let mut cluster = Cluster::default();
        cluster.add(object).unwrap();
        let list = cluster.map::<NamespaceNetwork>(&Kind::core("Namespace"), "a", &config.to_string());
        let groups = list.iter().flatten().filter_map(|entry| match &entry.resource {
            Resource::SecurityGroup(group) => Some(group),
            _ => None,
        });
        for rule in groups.flat_map(|group| &group.rules) {
            prop_assert!(rule.direction == Direction::Egress || rule.remote != Remote::Any);
        }
    }
}
