//! The folder of one `isthmus dev`: its files are its user's alone, and no second one writes into it.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// Locked while the folder is in use.
const LOCK: &str = "lock";

/// A folder, for as long as this lives.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    _lock: File,
}

impl Folder {
    /// The folder that was named, else one in the user's cache.
    pub(super) fn open(given: Option<&Path>) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        match given {
            Some(given) => Self::named(given),
            None => Self::ours(
                &cache().context("HOME is not set: name a folder with --folder")?.join("isthmus/dev"),
            ),
        }
    }

    /// One that is nobody's but ours: whatever mode it had.
    fn ours(path: &Path) -> anyhow::Result<Self> {
        make(path)?;
        let narrowed = std::fs::set_permissions(path, Permissions::from_mode(0o700));
        narrowed.with_context(|| format!("giving {} the mode 0700", path.display()))?;
        Self::lock(path)
    }

    /// One that may be there for something else: it stays as it is, and must be one that nobody else writes to.
    fn named(path: &Path) -> anyhow::Result<Self> {
        make(path)?;
        let mode = std::fs::metadata(path)
            .with_context(|| format!("reading {}", path.display()))?
            .permissions()
            .mode();
        ensure!(
            mode & 0o022 == 0,
            "--folder {}: others may write to it (mode {:o}): name another one, or one that is not there yet",
            path.display(),
            mode & 0o7777
        );
        Self::lock(path)
    }

    fn lock(path: &Path) -> anyhow::Result<Self> {
        let path = path.canonicalize().with_context(|| format!("finding {}", path.display()))?;
        let locked = path.join(LOCK);
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&locked);
        let lock = opened.with_context(|| format!("opening {}", locked.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "another `isthmus dev` runs with the folder {}: end it, or name another folder with --folder",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking {}", locked.display()))
            }
        }
    }

    /// Writes a file that we alone may read, in the place of what is there; its path.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let written = || -> std::io::Result<()> {
            // A new file: one that is there keeps its mode, and may be open somewhere.
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())
        };
        written().with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

fn make(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("making {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_there_with_a_wider_mode_is_narrowed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("dev");
        std::fs::create_dir(&path).unwrap();
        set(&path, 0o755);
        std::fs::write(path.join("kubeconfig"), "old").unwrap();
        set(&path.join("kubeconfig"), 0o644);
        let folder = Folder::ours(&path).unwrap();
        let file = folder.write("kubeconfig", "new").unwrap();
        assert_eq!((mode(&path), mode(&file), mode(&path.join(LOCK))), (0o700, 0o600, 0o600));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
    }

    #[test]
    fn a_named_folder_keeps_its_mode_and_is_not_one_that_others_write_to() {
        let root = tempfile::tempdir().unwrap();
        let made = Folder::open(Some(&root.path().join("new/one"))).unwrap();
        assert_eq!(mode(&made.path), 0o700);
        for (wide, fine) in [(0o755, true), (0o775, false), (0o1777, false)] {
            let path = root.path().join(format!("{wide:o}"));
            std::fs::create_dir(&path).unwrap();
            set(&path, wide);
            let opened = Folder::open(Some(&path));
            assert_eq!(mode(&path), wide);
            match opened {
                Ok(folder) if fine => assert_eq!(mode(&folder.write("env", "").unwrap()), 0o600),
                Err(error) if !fine => {
                    assert!(error.to_string().contains("others may write to it"), "{error}")
                }
                other => panic!("{wide:o}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_second_one_is_refused_until_the_first_has_ended() {
        let root = tempfile::tempdir().unwrap();
        let first = Folder::named(root.path()).unwrap();
        let refused = Folder::named(root.path()).unwrap_err().to_string();
        assert!(refused.contains("another `isthmus dev` runs with the folder"), "{refused}");
        drop(first);
        Folder::named(root.path()).unwrap();
    }
}
