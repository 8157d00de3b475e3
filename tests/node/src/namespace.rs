//! Network namespaces that end with their owner.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A network namespace, kept by a process that ends when its standard input does.
pub struct Namespace {
    keeper: Child,
}

impl Namespace {
    /// A new one.
    ///
    /// # Errors
    /// Not root.
    pub fn new() -> Result<Self> {
        let mut keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat >/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare (package util-linux)")?;
        let mut line = String::new();
        let output = keeper.stdout.take().context("its output is a pipe")?;
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "ready\n", "no new network namespace: these tests need root");
        Ok(Self { keeper })
    }

    /// A path to it.
    pub fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.keeper.id())
    }

    /// A command in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program);
        command
    }

    /// Runs a command line in it; its output.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let done = self.command(words.next().context("a command")?).args(words).output()?;
        if !done.status.success() {
            bail!("{line}: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(String::from_utf8(done.stdout)?)
    }

    /// What `ip -json ...` says.
    ///
    /// # Errors
    /// It fails.
    pub fn ip(&self, arguments: &str) -> Result<Value> {
        let output = self.run(&format!("ip -json {arguments}"))?;
        Ok(if output.trim().is_empty() { Value::Array(Vec::new()) } else { serde_json::from_str(&output)? })
    }

    /// Names of its links.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn links(&self) -> Result<Vec<String>> {
        let all = self.ip("link show")?;
        let names = all.as_array().into_iter().flatten().filter_map(|l| l.get("ifname")?.as_str());
        Ok(names.map(String::from).collect())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
