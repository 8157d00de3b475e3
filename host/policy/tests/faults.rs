//! Bad modules: each fault ends in its own error, and the next call is as good as new.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{CONFIG, Shop, component, engine, fault, faults, pod, pod_port, run, stage, tag_by_team};
use isthmus_model::outcome::Outcome;
use isthmus_policy::{
    CallError, Engine, EngineOptions, Fallback, Limits, Mapped, Pipeline, PipelineError, Stage, Stop,
};

fn map(stage: Stage) -> Mapped {
    run(&Pipeline::new(stage, vec![]).unwrap())
}

fn error(mapped: &Mapped) -> &CallError {
    match &mapped.result {
        Err(Stop::Failed { error, .. }) => error,
        other => panic!("expected a failed call, found {other:?}"),
    }
}

#[test]
fn every_fault_has_its_error() {
    let table = [
        ("loop", "ModuleDeadlineExceeded", "200ms"),
        ("memory", "ModuleMemoryExceeded", "67108864 bytes"),
        ("panic", "ModuleTrapped", "the test asked for a panic"),
        ("recursion", "ModuleTrapped", "out of bounds memory"),
        ("duplicate-name", "ContractViolation", "two entries are named \"port\""),
        ("bad-name", "ContractViolation", "\"No Label\" is not a DNS label"),
        ("cycle", "ContractViolation", "one -> two -> one"),
        ("unknown-reference", "ContractViolation", "\"nobody\", which is not in the list"),
        ("huge", "ModuleOutputTooLarge", "4194304 bytes"),
        ("undeclared-set", "ContractViolation", "a set of v1/Secret"),
        ("undeclared-read", "ContractViolation", "reads v1/Secret"),
        ("bad-selector", "ContractViolation", "is not a label selector"),
        ("undeclared-field", "ContractViolation", "lists v1/Pod by \"spec.nodeName\""),
        ("many-reads", "ModuleReadsTooMany", "10000 objects and lists, 1048576 bytes"),
    ];
    for (name, reason, part) in table {
        let mut bad = stage("bad", faults(), &fault(name));
        if name == "loop" {
            bad.limits = Limits::default();
        }
        let mapped = map(bad);
        let error = error(&mapped);
        assert_eq!(error.reason(), reason, "{name}: {error}");
        assert!(error.to_string().contains(part), "{name}: {error}");
        assert_eq!(mapped.stats[0].failed, Some(reason), "{name}");
        assert!(map(stage("good", pod_port(), CONFIG)).result.is_ok(), "after {name}");
    }
}

#[test]
fn a_panic_says_what_and_where() {
    let mapped = map(stage("bad", faults(), &fault("panic")));
    let text = error(&mapped).to_string();
    assert!(text.contains("the test asked for a panic"), "{text}");
    assert!(text.contains("faults/src/lib.rs:"), "{text}");
    assert_eq!(mapped.logs.len(), 1, "it is in the log, too");
}

