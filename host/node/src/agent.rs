//! The verbs.

mod add;
mod bind;
mod sweep;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_cni::protocol::{Add, Answer, Ask, Attached, Del, Request};
use isthmus_cni::result::AddResult;
use isthmus_cni::{Code, Error};
use parking_lot::Mutex;

use crate::arrivals::Arrivals;
use crate::attachments::{Attachment, Attachments, Link};
use crate::binding::{Driver, DriverOptions, Drivers, Host};
use crate::health::Paths;
use crate::locks::Locks;
use crate::metrics::{Call, Metrics};
use crate::netlink::netns::Netns;
use crate::netlink::{host_prefix, upper};
use crate::source::VifSource;
use sweep::Due;

/// What of a plugin's time is kept for the answer.
const MARGIN: Duration = Duration::from_millis(500);
/// How long DEL waits for a database before it answers without.
const UNHOOK: Duration = Duration::from_secs(2);

/// How an agent is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the attachments' files.
    pub state: PathBuf,
    /// Binding drivers.
    pub drivers: DriverOptions,
    /// Where it looks to tell whether it is well.
    pub paths: Paths,
}

/// Attaches and detaches Pods.
pub struct Agent<S> {
    source: S,
    host: Host,
    drivers: Drivers,
    attachments: Attachments,
    /// By container.
    locks: Locks,
    /// By id of a port: from the look at who has it until its new attachment is stored.
    ports: Locks,
    /// By name of a link on the host: while it is made, until its attachment is stored, and while it is swept.
    names: Locks,
    arrivals: Arrivals,
    due: Arc<Due>,
    /// Pods whose ADD failed by the node's own fault since the last success.
    faulty: Mutex<BTreeSet<String>>,
    metrics: Metrics,
    paths: Paths,
}

