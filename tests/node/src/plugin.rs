//! `isthmus-cni`, or one of the reference plugins, as a container runtime starts it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Where Debian's package has the reference plugins.
pub(crate) const PLUGINS: &str = "/usr/lib/cni";

/// One call of the plugin.
#[derive(Clone, Debug)]
pub struct Call {
    /// A reference plugin's; `None`: ours.
    program: Option<PathBuf>,
    container: String,
    interface: String,
    netns: String,
    namespace: String,
    pod: String,
    config: Value,
}

/// A call that only has to be made.
#[derive(Debug)]
pub struct Ready {
    command: Command,
    input: String,
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
            program: None,
            container: container.into(),
            interface: "eth0".into(),
            netns: netns.into(),
            namespace: "shop".into(),
            pod: pod.into(),
            config,
        }
    }

    /// One of the reference plugins, with a network configuration.
    ///
    /// # Errors
    /// It is not installed.
    pub fn reference(plugin: &str, config: Value, container: &str, netns: &str) -> Result<Self> {
        let program = Some(reference(plugin)?);
        Ok(Self { program, config, ..Self::new(Path::new(""), container, container, netns) })
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

    /// For another container.
    #[must_use]
    pub fn of_container(self, container: &str) -> Self {
        Self { container: container.into(), ..self }
    }

    /// For another interface than `eth0`.
    #[must_use]
    pub fn of_interface(self, interface: &str) -> Self {
        Self { interface: interface.into(), ..self }
    }

    /// All but the call itself.
    ///
    /// # Errors
    /// The plugin is not there.
    pub fn ready(&self, verb: &str) -> Result<Ready> {
        let program = self.program.clone().map_or_else(executable, Ok)?;
        let folder = if self.program.is_some() { PLUGINS } else { "/opt/cni/bin" };
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID=uid-{}",
            self.namespace, self.pod, self.pod
        );
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs([
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", &self.container),
                ("CNI_IFNAME", &self.interface),
            ])
            .envs([("CNI_NETNS", &*self.netns), ("CNI_ARGS", &args), ("CNI_PATH", folder)]);
        Ok(Ready { command, input: self.config.to_string() })
    }

    /// Calls it: what it printed, or its failure.
    ///
    /// # Errors
    /// It cannot be run, or prints what is no JSON, or its exit code does not fit.
    pub fn run(&self, verb: &str) -> Result<Result<Value, Failure>> {
        let done = self.ready(verb)?.output()?;
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

impl Ready {
    /// From the start of the process to its end.
    ///
    /// # Errors
    /// It cannot be started, or does not read.
    pub fn output(mut self) -> Result<Output> {
        let mut child = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("its input is a pipe")?;
        input.write_all(self.input.as_bytes())?;
        drop(input);
        Ok(child.wait_with_output()?)
    }
}

/// One of the reference plugins.
pub(crate) fn reference(plugin: &str) -> Result<PathBuf> {
    let path = Path::new(PLUGINS).join(plugin);
    ensure!(path.exists(), "{} is not there: install containernetworking-plugins", path.display());
    Ok(path)
}

/// Cargo puts tests into `deps`, beside which the binaries lie.
pub(crate) fn executable() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.parent().context("a program lies in target/*")?;
    let folder = if beside.ends_with("deps") { beside.parent() } else { Some(beside) };
    let path = folder.context("a test lies in target/*/deps")?.join("isthmus-cni");
    ensure!(path.exists(), "{} is not there: cargo build --package isthmus-cni", path.display());
    Ok(path)
}
