//! `cargo xtask test`: every suite, three lanes side by side (host build and its tests; guest modules and licences;
//! starting the lab), then the tests that need the lab, then the table.
use std::env;
use std::process::ExitCode;
use std::thread;

use anyhow::{Result, anyhow};

use crate::lab::{self, Lab, Reserved};
use crate::step::say;
use crate::suites::{self, Counts};
use crate::workspace::Workspace;

/// One row of the table.
pub(crate) struct Row {
    pub(crate) suite: String,
    pub(crate) counts: Counts,
    pub(crate) seconds: f64,
}

/// What a lane has to tell: rows, and sentences for under the table.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) notes: Vec<String>,
}

impl Report {
    pub(crate) fn row(&mut self, suite: impl Into<String>, counts: Counts, seconds: f64) {
        self.rows.push(Row { suite: suite.into(), counts, seconds });
    }

    /// A suite that counts as one check.
    pub(crate) fn check(&mut self, suite: &str, passed: bool, seconds: f64) {
        self.row(suite, if passed { Counts::PASSED } else { Counts::FAILED }, seconds);
    }

    /// A suite that broke in a way that is not a test's.
    pub(crate) fn broken(&mut self, suite: &str, error: &anyhow::Error) {
        say(suite, &format!("FAILED: {error:#}"));
        self.row(suite, Counts::FAILED, 0.0);
    }

    fn skipped(&mut self, suite: &str, reason: String) {
        self.row(suite, Counts::SKIPPED, 0.0);
        self.notes.push(reason);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.notes.extend(other.notes);
    }
}

/// Runs everything; with `quick` without the lab, else on so many of them side by side.
pub(crate) fn run(workspace: &Workspace, quick: bool, labs: u8) -> Result<ExitCode> {
    let left_out = if quick { Some("--quick leaves the lab out".to_owned()) } else { lab::unfit() };
    let with_lab = left_out.is_none();
    let labs = if with_lab { Lab::chosen().and_beside(labs) } else { Vec::new() };
    let mut reserved = Vec::new();
    let mut report = Report::default();
    thread::scope(|scope| {
        let started = scope.spawn(|| start_labs(workspace, &labs));
        // before the host's tests, which load them
        report.add(suites::modules(workspace));
        let licences = scope.spawn(|| suites::licences(workspace));
        let (host, end_to_end) = suites::host(workspace, with_lab);
        report.add(host);
        match licences.join() {
            Ok(licences) => report.add(licences),
            Err(_panic) => report.broken("licences", &anyhow!("the lane panicked")),
        }
        let (ours, up) =
            started.join().unwrap_or_else(|_panic| (Vec::new(), Err(anyhow!("the lane panicked"))));
        reserved = ours;
        match up {
            Ok(()) if labs.is_empty() => {}
            Ok(()) => report.add(suites::in_labs(workspace, &labs, end_to_end)),
            Err(error) => report.broken("lab", &error),
        }
    });
    if let Some(reason) = left_out {
        report.skipped("end-to-end (lab)", format!("the end-to-end tests were skipped: {reason}"));
    }
    let mut code = conclude(&report);
    for lab in reserved {
        if let Err(error) = lab.restore(workspace) {
            say("lab", &format!("FAILED to stop it: {error:#}"));
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// The labs for this run alone, and whether all of them are up.
fn start_labs(workspace: &Workspace, labs: &[Lab]) -> (Vec<Reserved>, Result<()>) {
    let mut reserved = Vec::new();
    let up = (|| {
        let Some(first) = labs.first() else { return Ok(()) };
        for lab in labs {
            reserved.push(lab.reserve("testing on it")?);
        }
        first.prepare(workspace, true)?;
        labs.iter().try_for_each(|lab| lab.start(workspace, true))
    })();
    (reserved, up)
}

/// Prints table, notes and the closing line.
fn conclude(report: &Report) -> ExitCode {
    println!("\n{:<34}{:>8}{:>8}{:>8}{:>10}", "suite", "tests", "failed", "skipped", "seconds");
    let mut sum = Counts::default();
    for row in &report.rows {
        let Counts { passed, failed, skipped } = row.counts;
        println!(
            "{:<34}{:>8}{failed:>8}{skipped:>8}{:>10.1}",
            row.suite,
            passed + failed + skipped,
            row.seconds
        );
        sum = sum + row.counts;
    }
    for note in &report.notes {
        println!("note: {note}");
    }
    println!("\n{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    let ci = env::var("CI").is_ok_and(|v| v == "true");
    if sum.failed > 0 || (ci && sum.skipped > 0) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
