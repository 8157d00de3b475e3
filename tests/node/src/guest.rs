//! Tests under another kernel: what this machine's may lack.
//!
//! On the machine, the first test of a file starts the whole file once more in a guest, with what its command line selects; each then
//! ends as it ended there.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Result, anyhow, bail};

/// Set in the guest.
const INSIDE: &str = "ISTHMUS_GUEST";
const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../lab/guest/run-in-guest");
/// How long a file may take, in seconds.
const LIMIT: &str = "600";

/// Runs the body of the test `name` in the guest.
///
/// # Errors
/// The body's; no guest is to be had.
pub fn in_guest(name: &str, body: impl FnOnce() -> Result<()>) -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    static OUTPUT: OnceLock<Result<String, String>> = OnceLock::new();
    let output = OUTPUT.get_or_init(|| run().map_err(|e| e.to_string()));
    let output = output.as_ref().map_err(|why| anyhow!("{why}"))?;
    match outcome(output, name) {
        Some("ok") => Ok(()),
        Some(_) => bail!("in the guest:\n{}", said(output, name)),
        None => bail!("the guest did not run {name}:\n{output}"),
    }
}

/// The whole file, in the guest: what it printed.
fn run() -> Result<String> {
    let done = Command::new(RUN)
        .args(["-t", LIMIT, "--"])
        .arg(std::env::current_exe()?)
        .args(selection(std::env::args().skip(1)))
        .args(["--test-threads=1", "--show-output", "--color=never"])
        .env(INSIDE, "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    // 101: tests failed, which each says itself
    if done.status.success() || done.status.code() == Some(101) {
        return Ok(format!("{out}{err}"));
    }
    bail!("{RUN} ended with {}:\n{out}{err}", done.status)
}

/// What of the command line selects tests: the guest has options of its own.
fn selection(mut arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut selection = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--test-threads" | "--format" | "--color" => {
                arguments.next();
            }
            "--exact" | "--skip" => selection.push(argument),
            option if option.starts_with('-') => {}
            _ => selection.push(argument),
        }
    }
    selection
}

/// What libtest said of a test.
fn outcome<'a>(output: &'a str, name: &str) -> Option<&'a str> {
    let line = output.lines().find_map(|l| l.strip_prefix(&format!("test {name} ... ")))?;
    Some(line.trim())
}

/// What a test printed, else everything.
fn said<'a>(output: &'a str, name: &str) -> &'a str {
    let begin = [format!("---- {name} stdout ----"), format!("---- {name} stderr ----")];
    let Some(from) = begin.iter().find_map(|head| output.find(head.as_str())) else { return output };
    let rest = output.get(from..).unwrap_or(output);
    match rest.find("\n---- ").or_else(|| rest.find("\nfailures:\n")) {
        Some(until) => rest.get(..until).unwrap_or(rest),
        None => rest,
    }
}
