//! Where the workspace lies and what is in it.
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Where things are in the workspace that this binary was built from.
pub(crate) struct Workspace {
    /// Where the root `Cargo.toml` is.
    pub(crate) root: PathBuf,
    /// Cargo's target folder: CARGO_TARGET_DIR, else `target`.
    pub(crate) target: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) targets: Vec<Target>,
}

/// A target of a package.
#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) crate_types: Vec<String>,
}

impl Workspace {
    /// Found from this crate's sources, so it works from wherever it is called. Asks nobody: the lab can be started
    /// and stopped while the workspace does not build. Where cargo runs it, cargo says where they are: clones that
    /// share a target folder share this program too, and the path compiled in may be another's.
    pub(crate) fn find() -> Result<Self> {
        let ran = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|path| path.ends_with("xtask"));
        let sources = ran.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = sources.parent().context("xtask lies in the workspace's root")?;
        let target = root.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        Ok(Self { root: root.to_owned(), target })
    }

    /// The members, as cargo tells them.
    pub(crate) fn packages(&self) -> Result<Vec<Package>> {
        let output = self.cargo(["metadata", "--format-version=1", "--no-deps"]).output()?;
        ensure!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Metadata =
            serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata says")?;
        Ok(metadata.packages)
    }

    /// A cargo command in the workspace's root.
    ///
    /// It gets nothing of what cargo told us of our own package: build scripts (ring's) ask for variables of these names, so that
    /// everything above them would be compiled anew for each clone, and again by a cargo that is called by hand.
    pub(crate) fn cargo<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(&self.root);
        for (name, _) in env::vars_os() {
            let told = name
                .to_str()
                .is_some_and(|n| n.starts_with("CARGO_MANIFEST_") || n.starts_with("CARGO_PKG_"));
            if told || name == "OUT_DIR" {
                command.env_remove(name);
            }
        }
        command
    }

    /// Where the encoded modules are: `NAME.wasm`.
    pub(crate) fn modules(&self) -> PathBuf {
        self.target.join("modules")
    }
}

/// The cargo that runs us; a shell that started the binary itself has none to tell.
fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// What is made once and kept outside the clone (`tests/lab/lib.sh` names the same folder).
pub(crate) fn cache() -> Result<PathBuf> {
    Ok(PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache/isthmus-lab"))
}

#[cfg(test)]
mod tests {
    use super::Workspace;

    #[test]
    fn a_cargo_of_ours_knows_nothing_of_our_package() {
        // the runner of the tests sets it, as cargo does
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let workspace = Workspace { root: ".".into(), target: "target".into() };
        let command = workspace.cargo(["build"]);
        assert!(command.get_envs().any(|(name, value)| name == "CARGO_MANIFEST_DIR" && value.is_none()));
    }
}
