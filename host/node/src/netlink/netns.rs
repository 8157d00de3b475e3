//! A Pod's network namespace.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use isthmus_cni::{Code, Error};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::direct::Direct;

/// `statfs` type of what namespaces live on (`NSFS_MAGIC`).
const NSFS: i64 = 0x6e73_6673;
/// The network namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// Settings of the network namespace of who looks at them. A container that is not privileged may only read the first; its
/// DaemonSet mounts the host's where the second is.
const SYSCTLS: [&str; 2] = ["/proc/sys/net", "/run/host/proc/sys/net"];

/// An open network namespace, which therefore stays, as long as any clone.
#[derive(Clone)]
pub struct Netns {
    file: Arc<File>,
    /// The one that the agent is in.
    own: Arc<File>,
    path: String,
}

impl Netns {
    /// Opens a namespace by path.
    ///
    /// # Errors
    /// [`Code::UnknownContainer`] where nothing is there, [`Code::InvalidEnvironment`] where it is no network namespace or
    /// the agent's own, [`Code::Io`] where nobody can tell.
    pub fn open(path: &str) -> Result<Self, Error> {
        let bad =
            |why: &str| Error::new(Code::InvalidEnvironment, format!("CNI_NETNS {path} cannot be used"), why);
        // What is no namespace may be anything: a FIFO would hold a thread up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from);
        let file = opened.map(File::from).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                let why = "the container has ended, or the agent does not see the host's /run and /proc";
                Error::new(Code::UnknownContainer, format!("CNI_NETNS {path} is not there"), why)
            }
            _ => Error { code: Code::Io, ..bad(&e.to_string()) },
        })?;
        let unknown = |e: io::Error| Error { code: Code::Io, ..bad(&e.to_string()) };
        let kind = rustix::fs::fstatfs(&file).map_err(|e| unknown(e.into()))?;
        if kind.f_type != NSFS {
            return Err(bad("it is no network namespace"));
        }
        let same = |a: &fs::Metadata, b: &fs::Metadata| a.dev() == b.dev() && a.ino() == b.ino();
        let own = File::open(OWN).map_err(unknown)?;
        if same(&file.metadata().map_err(unknown)?, &own.metadata().map_err(unknown)?) {
            return Err(bad("it is the host's own network namespace"));
        }
        Ok(Self { file: Arc::new(file), own: Arc::new(own), path: path.to_owned() })
    }

    /// As [`Self::open`], of what may have gone.
    ///
    /// # Errors
    /// Nobody can tell.
    pub fn open_if_there(path: &str) -> Result<Option<Self>, Error> {
        match Self::open(path) {
            Ok(netns) => Ok(Some(netns)),
            Err(error) if [Code::UnknownContainer, Code::InvalidEnvironment].contains(&error.code) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Its path.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.file.as_fd().as_raw_fd()
    }

    /// The one that the agent is in.
    pub(crate) fn own_raw(&self) -> RawFd {
        self.own.as_fd().as_raw_fd()
    }

    /// Sockets in the namespace. `ipv6`: interfaces that are made there from now on are to have IPv6.
    ///
    /// # Errors
    /// It is no network namespace, or the agent may not enter it; [`Code::Io`] where it has no IPv6 and cannot be given it.
    pub fn connect(&self, ipv6: bool) -> Result<Connected, Error> {
        let entered = self.enter(|| {
            let allowed = if ipv6 { allow_ipv6() } else { Ok(()) };
            let netlink = Direct::open()?;
            let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            Ok((allowed, Connected { netlink, socket }))
        });
        let (allowed, connected) = entered.map_err(|e| {
            let what = format!("entering network namespace {} failed", self.path);
            Error::new(Code::InvalidEnvironment, what, e.to_string())
        })?;
        allowed.map_err(|why| {
            let what = format!("IPv6 is disabled in network namespace {}, and cannot be enabled", self.path);
            Error::new(Code::Io, what, why)
        })?;
        Ok(connected)
    }

    /// Does something in the namespace, on the calling thread, which is back when this returns: a thread made for it takes longer to
    /// start than most calls take.
    fn enter<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
        let _back = Back(&self.own);
        work()
    }
}

/// Whether the calling thread may enter network namespaces: the one that it is in is as good for that as another.
///
/// # Errors
/// Why not.
pub(crate) fn may_enter() -> io::Result<()> {
    let own = File::open(OWN)?;
    Ok(move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// The way back, also from a panic.
struct Back<'a>(&'a File);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        if let Err(error) = move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)) {
            // It had the right a moment ago. The host's links would be looked for, and made, in a Pod.
            tracing::error!(%error, "a thread cannot leave a Pod's network namespace");
            std::process::abort();
        }
    }
}

/// Runtimes may make sandboxes without IPv6. New interfaces take the default.
///
/// # Errors
/// Why that cannot be changed.
fn allow_ipv6() -> Result<(), String> {
    let [own, of_host] = SYSCTLS.map(|folder| Path::new(folder).join("ipv6/conf/default/disable_ipv6"));
    let failed = |path: &Path, e: io::Error| format!("{}: {e}", path.display());
    if fs::read_to_string(&own).map_err(|e| failed(&own, e))?.trim() != "1" {
        return Ok(());
    }
    match fs::write(&own, "0") {
        Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => fs::write(&of_host, "0").map_err(|more| {
            format!(
                "{}; {}: is the host's {} mounted there?",
                failed(&own, e),
                failed(&of_host, more),
                SYSCTLS[0]
            )
        }),
        written => written.map_err(|e| failed(&own, e)),
    }
}

/// Sockets in a Pod's namespace.
pub struct Connected {
    pub(crate) netlink: Direct,
    pub(crate) socket: OwnedFd,
}
