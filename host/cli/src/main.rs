//! `isthmus`: the operator, and the commands for those who run it and those who write modules.
//!
//! The edge of the program: arguments, logs, exit codes. What it does is in the crates below.

mod args;
mod crds;
mod logs;
mod module;
mod operator;
mod output;
mod render;
mod tree;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, ModuleCommand};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = logs::start(cli.log_format) {
        return failed(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::from(error).context("starting the runtime")),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Operator(args) => operator::run(&cli.kube, *args).await,
        Command::Crds(args) => crds::run(&args, cli.output),
        Command::Render(args) => render::run(&args, cli.output),
        Command::Module(ModuleCommand::Check(args)) => module::check(&args, cli.output),
        Command::Module(ModuleCommand::Load(args)) => module::load(&cli.kube, &args, cli.output).await,
        Command::Tree(args) => tree::run(&cli.kube, &args, cli.output).await,
    }
}

#[allow(clippy::print_stderr, reason = "the one place where a command says why it failed")]
fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("isthmus: {error:#}");
    ExitCode::FAILURE
}