#[test]
fn a_loop_ends_at_its_deadline() {
    let mut bad = stage("bad", faults(), &fault("loop"));
    bad.limits.deadline = Duration::from_millis(50);
    let began = Instant::now();
    assert_eq!(*error(&map(bad)), CallError::Deadline(Duration::from_millis(50)));
    // Ten times the limit: a busy machine, not a module that goes on.
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[test]
fn fuel_is_a_limit_that_does_not_depend_on_the_machine() {
    let limits = Limits { fuel: Some(1_000_000), deadline: Duration::from_secs(60), ..Limits::default() };
    let plain = Engine::new(EngineOptions { calls_at_once: 1, ..EngineOptions::default() }).unwrap();
    let uncounted = plain.load(&component("pod-port"), None).unwrap();
    let mut good = stage("good", uncounted.clone(), CONFIG);
    assert_eq!(map(good.clone()).stats[0].fuel, None);
    good.limits = limits.clone();
    let refused = Pipeline::new(good, vec![]).unwrap_err();
    assert_eq!(refused, PipelineError::FuelNotCounted("good".into()));

    // The engine beside it counts, for the modules that ask for it alone.
    let counting = plain.counting_fuel().unwrap();
    let counted = counting.load(&component("faults"), None).unwrap();
    assert!(counted.counts_fuel() && !uncounted.counts_fuel());
    let mut looping = Stage { limits: limits.clone(), ..stage("bad", counted.clone(), &fault("loop")) };
    assert_eq!(*error(&map(looping.clone())), CallError::Fuel(1_000_000));
    let good = map(Stage { limits, ..stage("good", counted, &fault("rename")) });
    assert!(good.stats[0].fuel.is_some_and(|fuel| (1_000..1_000_000).contains(&fuel)));
    assert!(good.result.is_ok());

    // The version before may be of the engine that does not count: it has all limits but this one.
    looping.fallback = Some(Fallback { module: uncounted, config: CONFIG.into() });
    assert!(map(looping).result.is_ok());
}

/// Nothing that a call leaves behind is seen by the next one, of the same subject or of another tenant's.
#[test]
fn every_call_has_an_instance_of_its_own() {
    let remembers = Pipeline::new(stage("remembers", faults(), &fault("remember")), vec![]).unwrap();
    for _ in 0..3 {
        let list = run(&remembers).result.unwrap();
        let tags = &list.get("network").unwrap().tags;
        assert!(tags.iter().any(|tag| tag == "calls=1"), "{tags:?}");
    }
}

#[test]
fn a_reason_is_cut() {
    let mapped = map(stage("bad", faults(), &fault("long-reason")));
    let Err(Stop::Outcome { outcome: Outcome::Waiting(reason), .. }) = mapped.result else {
        panic!("expected an outcome, found {:?}", mapped.result)
    };
    assert!(reason.len() <= 4 << 10 && reason.ends_with("x…"), "{} bytes", reason.len());
}

#[test]
fn what_nothing_can_be_called_is_absent_and_not_noted() {
    for impossible in ["impossible-reads", "impossible-value"] {
        let mapped = map(stage("odd", faults(), &fault(impossible)));
        assert!(mapped.result.is_ok(), "{impossible}: {:?}", mapped.result);
        assert_eq!(mapped.reads.len(), 1, "{impossible}: {:?}", mapped.reads);
    }
}

#[test]
fn what_was_read_before_the_limit_is_known() {
    let reads = map(stage("bad", faults(), &fault("many-reads"))).reads;
    assert!((1_000..10_000).contains(&reads.len()), "{}", reads.len());
}

#[test]
fn limits_are_those_of_the_stage() {
    let mut small = stage("small", pod_port(), CONFIG);
    small.limits.memory = 64 << 10;
    assert!(matches!(map(small).result, Err(Stop::Failed { error: CallError::Memory(_), .. })));
    let mut bare = stage("bare", pod_port(), CONFIG);
    bare.limits.table_elements = 1;
    assert_eq!(*error(&map(bare)), CallError::Table(1));
    let mut short = stage("short", pod_port(), CONFIG);
    short.limits.output = 16;
    assert_eq!(*error(&map(short)), CallError::Output(16));
}

#[test]
fn logs_are_cut() {
    let mapped = map(stage("chatty", faults(), &fault("chatter")));
    assert!(mapped.result.is_ok());
    assert!(mapped.logs.len() <= Limits::default().log_lines);
    assert!(mapped.logs.iter().map(|l| l.message.len()).sum::<usize>() <= Limits::default().log_bytes);
}

#[test]
fn a_log_line_is_one_line() {
    let mapped = map(stage("forger", faults(), &fault("forged-log")));
    assert_eq!(mapped.logs[0].message, r"first\nERROR second\u{1b}[2J");
}

#[test]
fn the_last_good_version_is_called_where_there_is_one() {
    let config = |fault: &str| format!(r#"{{"pods": {CONFIG}, "fault": "{fault}", "only": "web"}}"#);
    // With the config that it was good with: the new one is not of its form.
    let mut bad = stage("ports", faults(), &config("panic"));
    bad.fallback = Some(Fallback { module: pod_port(), config: CONFIG.into() });
    let mapped = map(bad.clone());
    assert!(mapped.result.is_ok(), "{:?}", mapped.result);
    assert_eq!(mapped.fell_back[0].error.reason(), "ModuleTrapped");
    assert_eq!(mapped.versions[0].digest, *pod_port().digest());
    assert_eq!(mapped.stats.len(), 2);

    // Where both fail, the error is the current version's.
    bad.fallback = Some(Fallback { module: faults(), config: config("loop").into() });
    bad.config = config("cycle").into();
    assert_eq!(error(&map(bad)).reason(), "ContractViolation");
}

#[test]
fn a_fault_of_one_subject_is_not_anothers() {
    let config = format!(r#"{{"pods": {CONFIG}, "fault": "loop", "only": "bad-"}}"#);
    let pipeline = Pipeline::new(stage("ports", faults(), &config), vec![]).unwrap();
    assert!(pipeline.map(&pod("shop", "bad-1"), Arc::new(Shop)).result.is_err());
    assert!(pipeline.map(&pod("shop", "good-1"), Arc::new(Shop)).result.is_ok());
}

#[test]
fn a_renamed_list_is_a_good_list() {
    let list = map(stage("ports", faults(), &fault("rename"))).result.unwrap();
    assert!(list.get("port-2").is_some() && list.get("eth0-2").is_some());
}

#[test]
fn a_refiner_works_on_any_list() {
    let refiners = vec![stage("team", tag_by_team(), "{}")];
    let pipeline = Pipeline::new(stage("ports", faults(), &fault("empty")), refiners).unwrap();
    assert!(run(&pipeline).result.unwrap().entries().is_empty());
}

#[test]
fn an_engine_is_shared_by_its_modules() {
    assert!(format!("{:?}", engine()).contains("calls_at_once: 4"));
}
