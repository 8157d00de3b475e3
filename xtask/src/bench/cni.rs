//! `cargo xtask bench cni`.
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{BenchArguments, LONGEST, Row, build, measured};
use crate::lab::{self, Lab};
use crate::step::Step;
use crate::workspace::Workspace;

/// Debian's packages of the reference plugins, and of what makes namespaces.
const PACKAGES: [&str; 3] = ["containernetworking-plugins", "iproute2", "util-linux"];

/// ADD and DEL by ours and by others.
pub(super) fn run(workspace: &Workspace, arguments: &BenchArguments, rounds: u32) -> Result<Vec<Row>> {
    let unfit = lab::no_namespaces();
    ensure!(unfit.is_none(), "ADD and DEL cannot be measured here: {}", unfit.unwrap_or_default());
    Lab::install(workspace, &PACKAGES)?;
    let programs = ["isthmus", "isthmus-node", "isthmus-bench"];
    build(workspace, arguments.profile(), &programs.map(|name| ["--bin", name]).concat())?;
    plugin(workspace, arguments.profile())?;
    let folder = arguments.folder(workspace);
    let mut driver = Command::new(folder.join("isthmus-bench"));
    driver.arg("cni").arg("--agent").arg(folder.join("isthmus"));
    driver.args(["--rounds", &rounds.to_string()]);
    let mut rows = measured(workspace, "measuring ADD and DEL (~1 min of 200 rounds)", driver)?;
    rows.push(size(&folder.join("isthmus-cni"))?);
    Ok(rows)
}

/// What a runtime reads from the disk and maps, twice for each Pod.
fn size(plugin: &Path) -> Result<Row> {
    let file = fs::metadata(plugin).with_context(|| format!("{}", plugin.display()))?;
    Ok(Row {
        measure: "isthmus-cni, size of the program".into(),
        target: String::new(),
        measured: format!("{} KiB", file.len().div_ceil(1024)),
        met: None,
        note: "static, without symbols".into(),
    })
}

/// Builds the plugin as nodes get it (deploy/Containerfile): static, as nobody knows their libraries.
fn plugin(workspace: &Workspace, profile: &str) -> Result<()> {
    let program = ["--package", "isthmus-cni", "--bin", "isthmus-cni", "--profile", profile];
    let mut build = workspace.cargo(["rustc", "--locked"]);
    build.args(program).args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
    Step { limit: LONGEST, ..Step::new("plugin", "building the plugin, static as in the image") }
        .run(workspace, build)?
        .ok("the build of the plugin")
        .map(drop)
}
