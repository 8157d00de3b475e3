//! What is attached: a file each, so that a restart of the agent forgets nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isthmus_cni::protocol::{Attached, PodReference};
use isthmus_cni::result::AddResult;
use isthmus_cni::{Code, Error};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::vif::Vif;

/// Version of the files' format.
const FORMAT: u32 = 1;

/// An attachment, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Version of this format.
    pub format: u32,
    /// Which.
    #[serde(flatten)]
    pub attached: Attached,
    /// Name of the network that the runtime attached it to.
    pub network: String,
    /// Path of the Pod's network namespace.
    pub netns: String,
    /// The Pod.
    pub pod: PodReference,
    /// Boot of the node (`/proc/sys/kernel/random/boot_id`): links do not survive another.
    pub boot: String,
    /// What was bound.
    pub links: Vec<Link>,
    /// What ADD answered.
    pub result: AddResult,
}

/// One VIF that is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Name of the driver.
    pub driver: String,
    /// Name of the link on the host.
    pub host: String,
    /// Name of the interface in the Pod.
    pub interface: String,
    /// What is bound.
    pub vif: Vif,
}

/// All attachments. Clones share them.
#[derive(Clone)]
pub struct Attachments {
    folder: Arc<PathBuf>,
    all: Arc<Mutex<BTreeMap<Attached, Arc<Attachment>>>>,
    changes: Arc<watch::Sender<u64>>,
}

impl Attachments {
    /// Reads what a folder holds, and makes it where it is not there. A file that was not written to its end is removed:
    /// its ADD was never answered.
    ///
    /// # Errors
    /// The folder cannot be read, or has a file of another format: that agent should be put back.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let failed = |path: &Path, e: io::Error| {
            Error::new(Code::Io, format!("attachments in {}", path.display()), e.to_string())
        };
        fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(|e| failed(folder, e))?;
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(|e| failed(folder, e))? {
            let path = entry.map_err(|e| failed(folder, e))?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("new") => fs::remove_file(&path).map_err(|e| failed(&path, e))?,
                Some("json") => {
                    let attachment = read(&path)?;
                    all.insert(attachment.attached.clone(), Arc::new(attachment));
                }
                _ => tracing::warn!(path = %path.display(), "not a file of ours; it stays"),
            }
        }
        Ok(Self {
            folder: Arc::new(folder.to_owned()),
            all: Arc::new(Mutex::new(all)),
            changes: Arc::new(watch::channel(0).0),
        })
    }

    /// One of them.
    pub fn get(&self, attached: &Attached) -> Option<Arc<Attachment>> {
        self.all.lock().get(attached).cloned()
    }

    /// All of them.
    pub fn list(&self) -> Vec<Arc<Attachment>> {
        self.all.lock().values().cloned().collect()
    }

    /// Uids of the Pods that are attached.
    pub fn pods(&self) -> BTreeSet<String> {
        self.all.lock().values().filter_map(|a| a.pod.uid.clone()).collect()
    }

    /// Counts the changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Stores one. It is on the disk when this returns.
    ///
    /// # Errors
    /// The disk's.
    pub async fn put(&self, attachment: Attachment) -> Result<(), Error> {
        let path = self.path(&attachment.attached);
        let json = serde_json::to_vec_pretty(&attachment)
            .map_err(|e| Error::new(Code::Io, "an attachment cannot be written", e.to_string()))?;
        let folder = Arc::clone(&self.folder);
        blocking(path.clone(), move || write(&folder, &path, &json)).await?;
        self.all.lock().insert(attachment.attached.clone(), Arc::new(attachment));
        self.changes.send_modify(|n| *n += 1);
        Ok(())
    }

    /// Forgets one; nothing to do where it is not there.
    ///
    /// # Errors
    /// The disk's.
    pub async fn remove(&self, attached: &Attached) -> Result<(), Error> {
        if self.get(attached).is_none() {
            return Ok(());
        }
        let path = self.path(attached);
        // Not synced: one that comes back after a crash is removed by the next DEL or GC.
        blocking(path.clone(), move || match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        })
        .await?;
        self.all.lock().remove(attached);
        self.changes.send_modify(|n| *n += 1);
        Ok(())
    }

    /// A container's id has no `@`, so that the name tells both apart. An interface's has no `/`.
    fn path(&self, attached: &Attached) -> PathBuf {
        self.folder.join(format!("{}@{}.json", attached.container, attached.interface))
    }
}

