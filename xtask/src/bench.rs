//! `cargo xtask bench`: every cost that the design names, as a table of target and measured. Nothing fails because it is
//! slow: times say little on a busy machine, ratios and counts more.
mod cni;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use crate::lab::{self, Lab, Output};
use crate::plugins;
use crate::step::{self, Step, say};
use crate::workspace::Workspace;

/// A build from nothing, or 10,000 Pods on a slow machine.
const LONGEST: Duration = Duration::from_secs(3600);

/// What is measured, and how much of it.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArguments {
    #[command(subcommand)]
    part: Option<Part>,

    /// Measure the dev build: it is there sooner, and its times mean little
    #[arg(long, global = true)]
    dev: bool,

    /// Form of the answer
    #[arg(long, short, value_enum, default_value_t, global = true)]
    output: Output,

    /// Leave out what needs the lab: measure in the in-process world alone
    #[arg(long)]
    embedded: bool,

    /// Most Pods that are mapped at once; a swap is measured from 2,000 on, memory a Pod above
    #[arg(long, default_value_t = 10_000)]
    pods: u32,
}

/// What is not measured with the rest.
#[derive(Subcommand)]
enum Part {
    /// Measure ADD and DEL on a node against the reference plugins (Go), and against the bare netlink calls (root)
    ///
    /// IPv4, in network namespaces and a temporary folder of its own; no lab. Our whole path is isthmus-cni, an agent with the driver
    /// `bridge`, and a Pod whose interface is known beforehand.
    Cni {
        /// How many ADDs and DELs each
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
}

/// A row of the table, as the driver prints it.
#[derive(Deserialize, Serialize)]
struct Row {
    measure: String,
    target: String,
    measured: String,
    /// None: nothing is aimed at.
    met: Option<bool>,
    note: String,
}

/// What the policy crate's bench prints.
#[derive(Deserialize)]
struct Calls {
    wasm: Percentiles,
    native: Percentiles,
    #[serde(rename = "ratio-p50")]
    ratio: f64,
    #[serde(rename = "load-ms")]
    load_ms: f64,
}

/// In microseconds.
#[derive(Deserialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
}

/// Measures, and prints the table.
pub(crate) fn run(workspace: &Workspace, arguments: &BenchArguments) -> Result<()> {
    if matches!(arguments.output, Output::Json) {
        step::say_aside();
    }
    let rows = match arguments.part {
        None => operators(workspace, arguments)?,
        Some(Part::Cni { rounds }) => cni::run(workspace, arguments, rounds)?,
    };
    arguments.print(&rows)
}

impl BenchArguments {
    fn profile(&self) -> &'static str {
        if self.dev { "dev" } else { "release" }
    }

    /// Where the programs are.
    fn folder(&self, workspace: &Workspace) -> PathBuf {
        workspace.target.join(if self.dev { "debug" } else { "release" })
    }

    fn print(&self, rows: &[Row]) -> Result<()> {
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(rows)?),
            Output::Table => print(&mut std::io::stdout(), rows, self.profile())?,
        }
        Ok(())
    }
}

/// Builds programs, and a bench where there is one, all in one go, with the features of the whole workspace: what is built one by one
/// is built with other features each time.
fn build(workspace: &Workspace, profile: &str, targets: &[&str]) -> Result<()> {
    let mut build = workspace.cargo(["build", "--locked", "--workspace", "--profile", profile]);
    build.args(targets);
    Step {
        limit: LONGEST,
        ..Step::new("build", "building what is measured, and the driver (release: ~6 min the first time)")
    }
    .run(workspace, build)?
    .ok("the build")
    .map(drop)
}

/// All but what has a [`Part`] of its own.
fn operators(workspace: &Workspace, arguments: &BenchArguments) -> Result<Vec<Row>> {
    let unfit = lab::unfit().filter(|_| !arguments.embedded);
    ensure!(unfit.is_none(), "the benches need the lab (or --embedded): {}", unfit.unwrap_or_default());
    plugins::build(workspace)?;
    let (profile, folder) = (arguments.profile(), arguments.folder(workspace));
    build(workspace, profile, &["--bin", "isthmus", "--bin", "isthmus-bench", "--bench", "call"])?;
    let mut rows = calls(workspace, profile)?;

    rows.extend(embedded(workspace, &folder, arguments.pods)?);
    if !arguments.embedded {
        let lab = Lab::chosen();
        let reserved = lab.reserve("measuring on it")?;
        let measured =
            lab.up(workspace, true).and_then(|()| operator(workspace, &lab, &folder, arguments.pods));
        let restored = reserved.restore(workspace);
        match measured.and_then(|measured| restored.map(|()| measured)) {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                print(&mut std::io::stderr(), &rows, "unfinished")?;
                return Err(error);
            }
        }
    }
    Ok(rows)
}

