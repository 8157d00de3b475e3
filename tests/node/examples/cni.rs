//! How long ADD and DEL take, from the start of `isthmus-cni` to its end, with the driver `bridge` and VIFs that are known:
//! `cargo run --release --package isthmus-node-tests --example cni` after `cargo build --release --package isthmus-cni`, as root.
#![allow(clippy::indexing_slicing, clippy::print_stdout, reason = "a bench prints what it measured")]

use std::time::{Duration, Instant};

use anyhow::Result;
use isthmus_node_tests::{Call, Namespace, Stage, vif};

const ROUNDS: u8 = 200;

fn main() -> Result<()> {
    let stage = Stage::new()?;
    let agent = stage.start()?;
    let pods: Vec<Namespace> = (0..ROUNDS).map(|_| Namespace::new()).collect::<Result<_>>()?;
    let calls: Vec<Call> = (1u8..)
        .zip(&pods)
        .map(|(n, netns)| {
            stage.told.tell(&format!("p{n}"), vec![vif(n)]);
            Call::new(&stage.socket(), &format!("p{n}"), &format!("c{n}"), &netns.path())
        })
        .collect();
    for verb in ["VERSION", "ADD", "DEL"] {
        let mut times: Vec<Duration> = Vec::new();
        for call in &calls {
            let started = Instant::now();
            call.ok(verb)?;
            times.push(started.elapsed());
        }
        times.sort();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!("{verb}: p50 {:?}, p99 {:?} ({ROUNDS} calls)", at(50), at(99));
    }
    agent.stop()
}
