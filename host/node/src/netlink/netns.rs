//! A Pod's network namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use isthmus_cni::{Code, Error};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::direct::Direct;

/// `statfs` type of what namespaces live on (`NSFS_MAGIC`).
const NSFS: i64 = 0x6e73_6673;

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
        let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| a.dev() == b.dev() && a.ino() == b.ino();
        let own = File::open("/proc/thread-self/ns/net").map_err(unknown)?;
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

    /// Sockets in the namespace.
    ///
    /// # Errors
    /// It is no network namespace, or the agent may not enter it.
    pub fn connect(&self, ipv6: bool) -> Result<Connected, Error> {
        let connected = self.enter(|| {
            if ipv6 {
                allow_ipv6()?;
            }
            let netlink = Direct::open()?;
            let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            Ok(Connected { netlink, socket })
        });
        connected.map_err(|e| {
            let what = format!("entering network namespace {} failed", self.path);
            Error::new(Code::InvalidEnvironment, what, e.to_string())
        })
    }

    /// Does something in the namespace, on the calling thread, which is back when this returns: a thread made for it takes longer to
    /// start than most calls take.
    fn enter<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
        let _back = Back(&self.own);
        work()
    }
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
fn allow_ipv6() -> io::Result<()> {
    let path = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
    match std::fs::read_to_string(path) {
        Ok(value) if value.trim() == "1" => std::fs::write(path, "0"),
        Ok(_) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Sockets in a Pod's namespace.
pub struct Connected {
    pub(crate) netlink: Direct,
    pub(crate) socket: OwnedFd,
}