/// One module call against the same mapping compiled natively.
fn calls(workspace: &Workspace, profile: &str) -> Result<Vec<Row>> {
    let mut bench = workspace.cargo(["bench", "--locked", "--workspace", "--bench", "call"]);
    bench.args(["--profile", profile]).env("ISTHMUS_MODULES", workspace.modules());
    let done =
        Step { limit: LONGEST, ..Step::new("calls", "calling a module, and the same mapping natively") }
            .run(workspace, bench)?
            .ok("the bench of module calls")?;
    let line =
        done.stdout.lines().find(|line| line.starts_with('{')).context("the bench printed no result")?;
    let Calls { wasm, native, ratio, load_ms } = serde_json::from_str(line)?;
    let row = |part: &str, wasm: f64, native: f64, most: f64, note: String| Row {
        measure: format!("module call, fresh instance, {part}"),
        target: format!("<= {most:.0} us"),
        measured: format!("{wasm:.1} us"),
        met: Some(wasm <= most),
        note: format!("native {native:.1} us{note}"),
    };
    Ok(vec![
        row("p50", wasm.p50, native.p50, 25.0, format!(": ratio {ratio:.1}; compiled in {load_ms:.0} ms")),
        row("p99", wasm.p99, native.p99, 100.0, String::new()),
    ])
}

/// A whole operator in the in-process world.
fn embedded(workspace: &Workspace, folder: &Path, pods: u32) -> Result<Vec<Row>> {
    let mut driver = Command::new(folder.join("isthmus-bench"));
    driver.args(["operator", "--embedded"]);
    let rows = driven(workspace, folder, pods, driver)?;
    Ok(rows
        .into_iter()
        .map(|row| Row { measure: format!("in one process: {}", row.measure), ..row })
        .collect())
}

/// A whole operator, inside the lab.
fn operator(workspace: &Workspace, lab: &Lab, folder: &Path, pods: u32) -> Result<Vec<Row>> {
    let mut driver = lab.inside(folder.join("isthmus-bench"));
    driver.args(["operator", "--node", &lab.node()]);
    driven(workspace, folder, pods, driver)
}

fn driven(workspace: &Workspace, folder: &Path, pods: u32, mut driver: Command) -> Result<Vec<Row>> {
    driver.arg("--operator").arg(folder.join("isthmus"));
    driver.arg("--modules").arg(workspace.modules());
    driver.arg("--pods").arg(pods.to_string());
    measured(workspace, "measuring an operator (minutes)", driver)
}

/// What the driver measures.
fn measured(workspace: &Workspace, what: &str, mut driver: Command) -> Result<Vec<Row>> {
    driver.env("RUST_BACKTRACE", "0");
    let done = Step { limit: LONGEST, ..Step::new("bench", what) }.run(workspace, driver)?;
    let rows = done.stdout.lines().map(serde_json::from_str).collect::<Result<Vec<Row>, _>>();
    let rows = rows.context("isthmus-bench printed something else than measures")?;
    if !done.success && !rows.is_empty() {
        // What was measured before it failed took minutes; it is no result for a program.
        print(&mut std::io::stderr(), &rows, "unfinished")?;
    }
    done.ok("isthmus-bench").map(|_| rows)
}

fn print(to: &mut impl Write, rows: &[Row], profile: &str) -> Result<()> {
    let longest = rows.iter().map(|row| row.measure.len()).max().unwrap_or_default();
    say("bench", &format!("{profile} build"));
    writeln!(to, "{:<longest$}  {:>10}  {:>10}  {:<6}  NOTES", "MEASURE", "TARGET", "MEASURED", "")?;
    for Row { measure, target, measured, met, note } in rows {
        let verdict = met.map_or("", |met| if met { "met" } else { "MISSED" });
        writeln!(to, "{measure:<longest$}  {target:>10}  {measured:>10}  {verdict:<6}  {note}")?;
    }
    Ok(())
}
