//! Putting the CNI plugin where the container runtime looks for it. Each file is there whole or not at all: runtimes read
//! and start them at any moment.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use isthmus_cni::config::SOCKET;
use isthmus_cni::{Code, Error};
use serde_json::{Value, json};

/// Name of the plugin.
const PLUGIN: &str = "isthmus-cni";
/// Name of the network configuration; runtimes take the first in the order of names.
const CONFIG: &str = "10-isthmus.conflist";

/// Where a runtime looks.
#[derive(Clone, Debug)]
pub struct Install {
    /// The plugin to be installed.
    pub plugin: PathBuf,
    /// Folder of plugins, usually `/opt/cni/bin`.
    pub bin: PathBuf,
    /// Folder of network configurations, usually `/etc/cni/net.d`.
    pub conf: PathBuf,
}

impl Install {
    /// Puts plugin and configuration in place, in this order: with its configuration a network counts as ready.
    ///
    /// # Errors
    /// The plugin cannot be read, or a folder not be written to.
    pub fn put(&self, socket: &Path) -> Result<(), Error> {
        let plugin = fs::read(&self.plugin).map_err(|e| failed(&self.plugin, &e))?;
        put(&self.bin, PLUGIN, &plugin, 0o755)?;
        put(&self.conf, CONFIG, format!("{:#}\n", config(socket)).as_bytes(), 0o644)
    }

    /// Removes them, the configuration first. What is not there is removed already.
    ///
    /// # Errors
    /// A folder cannot be written to.
    pub fn remove(&self) -> Result<(), Error> {
        for (folder, name) in [(&self.conf, CONFIG), (&self.bin, PLUGIN)] {
            for path in [folder.join(name), unfinished(folder, name)] {
                match fs::remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(&path, &e)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Runtimes that know specification 1.1 take the newest of `cniVersions`, which adds STATUS and GC; others pass it over.
fn config(socket: &Path) -> Value {
    let mut plugin = json!({"type": PLUGIN});
    if let (Some(fields), true) = (plugin.as_object_mut(), socket != Path::new(SOCKET)) {
        fields.insert("socket".into(), json!(socket));
    }
    json!({"cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "isthmus", "plugins": [plugin]})
}

/// Nothing is written where it is there already: runtimes watch these folders.
fn put(folder: &Path, name: &str, content: &[u8], mode: u32) -> Result<(), Error> {
    let path = folder.join(name);
    let has_mode = fs::metadata(&path).is_ok_and(|there| there.permissions().mode() & 0o7777 == mode);
    if has_mode && fs::read(&path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let new = unfinished(folder, name);
    let written = || {
        fs::create_dir_all(folder)?;
        let mut file = File::create(&new)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&new, &path)
    };
    written().map_err(|e| failed(&path, &e))
}

/// Where a file is written before it has its name.
fn unfinished(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.new"))
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::new(Code::Io, format!("installing the CNI plugin: {}", path.display()), error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn files_are_put_whole_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let install = Install { plugin: at("built"), bin: at("opt/bin"), conf: at("net.d") };
        let missing = install.put(Path::new(SOCKET)).unwrap_err().to_string();
        assert!(missing.contains("built") && !at("net.d").exists(), "{missing}");
        fs::write(at("built"), "one").unwrap();
        install.put(Path::new(SOCKET)).unwrap();
        let (plugin, config) = (at("opt/bin/isthmus-cni"), at("net.d/10-isthmus.conflist"));
        assert_eq!(fs::metadata(&plugin).unwrap().permissions().mode() & 0o777, 0o755);
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains("\"type\": \"isthmus-cni\"") && !text.contains("socket"), "{text}");
        let before = fs::metadata(&plugin).unwrap().ino();
        install.put(Path::new("/run/other.sock")).unwrap();
        assert_eq!(fs::metadata(&plugin).unwrap().ino(), before, "the same is not written again");
        assert!(fs::read_to_string(&config).unwrap().contains("/run/other.sock"));
        fs::write(at("built"), "two").unwrap();
        install.put(Path::new(SOCKET)).unwrap();
        assert_ne!(
            fs::metadata(&plugin).unwrap().ino(),
            before,
            "a plugin that runs is replaced, not written into"
        );
        fs::set_permissions(&plugin, Permissions::from_mode(0o600)).unwrap();
        install.put(Path::new(SOCKET)).unwrap();
        assert_eq!(fs::metadata(&plugin).unwrap().permissions().mode() & 0o777, 0o755, "it can be started");
        fs::write(at("opt/bin/.isthmus-cni.new"), "cut o").unwrap();
        for _ in 0..2 {
            install.remove().unwrap();
        }
        assert_eq!(
            fs::read_dir(at("opt/bin")).unwrap().count() + fs::read_dir(at("net.d")).unwrap().count(),
            0
        );
    }
}
