//! What is attached: a file each, so that a restart of the agent forgets nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isthmus_cni::protocol::{Attached, PodReference};
use isthmus_cni::result::AddResult;
use isthmus_cni::{Code, Error};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::files::{blocking, remove_file};
use crate::netlink::functions::{Netdev, Settings};
use crate::vif::Vif;

/// Versions of the files' format that are read. Those of version 1 lack `unhook` and the networks' ids.
const FORMATS: RangeInclusive<u32> = 1..=DEVICES;
/// Of what an agent that knows no nested links understands.
const PLAIN: u32 = 2;
/// With nested links, which such an agent would forget and leave behind: it refuses to start.
const NESTED: u32 = 3;
/// With devices, which such an agent would not give back.
const DEVICES: u32 = 4;
/// Mode of the folder that is made: nobody else's business.
const PRIVATE: u32 = 0o700;
/// A file of this name says that what is attached is not known whole. It outlives the agent, whose next start would else take
/// away what it finds no file of.
const LOST: &str = "lost";
/// Extension of a file that was set aside.
const UNREADABLE: &str = "unreadable";

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
    /// DEL has answered, but something could not be taken away yet: a database (Open vSwitch's) could not be told, or a link in the
    /// Pod's namespace is left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unhook: bool,
    /// ADD has not answered: only this tells after a crash where it made a nested link. `unhook` is set too, as it is to be taken
    /// away should ADD never come to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begun: bool,
}

/// One VIF that is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Name of the driver.
    pub driver: String,
    /// Name of the link on the host; where it is nested, or was moved, the alias that it has in the Pod.
    pub host: String,
    /// Name of the interface in the Pod.
    pub interface: String,
    /// Its only link is in the Pod's namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nested: bool,
    /// What there is beside a link, or in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// What is bound.
    pub vif: Vif,
}

/// What a Pod has that is no link of our making.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Device {
    /// Path of a vhost-user socket: the Pod has no interface.
    Socket(PathBuf),
    /// A virtual function of a network card.
    Function(Function),
}

/// A virtual function, as it was before the Pod had it. Its card's name and its number there may be others' by now: its address alone
/// tells which it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Function {
    /// PCI address.
    pub address: String,
    /// Its own interface; absent: a driver of user space has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netdev: Option<Netdev>,
    /// What was set of it; absent: the card's driver does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Settings>,
    /// What is set of it while the Pod has it, as the card told when it was; absent: as above, or an older agent stored this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Settings>,
}

impl Link {
    /// Whether the Pod has an interface of the kernel's for it, with its addresses and routes.
    pub fn is_in_kernel(&self) -> bool {
        match &self.device {
            None => true,
            Some(Device::Socket(_)) => false,
            Some(Device::Function(function)) => function.netdev.is_some(),
        }
    }

    /// PCI address of what only one Pod may have.
    pub fn address(&self) -> Option<&str> {
        match &self.device {
            Some(Device::Function(function)) => Some(&function.address),
            _ => None,
        }
    }
}

/// All attachments. Clones share them.
#[derive(Clone)]
pub struct Attachments {
    folder: Arc<PathBuf>,
    /// Of this boot of the node.
    boot: Arc<str>,
    all: Arc<Mutex<BTreeMap<Attached, Arc<Attachment>>>>,
    changes: Arc<watch::Sender<u64>>,
    /// There are links whose files were lost or cannot be read: what they belong to is not known.
    lost: Arc<AtomicBool>,
}

