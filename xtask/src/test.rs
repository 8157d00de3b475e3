//! `cargo xtask test`: lanes side by side (building the host; guest modules; licences; starting the labs), then the tests that need
//! no lab, or only what is installed for one, beside those that do, then the table.
use std::env;
use std::process::ExitCode;
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Result, anyhow};

use crate::lab::{self, Lab, Reserved};
use crate::step::say;
use crate::suites::{self, Built, Counts};
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

    /// Waits for a lane.
    fn join(&mut self, lane: &str, ended: ScopedJoinHandle<'_, Self>) {
        match ended.join() {
            Ok(report) => self.add(report),
            Err(_panic) => self.broken(lane, &anyhow!("the lane panicked")),
        }
    }

    /// The tests that need a lab are left out: that has a row and a note, as nothing is skipped in silence.
    fn without_lab(&mut self, reason: &str) {
        self.row("end-to-end (lab)", Counts::SKIPPED, 0.0);
        self.notes.push(format!("the end-to-end tests were skipped: {reason}"));
    }

    fn sum(&self) -> Counts {
        self.rows.iter().fold(Counts::default(), |sum, row| sum + row.counts)
    }

    /// Table, notes and the closing line.
    fn told(&self) -> String {
        let mut text =
            format!("\n{:<34}{:>8}{:>8}{:>8}{:>10}\n", "suite", "tests", "failed", "skipped", "seconds");
        for Row { suite, counts: Counts { passed, failed, skipped }, seconds } in &self.rows {
            let tests = passed + failed + skipped;
            text += &format!("{suite:<34}{tests:>8}{failed:>8}{skipped:>8}{seconds:>10.1}\n");
        }
        for note in &self.notes {
            text += &format!("note: {note}\n");
        }
        let Counts { passed, failed, skipped } = self.sum();
        text + &format!("\n{passed} passed, {failed} failed, {skipped} skipped")
    }

    /// Whether all is well. Where nobody looks at the table (`ci`), what was skipped has failed.
    fn is_good(&self, ci: bool) -> bool {
        let Counts { failed, skipped, .. } = self.sum();
        failed == 0 && !(ci && skipped > 0)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.notes.extend(other.notes);
    }
}

/// Runs everything; with `quick` without the lab, else on so many of them side by side.
pub(crate) fn run(workspace: &Workspace, quick: bool, labs: u8) -> Result<ExitCode> {
    let left_out = left_out(quick, lab::unfit);
    let with_lab = left_out.is_none();
    let labs = if with_lab { Lab::chosen().and_beside(labs) } else { Vec::new() };
    let mut reserved = Vec::new();
    let mut report = Report::default();
    thread::scope(|scope| {
        let started = scope.spawn(|| start_labs(workspace, &labs));
        let modules = scope.spawn(|| suites::modules(workspace));
        let licences = scope.spawn(|| suites::licences(workspace));
        let (host, Built { unit, beside, lab }) = suites::build_host(workspace, with_lab);
        report.add(host);
        report.join("modules", modules);
        // the tests load the modules
        let unit = scope.spawn(move || suites::host(workspace, &unit));
        let (ours, up) =
            started.join().unwrap_or_else(|_panic| (Vec::new(), Err(anyhow!("the lane panicked"))));
        reserved = ours;
        let prepared = up.is_ok();
        // After the unit tests: meanwhile the labs are at the suites that no load beside them can fail.
        let host = scope.spawn(move || {
            let mut report = Report::default();
            report.join("host", unit);
            if prepared {
                report.add(suites::beside_labs(workspace, &beside));
                report.add(suites::demo(workspace));
            }
            report
        });
        let in_labs = match up {
            Ok(()) if labs.is_empty() => None,
            Ok(()) => Some(suites::in_labs(workspace, &labs, lab)),
            Err(error) => {
                report.broken("lab", &error);
                None
            }
        };
        report.join("host", host);
        report.join("licences", licences);
        in_labs.into_iter().for_each(|in_labs| report.add(in_labs));
    });
    if let Some(reason) = left_out {
        report.without_lab(&reason);
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

/// Why there is no lab, if so.
fn left_out(quick: bool, unfit: impl FnOnce() -> Option<String>) -> Option<String> {
    if quick { Some("--quick leaves the lab out".to_owned()) } else { unfit() }
}

/// Prints what there is to tell.
fn conclude(report: &Report) -> ExitCode {
    println!("{}", report.told());
    let ci = env::var("CI").is_ok_and(|v| v == "true");
    if report.is_good(ci) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::{Report, left_out};

    #[test]
    fn what_quick_leaves_out_is_told_and_fails_where_nobody_reads_it() {
        let unfit = || Some("it needs root".to_owned());
        assert_eq!(left_out(false, || None), None);
        for (quick, why) in [(true, "--quick leaves the lab out"), (false, "it needs root")] {
            let reason = left_out(quick, unfit).unwrap();
            let mut report = Report::default();
            report.check("format", true, 1.0);
            assert!(report.is_good(true) && report.is_good(false));
            report.without_lab(&reason);
            let told = report.told();
            let row = told.lines().find(|line| line.starts_with("end-to-end (lab)")).unwrap();
            assert_eq!(
                row.split_whitespace().collect::<Vec<_>>(),
                ["end-to-end", "(lab)", "1", "0", "1", "0.0"]
            );
            let note = format!("note: the end-to-end tests were skipped: {why}");
            assert!(told.lines().any(|line| line == note), "{told}");
            assert!(told.ends_with("\n1 passed, 0 failed, 1 skipped"), "{told}");
            assert!(report.is_good(false) && !report.is_good(true));
            report.check("clippy", false, 1.0);
            assert!(!report.is_good(false));
        }
    }
}
