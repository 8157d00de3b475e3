//! Floating IPs in plans: a VIP stands for its port, and one that is somebody else's is lent by the record.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panics")]

use std::collections::{BTreeMap, BTreeSet};

use isthmus_model::desired::{DesiredList, Entry, Removal};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::{Observed, Target};
use isthmus_model::plan::{Act, External, Input, Plan, Targets, plan, resolve};
use isthmus_model::record::{Record, Recorded, RecordedReference};
use isthmus_model::value::{Fields, Reference, Value};
use serde_json::{Value as Json, json};

fn observed(id: &str, kind: Kind, name: &str, fields: Json) -> (String, Observed) {
    let mark = Some(Mark { cluster: "c".into(), subject: "s".into(), name: name.into() });
    let fields = fields.as_object().unwrap().clone().into_iter().collect();
    (id.into(), Observed { mark, fields, ..Observed::of(kind, id) })
}

fn balancer(id: &str, port: &str) -> (String, Observed) {
    let vip = json!({"port": port, "fixed_ip": {"subnet": "sub", "address": "10.0.0.9"}});
    observed(id, Kind::LoadBalancer, "lb", json!({"vip": vip, "provider": "ovn"}))
}

fn floating(target: Json) -> (String, Observed) {
    observed("f", Kind::FloatingIp, "floating", json!({"network": "public", "target": target}))
}

fn associated(floating_ip: &str, port: &str) -> (String, Observed) {
    let fields = json!({"floating_ip": floating_ip, "target": {"port": port}});
    observed(&format!("{floating_ip}/{port}"), Kind::FloatingIpAssociation, "lent", fields)
}

fn existing(text: &str) -> Value {
    Value::Ref(Reference::Existing(text.into()))
}

fn at_vip() -> Value {
    Value::Map([("vip".to_owned(), Value::Ref(Reference::Local("lb".into())))].into())
}

fn entry(name: &str, kind: Kind, fields: &[(&str, Value)]) -> Entry {
    let fields: Fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Entry::new(name, kind, fields)
}

fn lb() -> Entry {
    let fixed = Value::Map([("subnet".to_owned(), existing("sub"))].into());
    let vip = Value::Map([("fixed_ip".to_owned(), fixed)].into());
    entry("lb", Kind::LoadBalancer, &[("vip", vip), ("provider", "ovn".into())])
}

fn own() -> Entry {
    entry("floating", Kind::FloatingIp, &[("network", existing("public")), ("target", at_vip())])
}

fn lent(address: &str) -> Entry {
    let fields = [("floating_ip", existing(address)), ("target", at_vip())];
    entry("lent", Kind::FloatingIpAssociation, &fields)
}

/// What leads to the load balancer is recorded with it.
fn recorded(kind: Kind, id: &str) -> Recorded {
    let lb = RecordedReference { reference: Reference::Local("lb".into()), id: "l".into() };
    let references = if kind == Kind::LoadBalancer { Vec::new() } else { vec![lb] };
    let (hash, fields) = (String::new(), BTreeSet::new());
    Recorded { kind, id: Some(id.into()), hash, fields, references, retain: false }
}

fn record(all: &[(&str, Kind, &str)]) -> Record {
    all.iter().map(|(name, kind, id)| ((*name).to_owned(), recorded(*kind, id))).collect()
}

fn planned<const N: usize>(desired: Vec<Entry>, record: &Record, cloud: [(String, Observed); N]) -> Plan {
    let names = [
        ("subnet", "sub"),
        ("network", "public"),
        ("floating_ip", "u1"),
        ("floating_ip", "u2"),
        ("floating_ip", "f"),
    ];
    let target =
        |(field, id): (&str, &str)| ((field.to_owned(), Reference::Existing(id.into())), Target::of(id));
    let external: External = names.into_iter().map(target).collect();
    let (observed, none) = (BTreeMap::from(cloud), BTreeSet::new());
    plan(&Input {
        cluster: "c",
        subject: "s",
        project: None,
        desired: &DesiredList::new(desired).unwrap(),
        record,
        observed: &observed,
        external: &external,
        held: &none,
        pinned: &none,
    })
}

/// The operations, each after those that it waits for.
fn acts(plan: &Plan) -> Vec<String> {
    let told = |act: &Act| match act {
        Act::Create => "create".to_owned(),
        Act::Update { id, fields } => format!("update {id:?} {fields:?}"),
        Act::Delete { id, .. } => format!("delete {id}"),
        other => format!("{other:?}"),
    };
    for (at, operation) in plan.operations.iter().enumerate() {
        assert!(operation.after.iter().all(|before| *before < at), "{plan:?}");
    }
    plan.operations.iter().map(|o| format!("{}: {}", o.name, told(&o.act))).collect()
}

/// Whether the first waits for the second.
fn waits(plan: &Plan, first: &str, second: &str) -> bool {
    let at = |act: &str| acts(plan).iter().position(|a| a == act).unwrap();
    plan.operations[at(first)].after.contains(&at(second))
}

const LB: (&str, Kind, &str) = ("lb", Kind::LoadBalancer, "l");
const OWN: (&str, Kind, &str) = ("floating", Kind::FloatingIp, "f");
const LENT: (&str, Kind, &str) = ("lent", Kind::FloatingIpAssociation, "u1/p");