impl Attachments {
    /// Reads what a folder holds, and makes it where it is not there. A file that was not written to its end is removed:
    /// its ADD was never answered. One that cannot be read is set aside: one Pod's file stops no other Pod.
    ///
    /// # Errors
    /// The folder cannot be read, or has a file of a newer format: that agent should be put back.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let failed = |path: &Path, e: io::Error| {
            Error::new(Code::Io, format!("attachments in {}", path.display()), e.to_string())
        };
        DirBuilder::new().recursive(true).mode(PRIVATE).create(folder).map_err(|e| failed(folder, e))?;
        let (mut all, mut lost) = (BTreeMap::new(), folder.join(LOST).exists());
        for entry in fs::read_dir(folder).map_err(|e| failed(folder, e))? {
            let path = entry.map_err(|e| failed(folder, e))?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("new") => fs::remove_file(&path).map_err(|e| failed(&path, e))?,
                Some("json") => {
                    if let Some(attachment) = read_or_set_aside(&path)? {
                        all.insert(attachment.attached.clone(), Arc::new(attachment));
                    } else {
                        mark_lost(folder, true).map_err(|e| failed(&path, e))?;
                        lost = true;
                    }
                }
                Some(UNREADABLE) => {}
                None if path.ends_with(LOST) => {}
                _ => tracing::warn!(path = %path.display(), "not a file of ours; it stays"),
            }
        }
        Ok(Self {
            folder: Arc::new(folder.to_owned()),
            boot: boot()?.into(),
            all: Arc::new(Mutex::new(all)),
            changes: Arc::new(watch::channel(0).0),
            lost: Arc::new(lost.into()),
        })
    }

    /// Whether it is attached now: of this boot, as links do not survive another, and not deleted.
    pub fn is_live(&self, attachment: &Attachment) -> bool {
        attachment.boot == *self.boot && !attachment.unhook
    }

    /// Whether what is attached is not known: files are missing.
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether there are files that were set aside: what they told of is there still, or a DEL of it has not come yet.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn has_unreadable(&self) -> Result<bool, Error> {
        let failed = |e: io::Error| {
            Error::new(Code::Io, format!("attachments in {}", self.folder.display()), e.to_string())
        };
        let names = fs::read_dir(&*self.folder).and_then(|all| {
            all.map(|entry| Ok(entry?.path().extension().is_some_and(|e| e == UNREADABLE)))
                .collect::<io::Result<Vec<_>>>()
        });
        Ok(names.map_err(failed)?.contains(&true))
    }

    /// Says whether what is attached is not known. It is on the disk when this returns.
    ///
    /// # Errors
    /// The disk's.
    pub async fn set_lost(&self, lost: bool) -> Result<(), Error> {
        if self.lost() != lost {
            let folder = Arc::clone(&self.folder);
            blocking(told(&self.folder.join(LOST)), move || mark_lost(&folder, lost)).await?;
            self.lost.store(lost, Ordering::Relaxed);
            self.changes.send_modify(|n| *n += 1);
        }
        Ok(())
    }

    /// Whether one of them has a link of this name on the host.
    pub fn owns(&self, host: &str) -> bool {
        self.all.lock().values().flat_map(|a| &a.links).any(|link| link.host == host)
    }

    /// One of them.
    pub fn get(&self, attached: &Attached) -> Option<Arc<Attachment>> {
        self.all.lock().get(attached).cloned()
    }

    /// All of them.
    pub fn list(&self) -> Vec<Arc<Attachment>> {
        self.all.lock().values().cloned().collect()
    }

    /// Those with [addresses](Link::address) of devices, which few have.
    pub fn with_addresses(&self) -> Vec<Arc<Attachment>> {
        let all = self.all.lock();
        all.values().filter(|a| a.links.iter().any(|link| link.address().is_some())).cloned().collect()
    }

    /// Those of a network that are not among these. Nor are those of an ADD that has not answered: a runtime does not know them yet,
    /// and what one leaves behind goes by itself.
    pub fn forgotten(&self, network: &str, valid: &[Attached]) -> Vec<Arc<Attachment>> {
        let all = self.all.lock();
        let unknown = |a: &&Arc<Attachment>| a.network == network && !a.begun && !valid.contains(&a.attached);
        all.values().filter(unknown).cloned().collect()
    }

    /// Uids of the Pods that are attached, or not yet quite detached.
    pub fn pods(&self) -> BTreeSet<String> {
        let all = self.all.lock();
        let known = all.values().filter(|a| a.boot == *self.boot && !a.begun);
        known.filter_map(|a| a.pod.uid.clone()).collect()
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
        self.write(&attachment).await?;
        self.know(attachment);
        Ok(())
    }

    /// Writes the file of one that nobody is to know yet: after a crash it is known. It is on the disk when this returns.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn write(&self, attachment: &Attachment) -> Result<(), Error> {
        let path = self.path(&attachment.attached);
        let json = serde_json::to_vec_pretty(attachment)
            .map_err(|e| Error::new(Code::Io, "an attachment cannot be written", e.to_string()))?;
        let folder = Arc::clone(&self.folder);
        blocking(told(&path), move || write(&folder, &path, &json)).await
    }

    /// Has everybody know one whose file was written.
    pub(crate) fn know(&self, attachment: Attachment) {
        self.all.lock().insert(attachment.attached.clone(), Arc::new(attachment));
        self.changes.send_modify(|n| *n += 1);
    }

    /// Forgets one; nothing to do where it is not there.
    ///
    /// # Errors
    /// The disk's.
    pub async fn remove(&self, attached: &Attached) -> Result<(), Error> {
        let path = self.path(attached);
        // Also where it is not known here: a write that failed may have left it. Not synced: one that comes back after a crash is removed by the next DEL or GC.
        blocking(told(&path), move || {
            remove_file(&path.with_extension(UNREADABLE))?;
            remove_file(&path)
        })
        .await?;
        if self.all.lock().remove(attached).is_some() {
            self.changes.send_modify(|n| *n += 1);
        }
        Ok(())
    }

    /// A container's id has no `@`, so that the name tells both apart. An interface's has no `/`.
    fn path(&self, attached: &Attached) -> PathBuf {
        self.folder.join(format!("{}@{}.json", attached.container, attached.interface))
    }
}

