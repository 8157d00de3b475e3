//! `vhostuser`: for Pods that move packets themselves (DPDK). A port of Open vSwitch is the one end of a vhost-user socket, and the
//! Pod's application the other: nothing of it goes through the kernel, and the Pod has no interface.
//!
//! The application listens (`dpdkvhostuserclient`): Open vSwitch connects, and does so again after a restart of either. Socket and
//! what the application has to know lie in a folder for each Pod, named by its uid, as `eth0.sock` and `eth0.json`. Where they are its
//! attachment tells, and of a port without one what Open vSwitch's database says: it knows of a port before there is a file.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use isthmus_cni::protocol::PodReference;
use isthmus_cni::{Code, Error};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::bridge::mac_of;
use super::{Driver, Later, Ovs, Pod, TxChecksum};
use crate::attachments::{Device, Link};
use crate::files::{blocking, remove_all};
use crate::ovsdb::map;

/// In `external_ids`: `UID/INTERFACE`. Not the mark of [`Ovs`], which would take a port away and leave its files.
pub(super) const MARK: &str = "isthmus-vhostuser";
/// The kernel's (`sun_path` of linux/un.h), with its NUL.
const MOST_PATH: usize = 108;

/// The driver.
pub struct Vhostuser {
    ovs: Arc<Ovs>,
    folder: PathBuf,
    /// Whose turn it is with the files: those of one sandbox are removed to the end before those of the next are written, also where
    /// nobody waits for it any more.
    turn: Arc<Mutex<()>>,
}

impl Vhostuser {
    /// Ports of that Open vSwitch, and sockets below `folder`.
    pub fn new(ovs: Arc<Ovs>, folder: &Path) -> Self {
        Self { ovs, folder: folder.into(), turn: Arc::default() }
    }

    /// Where the socket is that a mark tells of; `None`: it is no mark of ours.
    fn socket(&self, mark: &str) -> Option<PathBuf> {
        let (uid, interface) = mark.split_once('/')?;
        let is_name = |name: &str| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if *part == *name)
        };
        (is_name(uid) && is_name(interface)).then(|| self.folder.join(uid).join(format!("{interface}.sock")))
    }

    /// Takes files and port away, as far as they are there. `socket`: as the attachment tells it; else the port's mark does.
    async fn remove(&self, host: &str, socket: Option<&Path>) -> Result<(), Error> {
        let turn = self.turn.clone().lock_owned().await;
        let mut marks = self.ovs.marks(MARK).await?;
        let marked = marks.remove(host).and_then(|mark| self.socket(&mark));
        if let Some(socket) = socket.map(Path::to_path_buf).or(marked) {
            let others: Vec<PathBuf> = marks.values().filter_map(|mark| self.socket(mark)).collect();
            let what = format!("files beside {} cannot be removed", socket.display());
            let remove = move || {
                let _turn = turn;
                remove_files(&socket, &others)
            };
            blocking(what, remove).await?;
        }
        self.ovs.remove(host).await
    }

    async fn make(&self, link: &Link) -> Result<(), Error> {
        let socket = socket(link)
            .ok_or_else(|| Error::new(Code::Other, format!("{} has no socket", link.interface), ""))?;
        let pod = socket.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let mark = format!("{pod}/{}", link.interface);
        let path = socket.display().to_string();
        let row = json!({"type": "dpdkvhostuserclient", "options": map(&[("vhost-server-path", &path)])});
        let row = row.as_object().cloned().unwrap_or_default();
        let turn = self.turn.clone().lock_owned().await;
        self.ovs.join(link, (MARK, &mark), row).await?;
        let (folder, socket) = (self.folder.clone(), socket.to_owned());
        let described = described(&socket, link).to_string();
        let what = format!("files beside {} cannot be written", socket.display());
        let write = move || {
            let _turn = turn;
            write(&folder, &socket, &described)
        };
        blocking(what, write).await
    }
}

/// The socket that was planned.
fn socket(link: &Link) -> Option<&Path> {
    match &link.device {
        Some(Device::Socket(socket)) => Some(socket),
        _ => None,
    }
}

/// What the application has to know: the first three as kuryr-kubernetes wrote them, and what nobody gives a Pod without an
/// interface.
fn described(socket: &Path, link: &Link) -> Value {
    let name = socket.file_name().unwrap_or_default().to_string_lossy();
    let ips: Vec<Value> =
        link.vif.ips(0).into_iter().map(|ip| json!({"address": ip.address, "gateway": ip.gateway})).collect();
    json!({"vhostname": name, "vhostmac": link.vif.mac, "mode": "server",
        "mtu": link.vif.mtu, "ips": ips, "routes": link.vif.result_routes()})
}

