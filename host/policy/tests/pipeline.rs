//! Good modules: what they map, what was read, and in which order stages run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::sync::Arc;

use common::{CONFIG, Shop, component, engine, fault, faults, pod, pod_port, run, stage, tag_by_team};
use isthmus_model::kinds::Kind;
use isthmus_model::object::{Gvk, ObjectKey};
use isthmus_model::outcome::Outcome;
use isthmus_model::selector::Selector;
use isthmus_model::snapshot::{CloudFacts, Read, Snapshot};
use isthmus_model::value::{Reference, Value};
use isthmus_policy::{Mapped, Operation, Pipeline, PipelineError, Realized, RealizedState, Stop, World};

#[test]
fn a_pod_is_mapped() {
    let pipeline = Pipeline::new(stage("ports", pod_port(), CONFIG), vec![]).unwrap();
    let mapped = run(&pipeline);
    let list = mapped.result.unwrap();
    let port = list.get("port").unwrap();
    assert_eq!(port.kind, Kind::Port);
    assert_eq!(port.fields["network"], Value::Ref(Reference::Existing("pods".into())));
    assert_eq!(port.fields["host"], Value::Text("n1".into()));
    assert!(!port.fields.contains_key("fixed_ips"), "left to the cloud");
    assert_eq!(port.tags.iter().collect::<Vec<_>>(), ["own"]);
    assert_eq!(list.get("eth0").unwrap().fields["port"], Value::Ref(Reference::Local("port".into())));

    let namespace = ObjectKey::new(Gvk::new("", "v1", "Namespace"), None, "shop");
    assert_eq!(mapped.reads.into_iter().collect::<Vec<_>>(), [Read::Get(namespace)]);
    assert_eq!(mapped.versions[0].digest, *pod_port().digest());
    let stats = &mapped.stats[0];
    assert_eq!((stats.operation, stats.failed), (Operation::Map, None));
    assert!(stats.fuel.is_some_and(|fuel| fuel > 1_000) && stats.memory > 0);
}

#[test]
fn manifests_are_the_modules_own() {
    assert_eq!(pod_port().manifest().name, "pod-port");
    assert_eq!(pod_port().world(), World::Mapper);
    assert_eq!(tag_by_team().world(), World::Refiner);
    let maps: Vec<_> = pod_port().manifest().maps.iter().map(|p| p.kind.to_string()).collect();
    assert_eq!(maps, ["v1/Pod"]);
    assert_eq!(pod_port().digest().len(), 64);
}

#[test]
fn refiners_see_what_was_mapped() {
    let refiner = stage("team", tag_by_team(), "{}");
    let pipeline = Pipeline::new(stage("ports", pod_port(), CONFIG), vec![refiner]).unwrap();
    let mapped = run(&pipeline);
    let tags: Vec<_> = mapped.result.unwrap().get("port").unwrap().tags.iter().cloned().collect();
    assert_eq!(tags, ["own", "team=blue"]);
    assert_eq!(mapped.versions.len(), 2);
}

#[test]
fn an_outcome_is_the_whole_pipelines() {
    let refiner = stage("team", tag_by_team(), "{}");
    let table = [
        ("waiting", Outcome::Waiting("the test asked for it".into())),
        ("not-mapped", Outcome::NotMapped("the test asked for it".into())),
        (
            "invalid",
            Outcome::Invalid { message: "the test asked for it".into(), field: Some("spec.nodeName".into()) },
        ),
    ];
    for (name, outcome) in table {
        let pipeline = Pipeline::new(stage("ports", faults(), &fault(name)), vec![refiner.clone()]).unwrap();
        let mapped = run(&pipeline);
        assert_eq!(mapped.result, Err(Stop::Outcome { stage: "ports".into(), outcome }));
        assert_eq!(mapped.stats.len(), 1, "the refiner is not called");
    }
}

#[test]
fn what_was_read_is_known_also_without_a_list() {
    let pipeline = Pipeline::new(stage("ports", pod_port(), CONFIG), vec![]).unwrap();
    let mapped = pipeline.map(&pod("nowhere", "web"), Arc::new(Shop));
    assert!(matches!(mapped.result, Err(Stop::Outcome { outcome: Outcome::Waiting(_), .. })));
    assert_eq!(mapped.reads.len(), 1, "the absent namespace: its coming wakes the subject");
    let panics = Pipeline::new(stage("ports", faults(), &fault("panic")), vec![]).unwrap();
    assert_eq!(run(&panics).reads.len(), 1);
}

