//! What a process uses, as /proc tells.

use std::fs;

use anyhow::{Context, Result};

/// Unit of /proc/PID/stat: the same on every Linux that Debian has.
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident memory, in KiB.
pub(crate) fn rss(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().context("no VmRSS")?.parse()?)
}

/// Processor time so far, in seconds of one core.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold blanks; user and system time are the 12th and 13th word after it.
    let (_, words) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let ticks: Vec<f64> = words.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// That of all processes of a service of the lab: those that write into its log. Of what gunicorn runs the command line tells nothing.
pub(crate) fn cpu_of_all(service: &str) -> Result<f64> {
    let (mut sum, log) = (None, format!("{service}.log"));
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends meanwhile has none.
        let Ok(errors) = fs::read_link(format!("/proc/{pid}/fd/2")) else { continue };
        if errors.ends_with(&log) {
            *sum.get_or_insert(0.0) += cpu(pid).unwrap_or_default();
        }
    }
    sum.with_context(|| format!("no process writes into {log}"))
}