impl<S: VifSource> Agent<S> {
    /// An agent in the network namespace of the calling thread; inside a tokio runtime. What a crash or a reboot left is
    /// taken away in the background: Open vSwitch may be up later than we are.
    ///
    /// # Errors
    /// The state cannot be read, no netlink, no driver.
    pub async fn start(source: S, options: &Options) -> Result<Arc<Self>, Error> {
        options.paths.prepare();
        let host = Host::new()?;
        let drivers = Drivers::new(&options.drivers, &host)?;
        let attachments = Attachments::open(&options.state)?;
        let metrics = Metrics { link_batches: host.reaper.batches().clone(), ..Metrics::default() };
        let agent = Arc::new(Self {
            source,
            host,
            drivers,
            attachments,
            locks: Locks::default(),
            ports: Locks::default(),
            names: Locks::default(),
            arrivals: Arrivals::default(),
            due: Arc::default(),
            faulty: Mutex::default(),
            metrics,
            paths: options.paths.clone(),
        });
        // what an agent before had marked
        agent.host.reaper.wake();
        agent.begin().await?;
        tokio::spawn(Self::catch_up_for_ever(Arc::downgrade(&agent), Arc::clone(&agent.due)));
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

    /// How many Pods' ADDs have failed by the node's own fault since the last success.
    pub(crate) fn faulty(&self) -> usize {
        self.faulty.lock().len()
    }

    /// Where it looks to tell whether it is well.
    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Its numbers.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The driver of VIFs that name none, with its name.
    pub(crate) fn default_driver(&self) -> Result<(&str, &dyn Driver), Error> {
        self.drivers.get(None)
    }

    /// Serves one request.
    pub async fn answer(&self, request: Request) -> Answer {
        let within = Duration::from_millis(request.within_ms.min(600_000)).saturating_sub(MARGIN);
        let deadline = Instant::now() + within;
        let started = Instant::now();
        let (verb, what) = told(&request.ask);
        let answer = match self.serve(&request.ask, deadline).await {
            Ok(Some(result)) => Answer::Added(Box::new(result)),
            Ok(None) => Answer::Done,
            Err(error) => Answer::Failed(error),
        };
        let took = started.elapsed();
        let code = match &answer {
            Answer::Failed(error) => {
                tracing::warn!(verb, %what, %error, ?took, "failed");
                u32::from(error.code)
            }
            _ => {
                tracing::info!(verb, %what, ?took, "done");
                0
            }
        };
        self.count(&request.ask, verb, code, took);
        answer
    }

    fn count(&self, ask: &Ask, verb: &'static str, code: u32, took: Duration) {
        self.metrics.calls.get_or_create(&Call { verb, code }).inc();
        let ours = [Code::Io, Code::Other].map(u32::from);
        match (ask, code) {
            (Ask::Add(_), 0) => {
                self.metrics.add_faults.set(0);
                self.faulty.lock().clear();
                self.metrics.stage("total", took);
            }
            (Ask::Add(Add { pod, .. }), code) if ours.contains(&code) => {
                self.metrics.add_faults.inc();
                // A runtime tries with another container each time.
                self.faulty.lock().insert(format!("{}/{}", pod.namespace, pod.name));
            }
            (Ask::Del(_), _) => self.metrics.del.observe(took.as_secs_f64()),
            _ => {}
        }
    }

    async fn serve(&self, ask: &Ask, deadline: Instant) -> Result<Option<AddResult>, Error> {
        match ask {
            Ask::Add(add) => self.add(add, deadline).await.map(Some),
            Ask::Del(Del { attached, netns }) => self.del(attached, netns.as_deref()).await.map(|()| None),
            Ask::Check { add, addresses, mac } => {
                self.check(add, addresses, mac.as_ref()).await.map(|()| None)
            }
            Ask::Status => self.status().await.map(|()| None),
            Ask::Gc { network, valid } => self.gc(network, valid).await.map(|()| None),
        }
    }

    /// Succeeds also for what was never attached, without any state, and without Open vSwitch's database: names tell what is
    /// a container's, and what cannot be told now is told later.
    async fn del(&self, attached: &Attached, netns: Option<&str>) -> Result<(), Error> {
        let _held = self.locks.hold(&attached.container, true).await;
        match self.attachments.get(attached) {
            Some(known) => self.detach(&known).await,
            None => {
                let prefix = host_prefix(&attached.container);
                // Nothing on the host tells of a nested link.
                if let Some(netns) = netns
                    && let Err(error) =
                        remove_inside(netns, &prefix, |alias| self.attachments.owns(alias)).await
                {
                    tracing::warn!(container = attached.container, netns, %error, "its namespace is left as it is");
                }
                match self.sweep(&prefix).await {
                    Ok(true) => {}
                    Ok(false) => self.due.sweep(&prefix),
                    Err(error) => {
                        tracing::warn!(container = attached.container, %error, "it is tried again");
                        self.due.sweep(&prefix);
                    }
                }
                self.attachments.remove(attached).await?;
                self.found_again().await
            }
        }
    }

    /// Has the links of an attachment deleted, and forgets it as soon as nothing else knows them.
    async fn detach(&self, known: &Attachment) -> Result<(), Error> {
        let (unhooked, buried) = self.take_down(known).await;
        buried?;
        let Err(error) = unhooked else { return self.attachments.remove(&known.attached).await };
        tracing::warn!(container = known.attached.container, %error, "its links go; this is tried again");
        self.attachments.put(Attachment { unhook: true, ..known.clone() }).await?;
        self.due.wake();
        Ok(())
    }

    /// As [`Self::detach`], but all of it now.
    async fn release(&self, known: &Attachment) -> Result<(), Error> {
        let (unhooked, buried) = self.take_down(known).await;
        unhooked.and(buried)?;
        self.attachments.remove(&known.attached).await
    }

    /// Whether all links could be unhooked, and all be buried.
    async fn take_down(&self, known: &Attachment) -> (Result<(), Error>, Result<(), Error>) {
        let (mut unhooked, mut buried) = (Ok(()), Ok(()));
        for link in known.links.iter().rev() {
            let (one_unhooked, one_buried) = self.take_link(&known.netns, link).await;
            (unhooked, buried) = (unhooked.and(one_unhooked), buried.and(one_buried));
        }
        (unhooked, buried)
    }

    /// As [`Self::take_name`], of a link in the Pod that has a path.
    async fn take_link(&self, netns: &str, link: &Link) -> (Result<(), Error>, Result<(), Error>) {
        // Only what a driver that this node no longer has would know stays hooked, or is not given back.
        let driver = self.drivers.get(Some(&link.driver)).ok().map(|(_, driver)| driver);
        if let Some(given) = driver.and_then(|driver| driver.give_back(netns, link)) {
            return (shortly(given).await, Ok(()));
        }
        if link.nested {
            return (remove_inside(netns, &link.host, |_| false).await, Ok(()));
        }
        self.take_name(driver, &link.host).await
    }

    /// Takes a link off whatever knows it, and has it deleted, also where that fails: whether each went well.
    async fn take_name(
        &self,
        driver: Option<&dyn Driver>,
        host: &str,
    ) -> (Result<(), Error>, Result<(), Error>) {
        let unhooked = match driver {
            Some(driver) => shortly(driver.unhook(host)).await,
            None => Ok(()),
        };
        (unhooked, self.host.bury(host).await)
    }

    async fn check(&self, add: &Add, addresses: &[String], mac: Option<&String>) -> Result<(), Error> {
        let _held = self.locks.hold(&add.attached.container, false).await;
        let known = self.attachments.get(&add.attached).filter(|known| self.attachments.is_live(known));
        let Some(known) = known else {
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
        let mut expected = Attachment::clone(&known);
        // What a plugin after ours did is as it should be.
        let main = expected.links.iter_mut().find(|link| link.interface == add.attached.interface);
        if let (Some(link), Some(mac)) = (main, mac) {
            link.vif.mac.clone_from(mac);
        }
        self.intact(&expected).await
    }

    async fn status(&self) -> Result<(), Error> {
        self.ready().await.map_err(|why| Error::new(Code::NotAvailable, why, ""))
    }
}

/// Deletes the links in a Pod's namespace whose alias begins so, but for those that are known. Where the namespace has gone, it took the link along.
async fn remove_inside(netns: &str, prefix: &str, known: impl Fn(&str) -> bool) -> Result<(), Error> {
    let Some(netns) = Netns::open_if_there(netns)? else { return Ok(()) };
    shortly(upper::remove(netns.connect(false)?, prefix, known)).await
}

/// A verb, and what to log of it: not all that a runtime knows.
fn told(ask: &Ask) -> (&'static str, String) {
    let of = |attached: &Attached| format!("{} of {}", attached.interface, attached.container);
    let pod = |add: &Add| format!("{} for {}/{}", of(&add.attached), add.pod.namespace, add.pod.name);
    match ask {
        Ask::Add(add) => ("ADD", pod(add)),
        Ask::Del(del) => ("DEL", of(&del.attached)),
        Ask::Check { add, .. } => ("CHECK", pod(add)),
        Ask::Status => ("STATUS", String::new()),
        Ask::Gc { network, valid } => ("GC", format!("{network}, {} of which stay", valid.len())),
    }
}

/// `None` where it took too long.
async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline.into(), work).await.ok()
}

/// What is not worth a long wait.
async fn shortly<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::new(Code::TryAgain, format!("no answer in {} s", UNHOOK.as_secs()), "");
    tokio::time::timeout(UNHOOK, work).await.unwrap_or_else(|_| Err(late()))
}
