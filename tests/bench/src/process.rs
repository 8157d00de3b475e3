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

/// That of all processes in whose command line a word is.
pub(crate) fn cpu_of_all(word: &str) -> Result<f64> {
    let mut sum = 0.0;
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends meanwhile has none.
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        if String::from_utf8_lossy(&line).contains(word) {
            sum += cpu(pid).unwrap_or_default();
        }
    }
    Ok(sum)
}
