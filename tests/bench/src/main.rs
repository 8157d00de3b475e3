//! Measures a whole operator (a real API server, a real module, and a cloud that is either `isthmus-world` in this process
//! or the lab's) and what the network of a Pod costs on a node. Prints one line of JSON a measure on its standard output, and what it
//! does on its standard error.
//!
//! It treats operator, agent and plugin as their users do, from outside: the command line, the Kubernetes API, /metrics, /proc. It
//! must not know their code; but `cni bare` makes the netlink calls of a binding driver by that driver.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks on its output")]

mod cloud;
mod cluster;
mod cni;
mod embedded;
mod measure;
mod objects;
mod operator;
mod policies;
mod process;
mod scenario;
mod services;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use crate::cluster::Cluster;

/// Measure against targets.
#[derive(Debug, Parser)]
enum Task {
    /// An operator.
    Operator(Arguments),
    /// ADD and DEL on a node.
    Cni(cni::Arguments),
    /// A process that makes an agent's netlink calls, for `cni`.
    #[command(hide = true)]
    Bare(cni::bare::Arguments),
}

/// An operator that is measured.
#[derive(Debug, clap::Args)]
struct Arguments {
    /// The `isthmus` binary.
    #[arg(long)]
    operator: PathBuf,

    /// The folder with the modules, as `cargo xtask plugins` makes it.
    #[arg(long)]
    modules: PathBuf,

    /// Most Pods that are mapped at once; from 2,000 on a swap is measured, and above that the memory of a Pod.
    #[arg(long, default_value_t = 10_000)]
    pods: usize,

    /// Measure on the in-process Kubernetes and cloud alone: no lab is needed.
    #[arg(long)]
    embedded: bool,

    /// The Node that Pods are bound to; it is made, and nothing runs there. For a real Neutron the host of a chassis: of one that it does
    /// not know, each port is tried to be bound ten times.
    #[arg(long, default_value = "isthmus-bench")]
    node: String,

    /// Routes on one load balancer, in the in-process world.
    #[arg(long, default_value_t = 1_000)]
    route_count: usize,

    /// Pods for the lab's real Neutron, as named by OS_CLOUD; 0 leaves it out. So many that what an operator reads at its start, and at
    /// its two resyncs soon after, is little a Pod.
    #[arg(long, default_value_t = 240)]
    real_pods: usize,
}

impl Arguments {
    /// Where the module that maps Pods is.
    fn module(&self) -> PathBuf {
        self.modules.join("pod-port.wasm")
    }

    /// The bytes of a module.
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        cluster::read_module(&self.modules.join(format!("{name}.wasm")))
    }
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::Operator(arguments) => operate(arguments),
        // Before any thread is there: threads are moved into a namespace one by one.
        Task::Cni(arguments) => cni::run(&arguments),
        Task::Bare(arguments) => cni::bare::serve(&arguments),
    }
}

#[tokio::main]
async fn operate(arguments: Arguments) -> Result<()> {
    operator::ensure_none_runs()?;
    if arguments.embedded {
        return embedded::run(&arguments).await;
    }
    let cluster = Cluster::connect(&arguments.node).await?;
    cluster.prepare().await?;
    // Whatever happens, the cluster is left as it was found; the first error is the one that is told.
    let measured = tokio::select! {
        measured = scenario::run(&cluster, &arguments) => measured,
        signal = tokio::signal::ctrl_c() => signal.map_err(Into::into).and_then(|()| anyhow::bail!("interrupted")),
    };
    let cleaned = cluster.clean_up().await;
    measured.and(cleaned)
}
