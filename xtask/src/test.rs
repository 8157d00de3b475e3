//! `cargo xtask test`: every suite, three lanes side by side (host build and its tests; guest modules and licences;
//! starting the lab), then the tests that need the lab, then the table.
use std::env;
use std::process::ExitCode;
use std::thread;

use anyhow::Result;

use crate::lab;
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

    fn add(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.notes.extend(other.notes);
    }
}

/// Runs everything; with `quick` without the lab.
pub(crate) fn run(workspace: &Workspace, quick: bool) -> Result<ExitCode> {
    let left_out = if quick { Some("--quick leaves the lab out".to_owned()) } else { lab::unfit() };
    let with_lab = left_out.is_none();
    let mut reserved = None;
    let mut report = Report::default();
    thread::scope(|scope| {
        let lab = scope.spawn(|| with_lab.then(|| start_lab(workspace)));
        // before the host's tests, which load them
        report.add(suites::modules(workspace));
        let licences = scope.spawn(|| suites::licences(workspace));
        let (host, end_to_end) = suites::host(workspace, with_lab);
        report.add(host);
        match licences.join() {
            Ok(licences) => report.add(licences),
            Err(_panic) => report.broken("licences", &anyhow::anyhow!("the lane panicked")),
        }
        let lab = lab.join().unwrap_or_else(|_panic| Some(Err(anyhow::anyhow!("the lane panicked"))));
        match lab {
            Some(Ok((lab, up))) => {
                reserved = Some(lab);
                match up {
                    Ok(()) => report.add(suites::end_to_end(workspace, end_to_end)),
                    Err(error) => report.broken("lab", &error),
                }
            }
            Some(Err(error)) => report.broken("lab", &error),
            None => {}
        }
    });
    if let Some(reason) = left_out {
        report.skipped("end-to-end (lab)", format!("the end-to-end tests were skipped: {reason}"));
    }
    if let Some(lab) = reserved {
        lab.restore(workspace)?;
    }
    Ok(conclude(&report))
}

/// The lab for this run alone, and whether it is up.
fn start_lab(workspace: &Workspace) -> Result<(lab::Reserved, Result<()>)> {
    let lab = lab::reserve("testing on it")?;
    let up = lab::up(workspace, true);
    Ok((lab, up))
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