#[test]
fn a_module_is_taken_only_where_its_world_fits() {
    let (ports, team) = (stage("ports", pod_port(), CONFIG), stage("team", tag_by_team(), "{}"));
    assert_eq!(Pipeline::new(team, vec![]).unwrap_err(), PipelineError::NoMapper("team".into()));
    assert_eq!(
        Pipeline::new(ports.clone(), vec![ports]).unwrap_err(),
        PipelineError::NoRefiner("ports".into())
    );
}

#[test]
fn a_module_reports_what_came_to_be() {
    let realized = Realized {
        name: "port".into(),
        id: "1".into(),
        addresses: vec!["192.0.2.1".into()],
        state: RealizedState::Ready,
        operating: None,
        properties: vec![],
        message: None,
    };
    let pipeline = Pipeline::new(stage("ports", faults(), &fault("waiting")), vec![]).unwrap();
    let text = |outcome: Option<&Outcome>, realized: &[Realized]| {
        let reported = pipeline.report(&pod("shop", "web"), outcome, realized, Arc::new(Shop));
        reported.result.unwrap().unwrap().annotations.remove(0).value
    };
    assert_eq!(text(None, &[realized]), "1 realized");
    assert_eq!(text(Some(&Outcome::Waiting("later".into())), &[]), "later");

    let silent = Pipeline::new(stage("ports", pod_port(), CONFIG), vec![]).unwrap();
    let reported = silent.report(&pod("shop", "web"), None, &[], Arc::new(Shop));
    assert!(
        reported.result.unwrap().is_none() && reported.stats.is_empty(),
        "its manifest says that it does not"
    );
}

#[test]
fn calls_in_parallel_wait_for_a_place() {
    let pipeline = Pipeline::new(stage("ports", pod_port(), CONFIG), vec![]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..50).for_each(|_| assert!(run(&pipeline).result.is_ok())));
        }
    });
}

/// A cluster that answers when it is told to: a call that reads is in flight until then.
struct Held {
    asked: std::sync::mpsc::Sender<()>,
    answer: parking_lot::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Snapshot for Held {
    fn get(&self, key: &ObjectKey) -> Option<Arc<str>> {
        self.asked.send(()).unwrap();
        self.answer.lock().recv().unwrap();
        Shop.get(key)
    }
    fn list(&self, _: &Gvk, _: Option<&str>, _: &Selector) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn cloud(&self) -> Arc<CloudFacts> {
        Arc::default()
    }
}

/// Invariant 8.
#[test]
fn a_call_in_flight_ends_on_the_version_it_began_with() {
    let tags = |mapped: Mapped| mapped.result.unwrap().get("port").unwrap().tags.clone();
    let next = engine().load(&component("pod-port-next"), None).unwrap();
    let serving = parking_lot::Mutex::new(Arc::new(
        // A version of its own, so that only the pipeline holds it.
        Pipeline::new(stage("ports", engine().load(&component("pod-port"), None).unwrap(), CONFIG), vec![])
            .unwrap(),
    ));
    let (asked, begun) = std::sync::mpsc::channel();
    let (answer, answers) = std::sync::mpsc::channel();
    let cluster = Arc::new(Held { asked, answer: parking_lot::Mutex::new(answers) });
    std::thread::scope(|scope| {
        let in_flight = scope.spawn(|| {
            let pipeline = serving.lock().clone();
            pipeline.map(&pod("shop", "web"), cluster)
        });
        begun.recv().unwrap();
        *serving.lock() = Arc::new(Pipeline::new(stage("ports", next.clone(), CONFIG), vec![]).unwrap());
        let after = run(&serving.lock().clone());
        assert_eq!(after.versions[0].digest, *next.digest());
        assert!(tags(after).contains("release=next"));
        answer.send(()).unwrap();
        let before = in_flight.join().unwrap();
        assert_eq!(before.versions[0].digest, *pod_port().digest());
        assert!(!tags(before).contains("release=next"), "it ends on the version that it began with");
    });
}
