//! `cargo xtask`: the only entry point that a newcomer needs. It starts the lab (a real Kubernetes and a real
//! OpenStack on this machine), builds the guest modules and runs every test.
//!
//! It knows how the project is built and tested, and nothing of what the project does: no crate of ours is a
//! dependency, so that it builds in seconds.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks on its output")]

mod bench;
mod children;
mod demo;
mod docs;
mod lab;
mod plugins;
mod step;
mod suites;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Build, test and try out Isthmus.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check and test and end with a table: format, clippy, unit, licences, layering, modules, lab
    ///
    /// Exits non-zero when something failed, and with CI=true also when something was skipped.
    Test {
        /// Leave out what needs the lab (root, ~1 GB of memory, the first time ~10 min of building)
        #[arg(long)]
        quick: bool,
        /// How many labs the suites that need one are run on, side by side: two cores each, and ~2.5 GB of memory
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
        labs: u8,
    },
    /// Start, stop and look into the lab: a real Kubernetes control plane and a real OpenStack, in network
    /// namespaces of their own
    #[command(subcommand)]
    Lab(lab::LabTask),
    /// Run the main job and narrate it: Pods become Neutron ports, a Route an L7 policy, by modules from ConfigMaps
    ///
    /// In one process, by `isthmus dev`: no cluster, no cloud, no root.
    Demo {
        /// On the lab's real Kubernetes and real OpenStack instead, and then with Pods that run on two nodes (root)
        #[arg(long)]
        lab: bool,
    },
    /// Measure what the design promises, and print a table: target, measured. Nothing fails because it is slow
    Bench(bench::BenchArguments),
    /// Build every guest module (a member with a cdylib target) into target/modules/NAME.wasm
    Plugins,
    /// Make docs/contract.md from wit/
    Docs,
}

fn main() -> ExitCode {
    step::start_clock();
    let task = Arguments::parse().task;
    match children::end_on_interrupt().and_then(|()| run(task)) {
        Ok(code) => code,
        // what it then failed of is no news
        Err(_) if children::interrupted() => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match task {
        Task::Test { quick, labs } => test::run(&workspace, quick, labs),
        Task::Lab(task) => lab::run(&workspace, task),
        Task::Demo { lab } => demo::run(&workspace, lab),
        Task::Bench(arguments) => {
            bench::run(&workspace, &arguments)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Plugins => {
            plugins::print(&plugins::build(&workspace)?);
            Ok(ExitCode::SUCCESS)
        }
        Task::Docs => {
            docs::write(&workspace)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
