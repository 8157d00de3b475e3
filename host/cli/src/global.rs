//! What every command takes, of both programs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// The global options.
#[derive(Debug, Args)]
pub struct Global {
    /// Which cluster.
    #[command(flatten)]
    pub kube: Kube,

    /// How results are printed; every command that has one prints it so.
    #[arg(long, short, global = true, help_heading = "Global options", value_enum, default_value_t = Output::Table)]
    pub output: Output,

    /// How logs are written, to standard error. What is logged is set by ISTHMUS_LOG (as `info` or `isthmus_operator=debug`).
    #[arg(long, global = true, help_heading = "Global options", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Which cluster.
#[derive(Debug, Args)]
pub struct Kube {
    /// Kubeconfig; default: KUBECONFIG, ~/.kube/config, or the Pod's service account.
    #[arg(long, global = true, help_heading = "Global options")]
    pub kubeconfig: Option<PathBuf>,

    /// Namespace that the operator runs in, and that modules are loaded from.
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        env = "ISTHMUS_NAMESPACE",
        default_value = "isthmus-system"
    )]
    pub operator_namespace: String,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For files.
    Yaml,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}
