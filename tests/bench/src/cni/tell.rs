//! What came out, as measures. Ratios are what counts: times are this machine's.

use anyhow::{Context, Result};

use super::Cost;
use super::contender::{Contender, Who};
use crate::measure::Measure;

/// ADD and DEL of all, and what is aimed at. `agent`: microseconds of the agent's processor time in a round.
pub(super) fn calls(contenders: &[Contender], agent: f64) -> Result<()> {
    for (verb, of) in [("ADD", adds as fn(&Contender) -> &[Cost]), ("DEL", dels)] {
        for contender in contenders {
            one(verb, contender, of(contender))?;
        }
    }
    let [ours, bridge, _, bare] = contenders else { anyhow::bail!("four are compared") };
    if let Who::Ours { starts, .. } = &ours.who {
        start(starts)?;
    }
    let p50 = |costs: &[Cost]| percentile(costs.iter().map(|c| c.wall), 50);
    let add = p50(&ours.adds)?;
    at_most("ADD p50, of Go bridge's", 1.0 / 5.0, "1/5", add, p50(&bridge.adds)?);
    at_most("ADD p50, of the bare netlink calls'", 1.5, "1.5", add, p50(&bare.adds)?);
    at_most("DEL p50, of Go bridge's", 1.0 / 8.0, "1/8", p50(&ours.dels)?, p50(&bridge.dels)?);
    for contender in contenders {
        cpu(contender, matches!(contender.who, Who::Ours { .. }).then_some(agent));
    }
    Ok(())
}

fn adds(contender: &Contender) -> &[Cost] {
    &contender.adds
}

fn dels(contender: &Contender) -> &[Cost] {
    &contender.dels
}

fn one(verb: &str, contender: &Contender, costs: &[Cost]) -> Result<()> {
    let wall = |n| percentile(costs.iter().map(|c| c.wall), n);
    let cpu = |n| percentile(costs.iter().map(|c| c.cpu), n);
    let mut note = format!("p99 {}; CPU p50 {}, p99 {}", ms(wall(99)?), ms(cpu(50)?), ms(cpu(99)?));
    if verb == "DEL" {
        let gone = percentile(contender.gone.iter().copied(), 50)?;
        note.push_str(&format!("; no link is left after {} (p50)", ms(gone)));
    }
    let name = format!("{verb} by {}, p50", contender.name);
    Measure { name: &name, target: "", measured: ms(wall(50)?), met: None, note }.print();
    Ok(())
}

/// What of every call is no work at all.
fn start(costs: &[Cost]) -> Result<()> {
    let wall = |n| percentile(costs.iter().map(|c| c.wall), n);
    let p50 = wall(50)?;
    let (name, target) = ("start and end of isthmus-cni (VERSION), p50", "< 1.5 ms");
    let note = format!("p99 {}", ms(wall(99)?));
    Measure { name, target, measured: ms(p50), met: Some(p50 < 1500.0), note }.print();
    Ok(())
}

fn at_most(name: &str, most: f64, target: &str, ours: f64, theirs: f64) {
    let ratio = ours / theirs;
    Measure {
        name,
        target: &format!("<= {target}"),
        measured: if ratio < 1.0 { format!("1/{:.1}", 1.0 / ratio) } else { format!("{ratio:.2}") },
        met: Some(ratio <= most),
        note: format!("{} to {}", ms(ours), ms(theirs)),
    }
    .print();
}

/// Of an ADD and a DEL, the mean: what an agent uses is known of all rounds only.
fn cpu(contender: &Contender, agent: Option<f64>) {
    let all = contender.adds.iter().chain(&contender.dels);
    let own = all.map(|cost| cost.cpu).sum::<f64>() / crate::measure::ratio(contender.adds.len() as u64, 1);
    let parts =
        |agent| format!("plugin {}, agent {} (with what it tells the API server)", ms(own), ms(agent));
    let note = agent.map(parts).unwrap_or_default();
    let name = format!("CPU of an ADD and a DEL by {}", contender.name);
    Measure { name: &name, target: "", measured: ms(own + agent.unwrap_or_default()), met: None, note }
        .print();
}

/// Resident memory of an agent before and with so many Pods, in KiB.
pub(super) fn memory(before: u64, with: u64, pods: u8) {
    let megabytes = |kib: u64| crate::measure::ratio(kib * 1024, 1_000_000);
    let name = format!("memory (RSS) of the agent, {pods} Pods attached");
    Measure {
        name: &name,
        target: "<= 15 MB",
        measured: format!("{:.1} MB", megabytes(with)),
        met: Some(megabytes(with) <= 15.0),
        note: format!("{:.1} MB before, none attached", megabytes(before)),
    }
    .print();
}

/// How busy the machine was.
pub(super) fn load(before: &str, after: &str) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let measured = format!("{before} - {after}");
    let note =
        format!("before and after, on {cores} cores: of a busy machine only the ratios tell something");
    Measure { name: "load average of a minute", target: "", measured, met: None, note }.print();
}

fn ms(microseconds: f64) -> String {
    format!("{:.2} ms", microseconds / 1e3)
}

/// The least value that so many percent do not exceed.
fn percentile(values: impl Iterator<Item = f64>, percent: usize) -> Result<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().context("nothing was measured")
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let all = |n: u32| (1..=n).rev().map(f64::from);
        assert_eq!([50, 99].map(|p| percentile(all(200), p).unwrap()), [100.0, 198.0]);
        assert_eq!([50, 99].map(|p| percentile(all(3), p).unwrap()), [2.0, 3.0]);
        assert!(percentile(all(0), 50).is_err());
    }
}
