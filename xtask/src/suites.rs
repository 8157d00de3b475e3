//! The suites of `cargo xtask test`.
mod in_labs;

use std::collections::BTreeMap;
use std::ops::Add;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::demo;
use crate::plugins;
use crate::step::{Done, Step, say};
use crate::test::Report;
use crate::workspace::{Workspace, cache};

pub(crate) use in_labs::in_labs;

/// The crates whose tests run in the lab and nowhere else.
const IN_THE_LAB: [&str; 3] = ["isthmus-conformance", "isthmus-e2e", "isthmus-node-tests"];
/// Of these, those that need what is installed for a lab (the reference plugins, another kernel), and none that runs.
const BESIDE_THE_LAB: [&str; 9] = [
    "isthmus-node-tests/bridge",
    "isthmus-node-tests/chains",
    "isthmus-node-tests/health",
    "isthmus-node-tests/ipv6",
    "isthmus-node-tests/libcni",
    "isthmus-node-tests/nested",
    "isthmus-node-tests/races",
    "isthmus-node-tests/restarts",
    "isthmus-node-tests/socket",
];
/// Arguments of tests that share something of the machine.
const ONE_AT_A_TIME: [&str; 2] = ["--test-threads=1", "--show-output"];
/// cargo-deny, built once into the cache.
const DENY_VERSION: &str = "0.20.2";

/// Arguments that leave them out.
fn excluded() -> impl Iterator<Item = &'static str> {
    IN_THE_LAB.into_iter().flat_map(|name| ["--exclude", name])
}

