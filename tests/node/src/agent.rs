//! An agent in a namespace of its own, which can be stopped and started.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use isthmus_node::binding::DriverOptions;
use isthmus_node::health::Paths;
use isthmus_node::{Agent, Options, http, server};
use rustix::thread::{
    CapabilitySet, LinkNameSpaceType, capabilities, move_into_link_name_space, set_capabilities,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::libcni::Reference;
use crate::namespace::Namespace;
use crate::plugin::Call;
use crate::source::{Told, vif};
use crate::{LIMIT, until};

/// A node: a namespace with a bridge, a state folder, a socket.
pub struct Stage {
    /// The node's namespace, with a bridge `br0` that has the gateway's addresses.
    pub host: Namespace,
    /// What Pods there are.
    pub told: Told,
    /// How VIFs are bound.
    pub drivers: DriverOptions,
    /// Where the agent looks to tell whether it is well.
    pub paths: Paths,
    /// What the agent may not do.
    pub forbidden: CapabilitySet,
    folder: TempDir,
}

/// An agent that runs. It stops when this is dropped.
pub struct Running {
    socket: PathBuf,
    http: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Stage {
    /// A node whose agent uses the driver `bridge`.
    ///
    /// # Errors
    /// Not root, or iproute2 is missing.
    pub fn new() -> Result<Self> {
        let host = Namespace::new()?;
        host.run("ip link add br0 type bridge")?;
        host.run("ip address add 10.77.0.254/24 dev br0")?;
        host.run("ip address add fd77::fe/64 dev br0 nodad")?;
        host.run("ip link set br0 up")?;
        let bridge = Some("br0".into());
        let drivers = DriverOptions { default: "bridge".into(), bridge, ..DriverOptions::default() };
        let (told, folder, forbidden) = (Told::default(), tempfile::tempdir()?, CapabilitySet::empty());
        // No memory of a cgroup: that of the machine is no matter of a test.
        let paths = Paths { cgroup: folder.path().join("cgroup"), namespaces: folder.path().join("netns") };
        Ok(Self { host, told, drivers, paths, forbidden, folder })
    }

    /// As [`Self::new`], with a Pod `web` that is known and not yet attached, the namespace of its container `c1`, and calls for it.
    ///
    /// # Errors
    /// As there.
    pub fn with_web() -> Result<(Self, Namespace, Call)> {
        let (stage, netns) = (Self::new()?, Namespace::new()?);
        stage.told.tell("web", vec![vif(5)]);
        let call = Call::new(&stage.socket(), "web", "c1", &netns.path());
        Ok((stage, netns, call))
    }

    /// As [`Self::with_web`], for a runtime on CNI's reference library.
    ///
    /// # Errors
    /// As there, and [`Reference::new`]'s.
    pub fn with_library() -> Result<(Self, Namespace, Reference)> {
        let (stage, netns, _) = Self::with_web()?;
        Ok((stage, netns, Reference::new()?))
    }

    /// Waits until there is neither a link of ours on the host nor a file of an attachment.
    ///
    /// # Errors
    /// There is one still.
    pub fn gone(&self) -> Result<()> {
        until("no link is left", || Ok(self.links()?.is_empty()))?;
        until("no file is left", || Ok(self.files()?.is_empty()))
    }

    /// Moves the calling thread into the node's namespace, and so all that it starts from now on.
    ///
    /// # Errors
    /// Not root.
    pub fn enter(&self) -> Result<()> {
        let netns = File::open(self.host.path())?;
        Ok(move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// The agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/cni.sock")
    }

    /// The folder of the attachments' files.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("attachments")
    }

    /// A folder for whatever else.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changes what is stored of a container's `eth0`.
    ///
    /// # Errors
    /// Nothing is stored, or it cannot be written.
    pub fn rewrite(&self, container: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
        let file = self.state().join(format!("{container}@eth0.json"));
        let mut stored = serde_json::from_slice(&std::fs::read(&file)?)?;
        change(&mut stored);
        Ok(std::fs::write(&file, stored.to_string())?)
    }

    /// Names of the attachments' files.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn files(&self) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(self.state())?;
        entries.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Links of ours on the host.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn links(&self) -> Result<Vec<String>> {
        Ok(self.host.links()?.into_iter().filter(|l| l.starts_with("im")).collect())
    }

    /// Starts the agent; it listens when this returns.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self) -> Result<Running> {
        let netns = File::open(self.host.path())?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, ready) = mpsc::channel();
        let (source, socket) = (self.told.clone(), self.socket());
        let (drivers, paths, forbidden) = (self.drivers.clone(), self.paths.clone(), self.forbidden);
        let options = Options { state: self.state(), drivers, paths };
        // In the namespace of the test, which is to reach it.
        let probed = TcpListener::bind("127.0.0.1:0")?;
        probed.set_nonblocking(true)?;
        let http = probed.local_addr()?;
        let thread = std::thread::spawn(move || -> Result<()> {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
            let mut may = capabilities(None)?;
            may.effective.remove(forbidden);
            set_capabilities(None, may)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = server::listen(&socket)?;
                let agent = Agent::start(source, &options).await?;
                started.send(())?;
                tokio::spawn(http::serve(agent.clone(), tokio::net::TcpListener::from_std(probed)?));
                server::serve(agent, listener, async {
                    // A sender that is gone says so as well.
                    let _ = stopped.await;
                })
                .await;
                Ok(())
            })
        });
        let Ok(()) = ready.recv() else {
            let ended = thread.join().map_err(|_| anyhow!("the agent panicked"))?;
            return Err(ended.err().context("the agent ended without an error")?);
        };
        Ok(Running { socket: self.socket(), http, stop: Some(stop), thread: Some(thread) })
    }
}

impl Running {
    /// What it answers to a GET: the status, and the text.
    ///
    /// # Errors
    /// It does not answer.
    pub fn http(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.http, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, text) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
        let status = head.split(' ').nth(1).context("a head has a status")?.parse()?;
        Ok((status, text.to_owned()))
    }

    /// Stops it. What another test starts just now may hold its socket until it is another program.
    ///
    /// # Errors
    /// It had failed.
    pub fn stop(mut self) -> Result<()> {
        self.end()?;
        until("nobody listens any more", || Ok(UnixStream::connect(&self.socket).is_err()))
    }

    fn end(&mut self) -> Result<()> {
        drop(self.stop.take());
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("the agent panicked"))?,
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
