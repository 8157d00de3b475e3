//! `isthmus`: the operator, and the commands for those who run it and those who write modules.
//!
//! The edge of the program: arguments, logs, exit codes. What it does is in the crates below.

mod args;
mod build;
mod cluster;
mod crds;
mod dev;
mod doctor;
mod leader;
mod module;
mod node;
mod object;
mod operator;
mod output;
mod plan;
mod render;
mod scaffold;
mod tree;
mod uninstall;
mod why;
mod why_denied;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use isthmus_cli::global::Global;
use isthmus_cli::logs;

use args::{Cli, Command, CompletionArgs, ModuleCommand};

/// The system's allocator takes a third of an operator's time, and hands memory back late.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = logs::start(cli.global.log_format) {
        return logs::failed(&error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return logs::failed(&anyhow::Error::from(error).context("starting the runtime")),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => logs::failed(&error),
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { global: Global { kube, output, .. }, command } = cli;
    match command {
        Command::Operator(args) => operator::run(&kube, *args).await,
        Command::Node(_) => Err(node::become_agent()),
        Command::Crds(args) => crds::run(&args, output),
        Command::Render(args) => render::run(&args, output),
        Command::Module(ModuleCommand::New(args)) => scaffold::new(&args, output),
        Command::Module(ModuleCommand::Build(args)) => build::build(&args, output),
        Command::Module(ModuleCommand::Check(args)) => module::check(&args, output),
        Command::Module(ModuleCommand::Load(args)) => module::load(&kube, &args, output).await,
        Command::Plan(args) => plan::run(&kube, &args, output).await,
        Command::Tree(args) => tree::run(&kube, &args, output).await,
        Command::Why(args) => why::run(&kube, &args, output).await,
        Command::WhyDenied(args) => why_denied::run(&kube, &args, output).await,
        Command::Doctor(args) => doctor::run(&kube, &args, output).await,
        Command::Uninstall(args) => uninstall::run(&kube, &args, output).await,
        Command::Dev(args) => dev::run(&kube, &args, output).await,
        Command::Completion(args) => completion(&args),
    }
}

fn completion(args: &CompletionArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "isthmus", &mut script);
    output::text_out(&String::from_utf8(script)?)
}
