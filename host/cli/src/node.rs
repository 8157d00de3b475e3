//! `isthmus node`: the agent is a program of its own, `isthmus-node`, beside this one. It runs on every node, as root, so it has
//! nothing of the operator in it: no module, no client of the cloud, and a third of the memory.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, anyhow};

/// The agent's file.
const AGENT: &str = "isthmus-node";

/// Becomes the agent, which takes the same arguments; returns only where that fails.
pub(crate) fn become_agent() -> anyhow::Error {
    let own = match std::env::current_exe().context("where this program lies") {
        Ok(own) => own,
        Err(error) => return error,
    };
    let agent = own.with_file_name(AGENT);
    let error = Command::new(&agent).args(std::env::args_os().skip(1)).exec();
    anyhow!(error).context(format!("{} cannot be started: it belongs beside this program", agent.display()))
}
