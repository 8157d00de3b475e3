//! Maps Pods as `pod-port` does, and fails as its config says: one set of bytes for every fault that a module can have.
//!
//! Config: that of `pod-port` under `pods`, and beside it
//! - `fault`: what goes wrong (see [`Fault`]); absent: nothing,
//! - `only`: the names of the Pods that it goes wrong for begin with this; absent: all.

use std::sync::atomic::{AtomicU32, Ordering};

use isthmus_sdk::prelude::*;
use isthmus_sdk::records::load_balancing::Vip;
use serde::Deserialize;

// The source, not the crate: that one exports a module of its own, and a component has one.
#[allow(unreachable_pub, reason = "public in the crate that it is from")]
#[path = "../../../../plugins/pod-port/src/mapping.rs"]
mod mapping;

use mapping::PodPort;

/// What an instance keeps from one call to the next, if there is one.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// What it may list Pods by.
const LISTED_BY: &str = "metadata.annotations[\"isthmus.dev/group\"]";

struct Faults;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    pods: mapping::Config,
    fault: Option<Fault>,
    #[serde(default)]
    only: String,
}

/// What can go wrong.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Fault {
    /// Never comes back.
    Loop,
    /// Takes seconds, then gives the right list.
    Slow,
    /// Takes memory without end.
    Memory,
    /// Panics with a message.
    Panic,
    /// Calls itself without end.
    Recursion,
    /// Two entries of one name.
    DuplicateName,
    /// A name that is no DNS label.
    BadName,
    /// Two entries that refer to each other.
    Cycle,
    /// A reference to an entry that is not there.
    UnknownReference,
    /// Ten megabytes.
    Huge,
    /// The right list, with a tag that says how often this instance was called.
    Remember,
    /// Log lines without end, then the right list.
    Chatter,
    /// The right entries under other names.
    Rename,
    /// A log line that looks like two, then the right list.
    ForgedLog,
    /// Reads a kind that the manifest does not name.
    UndeclaredRead,
    /// Names a set of a kind that the manifest does not name.
    UndeclaredSet,
    /// Reads objects without end, each under another long name.
    ManyReads,
    /// Reads what no object can be called, then the right list.
    ImpossibleReads,
    /// A selector that is none.
    BadSelector,
    /// Lists a kind by a field that the manifest does not list it by.
    UndeclaredField,
    /// Lists by a value that no object can be listed by, then the right list.
    ImpossibleValue,
    /// `waiting`.
    Waiting,
    /// `waiting`, with a megabyte of a reason.
    LongReason,
    /// `invalid`, with a field.
    Invalid,
    /// `not-mapped`.
    NotMapped,
    /// An empty list.
    Empty,
    /// The right list, and an address group; this and the port stay when the Pod goes.
    Retain,
    /// As `retain`, with a load balancer, its listener and a pool that stay too.
    RetainBalanced,
}

impl Module for Faults {
    type Config = Config;

    fn manifest() -> Manifest {
        let manifest = PodPort::manifest().lists_by(Kind::core("Pod"), [LISTED_BY]);
        Manifest { name: "faults".into(), config_schema: None, reports: true, ..manifest }
    }
}

impl Mapper for Faults {
    fn map(subject: &str, config: Config) -> Result<Vec<Desired>, Outcome> {
        let pod: Pod<'_> = parse_subject(subject)?;
        let list = PodPort::map(subject, config.pods)?;
        match config.fault {
            Some(fault) if pod.metadata.name.starts_with(&config.only) => fail(fault, list),
            _ => Ok(list),
        }
    }

    fn report(
        _: &str,
        _: Config,
        outcome: Option<Outcome>,
        realized: Vec<Realized>,
    ) -> Option<SubjectReport> {
        let what = match outcome {
            None => format!("{} realized", realized.len()),
            Some(Outcome::NotMapped(reason) | Outcome::Waiting(reason)) => reason,
            Some(Outcome::Invalid(invalid)) => invalid.message,
        };
        Some(SubjectReport::new(None).annotation("isthmus.dev/faults", &what))
    }
}

