//! `isthmus-cni`, as a container runtime starts it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// One call of the plugin.
#[derive(Clone, Debug)]
pub struct Call {
    container: String,
    interface: String,
    netns: String,
    namespace: String,
    pod: String,
    config: Value,
}

/// What it printed when it failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The specification's code.
    pub code: u64,
    /// What, and why.
    pub text: String,
}

impl Call {
    /// For `eth0` of a Pod's container.
    pub fn new(socket: &Path, pod: &str, container: &str, netns: &str) -> Self {
        let config = json!({"cniVersion": "1.1.0", "name": "pods", "type": "isthmus-cni",
            "socket": socket, "timeoutSeconds": 10});
        Self {
            container: container.into(),
            interface: "eth0".into(),
            netns: netns.into(),
            namespace: "shop".into(),
            pod: pod.into(),
            config,
        }
    }

    /// With a field of the network configuration.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        if let Value::Object(fields) = &mut self.config {
            fields.insert(field.into(), value);
        }
        self
    }

    /// For a Pod of another namespace than `shop`.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Calls it: what it printed, or its failure.
    ///
    /// # Errors
    /// It cannot be run, or prints what is no JSON, or its exit code does not fit.
    pub fn run(&self, verb: &str) -> Result<Result<Value, Failure>> {
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID=uid-{}",
            self.namespace, self.pod, self.pod
        );
        let mut child = Command::new(executable()?)
            .env_clear()
            .envs([
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", &self.container),
                ("CNI_IFNAME", &self.interface),
            ])
            .envs([("CNI_NETNS", &*self.netns), ("CNI_ARGS", &args), ("CNI_PATH", "/opt/cni/bin")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("its input is a pipe")?;
        input.write_all(self.config.to_string().as_bytes())?;
        drop(input);
        let done = child.wait_with_output()?;
        let printed =
            if done.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&done.stdout)? };
        if done.status.success() {
            return Ok(Ok(printed));
        }
        let text = |field: &str| printed.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let code = printed.get("code").and_then(Value::as_u64).context("an error has a code")?;
        Ok(Err(Failure { code, text: format!("{}: {}", text("msg"), text("details")) }))
    }

    /// Calls it, and expects it to succeed.
    ///
    /// # Errors
    /// It fails.
    pub fn ok(&self, verb: &str) -> Result<Value> {
        self.run(verb)?.map_err(|f| anyhow::anyhow!("{verb} failed with {}: {}", f.code, f.text))
    }

    /// Calls it, and expects it to fail with a code; what it says.
    ///
    /// # Errors
    /// It succeeds, or fails with another.
    pub fn fails(&self, verb: &str, code: u64) -> Result<String> {
        match self.run(verb)? {
            Ok(printed) => anyhow::bail!("{verb} succeeded: {printed}"),
            Err(failure) => {
                ensure!(
                    failure.code == code,
                    "{verb} failed with {}, not {code}: {}",
                    failure.code,
                    failure.text
                );
                Ok(failure.text)
            }
        }
    }
}

/// Cargo puts tests into `deps`, beside which the binaries lie.
pub(crate) fn executable() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).context("a test lies in target/*/deps")?;
    let path = folder.join("isthmus-cni");
    ensure!(path.exists(), "{} is not there: cargo build --package isthmus-cni", path.display());
    Ok(path)
}