#[test]
fn a_vip_stands_for_its_port() {
    let (_, found) = balancer("l", "p");
    let local = BTreeMap::from([("lb".to_owned(), found.target())]);
    let targets = Targets { local, ..Targets::default() };
    assert_eq!(resolve("target", &at_vip(), &targets), Ok(json!({"port": "p"})));
    let unknown = Targets { local: [("lb".to_owned(), Target::of("l"))].into(), ..Targets::default() };
    assert!(resolve("target", &at_vip(), &unknown).is_err(), "it has no port yet");
}

#[test]
fn what_leads_to_the_vip_rests_and_follows_it() {
    let (wanted, known) = (|| vec![lb(), own()], record(&[LB, OWN]));
    let resting = planned(wanted(), &known, [balancer("l", "p"), floating(json!({"port": "p"}))]);
    assert!(resting.is_empty(), "{resting:?}");
    // Somebody led it elsewhere; the load balancer was built anew, with another port.
    for at in [json!({"port": "q"}), json!({"unattached": true})] {
        let plan = planned(wanted(), &known, [balancer("l", "p"), floating(at)]);
        assert_eq!(acts(&plan), [r#"floating: update Some("f") {"target"}"#]);
    }
    let plan = planned(wanted(), &known, [floating(json!({"port": "p"}))]);
    let update = r#"floating: update Some("f") {"target"}"#;
    assert_eq!(acts(&plan), ["lb: create", update]);
    assert!(waits(&plan, update, "lb: create"));
}

#[test]
fn what_is_lent_rests_follows_and_is_given_back() {
    let (wanted, known) = (|| vec![lb(), lent("u1")], record(&[LB, LENT]));
    let resting = planned(wanted(), &known, [balancer("l", "p"), associated("u1", "p")]);
    assert!(resting.is_empty(), "{resting:?}");
    // Built anew: before Neutron has said that the old port is gone, and after.
    let plan = planned(wanted(), &known, [associated("u1", "p")]);
    assert_eq!(plan.operations.len(), 3, "{plan:?}");
    assert!(waits(&plan, "lent: create", "lb: create") && waits(&plan, "lent: create", "lent: delete u1/p"));
    let plan = planned(wanted(), &known, []);
    assert_eq!(acts(&plan), ["lb: create", "lent: create"]);
    // Another one: a port has one at a time.
    let plan = planned(vec![lb(), lent("u2")], &known, [balancer("l", "p"), associated("u1", "p")]);
    assert_eq!(acts(&plan), ["lent: delete u1/p", "lent: create"]);
    assert!(waits(&plan, "lent: create", "lent: delete u1/p"));
    let plan = planned(vec![], &known, [balancer("l", "p"), associated("u1", "p")]);
    assert_eq!(acts(&plan), ["lent: delete u1/p", "lb: delete l"]);
}

#[test]
fn the_one_that_goes_makes_way() {
    let cloud = || [balancer("l", "p"), floating(json!({"port": "p"}))];
    let plan = planned(vec![lb(), lent("u1")], &record(&[LB, OWN]), cloud());
    assert!(waits(&plan, "lent: create", "floating: delete f"), "{plan:?}");
    let plan = planned(vec![lb(), own()], &record(&[LB, LENT]), [balancer("l", "p"), associated("u1", "p")]);
    assert!(waits(&plan, "floating: create", "lent: delete u1/p"), "{plan:?}");
}

#[test]
fn what_no_record_names_is_not_ours() {
    let mut stranger = associated("u2", "p");
    stranger.1.mark = None;
    let plan = planned(vec![lb()], &record(&[LB]), [balancer("l", "p"), stranger]);
    assert!(plan.is_empty(), "{plan:?}");
}

/// Who asks for the address that a Service has keeps it, and it is theirs from then on.
#[test]
fn ones_own_floating_ip_that_is_asked_for_by_its_address_is_not_released() {
    let asked_for = |address| {
        let cloud = [balancer("l", "p"), floating(json!({"port": "p"}))];
        acts(&planned(vec![lb(), lent(address)], &record(&[LB, OWN]), cloud))
    };
    assert_eq!(asked_for("f"), [r#"floating: Retain { id: "f" }"#, "lent: create"]);
    assert_eq!(asked_for("u1"), ["floating: delete f", "lent: create"]);
}

#[test]
fn an_association_is_of_somebody_elses_and_has_nothing_of_its_own() {
    let refused = |spoil: &dyn Fn(&mut Entry)| {
        let mut entry = lent("u1");
        spoil(&mut entry);
        DesiredList::new(vec![lb(), own(), entry]).unwrap_err().to_string()
    };
    let nowhere = Value::Map([("unattached".to_owned(), true.into())].into());
    let text = refused(&|e| drop(e.fields.insert("target".into(), nowhere.clone())));
    assert!(text.contains("leave the entry out"), "{text}");
    let ours = Value::Ref(Reference::Local("floating".into()));
    let text = refused(&|e| drop(e.fields.insert("floating_ip".into(), ours.clone())));
    assert!(text.contains("a field of its own"), "{text}");
    assert!(refused(&|e| e.tags = ["a".to_owned()].into()).contains("neither tags"));
    assert!(refused(&|e| e.on_removal = Removal::Retain).contains("`on-removal`"));
}
