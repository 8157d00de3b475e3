//! What the host's work costs when one Pod changes in a set of ten thousand: told with `--nocapture`, and not judged, as a machine may
//! be slow. As released: `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --workspace --test set_cost -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a measurement")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_model::desired::{DesiredList, Entry};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::object::Gvk;
use isthmus_model::observed::{Observed, Target};
use isthmus_model::plan::{External, Input, Targets, conclude, plan};
use isthmus_model::record::{Record, Recorded};
use isthmus_model::selector::Labels;
use isthmus_model::sets::{Candidate, SetIndex, SetKey};
use isthmus_model::value::{AddressSource, Selection, Value};
use serde_json::json;

const PODS: u32 = 10_000;
const ROUNDS: u32 = 10;

fn address(at: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0001 + at).into()
}

fn put(sets: &mut SetIndex<u8>, kind: &Gvk, labels: &Labels, at: u32, there: bool) -> usize {
    let interfaces = [("eth0".to_owned(), address(at))];
    let object = Candidate {
        namespace: Some("shop"),
        labels,
        namespace_labels: None,
        text: "{}",
        interfaces: &interfaces,
    };
    sets.put(kind, &at.to_string().into(), there.then_some(object)).len()
}

fn group(shown: &[String]) -> Observed {
    let mark = Mark { cluster: "c".into(), subject: "s".into(), name: "peers".into() };
    let fields = BTreeMap::from([("addresses".to_owned(), json!(shown))]);
    Observed { mark: Some(mark), fields, ..Observed::of(Kind::AddressGroup, "group") }
}

/// Ten thousand Pods in a set that somebody uses.
fn whole(kind: &Gvk, labels: &Labels, key: &SetKey) -> SetIndex<u8> {
    let mut sets = SetIndex::default();
    sets.set(&1, BTreeSet::from([key.clone()]));
    for at in 0..PODS {
        assert_eq!(put(&mut sets, kind, labels, at, true), 1);
    }
    sets
}

/// An address group of a set, and what is recorded of it.
fn peers(selection: &Selection) -> (DesiredList, Record) {
    let value = Value::List(vec![Value::Late(AddressSource::AddressesOf(selection.clone()))]);
    let entry = Entry::new("peers", Kind::AddressGroup, BTreeMap::from([("addresses".to_owned(), value)]));
    let recorded = Recorded {
        kind: Kind::AddressGroup,
        id: Some("group".into()),
        hash: String::new(),
        fields: BTreeSet::from(["addresses".to_owned()]),
        references: Vec::new(),
        retain: false,
    };
    (DesiredList::new(vec![entry]).unwrap(), Record::from([("peers".to_owned(), recorded)]))
}

#[test]
fn one_of_ten_thousand_is_one_update() {
    let (kind, labels) = (Gvk::new("", "v1", "Pod"), Labels::default());
    let selection = Selection {
        kind: kind.clone(),
        namespaces: None,
        selector: String::new(),
        vif: None,
        ip_version: None,
        named_port: None,
    };
    let key = SetKey::new(&selection, Some(&Arc::from("shop")));
    let mut sets = whole(&kind, &labels, &key);
    let (desired, mut record) = peers(&selection);
    let shown: Vec<String> = (0..PODS).map(|at| format!("{}/32", address(at))).collect();
    let packed = serde_json::to_vec(&group(&shown)).unwrap();
    let mut spent: BTreeMap<&str, Duration> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut step =
            |name: &'static str, since: Instant| *spent.entry(name).or_default() += since.elapsed();
        let at = Instant::now();
        assert_eq!(put(&mut sets, &kind, &labels, PODS, round % 2 == 0), 1);
        step("1 put", at);
        let at = Instant::now();
        let mut external = External::default();
        external.sets.insert(selection.clone(), sets.addresses(&key).unwrap());
        step("2 addresses", at);
        let at = Instant::now();
        let group: Observed = serde_json::from_slice(&packed).unwrap();
        step("3 unpack what is observed, once", at);
        let observed = BTreeMap::from([("group".to_owned(), group)]);
        let none = BTreeSet::new();
        let at = Instant::now();
        let steps = plan(&Input {
            cluster: "c",
            subject: "s",
            project: None,
            desired: &desired,
            record: &record,
            observed: &observed,
            external: &external,
            held: &none,
            pinned: &none,
        });
        step("4 plan", at);
        assert_eq!(steps.operations.len(), usize::from(round % 2 == 0), "{steps:?}");
        let at = Instant::now();
        let local = BTreeMap::from([("peers".to_owned(), Target::of("group"))]);
        let targets = Targets { local, external };
        record = conclude(&desired, record, &targets, &BTreeSet::new());
        step("5 conclude", at);
    }
    for (name, spent) in spent {
        eprintln!("{name}: {:.3} ms", (spent / ROUNDS).as_secs_f64() * 1e3);
    }
}
