//! `vhostuser`: for Pods that move packets themselves (DPDK). A port of Open vSwitch is the one end of a vhost-user socket, and the
//! Pod's application the other: nothing of it goes through the kernel, and the Pod has no interface.
//!
//! The application listens (`dpdkvhostuserclient`): Open vSwitch connects, and does so again after a restart of either. Socket and
//! what the application has to know lie in a folder for each Pod, named by its uid, as `eth0.sock` and `eth0.json`. What
//! Open vSwitch's database says of a port tells where they are: it knows of a port before there is a file.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use isthmus_cni::protocol::PodReference;
use isthmus_cni::{Code, Error};
use serde_json::{Value, json};

use super::bridge::mac_of;
use super::{Driver, Later, Ovs, Pod, TxChecksum};
use crate::attachments::{Device, Link};
use crate::ovsdb::map;

/// In `external_ids`: `UID/INTERFACE`. Not the mark of [`Ovs`], which would take a port away and leave its files.
const MARK: &str = "isthmus-vhostuser";
/// The kernel's (`sun_path` of linux/un.h), with its NUL.
const MOST_PATH: usize = 108;

/// The driver.
pub struct Vhostuser {
    ovs: Ovs,
    folder: PathBuf,
}

impl Vhostuser {
    /// Ports of that Open vSwitch, and sockets below `folder`.
    pub fn new(ovs: Ovs, folder: &Path) -> Self {
        Self { ovs, folder: folder.into() }
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

    /// The folder that the Pod may have as a volume, and in it what its application reads. It may have been that of a sandbox before:
    /// what its processes left there is not followed.
    fn write(&self, socket: &Path, link: &Link) -> Result<(), Error> {
        let failed = |e: io::Error| {
            Error::new(
                Code::Io,
                format!("files beside {} cannot be written", socket.display()),
                e.to_string(),
            )
        };
        let pod = socket.parent().unwrap_or(&self.folder);
        DirBuilder::new().recursive(true).mode(0o711).create(&self.folder).map_err(failed)?;
        DirBuilder::new().recursive(true).mode(0o755).create(pod).map_err(failed)?;
        let described = described(socket, link).to_string();
        for path in [socket.to_owned(), socket.with_extension("json")] {
            remove_file(&path).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o644).open(socket.with_extension("json"));
        file.and_then(|mut file| file.write_all(described.as_bytes())).map_err(failed)
    }

    /// Takes files and port away, as far as they are there.
    async fn remove(&self, host: &str) -> Result<(), Error> {
        let mark = self.ovs.mark_of(host, MARK).await?;
        if let Some(socket) = mark.and_then(|mark| self.socket(&mark)) {
            remove_files(&socket).map_err(|e| {
                let what = format!("files beside {} cannot be removed", socket.display());
                Error::new(Code::Io, what, e.to_string())
            })?;
        }
        self.ovs.remove(host).await
    }

    async fn make(&self, link: &Link) -> Result<(), Error> {
        let Some(Device::Socket(socket)) = &link.device else {
            return Err(Error::new(Code::Other, format!("{} has no socket", link.interface), ""));
        };
        let pod = socket.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let mark = format!("{pod}/{}", link.interface);
        let path = socket.display().to_string();
        let row = json!({"type": "dpdkvhostuserclient", "options": map(&[("vhost-server-path", &path)])});
        let row = row.as_object().cloned().unwrap_or_default();
        self.ovs.join(link, (MARK, &mark), row).await?;
        self.write(socket, link)
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

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// With the last of a Pod's, its folder goes, and what its application left there.
fn remove_files(socket: &Path) -> io::Result<()> {
    let described = socket.with_extension("json");
    remove_file(socket)?;
    remove_file(&described)?;
    let Some(pod) = socket.parent() else { return Ok(()) };
    let others = match std::fs::read_dir(pod) {
        Ok(entries) => entries.filter_map(Result::ok).any(|e| e.path().extension() == described.extension()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    if others { Ok(()) } else { std::fs::remove_dir_all(pod) }
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

    fn bind<'a>(&'a self, _: Pod<'a>, link: &'a Link) -> Later<'a, TxChecksum> {
        Box::pin(async move {
            mac_of(link)?;
            let Err(mut error) = self.make(link).await else { return Ok(TxChecksum::Keep) };
            // The answer may have been lost, and not the change.
            if let Err(more) = self.remove(&link.host).await {
                error.details = format!("{}; and: {more}", error.details);
            }
            Err(error)
        })
    }

    fn ready<'a>(&'a self, link: &'a Link) -> Later<'a, ()> {
        Box::pin(self.ovs.installed(link))
    }

    fn unhook<'a>(&'a self, host: &'a str) -> Later<'a, ()> {
        Box::pin(self.remove(host))
    }

    fn check<'a>(&'a self, link: &'a Link) -> Later<'a, ()> {
        Box::pin(async move {
            self.ovs.is_port(link).await?;
            match &link.device {
                Some(Device::Socket(socket)) if socket.with_extension("json").exists() => Ok(()),
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
        let driver = Vhostuser::new(ovs, Path::new("/sockets"));
        assert_eq!(driver.socket("u-1/eth0"), Some("/sockets/u-1/eth0.sock".into()));
        for odd in ["", "u", "u/", "/eth0", "../eth0", "u/..", "./eth0", "u/a/b", "u/../../etc"] {
            assert_eq!(driver.socket(odd), None, "{odd:?}");
        }
    }
}
