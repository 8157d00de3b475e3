//! A container runtime on CNI's reference library: the Go module in `libcni`, which `tests/lab/libcni.sh` builds.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::namespace::Namespace;
use crate::plugin::{PLUGINS, executable, reference};

/// The library, with the plugins that it may start.
pub struct Reference {
    program: PathBuf,
    folder: TempDir,
}

/// A Pod's attachment to a network, as a runtime has it.
#[derive(Clone)]
pub struct Network<'a> {
    program: &'a Path,
    host: &'a Namespace,
    request: Value,
}

/// A network configuration list of network `pods`.
pub fn list(version: &str, plugins: &[Value]) -> Value {
    json!({"cniVersion": version, "name": "pods", "plugins": plugins})
}

impl Reference {
    /// Built where it is not yet.
    ///
    /// # Errors
    /// Go, the reference plugins or ours are missing.
    pub fn new() -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/libcni.sh");
        let built = Command::new("bash").arg(&script).arg("path").output().context("bash")?;
        if !built.status.success() {
            bail!("{} failed: {}", script.display(), String::from_utf8_lossy(&built.stderr));
        }
        let program = PathBuf::from(String::from_utf8(built.stdout)?.trim_end());
        for plugin in ["bandwidth", "loopback", "portmap", "tuning"] {
            reference(plugin)?;
        }
        let folder = tempfile::tempdir()?;
        // by its name it is one of the plugins that it has
        for (name, of) in [("isthmus-cni", &executable()?), ("delegating", &program), ("telling", &program)] {
            std::os::unix::fs::symlink(of, folder.path().join(name))?;
        }
        Ok(Self { program, folder })
    }

    /// `eth0` of Pod `shop/web` in container `c1`; the runtime is in the namespace `host`.
    pub fn network<'a>(&'a self, host: &'a Namespace, netns: &str, list: Value) -> Network<'a> {
        let request = json!({"path": [self.folder.path(), PLUGINS], "list": list, "netns": netns,
            "cache": self.folder.path().join("cache"), "containerID": "c1", "ifname": "eth0"});
        Network { program: &self.program, host, request }.of_pod("web")
    }
}

impl Network<'_> {
    /// With a field of the request (`libcni/main.go` has them all).
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        if let Value::Object(fields) = &mut self.request {
            fields.insert(field.into(), value);
        }
        self
    }

    /// With a field of the first plugin's configuration.
    #[must_use]
    pub fn configured(mut self, field: &str, value: Value) -> Self {
        let plugin = self.request.pointer_mut("/list/plugins/0").and_then(Value::as_object_mut);
        plugin.into_iter().for_each(|plugin| drop(plugin.insert(field.into(), value.clone())));
        self
    }

    /// For another Pod of namespace `shop`.
    #[must_use]
    pub fn of_pod(self, pod: &str) -> Self {
        let uid = format!("uid-{pod}");
        let args = json!([
            ["IgnoreUnknown", "1"],
            ["K8S_POD_NAMESPACE", "shop"],
            ["K8S_POD_NAME", pod],
            ["K8S_POD_UID", uid]
        ]);
        self.with("args", args)
    }

    /// What the library made of a verb.
    ///
    /// # Errors
    /// It cannot be called.
    pub fn call(&self, verb: &str) -> Result<Value> {
        let request = self.clone().with("verb", verb.into()).request;
        let mut child = self.host.command(self.program.to_str().context("a path in UTF-8")?);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("its input is a pipe")?;
        input.write_all(request.to_string().as_bytes())?;
        drop(input);
        let done = child.wait_with_output()?;
        ensure!(done.status.success(), "the caller ended with {}", done.status);
        Ok(serde_json::from_slice(&done.stdout)?)
    }

    /// Calls it, and expects it to succeed.
    ///
    /// # Errors
    /// It fails.
    pub fn ok(&self, verb: &str) -> Result<Value> {
        let said = self.call(verb)?;
        match said.pointer("/error/text") {
            Some(text) => Err(anyhow!("{verb} failed: {text}")),
            None => Ok(said),
        }
    }

    /// Calls it, and expects it to fail with a plugin's code, or with an error of the library's own; the whole answer.
    ///
    /// # Errors
    /// It succeeds, or fails with another.
    pub fn fails(&self, verb: &str, code: Option<u64>) -> Result<Value> {
        let said = self.call(verb)?;
        let error = said.get("error").with_context(|| format!("{verb} succeeded: {said}"))?;
        let found = error.get("code").and_then(Value::as_u64);
        ensure!(found == code, "{verb} failed with {found:?}, not {code:?}: {error}");
        Ok(said)
    }
}
