//! `isthmus-node`: the agent of a node. `isthmus node` becomes it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use isthmus_cli::agent::{self, NodeArgs};
use isthmus_cli::global::Global;
use isthmus_cli::logs;

/// Most threads for files and names beside the one that serves: each has a heap and a stack.
const BLOCKING: usize = 8;

/// The agent of a node; the arguments are those of `isthmus node`, which becomes this.
#[derive(Debug, Parser)]
#[command(name = "isthmus-node", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent of a node.
    Node(Box<NodeArgs>),
}

fn main() -> ExitCode {
    let Cli { global, command: Command::Node(args) } = Cli::parse();
    match start(&global, *args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => logs::failed(&error),
    }
}

/// One thread serves all: an ADD is a chain of short calls, which to hand from thread to thread costs more than they do.
fn start(global: &Global, args: NodeArgs) -> anyhow::Result<()> {
    logs::start(global.log_format)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING).build()?;
    runtime.block_on(agent::run(&global.kube, args))
}
