//! What runs of a lab, as its pid files and /proc tell it.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;

use super::Output;

/// Parts that a running lab always has. Those of the chassis come from the pid files.
const PARTS: [&str; 10] = [
    "etcd",
    "apiserver",
    "controllers",
    "scheduler",
    "mariadb",
    "ovn-nb",
    "ovn-sb",
    "ovn-northd",
    "keystone",
    "neutron",
];

/// One part of the lab as the pid files and /proc tell it.
#[derive(Serialize)]
pub(super) struct PartStatus {
    part: String,
    pub(super) running: bool,
    pid: Option<u32>,
    uptime_seconds: Option<u64>,
    address: Option<String>,
}

pub(super) fn parts(state: &Path) -> Result<Vec<PartStatus>> {
    let mut found = BTreeMap::new();
    if let Ok(folder) = fs::read_dir(state.join("pid")) {
        for entry in folder {
            let path = entry?.path();
            // an amphora may go while this looks
            if let (Some(name), Ok(line)) = (path.file_name(), fs::read_to_string(&path)) {
                found.insert(name.to_string_lossy().into_owned(), line);
            }
        }
    }
    let uptime = fs::read_to_string("/proc/uptime").context("cannot read /proc/uptime")?;
    let up = uptime.split_once('.').and_then(|(seconds, _)| seconds.parse().ok()).unwrap_or(0);
    let mut parts: Vec<_> = PARTS.iter().map(|p| part(p, found.remove(*p).as_deref(), up)).collect();
    parts.extend(found.iter().map(|(name, line)| part(name, Some(line), up)));
    Ok(parts)
}

/// `line`: pid, start time in ticks since boot, address (`spawn` in lib.sh writes it). `up`: seconds since boot.
fn part(name: &str, line: Option<&str>, up: u64) -> PartStatus {
    /// Ticks a second in /proc/PID/stat: the same on every Linux that Debian has.
    const TICKS: u64 = 100;
    let mut words = line.unwrap_or_default().split_whitespace();
    let pid = words.next().and_then(|w| w.parse().ok());
    let start = words.next().and_then(|w| w.parse().ok());
    let running = pid.is_some() && start.is_some() && pid.and_then(started) == start;
    PartStatus {
        part: name.to_owned(),
        running,
        pid: pid.filter(|_| running),
        uptime_seconds: start.filter(|_| running).map(|s| up.saturating_sub(s / TICKS)),
        address: words.next().map(str::to_owned),
    }
}

/// Start time of a process in ticks since boot; none for a zombie. Tells a pid that was used again.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name in parentheses may hold blanks; the state comes first after it, the start time 19 words later
    let mut words = stat.rsplit_once(')')?.1.split_whitespace();
    let state = words.next()?;
    words.nth(18)?.parse().ok().filter(|_| state != "Z")
}

/// Prints each part; fails unless all run.
pub(super) fn show(state: &Path, output: Output) -> Result<ExitCode> {
    let parts = parts(state)?;
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&parts)?),
        Output::Table => {
            println!("{:<24} {:<10}{:>8}{:>10}  ADDRESS", "PART", "STATE", "PID", "UPTIME");
            for p in &parts {
                let pid = p.pid.map(|n| n.to_string()).unwrap_or_default();
                let uptime = p.uptime_seconds.map(|s| format!("{s} s")).unwrap_or_default();
                let state = if p.running { "running" } else { "stopped" };
                let address = p.address.as_deref().unwrap_or_default();
                println!("{:<24} {state:<10}{pid:>8}{uptime:>10}  {address}", p.part);
            }
        }
    }
    Ok(ExitCode::from(u8::from(!parts.iter().all(|p| p.running))))
}

#[cfg(test)]
mod tests {
    use super::{part, started};

    #[test]
    fn a_pid_file_counts_only_with_the_start_time_of_its_process() {
        let me = std::process::id();
        let start = started(me).unwrap();
        let status = part("etcd", Some(&format!("{me} {start} http://127.0.0.1:2379\n")), start / 100 + 7);
        assert!(status.running);
        assert_eq!((status.pid, status.uptime_seconds), (Some(me), Some(7)));
        assert_eq!(status.address.as_deref(), Some("http://127.0.0.1:2379"));
        let reused = part("etcd", Some(&format!("{me} {} x\n", start + 1)), 0);
        assert!(!reused.running && reused.pid.is_none());
    }

    #[test]
    fn a_missing_or_broken_pid_file_is_a_stopped_part() {
        for line in [None, Some(""), Some("not a number"), Some("1")] {
            assert!(!part("etcd", line, 0).running, "{line:?}");
        }
    }
}
