//! What tests of `isthmus dev` need: no lab, but the clients that come with it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::lab::variable;

/// Executables and folders.
#[derive(Debug)]
pub struct Tools {
    /// The `isthmus` that was built.
    pub isthmus: PathBuf,
    /// Folder of the modules.
    pub modules: PathBuf,
    /// A PATH with kubectl, openstack and isthmus in it.
    pub path: String,
}

/// The tools that `cargo xtask test` names.
///
/// # Errors
/// It did not start this test.
pub fn dev_tools() -> Result<Tools> {
    let isthmus = PathBuf::from(variable("ISTHMUS_BIN")?);
    let own = isthmus.parent().context("an executable lies in a folder")?.display().to_string();
    let path = format!("{own}:{}", std::env::var("PATH").context("PATH")?);
    Ok(Tools { modules: variable("ISTHMUS_MODULES")?.into(), isthmus, path })
}

/// An empty folder for a test.
///
/// # Errors
/// It can't be made.
pub fn scratch(name: &str) -> Result<PathBuf> {
    let folder = std::env::temp_dir().join("isthmus-e2e").join(format!("dev-{name}"));
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("emptying {}", folder.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}
