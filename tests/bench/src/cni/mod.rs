//! ADD and DEL on a node, IPv4: by `isthmus-cni` and an agent with the driver `bridge`, by the reference plugins (Go), and by nothing but
//! the netlink calls. One after the other in each round of one run, so that whatever else the machine does meets all alike.
//!
//! All of it is in network namespaces and a temporary folder that go with this process.

pub(crate) mod bare;
mod contender;
mod node;
mod tell;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use isthmus_node_tests::{Call, Namespace, Stage, until};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::measure::say;
use contender::{Contender, Who};
use node::Node;

/// Rounds before those that count: files are read for the first time.
const WARM_UP: usize = 5;
/// How many Pods are attached while the agent's memory is looked at.
const PODS: u8 = 100;

/// ADD and DEL that are measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The `isthmus` binary, or `isthmus-node` itself; `isthmus-cni` lies beside this program.
    #[arg(long)]
    agent: PathBuf,

    /// How many ADDs and DELs each.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// What one call took, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) wall: f64,
    /// User and system time.
    pub(crate) cpu: f64,
}

/// All of it.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // Who is interrupted cleans up too.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let stage = Stage::new()?;
    stage.host.run("ip link set lo up")?;
    stage.enter()?;
    let bare = Contender::bare()?;
    let node = Node::start(&stage, &arguments.agent)?;
    let mut contenders =
        vec![Contender::ours(&stage)?, Contender::bridge(&stage)?, Contender::ptp(&stage)?, bare];
    let load = load()?;
    let rounds = usize::try_from(arguments.rounds)?;
    let agent_cpu = measure(&node, &mut contenders, rounds, &interrupted)?;
    tell::calls(&contenders, agent_cpu / f64::from(arguments.rounds) * 1e6)?;
    memory(&stage, &node, &interrupted)?;
    tell::load(&load, &self::load()?);
    Ok(())
}

/// The rounds; the agent's processor time over those that count, in seconds.
fn measure(
    node: &Node<'_>,
    contenders: &mut [Contender],
    rounds: usize,
    interrupted: &AtomicBool,
) -> Result<f64> {
    say(&format!("{rounds} rounds of ADD and DEL, after {WARM_UP} to warm up"));
    let mut cpu = 0.0;
    for round in 0..WARM_UP + rounds {
        if round == WARM_UP {
            cpu = node.cpu()?;
        }
        for at in order(round, contenders.len()) {
            ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
            let contender = contenders.get_mut(at).context("each has a place")?;
            once(node, contender, round).with_context(|| format!("{}, round {round}", contender.name))?;
        }
    }
    Ok(node.cpu()? - cpu)
}

/// Whose turn it is when: each begins, and each follows each of its neighbours, as often as any other.
fn order(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).map(|n| (n + round / 2) % count).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// One ADD and its DEL. After each the node comes to rest.
fn once(node: &Node<'_>, contender: &mut Contender, round: usize) -> Result<()> {
    let add = contender.call("ADD", round)?;
    if round == 0 {
        contender.is_attached()?;
    }
    if matches!(contender.who, Who::Ours { .. }) {
        node.until_told("web", true)?;
    }
    let began = Instant::now();
    let del = contender.call("DEL", round)?;
    until("the links are gone", || Ok(links()? == ["br0", "lo"]))?;
    let gone = began.elapsed().as_secs_f64() * 1e6;
    if matches!(contender.who, Who::Ours { .. }) {
        node.until_told("web", false)?;
    }
    if round >= WARM_UP {
        contender.adds.push(add);
        contender.dels.push(del);
        contender.gone.push(gone);
        contender.start()?;
    }
    Ok(())
}

/// What an agent with many Pods holds.
fn memory(stage: &Stage, node: &Node<'_>, interrupted: &AtomicBool) -> Result<()> {
    say(&format!("{PODS} Pods at once"));
    let before = node.rss()?;
    let mut pods = Vec::new();
    for n in 1..=PODS {
        ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
        let (name, netns) = (format!("p{n}"), Namespace::new()?);
        let call = Call::new(&stage.socket(), &name, &name, &netns.path()).in_namespace(crate::cluster::PODS);
        call.ok("ADD")?;
        pods.push((name, netns, call));
    }
    for (name, ..) in &pods {
        node.until_told(name, true)?;
    }
    tell::memory(before, node.rss()?, PODS);
    for (.., call) in &pods {
        call.ok("DEL")?;
    }
    stage.gone()
}

/// Names of the links in the namespace of this thread, sorted.
fn links() -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    // two lines of heading
    let mut names: Vec<String> =
        table.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect();
    names.sort();
    Ok(names)
}

/// The load average of the last minute.
fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().context("/proc/loadavg")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn everybody_begins_as_often_as_any_other_and_nobody_follows_one_alone() {
        let (mut first, mut after) = ([0; 4], [[0; 4]; 4]);
        for round in 0..8 {
            let order = order(round, 4);
            first[order[0]] += 1;
            for pair in order.windows(2) {
                after[pair[1]][pair[0]] += 1;
            }
        }
        assert_eq!(first, [2; 4]);
        for (who, after) in after.iter().enumerate() {
            let (mut before, sum) = (after.to_vec(), after.iter().sum::<i32>());
            before.sort_unstable();
            assert_eq!((sum, before), (6, vec![0, 0, 3, 3]), "{who}");
        }
    }
}
