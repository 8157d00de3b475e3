//! `cargo xtask bench cni`.
use std::process::Command;

use anyhow::{Result, ensure};

use super::{BenchArguments, Row, build, measured};
use crate::lab::{self, Lab};
use crate::workspace::Workspace;

/// Debian's packages of the reference plugins, and of what makes namespaces.
const PACKAGES: [&str; 3] = ["containernetworking-plugins", "iproute2", "util-linux"];

/// ADD and DEL by ours and by others.
pub(super) fn run(workspace: &Workspace, arguments: &BenchArguments, rounds: u32) -> Result<Vec<Row>> {
    let unfit = lab::no_namespaces();
    ensure!(unfit.is_none(), "ADD and DEL cannot be measured here: {}", unfit.unwrap_or_default());
    Lab::install(workspace, &PACKAGES)?;
    let programs = ["isthmus", "isthmus-cni", "isthmus-bench"];
    build(workspace, arguments.profile(), &programs.map(|name| ["--bin", name]).concat())?;
    let folder = arguments.folder(workspace);
    let mut driver = Command::new(folder.join("isthmus-bench"));
    driver.arg("cni").arg("--agent").arg(folder.join("isthmus"));
    driver.args(["--rounds", &rounds.to_string()]);
    measured(workspace, "measuring ADD and DEL (~1 min of 200 rounds)", driver)
}