/// Tests by how they ended.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Counts {
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Sums the lines `test result: ok. 3 passed; 0 failed; 1 ignored; ...` that Rust's test harness prints.
    fn parse(output: &str) -> Self {
        let mut sum = Self::default();
        for line in output.lines().filter_map(|l| l.trim().strip_prefix("test result: ")) {
            for part in line.split(['.', ';']) {
                let mut words = part.split_whitespace();
                let (Some(Ok(n)), Some(what)) = (words.next().map(str::parse::<u32>), words.next()) else {
                    continue;
                };
                match what {
                    "passed" => sum.passed += n,
                    "failed" => sum.failed += n,
                    "ignored" => sum.skipped += n,
                    _ => {}
                }
            }
        }
        sum
    }

    /// What a run of tests came to. One that dies before its summary still counts as a failure.
    fn of(done: &Done) -> Self {
        let counts = Self::parse(&done.stdout);
        if !done.success && counts.failed == 0 { counts + Self::FAILED } else { counts }
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

/// An executable of tests that cargo built, or one module of it.
#[derive(Clone)]
pub(crate) struct TestBinary {
    /// Package, and for an integration test its file.
    suite: String,
    executable: PathBuf,
    /// The package's folder: where cargo runs its tests.
    folder: PathBuf,
    /// Only these of its tests; empty: all.
    only: Vec<String>,
}

impl TestBinary {
    /// One suite for each of its modules, so that they can run side by side; itself where it has none.
    fn by_module(self) -> Result<Vec<Self>> {
        let Some((package, _)) = self.suite.split_once('/') else { return Ok(vec![self]) };
        let mut list = Command::new(&self.executable);
        list.args(["--list", "--format", "terse"]).current_dir(&self.folder);
        let output = list.output().with_context(|| format!("cannot run {}", self.executable.display()))?;
        ensure!(output.status.success(), "{} does not list its tests", self.executable.display());
        let listed = String::from_utf8(output.stdout)?;
        let mut modules: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for test in listed.lines().filter_map(|line| line.strip_suffix(": test")) {
            let Some((module, _)) = test.split_once("::") else { return Ok(vec![self.clone()]) };
            modules.entry(module).or_default().push(test.to_owned());
        }
        let suite = |(module, only)| Self { suite: format!("{package}/{module}"), only, ..self.clone() };
        Ok(modules.into_iter().map(suite).collect())
    }
}

/// What the build left to run.
#[derive(Default)]
pub(crate) struct Built {
    /// Tests that need nothing but the modules.
    pub(crate) unit: Vec<TestBinary>,
    /// Tests that need root and what is installed for a lab.
    pub(crate) beside: Vec<TestBinary>,
    /// Tests that need a lab.
    pub(crate) lab: Vec<TestBinary>,
}

impl Built {
    fn of(binaries: Vec<TestBinary>) -> Self {
        let in_lab = |b: &TestBinary| IN_THE_LAB.iter().any(|name| b.suite.starts_with(name));
        let (lab, unit) = binaries.into_iter().partition(in_lab);
        let (beside, lab) = Vec::into_iter(lab).partition(|b| BESIDE_THE_LAB.contains(&&*b.suite));
        Self { unit, beside, lab }
    }
}

/// Format, clippy and build.
pub(crate) fn build_host(workspace: &Workspace, with_lab: bool) -> (Report, Built) {
    let mut report = Report::default();
    check(
        workspace,
        &mut report,
        "format",
        "cargo fmt --check",
        workspace.cargo(["fmt", "--all", "--", "--check", "--color=never"]),
    );
    let clippy =
        workspace.cargo(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
    check(workspace, &mut report, "clippy", "a first run compiles every dependency, ~3 min", clippy);
    match build(workspace, with_lab) {
        Ok(binaries) => (report, Built::of(binaries)),
        Err(error) => {
            report.broken("build", &error);
            (report, Built::default())
        }
    }
}

/// Unit and documentation tests.
pub(crate) fn host(workspace: &Workspace, built: &[TestBinary]) -> Report {
    let mut report = Report::default();
    if built.is_empty() {
        return report;
    }
    run_tests(workspace, &mut report, built, |binary| Command::new(&binary.executable));
    let mut doc = workspace.cargo(["test", "--workspace", "--doc", "--locked"]);
    doc.args(excluded());
    match Step::new("documentation", "compiling and running the examples in the documentation")
        .run(workspace, doc)
    {
        Ok(done) => {
            done.complain("documentation");
            report.row("documentation examples", Counts::of(&done), done.seconds);
        }
        Err(error) => report.broken("documentation", &error),
    }
    report
}

/// The tests for which a lab is to be prepared, and need not run.
pub(crate) fn beside_labs(workspace: &Workspace, built: &[TestBinary]) -> Report {
    let mut report = Report::default();
    run_tests(workspace, &mut report, built, |binary| {
        let mut command = Command::new(&binary.executable);
        command.args(ONE_AT_A_TIME);
        command
    });
    report
}

/// `cargo xtask demo`, with the clients that the lab has.
pub(crate) fn demo(workspace: &Workspace) -> Report {
    shown("cargo xtask demo", || demo::in_one_process(workspace))
}

fn shown(name: &str, show: impl FnOnce() -> Result<()>) -> Report {
    let mut report = Report::default();
    let begun = Instant::now();
    match show() {
        Ok(()) => report.check(name, true, begun.elapsed().as_secs_f64()),
        Err(error) => report.broken(name, &error),
    }
    report
}

fn check(workspace: &Workspace, report: &mut Report, name: &str, reason: &str, command: Command) {
    match (Step { limit: Duration::from_secs(1800), ..Step::new(name, reason) }).run(workspace, command) {
        Ok(done) => {
            done.complain(name);
            report.check(name, done.success, done.seconds);
        }
        Err(error) => report.broken(name, &error),
    }
}

#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: ArtifactTarget,
    profile: ArtifactProfile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct ArtifactTarget {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct ArtifactProfile {
    test: bool,
}

/// Builds every binary and test once.
fn build(workspace: &Workspace, with_lab: bool) -> Result<Vec<TestBinary>> {
    // In one go: built without the tests, the programs' dependencies would be compiled once more, with other features.
    let mut command = workspace.cargo(["build", "--workspace", "--bins", "--tests", "--locked"]);
    command.arg("--message-format=json-render-diagnostics");
    if !with_lab {
        command.args(excluded());
    }
    let limit = Duration::from_secs(3600);
    let done = Step {
        limit,
        ..Step::new("build", "compiling programs and tests; a first run compiles Wasmtime, ~10 min")
    }
    .run(workspace, command)?
    .ok("cargo build")?;
    let packages = workspace.packages()?;
    let names: BTreeMap<&Path, &str> =
        packages.iter().map(|p| (p.manifest_path.as_path(), p.name.as_str())).collect();
    let mut binaries = Vec::new();
    for line in done.stdout.lines() {
        // messages of other kinds lack the fields
        let Ok(artifact) = serde_json::from_str::<Artifact>(line) else { continue };
        let (Some(executable), true) = (artifact.executable, artifact.profile.test) else { continue };
        let package = names
            .get(artifact.manifest_path.as_path())
            .context("cargo built a package that it did not list")?;
        let integration = artifact.target.kind.iter().any(|k| k == "test");
        let suite =
            if integration { format!("{package}/{}", artifact.target.name) } else { (*package).to_owned() };
        let folder = artifact.manifest_path.parent().context("a manifest lies in a folder")?.to_owned();
        binaries.push(TestBinary { suite, executable, folder, only: Vec::new() });
    }
    binaries.sort_by(|a, b| a.suite.cmp(&b.suite));
    Ok(binaries)
}

fn run_tests(
    workspace: &Workspace,
    report: &mut Report,
    binaries: &[TestBinary],
    command: impl Fn(&TestBinary) -> Command,
) {
    for binary in binaries {
        run_binary(workspace, report, binary, command(binary));
    }
}

fn run_binary(workspace: &Workspace, report: &mut Report, binary: &TestBinary, mut command: Command) {
    // as `cargo test` has it
    command.current_dir(&binary.folder).env("CARGO_MANIFEST_DIR", &binary.folder);
    command.env("ISTHMUS_MODULES", workspace.modules()).env("RUST_BACKTRACE", "0");
    let step = Step { limit: Duration::from_secs(1800), ..Step::new(&binary.suite, "testing") };
    match step.run(workspace, command) {
        Ok(done) => {
            done.complain(&binary.suite);
            for line in done.stdout.lines().filter(|line| line.contains("requests compared")) {
                report.notes.push(format!("{}: {line}", binary.suite));
            }
            let counts = Counts::of(&done);
            // a crate without tests has no row
            if counts != Counts::default() {
                report.row(&binary.suite, counts, done.seconds);
            }
        }
        Err(error) => report.broken(&binary.suite, &error),
    }
}

/// The guest modules.
pub(crate) fn modules(workspace: &Workspace) -> Report {
    let mut report = Report::default();
    let started = Instant::now();
    match plugins::build(workspace) {
        Ok(modules) => {
            plugins::print(&modules);
            let passed = u32::try_from(modules.len()).unwrap_or(u32::MAX);
            report.row(
                "guest modules",
                Counts { passed, ..Counts::default() },
                started.elapsed().as_secs_f64(),
            );
        }
        Err(error) => report.broken("guest modules", &error),
    }
    report
}

/// What cargo-deny has to say.
pub(crate) fn licences(workspace: &Workspace) -> Report {
    let mut report = Report::default();
    if let Err(error) = deny(workspace, &mut report) {
        report.broken("cargo-deny", &error);
    }
    report
}

fn deny(workspace: &Workspace, report: &mut Report) -> Result<()> {
    let tools = cache()?.join("tools");
    let program = tools.join("bin/cargo-deny");
    let version = Command::new(&program).arg("--version").output();
    if !version.is_ok_and(|v| String::from_utf8_lossy(&v.stdout).contains(DENY_VERSION)) {
        let mut install = workspace.cargo(["install", "--locked", "--quiet", "--root"]);
        install.arg(&tools).arg(format!("cargo-deny@{DENY_VERSION}"));
        // not into the workspace's target folder, whose lock the host's build holds
        install.env_remove("CARGO_TARGET_DIR");
        Step {
            limit: Duration::from_secs(1800),
            ..Step::new("cargo-deny", "building cargo-deny, ~3 min the first time")
        }
        .run(workspace, install)?
        .ok("cargo install cargo-deny")?;
    }
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(&workspace.root);
        command
    };
    let fetch =
        Step { limit: Duration::from_secs(60), ..Step::new("advisories", "fetching the advisory database") }
            .run(workspace, deny(&["fetch", "db"]))?;
    if fetch.success {
        check(
            workspace,
            report,
            "advisories",
            "known vulnerabilities",
            deny(&["check", "--disable-fetch", "advisories"]),
        );
    } else {
        let note = "advisories were NOT checked: the advisory database cannot be fetched from here";
        say("advisories", note);
        report.notes.push(note.to_owned());
    }
    for what in ["licenses", "bans", "sources"] {
        check(workspace, report, &format!("cargo-deny {what}"), "see deny.toml", deny(&["check", what]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BESIDE_THE_LAB, Built, Counts, TestBinary};

    #[test]
    fn every_suite_is_in_one_lane() {
        let suite = |name: &str| TestBinary {
            suite: name.into(),
            executable: "/".into(),
            folder: "/".into(),
            only: Vec::new(),
        };
        let others = ["isthmus-node", "isthmus-node-tests", "isthmus-node-tests/ovs", "isthmus-e2e/lab"];
        let all = others.iter().chain(&BESIDE_THE_LAB).map(|name| suite(name)).collect();
        let names = |lane: Vec<TestBinary>| lane.into_iter().map(|b| b.suite).collect::<Vec<_>>();
        let Built { unit, beside, lab } = Built::of(all);
        assert_eq!(
            (names(unit), names(beside)),
            (vec![others[0].to_owned()], BESIDE_THE_LAB.map(String::from).to_vec())
        );
        assert_eq!(names(lab), others[1..]);
    }

    /// Else it would be run in a lab, and later.
    #[test]
    fn those_beside_the_lab_are_there() {
        let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/node/tests");
        for name in BESIDE_THE_LAB {
            let file = name.trim_start_matches("isthmus-node-tests/");
            assert!(std::path::Path::new(tests).join(file).with_extension("rs").exists(), "{name}");
        }
    }

    #[test]
    fn summary_lines_are_added_up() {
        let output = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
                      \ntest result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n";
        assert_eq!(Counts::parse(output), Counts { passed: 3, failed: 3, skipped: 1 });
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(Counts::parse("5 passed; 3 failed\ntest result\n"), Counts::default());
    }
}
