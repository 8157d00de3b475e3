//! Compiled code on disk: a restart or a second operator on the machine need not compile again.
//!
//! The cache is a folder of its own in the one that it is given, where other things may be: what is not named as our files are is
//! nobody's business here.
//!
//! Compiled code is trusted code: whoever can write it can run anything in this process. So the folder and every file in it must be
//! ours alone (owner and mode are checked on the open file), each file begins with the sha256 of the rest (a torn write is
//! noticed), and its name holds the digest of the component and a hash of this engine's version and settings. Whatever does not
//! fit is a miss: it is compiled and written anew.

use std::fs::{self, File, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::error::EngineError;

/// Our folder. Another form of files is another name.
const FOLDER: &str = "isthmus-modules-v1";
/// What our files begin with while they are written, and what they end with then.
const WRITING: &str = "writing-";
const WRITTEN: &str = ".cwasm";
/// Files that are kept; beyond that the oldest go.
const KEPT: usize = 64;
/// Of the sha256 in front.
const HEADER: usize = 32;

#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    engine: u64,
}

impl Cache {
    /// The cache in a folder of its own in this one; both are made if need be.
    pub(crate) fn open(parent: &Path, engine: &wasmtime::Engine) -> Result<Self, EngineError> {
        let dir = parent.join(FOLDER);
        let bad = |why: String| EngineError::Cache { path: dir.clone(), why };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| bad(e.to_string()))?;
        let meta = fs::symlink_metadata(&dir).map_err(|e| bad(e.to_string()))?;
        if !meta.is_dir() || !ours_alone(&meta) {
            return Err(bad("it must be a folder of this process' user with mode 0700".into()));
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { dir, engine: hasher.finish() })
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{digest}-{:016x}{WRITTEN}", self.engine))
    }

    /// The compiled component, if there is one that we wrote whole.
    pub(crate) fn get(&self, engine: &wasmtime::Engine, digest: &str) -> Option<Component> {
        let code = match read(&self.path(digest)) {
            Ok(code) => code?,
            Err(error) => {
                tracing::warn!(digest, %error, "a file of the cache of compiled modules cannot be read");
                return None;
            }
        };
        match deserialize(engine, &code) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(digest, %error, "a file of the cache of compiled modules does not fit this engine");
                None
            }
        }
    }

    /// Keeps a compiled component. A cache that cannot be written costs time, nothing else: it is only logged.
    pub(crate) fn put(&self, digest: &str, component: &Component) {
        let written =
            component.serialize().map_err(std::io::Error::other).and_then(|code| self.write(digest, &code));
        if let Err(error) = written.and_then(|()| self.prune()) {
            tracing::warn!(digest, %error, "the cache of compiled modules cannot be written");
        }
    }

    /// Renamed into place when it is whole and on disk.
    fn write(&self, digest: &str, code: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(WRITING)
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(&self.dir)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        file.as_file().sync_all()?;
        file.persist(self.path(digest))?;
        Ok(())
    }

    /// Of our files the oldest go, torn ones of a crash among them. Others' stay, and so does what another operator removes first.
    fn prune(&self) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(is_ours)
                && let Ok(meta) = entry.metadata()
                && meta.is_file()
            {
                files.push((meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(KEPT);
        let remove = |path| match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        files.into_iter().take(surplus).try_for_each(|(_, path)| remove(path))
    }
}

/// Whether a file of this name is one of ours: `DIGEST-ENGINE.cwasm`, or on its way to be.
fn is_ours(name: &str) -> bool {
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    let written = name.strip_suffix(WRITTEN).and_then(|stem| stem.rsplit_once('-'));
    name.starts_with(WRITING) || written.is_some_and(|(digest, engine)| hex(digest) && hex(engine))
}

/// Owned by this process' user, and nobody else has any right on it.
fn ours_alone(meta: &fs::Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 == 0
}

/// The code in a file; `None` where there is no file, or none that we wrote whole.
fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file: File = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || !ours_alone(&meta) {
        return Err(std::io::Error::other("it is not a file of this process' user with mode 0600"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole =
        bytes.split_at_checked(HEADER).is_some_and(|(hash, code)| Sha256::digest(code).as_slice() == hash);
    if !whole {
        return Err(std::io::Error::other("it is torn or was changed"));
    }
    Ok(Some(bytes.split_off(HEADER)))
}

#[allow(
    unsafe_code,
    reason = "the only way to take compiled code back; the module's documentation says why it is sound"
)]
fn deserialize(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` was written by `Cache::write`: it is from a file that only this process' user could write (checked on the open
    // file), is whole (its sha256 stands in front), and was read into memory, where nobody changes it any more. Wasmtime itself
    // checks that it was compiled by this version with these settings.
    unsafe { Component::deserialize(engine, code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_back_only_what_is_ours_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cache");
        let cache = Cache::open(&folder, &wasmtime::Engine::default()).unwrap();
        let path = cache.path("d");
        assert_eq!(read(&path).unwrap(), None);
        cache.write("d", b"code").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().as_deref(), Some(&b"code"[..]));

        fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
        assert!(read(&path).is_err(), "others may write it");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();

        let mut torn = fs::read(&path).unwrap();
        torn.pop();
        fs::write(&path, torn).unwrap();
        assert!(read(&path).is_err(), "the end is missing");

        fs::remove_file(&path).unwrap();
        fs::write(dir.path().join("other"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("other"), &path).unwrap();
        assert!(read(&path).is_err(), "a link is not followed");
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(FOLDER)).unwrap();
        fs::set_permissions(dir.path().join(FOLDER), Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            Cache::open(dir.path(), &wasmtime::Engine::default()),
            Err(EngineError::Cache { .. })
        ));
    }

    #[test]
    fn the_oldest_of_ours_go() {
        let dir = tempfile::tempdir().unwrap();
        let (others, folder) = (["notes.txt", "other-v1.cwasm", ".bashrc"], dir.path().join(FOLDER));
        let cache = Cache::open(dir.path(), &wasmtime::Engine::default()).unwrap();
        let long_ago = |path: &Path| {
            fs::write(path, "x").unwrap();
            File::options().write(true).open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        };
        for place in [dir.path(), &folder] {
            others.iter().for_each(|name| long_ago(&place.join(name)));
            (0..KEPT).for_each(|n| long_ago(&place.join(format!("{n}.old"))));
        }
        long_ago(&folder.join("writing-torn"));
        fs::create_dir(folder.join("a-0.cwasm")).unwrap();
        for n in 0..KEPT + 3 {
            cache.write(&format!("{n:03}"), b"code").unwrap();
            let when = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(n as u64);
            File::options()
                .write(true)
                .open(cache.path(&format!("{n:03}")))
                .unwrap()
                .set_modified(when)
                .unwrap();
        }
        cache.prune().unwrap();
        assert!(!cache.path("002").exists() && cache.path("003").exists());
        assert!(!folder.join("writing-torn").exists());
        let ours = 1;
        assert_eq!(fs::read_dir(&folder).unwrap().count(), KEPT + others.len() + KEPT + ours);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), others.len() + KEPT + ours);
    }
}