/// The folder that the Pod may have as a volume, and in it what its application reads. It may have been that of a sandbox before:
/// what its processes left there is not followed.
fn write(folder: &Path, socket: &Path, described: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(folder)?;
    DirBuilder::new().recursive(true).mode(0o755).create(socket.parent().unwrap_or(folder))?;
    let description = socket.with_extension("json");
    for path in [socket, &description] {
        remove_all(path)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(description)?;
    file.write_all(described.as_bytes())
}

/// With the last of a Pod's, its folder goes, and what its application left there. `others`: sockets of the other ports; a newer sandbox
/// of the Pod has the same.
fn remove_files(socket: &Path, others: &[PathBuf]) -> io::Result<()> {
    if others.iter().any(|other| other == socket) {
        return Ok(());
    }
    if let Some(pod) = socket.parent()
        && !others.iter().any(|other| other.parent() == Some(pod))
    {
        return remove_all(pod);
    }
    for path in [socket, &socket.with_extension("json")] {
        remove_all(path)?;
    }
    Ok(())
}

impl Driver for Vhostuser {
    fn plan<'a>(
        &'a self,
        pod: &'a PodReference,
        _: &'a BTreeSet<String>,
        link: &'a mut Link,
    ) -> Later<'a, ()> {
        Box::pin(async move {
            let mark = format!("{}/{}", pod.uid.as_deref().unwrap_or_default(), link.interface);
            let socket = self.socket(&mark).ok_or_else(|| {
                Error::new(
                    Code::InvalidConfig,
                    format!("{mark:?} is no name of a socket"),
                    "a uid and an interface are",
                )
            })?;
            if socket.as_os_str().len() >= MOST_PATH {
                let what = format!("{} is too long for a socket", socket.display());
                return Err(Error::new(Code::InvalidConfig, what, "give --vhostuser-dir a shorter one"));
            }
            link.device = Some(Device::Socket(socket));
            Ok(())
        })
    }

    fn bind<'a>(&'a self, _: Pod<'a>, link: &'a mut Link) -> Later<'a, TxChecksum> {
        Box::pin(async move {
            mac_of(link)?;
            let Err(mut error) = self.make(link).await else { return Ok(TxChecksum::Keep) };
            // The answer may have been lost, and not the change.
            if let Err(more) = self.remove(&link.host, socket(link)).await {
                error.details = format!("{}; and: {more}", error.details);
            }
            Err(error)
        })
    }

    fn ready<'a>(&'a self, link: &'a Link) -> Later<'a, ()> {
        Box::pin(self.ovs.installed(link))
    }

    fn unhook<'a>(&'a self, host: &'a str) -> Later<'a, ()> {
        Box::pin(self.remove(host, None))
    }

    fn give_back<'a>(&'a self, _: &'a str, link: &'a Link) -> Option<Later<'a, ()>> {
        let socket = socket(link)?;
        Some(Box::pin(self.remove(&link.host, Some(socket))))
    }

    fn check<'a>(&'a self, link: &'a Link) -> Later<'a, ()> {
        Box::pin(async move {
            self.ovs.is_port(link).await?;
            match socket(link) {
                Some(socket) if socket.with_extension("json").exists() => Ok(()),
                _ => Err(Error::new(Code::Other, format!("the file of {} is gone", link.interface), "")),
            }
        })
    }

    fn hooked(&self) -> Later<'_, BTreeSet<String>> {
        Box::pin(self.ovs.marked(MARK))
    }

    fn usable(&self) -> Later<'_, ()> {
        self.ovs.usable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::Host;

    #[tokio::test]
    async fn a_mark_leads_nowhere_else() {
        let ovs = Ovs::new(Host::new().unwrap(), Path::new("/none"), "br-int");
        let driver = Vhostuser::new(Arc::new(ovs), Path::new("/sockets"));
        assert_eq!(driver.socket("u-1/eth0"), Some("/sockets/u-1/eth0.sock".into()));
        for odd in ["", "u", "u/", "/eth0", "../eth0", "u/..", "./eth0", "u/a/b", "u/../../etc"] {
            assert_eq!(driver.socket(odd), None, "{odd:?}");
        }
    }

    /// The operator's guide shows it.
    #[test]
    fn what_an_application_is_told_is_as_the_page_has_it() {
        let page = include_str!("../../../../docs/operator.md");
        let shown = page
            .split("```")
            .find_map(|part| part.strip_prefix("json\n").filter(|p| p.contains("vhostname")));
        let shown: Value = serde_json::from_str(shown.unwrap()).unwrap();
        let vif = json!({"interface": "eth0", "port_id": "p", "mac": "fa:16:3e:00:00:05", "addresses": ["10.100.0.5/16"],
            "gateways": ["10.100.0.1"], "mtu": 1442, "default_route": true, "routes": [], "binding": "vhostuser"});
        let (driver, host, interface) = ("vhostuser".into(), "im".into(), "eth0".into());
        let vif = serde_json::from_value(vif).unwrap();
        let link = Link { driver, host, interface, nested: false, device: None, vif };
        assert_eq!(described(Path::new("/sockets/u-1/eth0.sock"), &link), shown);
    }

    /// A newer sandbox of the Pod may have another port for the same interface.
    #[test]
    fn files_that_a_newer_sandbox_has_as_well_stay() {
        let folder = tempfile::tempdir().unwrap();
        let pod = folder.path().join("u-1");
        std::fs::create_dir(&pod).unwrap();
        let sockets = ["eth0.sock", "net1.sock"].map(|name| pod.join(name));
        for socket in &sockets {
            std::fs::write(socket.with_extension("json"), "{}").unwrap();
        }
        let [first, second] = &sockets;
        let are = || sockets.each_ref().map(|socket| socket.with_extension("json").exists());
        remove_files(first, &sockets).unwrap();
        assert_eq!(are(), [true, true]);
        remove_files(first, std::slice::from_ref(second)).unwrap();
        assert_eq!(are(), [false, true]);
        remove_files(second, &[]).unwrap();
        assert!(!pod.exists());
    }
}
