//! Logs, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Begins to log: warnings of all, and more of our own crates.
pub(crate) fn start(format: LogFormat) {
    let default = "warn,isthmus=info,isthmus_operator=info,isthmus_kubernetes=info,isthmus_openstack=info,isthmus_policy=info";
    let filter = EnvFilter::try_from_env("ISTHMUS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
}
