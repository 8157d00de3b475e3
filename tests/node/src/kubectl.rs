//! `kubectl`, as `cargo xtask test` puts it in the path.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The manifests that clusters are given.
pub const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");

/// Runs it; its output.
///
/// # Errors
/// It fails: what it said.
pub fn kubectl(arguments: &[&str], input: Option<&Value>) -> Result<String> {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("kubectl: `cargo xtask test` runs this in the lab")?;
    let mut stdin = child.stdin.take().context("its input is a pipe")?;
    if let Some(input) = input {
        stdin.write_all(input.to_string().as_bytes())?;
    }
    drop(stdin);
    let done = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    ensure!(done.status.success(), "kubectl {arguments:?}: {}", text(&done.stderr));
    Ok(text(&done.stdout))
}

/// Makes an object, or makes it so.
///
/// # Errors
/// As of [`kubectl`].
pub fn apply(object: &Value) -> Result<()> {
    let arguments = ["apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-"];
    kubectl(&arguments, Some(object)).map(|_| ())
}
