//! Whatever a runtime gives, the answer is a result or an error of the specification, and never a panic.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::BTreeMap;
use std::ffi::OsString;

use isthmus_cni::Code;
use isthmus_cni::run::run;
use proptest::prelude::*;
use serde_json::Value;

const NAMES: [&str; 5] = ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS"];
const FIELDS: [&str; 11] = [
    "cniVersion",
    "name",
    "socket",
    "timeoutSeconds",
    "dns",
    "ipam",
    "prevResult",
    "cni.dev/valid-attachments",
    "cni.dev/attachments",
    "runtimeConfig",
    "type",
];

/// What is nearly right, and anything.
fn variable(name: &'static str) -> impl Strategy<Value = Option<String>> {
    let right: &[&str] = match name {
        "CNI_COMMAND" => &["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"],
        "CNI_CONTAINERID" => &["c1"],
        "CNI_IFNAME" => &["eth0"],
        "CNI_NETNS" => &["/run/netns/x"],
        _ => &["K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web", "K8S_POD_NAME=a;K8S_POD_NAME=b", ";;="],
    };
    let right: Vec<String> = right.iter().map(|text| (*text).to_owned()).collect();
    prop_oneof![
        1 => Just(None),
        6 => proptest::sample::select(right).prop_map(Some),
        2 => any::<String>().prop_map(Some),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        proptest::sample::select(vec!["0.3.1", "0.4.0", "1.0.0", "1.1.0", "/nowhere", "eth0", "10.0.0.5/24"])
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let keys = vec![
            "interfaces",
            "ips",
            "routes",
            "dns",
            "address",
            "dst",
            "gw",
            "containerID",
            "ifname",
            "type",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(proptest::sample::select(keys), inner, 0..5).prop_map(|all| all
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    let fields = proptest::collection::btree_map(proptest::sample::select(FIELDS.to_vec()), value(), 0..8);
    let config = fields.prop_map(|fields| {
        let mut whole = serde_json::json!({"cniVersion": "1.1.0", "name": "pods", "socket": "/nowhere", "timeoutSeconds": 1});
        for (name, value) in fields {
            whole.as_object_mut().unwrap().insert(name.to_owned(), value);
        }
        // never the socket of a real agent
        if whole.get("socket").is_none_or(|s| s.as_str() != Some("/nowhere")) {
            whole.as_object_mut().unwrap().insert("socket".to_owned(), "/nowhere".into());
        }
        whole.to_string().into_bytes()
    });
    let config = config.boxed();
    let cut = (config.clone(), any::<prop::sample::Index>())
        .prop_map(|(bytes, at)| bytes.get(..at.index(bytes.len())).unwrap_or_default().to_vec());
    prop_oneof![4 => config, 1 => cut, 1 => any::<Vec<u8>>()]
}

/// More cases than usual; `PROPTEST_CASES=1000000` for a night of them.
fn many() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(4096), ..usual }
}

proptest! {
    #![proptest_config(many())]
    #[test]
    fn there_is_an_answer(values in NAMES.map(variable), input in input()) {
        let environment: BTreeMap<&str, OsString> =
            NAMES.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?.into()))).collect();
        match run(&|name| environment.get(name).cloned(), || Ok(input)) {
            Ok(None) => prop_assert!(false, "nobody was there to do anything"),
            Ok(Some(printed)) => prop_assert!(printed.get("supportedVersions").is_some(), "{printed}"),
            Err(error) => {
                let code = error.get("code").and_then(Value::as_u64).and_then(|code| u32::try_from(code).ok());
                prop_assert!(code.is_some_and(|code| Code::try_from(code).is_ok()), "{error}");
                prop_assert!(error.get("msg").and_then(Value::as_str).is_some_and(|msg| !msg.is_empty()), "{error}");
                prop_assert!(error.get("cniVersion").is_some_and(Value::is_string), "{error}");
            }
        }
    }
}
