//! A Pod's network namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

use isthmus_cni::{Code, Error};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::task::JoinHandle;

/// `statfs` type of what namespaces live on (`NSFS_MAGIC`).
const NSFS: i64 = 0x6e73_6673;

/// An open network namespace, which therefore stays.
pub struct Netns {
    file: File,
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
        let own = std::fs::metadata("/proc/thread-self/ns/net").map_err(unknown)?;
        if same(&file.metadata().map_err(unknown)?, &own) {
            return Err(bad("it is the host's own network namespace"));
        }
        Ok(Self { file, path: path.to_owned() })
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

    /// Runs something short on a thread that has entered the namespace and ends afterwards: a thread of a pool would take
    /// the namespace along.
    async fn enter<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let failed = |e: io::Error| {
            let what = format!("entering network namespace {} failed", self.path);
            Error::new(Code::InvalidEnvironment, what, e.to_string())
        };
        let file = self.file.try_clone().map_err(failed)?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("netns".into())
            .spawn(move || {
                let entered = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
                // Where the receiver is gone, nobody wants to know.
                let _ = sender.send(entered.map_err(io::Error::from).and_then(|()| work()));
            })
            .map_err(failed)?;
        receiver.await.map_err(io::Error::other).and_then(|done| done).map_err(failed)
    }

    /// A netlink connection, and a socket for ioctls, in the namespace.
    ///
    /// # Errors
    /// It is no network namespace, or the agent may not enter it.
    pub async fn connect(&self, ipv6: bool) -> Result<Connected, Error> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, socket) = self
            .enter(move || {
                if ipv6 {
                    allow_ipv6()?;
                }
                let _runtime = runtime.enter();
                let (connection, handle, _) = rtnetlink::new_connection()?;
                let socket = rustix::net::socket(
                    rustix::net::AddressFamily::INET,
                    rustix::net::SocketType::DGRAM,
                    None,
                )?;
                Ok((connection, handle, socket))
            })
            .await?;
        Ok(Connected { handle, socket, task: tokio::spawn(connection) })
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

/// A connection into a namespace; it ends when this is dropped.
pub struct Connected {
    pub(crate) handle: rtnetlink::Handle,
    pub(crate) socket: OwnedFd,
    task: JoinHandle<()>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.task.abort();
    }
}