/// What an error is told of.
fn told(path: &Path) -> String {
    format!("attachment {}", path.display())
}

fn mark_lost(folder: &Path, lost: bool) -> io::Result<()> {
    let path = folder.join(LOST);
    if lost {
        File::create(path).map(drop)?
    } else {
        remove_file(&path)?
    }
    File::open(folder)?.sync_all()
}

/// The whole file or none: written beside, synced, renamed; then the folder is synced.
fn write(folder: &Path, path: &Path, json: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let written = (|| {
        let mut file = File::create(&new)?;
        file.write_all(json)?;
        file.sync_all()
    })();
    if let Err(error) = written {
        // What an earlier write said of it holds on.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    let placed = fs::rename(&new, path).and_then(|()| File::open(folder)?.sync_all());
    if placed.is_err() {
        // Its ADD fails, so nothing may say later that it was attached. What cannot be removed the next DEL removes.
        for left in [&new, path] {
            let _ = fs::remove_file(left);
        }
    }
    placed
}

/// `None`: it was set aside.
fn read_or_set_aside(path: &Path) -> Result<Option<Attachment>, Error> {
    match read(path) {
        Ok(attachment) => Ok(Some(attachment)),
        Err(error) if error.code == Code::IncompatibleVersion => Err(error),
        Err(error) => {
            tracing::error!(%error, "set aside: its Pod stays as it is, and DEL works by its container's id");
            let aside = path.with_extension(UNREADABLE);
            fs::rename(path, &aside).map_err(|e| {
                Error::new(
                    Code::Io,
                    format!("attachment {} cannot be set aside", path.display()),
                    e.to_string(),
                )
            })?;
            Ok(None)
        }
    }
}

/// What is looked at first.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

fn read(path: &Path) -> Result<Attachment, Error> {
    let failed = |why: String| {
        let remedy = format!("{why}; if no container uses it any more, remove the file");
        Error::new(Code::Decoding, format!("attachment {} cannot be read", path.display()), remedy)
    };
    let json = fs::read(path).map_err(|e| failed(e.to_string()))?;
    let head: Head = serde_json::from_slice(&json).map_err(|e| failed(e.to_string()))?;
    if !FORMATS.contains(&head.format) {
        let why = format!("it has format {}, this agent knows {DEVICES}", head.format);
        return Err(Error { code: Code::IncompatibleVersion, ..failed(why) });
    }
    serde_json::from_slice(&json).map_err(|e| failed(e.to_string()))
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
            format: match links.iter().any(|link| link.device.is_some()) {
                true => DEVICES,
                false if links.iter().any(|link| link.nested) => NESTED,
                false => PLAIN,
            },
            attached: add.attached.clone(),
            network: add.network.clone(),
            netns: add.netns.clone(),
            pod: PodReference { uid: Some(uid), ..add.pod.clone() },
            boot: boot()?,
            links,
            result,
            unhook: false,
            begun: false,
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
#[path = "attachments_tests.rs"]
mod tests;
