//! Certificates in plans: renewed without a gap, attached by value, and never twice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panics")]

use std::collections::{BTreeMap, BTreeSet};

use isthmus_model::desired::{DesiredList, Entry};
use isthmus_model::kinds::Kind;
use isthmus_model::mark::Mark;
use isthmus_model::observed::{Observed, Target};
use isthmus_model::plan::{Act, External, Input, Plan, plan};
use isthmus_model::record::{Record, Recorded, RecordedReference};
use isthmus_model::value::{Fields, Reference, Value};

fn observed(id: &str, kind: Kind, marked: &str, fields: &[(&str, &str)]) -> (String, Observed) {
    let mark = Some(Mark { cluster: "c".into(), subject: "s".into(), name: marked.into() });
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    (id.into(), Observed { mark, fields, ..Observed::of(kind, id) })
}

/// As a secret and as a part of a listener: its mark names the certificate, not the attachment.
fn secret(id: &str, content: &str) -> (String, Observed) {
    observed(id, Kind::Certificate, "certificate", &[("content", content)])
}

fn attached(secret: &str) -> (String, Observed) {
    let fields = [("listener", "l"), ("certificate", secret)];
    observed(&format!("l/{secret}"), Kind::ListenerCertificate, "certificate", &fields)
}

fn desired(content: &str) -> DesiredList {
    let certificate =
        Entry::new("certificate", Kind::Certificate, [("content".into(), content.into())].into());
    let fields: Fields = [
        ("listener".to_owned(), Value::Ref(Reference::Existing("listener".into()))),
        ("certificate".to_owned(), Value::Ref(Reference::Local("certificate".into()))),
    ]
    .into();
    DesiredList::new(vec![Entry::new("sni", Kind::ListenerCertificate, fields), certificate]).unwrap()
}

fn recorded(kind: Kind, id: &str, references: &[(&str, &str)]) -> Recorded {
    let reference = |(name, id): &(&str, &str)| RecordedReference {
        reference: Reference::Local((*name).into()),
        id: (*id).into(),
    };
    let references = references.iter().map(reference).collect();
    let (hash, fields, retain) = (String::new(), BTreeSet::new(), false);
    Recorded { kind, id: Some(id.into()), hash, fields, references, retain }
}

fn record(secret: &str) -> Record {
    let sni = recorded(Kind::ListenerCertificate, &format!("l/{secret}"), &[("certificate", secret)]);
    [("certificate".into(), recorded(Kind::Certificate, secret, &[])), ("sni".into(), sni)].into()
}

fn planned<const N: usize>(desired: &DesiredList, record: &Record, cloud: [(String, Observed); N]) -> Plan {
    let target = Target::of("l");
    let external: External =
        [(("listener".to_owned(), Reference::Existing("listener".into())), target)].into_iter().collect();
    let (observed, none) = (BTreeMap::from(cloud), BTreeSet::new());
    let (external, held, pinned) = (&external, &none, &none);
    let observed = &observed;
    plan(&Input {
        cluster: "c",
        subject: "s",
        project: None,
        desired,
        record,
        observed,
        external,
        held,
        pinned,
    })
}

/// The operations, in an order in which they can be done.
fn acts(plan: &Plan) -> Vec<String> {
    for (at, operation) in plan.operations.iter().enumerate() {
        assert!(operation.after.iter().all(|before| *before < at), "{plan:?}");
    }
    let told = |act: &Act| match act {
        Act::Create => "create".to_owned(),
        Act::Adopt { id } => format!("adopt {id}"),
        Act::Update { id, fields } => format!("update {id:?} {fields:?}"),
        Act::Delete { id, .. } => format!("delete {id}"),
        other => format!("{other:?}"),
    };
    plan.operations.iter().map(|o| format!("{}: {}", o.name, told(&o.act))).collect()
}

#[test]
fn a_renewed_certificate_takes_the_place_of_the_old_one_in_one_write() {
    let plan = planned(&desired("new"), &record("old"), [secret("old", "old"), attached("old")]);
    let expected =
        ["certificate: create", r#"sni: update Some("l/old") {"certificate"}"#, "certificate: delete old"];
    assert_eq!(acts(&plan), expected);
    assert!(plan.operations[2].after.contains(&1), "the listener first: {plan:?}");
    assert!(plan.operations[1].after.contains(&0));
}

#[test]
fn what_was_made_before_a_crash_is_taken_up() {
    // Before anything was recorded.
    let all = [secret("one", "new"), attached("one")];
    let plan = planned(&desired("new"), &Record::new(), all);
    assert_eq!(acts(&plan), ["certificate: adopt one", "sni: adopt l/one"]);
    // In the middle of a renewal: the new secret is there, and the listener has the old one or the new one.
    let all = [secret("old", "old"), secret("two", "new"), attached("old")];
    let plan = planned(&desired("new"), &record("old"), all);
    let expected =
        ["certificate: adopt two", r#"sni: update Some("l/old") {"certificate"}"#, "certificate: delete old"];
    assert_eq!(acts(&plan), expected);
    let all = [secret("old", "old"), secret("two", "new"), attached("two")];
    let plan = planned(&desired("new"), &record("old"), all);
    let expected = ["certificate: adopt two", "sni: adopt l/two", "certificate: delete old"];
    assert_eq!(acts(&plan), expected);
}

#[test]
fn what_is_attached_goes_before_its_certificate() {
    for record in [record("one"), Record::new()] {
        let plan = planned(&DesiredList::default(), &record, [secret("one", "x"), attached("one")]);
        let (sni, certificate) = (&plan.operations[0], &plan.operations[1]);
        assert_eq!((sni.kind, certificate.kind), (Kind::ListenerCertificate, Kind::Certificate));
        assert!(certificate.after.contains(&0), "{plan:?}");
        let name = if record.is_empty() { "certificate" } else { "sni" };
        assert_eq!(sni.name, name);
    }
}

#[test]
fn nothing_is_done_twice() {
    let all = || [secret("one", "x"), attached("one")];
    assert!(planned(&desired("x"), &record("one"), all()).is_empty());
    // Somebody took it off the listener.
    let plan = planned(&desired("x"), &record("one"), [secret("one", "x")]);
    assert_eq!(acts(&plan), ["sni: create"]);
}

/// A secret has its mark for good: under another name of its entry it is made anew.
#[test]
fn a_renamed_certificate_is_another_one() {
    let certificate = |name: &str| {
        DesiredList::new(vec![Entry::new(name, Kind::Certificate, [("content".into(), "x".into())].into())])
            .unwrap()
    };
    let record = Record::from([("certificate".into(), recorded(Kind::Certificate, "one", &[]))]);
    let plan = planned(&certificate("other"), &record, [secret("one", "x")]);
    assert_eq!(acts(&plan), ["other: create", "certificate: delete one"]);
}

#[test]
fn a_content_that_is_not_known_leaves_everything_as_it_is() {
    let mut entries = desired("x").entries().to_vec();
    let unread = Value::Ref(Reference::Existing("Secret shop/web".into()));
    entries.iter_mut().filter(|e| e.name == "certificate").for_each(|e| {
        e.fields.insert("content".into(), unread.clone());
    });
    let plan =
        planned(&DesiredList::new(entries).unwrap(), &record("one"), [secret("one", "x"), attached("one")]);
    assert_eq!((plan.operations.len(), plan.blocked.len()), (0, 1), "{plan:?}");
}
