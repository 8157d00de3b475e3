//! What the host refuses, the native harness refuses: a wrong list is red before it is a module.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::panic::{UnwindSafe, catch_unwind};

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::values::{AddressSet, Selection};
use isthmus_sdk::testing::Cluster;

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: shop}}";

/// Makes the list that its config asks for, or refines a list to it.
struct Wrong;

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Fault {
    None,
    TwiceOneName,
    NoDnsLabel,
    NobodyOfThatName,
    Circle,
    OtherKind,
    SetOfServices,
    SetOfPods,
}

#[derive(serde::Deserialize)]
struct Config {
    fault: Fault,
}

impl Module for Wrong {
    type Config = Config;
    fn manifest() -> Manifest {
        Manifest::new("wrong", "0.1.0", "Lists that break a rule")
            .maps(Kind::core("Pod"), [])
            .refines(Kind::core("Pod"), [])
    }
}

fn list(fault: &Fault) -> Vec<Desired> {
    let port = || Port::new(existing("pods"));
    let group = |kind: &str| {
        let addresses = vec![AddressSet::from(Selection::new(Kind::core(kind), "app=web"))];
        vec![AddressGroup { addresses }.named("web")]
    };
    match fault {
        Fault::None => vec![port().named("port"), Vif::new("eth0", local("port")).named("eth0")],
        Fault::TwiceOneName => vec![port().named("port"), port().named("port")],
        Fault::NoDnsLabel => vec![port().named("Port 1")],
        Fault::NobodyOfThatName => vec![Vif::new("eth0", local("port")).named("eth0")],
        Fault::Circle => {
            vec![port().named("one").made_after(local("two")), port().named("two").made_after(local("one"))]
        }
        Fault::OtherKind => vec![Network::new().named("port"), Network::new().named("eth0")],
        Fault::SetOfServices => group("Service"),
        Fault::SetOfPods => group("Pod"),
    }
}

impl Mapper for Wrong {
    fn map(_: &str, config: Config) -> Result<Vec<Desired>, Outcome> {
        Ok(list(&config.fault))
    }
}

impl Refiner for Wrong {
    fn refine(_: &str, config: Config, _: Vec<Desired>) -> Result<Vec<Desired>, Outcome> {
        Ok(list(&config.fault))
    }
}

/// What the harness says of it; `None`: nothing.
fn said(call: impl FnOnce(&Cluster) -> Result<Vec<Desired>, Outcome> + UnwindSafe) -> Option<String> {
    let panicked = catch_unwind(move || call(&Cluster::from_yaml(POD).unwrap())).err()?;
    Some(panicked.downcast_ref::<String>().cloned().unwrap_or_else(|| "(no text)".into()))
}

#[test]
fn a_list_that_the_host_refuses_is_red() {
    let table = [
        ("none", None),
        ("twice-one-name", Some("two entries are named \"port\"")),
        ("no-dns-label", Some("\"Port 1\" is not a DNS label")),
        ("nobody-of-that-name", Some("\"eth0\" refers to \"port\", which is not in the list")),
        ("circle", Some("in a circle: one -> two -> one")),
        ("set-of-services", Some("it names a set of v1/Service, which the manifest does not name")),
        ("set-of-pods", None),
    ];
    for (fault, part) in table {
        let config = format!(r#"{{"fault": "{fault}"}}"#);
        let said = said(move |cluster| cluster.map::<Wrong>(&Kind::core("Pod"), "shop/web", &config));
        match part {
            None => assert_eq!(said, None, "{fault}"),
            Some(part) => assert!(said.as_deref().is_some_and(|s| s.contains(part)), "{fault}: {said:?}"),
        }
    }
}

#[test]
fn a_refiner_that_takes_away_or_turns_is_red() {
    for (fault, red) in
        [("none", false), ("nobody-of-that-name", true), ("other-kind", true), ("circle", true)]
    {
        let config = format!(r#"{{"fault": "{fault}"}}"#);
        let said = said(move |cluster| {
            cluster.refine::<Wrong>(&Kind::core("Pod"), "shop/web", &config, list(&Fault::None))
        });
        assert_eq!(said.is_some_and(|s| s.contains("the host refuses this list")), red, "{fault}");
    }
}

#[test]
fn a_set_that_a_refiner_was_given_is_the_mappers() {
    let pod = Kind::core("Pod");
    let config = r#"{"fault": "set-of-services"}"#;
    let given = || list(&Fault::SetOfServices);
    let kept = pod.clone();
    assert_eq!(said(move |cluster| cluster.refine::<Wrong>(&kept, "shop/web", config, given())), None);
    let added = said(move |cluster| cluster.refine::<Wrong>(&pod, "shop/web", config, vec![]));
    assert!(added.is_some_and(|said| said.contains("it names a set of v1/Service")));
}
