//! The verbs.

mod bind;
mod sweep;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_cni::protocol::{Add, Answer, Ask, Attached, Request, VERSION};
use isthmus_cni::result::AddResult;
use isthmus_cni::{Code, Error};

use crate::attachments::{Attachment, Attachments};
use crate::binding::{DriverOptions, Drivers, Host};
use crate::locks::Locks;
use crate::netlink::netns::Netns;
use crate::netlink::{host_name, host_prefix};
use crate::source::{PodVifs, VifSource};

/// What of a plugin's time is kept for the answer.
const MARGIN: Duration = Duration::from_millis(500);

/// How an agent is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the attachments' files.
    pub state: PathBuf,
    /// Binding drivers.
    pub drivers: DriverOptions,
}

/// Attaches and detaches Pods.
pub struct Agent<S> {
    source: S,
    host: Host,
    drivers: Drivers,
    attachments: Attachments,
    locks: Locks,
}

impl<S: VifSource> Agent<S> {
    /// An agent in the network namespace of the calling thread; inside a tokio runtime. What a crash or a reboot left is
    /// taken away.
    ///
    /// # Errors
    /// The state cannot be read, no netlink, no driver.
    pub async fn start(source: S, options: &Options) -> Result<Arc<Self>, Error> {
        let host = Host::new()?;
        let drivers = Drivers::new(&options.drivers, &host)?;
        let attachments = Attachments::open(&options.state)?;
        let agent = Arc::new(Self { source, host, drivers, attachments, locks: Locks::default() });
        // what an agent before had marked
        agent.host.reaper.wake();
        agent.after_reboot().await?;
        if let Err(error) = agent.sweep().await {
            tracing::warn!(%error, "what no attachment owns could not all be removed; GC tries again");
        }
        Ok(agent)
    }

    /// What is attached.
    pub fn attachments(&self) -> &Attachments {
        &self.attachments
    }

    /// Where VIFs come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Serves one request.
    pub async fn answer(&self, request: Request) -> Answer {
        let within = Duration::from_millis(request.within_ms.min(600_000)).saturating_sub(MARGIN);
        let deadline = Instant::now() + within;
        let started = Instant::now();
        let what = format!("{:?}", request.ask);
        let answer = match self.serve(request, deadline).await {
            Ok(Some(result)) => Answer::Added(Box::new(result)),
            Ok(None) => Answer::Done,
            Err(error) => Answer::Failed(error),
        };
        let took = started.elapsed();
        match &answer {
            Answer::Failed(error) => tracing::warn!(%what, %error, ?took, "failed"),
            _ => tracing::info!(%what, ?took, "done"),
        }
        answer
    }

    async fn serve(&self, request: Request, deadline: Instant) -> Result<Option<AddResult>, Error> {
        if request.version != VERSION {
            let what = format!("the plugin speaks version {} of the agent's protocol", request.version);
            return Err(Error::new(
                Code::TryAgain,
                what,
                format!("the agent speaks {VERSION}: install both anew"),
            ));
        }
        match request.ask {
            Ask::Add(add) => self.add(add, deadline).await.map(Some),
            Ask::Del(attached) => self.del(&attached).await.map(|()| None),
            Ask::Check { add, addresses } => self.check(&add, &addresses).await.map(|()| None),
            Ask::Status => self.status().await.map(|()| None),
            Ask::Gc { network, valid } => self.gc(&network, &valid).await.map(|()| None),
        }
    }

    async fn add(&self, add: Add, deadline: Instant) -> Result<AddResult, Error> {
        let held = self.locks.hold(&add.attached.container, false).await;
        if let Some(known) = self.attachments.get(&add.attached) {
            if known.netns == add.netns && self.intact(&known).await.is_ok() {
                return Ok(known.result.clone());
            }
            // Made for another life of the container, or broken: made anew.
            self.detach(&known).await?;
        }
        let netns = Netns::open(&add.netns)?;
        let overtaken =
            || Error::new(Code::TryAgain, "the container is being deleted", "a DEL came while ADD waited");
        let PodVifs { uid, vifs } = tokio::select! {
            found = within(deadline, self.source.wait(&add.pod)) => match found {
                Some(found) => found?,
                None => return Err(self.unknown(&add)),
            },
            () = held.overtaken() => return Err(overtaken()),
        };
        self.take_over(&add, &uid, &vifs).await?;
        let links = self.links(&add, vifs)?;
        self.bind_all(&netns, &links).await?;
        let ready = tokio::select! {
            ready = within(deadline, self.all_ready(&links)) => ready.unwrap_or_else(|| Err(self.not_ready(&links))),
            () = held.overtaken() => Err(overtaken()),
        };
        let result = Self::result(&netns, &links);
        let stored = match ready {
            Ok(()) => self.attachments.put(Attachment::new(&add, uid, links.clone(), result.clone())?).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => Ok(result),
            Err(error) => Err(self.undo(&links, error).await),
        }
    }

    fn unknown(&self, add: &Add) -> Error {
        let what = format!("Pod {}/{} has no interface yet", add.pod.namespace, add.pod.name);
        Error::new(Code::TryAgain, what, self.source.why(&add.pod))
    }

    /// Succeeds also for what was never attached, and without any state: names tell what is a container's.
    async fn del(&self, attached: &Attached) -> Result<(), Error> {
        let _held = self.locks.hold(&attached.container, true).await;
        match self.attachments.get(attached) {
            Some(known) => self.detach(&known).await,
            None => self.unbind_unknown(&host_prefix(&attached.container)).await,
        }
    }

    /// Unbinds and forgets an attachment.
    async fn detach(&self, known: &Attachment) -> Result<(), Error> {
        let mut first = Ok(());
        for link in known.links.iter().rev() {
            // A driver that this node no longer has leaves its link, which any other can take down.
            let unbound = match self.drivers.get(Some(&link.driver)) {
                Ok((_, driver)) => driver.unbind(&link.host).await,
                Err(_) => self.host.bury(&link.host).await,
            };
            first = first.and(unbound);
        }
        first?;
        self.attachments.remove(&known.attached).await
    }

    async fn check(&self, add: &Add, addresses: &[String]) -> Result<(), Error> {
        let _held = self.locks.hold(&add.attached.container, false).await;
        let Some(known) = self.attachments.get(&add.attached) else {
            let what = format!("{} of container {}", add.attached.interface, add.attached.container);
            return Err(Error::new(Code::UnknownContainer, format!("{what} is not attached"), ""));
        };
        if known.netns != add.netns {
            let what = format!("the container is attached in {}, not in {}", known.netns, add.netns);
            return Err(Error::new(Code::InvalidEnvironment, what, ""));
        }
        if let Some(ip) = known.result.ips.iter().find(|ip| !addresses.contains(&ip.address)) {
            let what = format!("prevResult lacks the address {}", ip.address);
            return Err(Error::new(Code::InvalidConfig, what, "ADD answered with it"));
        }
        self.intact(&known).await
    }

    async fn status(&self) -> Result<(), Error> {
        // The others are those of single VIFs: each says so itself when it is asked for.
        let (name, driver) = self.drivers.get(None)?;
        driver.usable().await.map_err(|e| {
            Error::new(Code::NotAvailable, format!("binding driver {name} cannot be used"), e.to_string())
        })?;
        let why = "no new Pod can be told; those that are known can be attached";
        self.source.usable().map_err(|e| Error::new(Code::NotAvailable, e, why))
    }

    /// Names of a container's links on the host.
    fn host_name(add: &Add, interface: &str) -> String {
        host_name(&add.attached.container, interface)
    }
}

/// `None` where it took too long.
async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline.into(), work).await.ok()
}
