//! Whether Neutron does what Kubernetes says: random clusters and packets, judged by the text of Kubernetes and, independently,
//! by the groups that the module made.
//!
//! `ISTHMUS_TRUTH_SEED` and `ISTHMUS_TRUTH_WORLDS` (numbers) choose other clusters and more of them. A failure is shrunk, and
//! printed as the objects of the cluster and the packet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail")]

mod neutron;
mod services;

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use isthmus_judge::cluster::{Packet, World};
use isthmus_judge::{random, text};
use neutron::Neutron;

/// Fewest packets that are judged.
const LEAST: u32 = 20_000;
const WORLDS: u32 = 450;

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// How many packets were judged, and of those to or from an isolated Pod how many pass and how many do not.
#[derive(Default)]
struct Counts {
    all: Cell<u32>,
    passed: Cell<u32>,
    dropped: Cell<u32>,
}

fn judge(world: &World, packets: &[Packet], counts: &Counts) -> Result<(), TestCaseError> {
    let neutron = Neutron::of(world, &[]);
    for packet in packets {
        let expected = text::allowed(world, packet);
        let found = neutron.passes(packet);
        prop_assert_eq!(
            found,
            expected,
            "Kubernetes {}, Neutron {}: {:?}",
            if expected { "allows" } else { "forbids" },
            if found { "lets it pass" } else { "drops it" },
            packet
        );
        let count = |counter: &Cell<u32>| counter.set(counter.get() + 1);
        count(&counts.all);
        if text::concerns_isolated(world, packet) {
            count(if expected { &counts.passed } else { &counts.dropped });
        }
    }
    Ok(())
}

#[test]
fn neutron_lets_pass_what_kubernetes_allows_and_nothing_else() {
    let seed = number("ISTHMUS_TRUTH_SEED", 1);
    let worlds = number("ISTHMUS_TRUTH_WORLDS", WORLDS);
    let config = Config { cases: worlds, failure_persistence: None, ..Config::default() };
    let bytes: Vec<u8> = seed.to_le_bytes().into_iter().cycle().take(32).collect();
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let counts = Counts::default();
    let case = (random::world(), prop::collection::vec(random::packet(), 1..=120));
    let result = runner.run(&case, |(world, packets)| judge(&world, &packets, &counts));
    if let Err(TestError::Fail(reason, (world, packets))) = result {
        let text = world.documents().iter().map(|d| format!("---\n{d}\n")).collect::<String>();
        panic!("seed {seed}: {reason}\nallowFrom {:?}\n{text}{packets:?}", world.allow_from);
    }
    result.unwrap();
    let (all, passed, dropped) = (counts.all.get(), counts.passed.get(), counts.dropped.get());
    println!("{all} packets; of those of isolated Pods {passed} pass and {dropped} do not");
    if worlds >= WORLDS {
        assert!(all >= LEAST, "{all} packets are too few");
        assert!(passed > all / 10 && dropped > all / 10, "{all} packets, {passed} pass, {dropped} do not");
    }
}