async fn blocking(
    path: PathBuf,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), Error> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.and_then(|done| done)
        .map_err(|e| Error::new(Code::Io, format!("attachment {}", path.display()), e.to_string()))
}

/// The whole file or none: written beside, synced, renamed; then the folder is synced.
fn write(folder: &Path, path: &Path, json: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(json)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

fn read(path: &Path) -> Result<Attachment, Error> {
    let failed = |why: String| {
        let remedy = format!("{why}; if no container uses it any more, remove the file");
        Error::new(Code::Decoding, format!("attachment {} cannot be read", path.display()), remedy)
    };
    let json = fs::read(path).map_err(|e| failed(e.to_string()))?;
    let attachment: Attachment = serde_json::from_slice(&json).map_err(|e| failed(e.to_string()))?;
    if attachment.format != FORMAT {
        let why = format!("it has format {}, this agent knows {FORMAT}", attachment.format);
        return Err(failed(why));
    }
    Ok(attachment)
}

impl Attachment {
    /// A new one, of this boot.
    ///
    /// # Errors
    /// The kernel does not tell its boot id.
    pub fn new(
        add: &isthmus_cni::protocol::Add,
        uid: String,
        links: Vec<Link>,
        result: AddResult,
    ) -> Result<Self, Error> {
        Ok(Self {
            format: FORMAT,
            attached: add.attached.clone(),
            network: add.network.clone(),
            netns: add.netns.clone(),
            pod: PodReference { uid: Some(uid), ..add.pod.clone() },
            boot: boot()?,
            links,
            result,
        })
    }
}

/// Which boot this is.
///
/// # Errors
/// The kernel does not tell.
pub fn boot() -> Result<String, Error> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|e| Error::new(Code::Io, "the boot id cannot be read", e.to_string()))?;
    Ok(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(container: &str) -> Attachment {
        Attachment {
            format: FORMAT,
            attached: Attached { container: container.into(), interface: "eth0".into() },
            network: "pods".into(),
            netns: "/run/netns/x".into(),
            pod: PodReference {
                namespace: "shop".into(),
                name: "web".into(),
                uid: Some(format!("u-{container}")),
            },
            boot: boot().unwrap(),
            links: Vec::new(),
            result: AddResult::default(),
        }
    }

    #[tokio::test]
    async fn what_is_stored_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let attachments = Attachments::open(folder.path()).unwrap();
        let mut changes = attachments.changes();
        for container in ["a", "b"] {
            attachments.put(attachment(container)).await.unwrap();
        }
        attachments.remove(&attachment("a").attached).await.unwrap();
        attachments.remove(&attachment("a").attached).await.unwrap();
        assert_eq!(*changes.borrow_and_update(), 3, "what is not there is no change");
        std::fs::write(folder.path().join("c@eth0.new"), "{\"format\"").unwrap();
        std::fs::write(folder.path().join("somebody's"), "").unwrap();
        let again = Attachments::open(folder.path()).unwrap();
        assert_eq!(again.list(), [Arc::new(attachment("b"))]);
        assert_eq!(again.pods(), BTreeSet::from(["u-b".to_owned()]));
        assert!(!folder.path().join("c@eth0.new").exists(), "its ADD was never answered");
    }

    #[test]
    fn a_file_of_another_format_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a@eth0.json");
        let newer = Attachment { format: 2, ..attachment("a") };
        for (json, says) in [(serde_json::to_string(&newer).unwrap(), "it has format 2"), ("{".into(), "EOF")]
        {
            std::fs::write(&path, json).unwrap();
            let error = Attachments::open(folder.path()).err().unwrap().to_string();
            assert!(error.contains(says) && error.contains("a@eth0.json"), "{error}");
        }
    }
}