fn fail(fault: Fault, mut list: Vec<Desired>) -> Result<Vec<Desired>, Outcome> {
    match fault {
        Fault::Loop => loop {
            std::hint::black_box(&list);
        },
        // No clock in here: as many steps as take a core some seconds.
        Fault::Slow => (0..2_000_000_000u32).for_each(|step| _ = std::hint::black_box(step)),
        Fault::Memory => loop {
            std::mem::forget(std::hint::black_box(vec![1u8; 1 << 20]));
        },
        Fault::Panic => panic!("the test asked for a panic"),
        Fault::Recursion => list.truncate(descend(1) as usize),
        Fault::DuplicateName => list.extend(list.clone()),
        Fault::BadName => list.push(Network::new().named("No Label")),
        Fault::Cycle => {
            for (name, other) in [("one", "two"), ("two", "one")] {
                list.push(Network::new().named(name).made_after(local(other)));
            }
        }
        Fault::UnknownReference => list.push(Vif::new("eth1", local("nobody")).named("eth1")),
        Fault::Huge => list.push(Network::new().named("huge").description("x".repeat(10 << 20))),
        Fault::Remember => {
            let before = CALLS.fetch_add(1, Ordering::Relaxed);
            list.push(Network::new().named("network").tag(format!("calls={}", before + 1)));
        }
        Fault::Chatter => {
            (0..10_000).for_each(|i| isthmus_sdk::log::info(&format!("line {i} {}", "x".repeat(200))))
        }
        Fault::ForgedLog => isthmus_sdk::log::info("first\nERROR second\u{1b}[2J"),
        Fault::Rename => return Ok(renamed(list)),
        Fault::UndeclaredRead => drop(snapshot::get(Kind::core("Secret"), Some("kube-system"), "token")),
        Fault::UndeclaredSet => {
            let secrets = isthmus_sdk::records::values::Selection::new(Kind::core("Secret"), "");
            list.push(AddressGroup::new().address(secrets).named("secrets"));
        }
        Fault::ManyReads => (0..u32::MAX).for_each(|i| drop(namespace(&format!("{i:0>250}")))),
        Fault::ImpossibleReads => ["", &"x".repeat(254)].into_iter().for_each(|name| drop(namespace(name))),
        Fault::BadSelector => drop(snapshot::list(&Kind::core("Namespace"), None, "a in b")),
        Fault::UndeclaredField => drop(by_node("spec.nodeName", "n1")),
        Fault::ImpossibleValue => drop(by_node(LISTED_BY, &"x".repeat(2 << 10))),
        Fault::Waiting => return Err(waiting("the test asked for it")),
        Fault::LongReason => return Err(waiting("x".repeat(1 << 20))),
        Fault::Invalid => return Err(invalid_field("the test asked for it", "spec.nodeName")),
        Fault::NotMapped => return Err(not_mapped("the test asked for it")),
        Fault::Empty => list.clear(),
        Fault::Retain | Fault::RetainBalanced => {
            let retained = |entry: Desired| if entry.name == "port" { entry.retained() } else { entry };
            list = list.into_iter().map(retained).collect();
            // It has no tags: what becomes of it its description has to say.
            list.push(AddressGroup::new().address("192.0.2.9").named("peers").retained());
            if let Fault::RetainBalanced = fault {
                let vip = Vip::FixedIp(FixedIp::of(existing("pods-v4")));
                let balancer = LoadBalancer::new(vip).provider("amphora");
                let listener = Listener::new(local("balancer"), "TCP", 80);
                let pool = Pool::new(local("balancer"), "TCP", "ROUND_ROBIN");
                list.push(balancer.named("balancer").retained());
                list.push(listener.named("listener").retained());
                list.push(pool.named("pool").retained());
            }
        }
    }
    Ok(list)
}

fn by_node(field: &str, value: &str) -> Vec<String> {
    snapshot::list_by(&Kind::core("Pod"), None, field, value)
}

fn namespace(name: &str) -> Option<String> {
    snapshot::get(Kind::core("Namespace"), None, name)
}

/// The port is `port-2`, and the interface refers to it; the interface keeps its name in the Pod.
fn renamed(list: Vec<Desired>) -> Vec<Desired> {
    let rename = |mut entry: Desired| {
        entry.name.push_str("-2");
        if let Resource::Vif(vif) = &mut entry.resource {
            vif.port = local("port-2");
        }
        entry
    };
    list.into_iter().map(rename).collect()
}

/// Too deep for any stack, and not a loop that a compiler could make of it.
#[allow(unconditional_recursion, reason = "that is the fault")]
fn descend(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    descend(depth + 1) + frame.iter().sum::<u64>()
}

isthmus_sdk::export_mapper!(Faults);
