//! ADD.

use std::time::Instant;

use futures::FutureExt;
use futures::future::join;
use isthmus_cni::protocol::Add;
use isthmus_cni::result::AddResult;
use isthmus_cni::{Code, Error};

use super::bind::conflict;
use super::{Agent, within};
use crate::arrivals::Arrival;
use crate::attachments::{Attachment, Link};
use crate::locks::{Held, Locks};
use crate::netlink::netns::Netns;
use crate::source::{PodVifs, VifSource};

/// An ADD that is under way.
struct Turn<'a> {
    held: Held<'a>,
    arrival: Arrival<'a>,
    deadline: Instant,
}

impl Turn<'_> {
    /// Comes true when there is no point in going on.
    async fn lost(&self) -> Error {
        let (what, why) = tokio::select! {
            () = self.held.overtaken() => ("the container is being deleted", "a DEL came while ADD waited"),
            () = self.arrival.overtaken() => ("the Pod has a newer sandbox", "its ADD came later than this one"),
        };
        Error::new(Code::TryAgain, what, why)
    }

    /// Something to wait for. `late` says what is told when it took too long.
    async fn wait<T>(&self, work: impl Future<Output = T>, late: impl FnOnce() -> Error) -> Result<T, Error> {
        tokio::select! {
            done = within(self.deadline, work) => done.ok_or_else(late),
            error = self.lost() => Err(error),
        }
    }
}

impl<S: VifSource> Agent<S> {
    pub(super) async fn add(&self, add: &Add, deadline: Instant) -> Result<AddResult, Error> {
        let arrival = self.arrivals.arrive(&add.pod, &add.attached.container);
        let held = self.locks.hold(&add.attached.container, false).await;
        let turn = Turn { held, arrival, deadline };
        let known = self.attachments.get(&add.attached);
        if let Some(known) = known.as_ref().filter(|k| self.attachments.is_live(k) && k.netns == add.netns) {
            match self.still_attached(known, &turn).await {
                Ok(()) => return Ok(known.result.clone()),
                Err(broken) if broken.code == Code::Other => tracing::info!(%broken, "it is made anew"),
                // That it cannot be looked at does not make it broken.
                Err(error) => return Err(error),
            }
        }
        let netns = Netns::open(&add.netns)?;
        let begun = Instant::now();
        let PodVifs { uid, vifs } = self.vifs(add, &turn).await?;
        self.metrics.stage("vifs", begun.elapsed());
        let mut links = self.links(add, vifs)?;
        let ports = links.iter().map(|l| &*l.vif.port_id);
        let _ports = turn.wait(hold_all(&self.ports, ports), busy).await?;
        if turn.arrival.is_overtaken() {
            return Err(turn.lost().await);
        }
        // Of another life of the container, or broken.
        if let Some(known) = known {
            self.release(&known).await?;
        }
        self.take_over(add, &uid, &links, &turn).await?;
        let _devices = turn.wait(self.plan_all(add, &uid, &mut links), busy_device).await??;
        let _names = hold_all(&self.names, links.iter().map(|l| &*l.host)).await;
        let result = Self::result(&netns, &links);
        let planned = Attachment::new(add, uid, links, result)?;
        match planned.links.iter().any(|link| link.nested) {
            true => self.make_nested(planned, &netns, &turn).await,
            false => self.make(planned, &netns, &turn).await,
        }
    }

    /// What an ADD before made may have been stored by an agent that ended before traffic flowed.
    async fn still_attached(&self, known: &Attachment, turn: &Turn<'_>) -> Result<(), Error> {
        self.intact(known).await?;
        self.traffic_flows(&known.links, turn).await
    }

    async fn traffic_flows(&self, links: &[Link], turn: &Turn<'_>) -> Result<(), Error> {
        turn.wait(self.all_ready(links), || self.not_ready(links)).await?
    }

    /// A port has one place, and an address one Pod. What another sandbox of the same Pod holds is taken from it; what
    /// another Pod holds is a conflict. An ADD that loses its turn stops between two sandboxes, never within one: half of
    /// one would be told as attached.
    async fn take_over(&self, add: &Add, uid: &str, links: &[Link], turn: &Turn<'_>) -> Result<(), Error> {
        for other in self.attachments.list() {
            if other.attached == add.attached || !self.attachments.is_live(&other) {
                continue;
            }
            let same_pod = other.pod.uid.as_deref() == Some(uid);
            let shares_port = |link: &Link| links.iter().any(|l| l.vif.port_id == link.vif.port_id);
            if same_pod
                && other.attached.container != add.attached.container
                && other.links.iter().any(shares_port)
            {
                tracing::info!(container = other.attached.container, "its Pod has another sandbox now");
                let _held = turn.wait(self.locks.hold(&other.attached.container, true), busy).await?;
                if let Some(other) = self.attachments.get(&other.attached) {
                    self.release(&other).await?;
                }
                continue;
            }
            conflict(&other, links.iter().map(|l| &l.vif))?;
        }
        Ok(())
    }

    /// From a plan to an attachment that is stored.
    async fn make(&self, planned: Attachment, netns: &Netns, turn: &Turn<'_>) -> Result<AddResult, Error> {
        // The disk takes as long as the kernel. A crash in between leaves what one after both leaves: an attachment that no ADD has
        // answered for; the next ADD or DEL looks at what there is of its links.
        let (written, made) =
            join(self.attachments.write(&planned), self.make_links(&planned, netns, turn)).await;
        match (made, written) {
            (Ok(links), Ok(())) => self.made(planned, netns, links).await,
            (Ok(links), Err(error)) => Err(self.undo(netns.path(), &links, error).await),
            (Err(error), written) => Err(self.unwrite(&planned, written, error).await),
        }
    }

    /// Takes the file away of links that could not be made; the error, with what is wrong with the file.
    async fn unwrite(&self, planned: &Attachment, written: Result<(), Error>, mut error: Error) -> Error {
        let removed = match written {
            Ok(()) => self.attachments.remove(&planned.attached).await.map_err(|more| ("is left", more)),
            Err(more) => Err(("was not written", more)),
        };
        if let Err((what, more)) = removed {
            error.details = format!("{}; and its file {what}: {more}", error.details);
        }
        error
    }

    /// Has everybody know an attachment whose file is written.
    async fn made(&self, planned: Attachment, netns: &Netns, links: Vec<Link>) -> Result<AddResult, Error> {
        if planned.links != links {
            // A driver that gave an interface another MAC address than its port's.
            return self.store(planned, netns, links).await;
        }
        let result = planned.result.clone();
        self.attachments.know(planned);
        Ok(result)
    }

    /// Stores what has become of a plan.
    async fn store(&self, planned: Attachment, netns: &Netns, links: Vec<Link>) -> Result<AddResult, Error> {
        let result = Self::result(netns, &links);
        let (made, answered) = (links.clone(), result.clone());
        let attachment = Attachment { links: made, result: answered, unhook: false, begun: false, ..planned };
        match self.attachments.put(attachment).await {
            Ok(()) => Ok(result),
            Err(error) => Err(self.undo(netns.path(), &links, error).await),
        }
    }

    /// Nothing on the host tells of a nested link: before it is made, it is stored that one is.
    async fn make_nested(
        &self,
        planned: Attachment,
        netns: &Netns,
        turn: &Turn<'_>,
    ) -> Result<AddResult, Error> {
        let begun = Attachment { unhook: true, begun: true, result: AddResult::default(), ..planned };
        self.attachments.put(begun.clone()).await?;
        let made = match self.make_links(&begun, netns, turn).await {
            Ok(links) => self.store(begun.clone(), netns, links).await,
            Err(error) => Err(error),
        };
        let Err(mut error) = made else { return made };
        if let Err(more) = self.release(&begun).await {
            error.details = format!("{}; and: {more}", error.details);
            self.due.wake();
        }
        Err(error)
    }

    /// The links as they came out, when traffic flows; nothing of them where it does not.
    async fn make_links(
        &self,
        planned: &Attachment,
        netns: &Netns,
        turn: &Turn<'_>,
    ) -> Result<Vec<Link>, Error> {
        let mut links = planned.links.clone();
        let begun = Instant::now();
        self.bind_all(netns, &mut links).await?;
        self.metrics.stage("bind", begun.elapsed());
        let begun = Instant::now();
        let ready = self.traffic_flows(&links, turn).await;
        self.metrics.stage("ready", begun.elapsed());
        match ready {
            Ok(()) => Ok(links),
            Err(error) => Err(self.undo(netns.path(), &links, error).await),
        }
    }

    /// The Pod's VIFs: what is known now; where nobody can tell, what an attachment of the Pod has; else what comes.
    async fn vifs(&self, add: &Add, turn: &Turn<'_>) -> Result<PodVifs, Error> {
        if let Some(found) = self.source.wait(&add.pod).now_or_never() {
            return found;
        }
        if self.source.usable().is_err()
            && let Some(stored) = self.stored_vifs(add)
        {
            return Ok(stored);
        }
        turn.wait(self.source.wait(&add.pod), || self.unknown(add)).await?
    }

    fn stored_vifs(&self, add: &Add) -> Option<PodVifs> {
        let uid = add.pod.uid.as_ref()?;
        let of_pod = |a: &&std::sync::Arc<Attachment>| a.pod.uid.as_ref() == Some(uid) && !a.unhook;
        let all = self.attachments.list();
        let known = all.iter().find(of_pod)?;
        Some(PodVifs { uid: uid.clone(), vifs: known.links.iter().map(|l| l.vif.clone()).collect() })
    }

    fn unknown(&self, add: &Add) -> Error {
        let what = format!("Pod {}/{} has no interface yet", add.pod.namespace, add.pod.name);
        Error::new(Code::TryAgain, what, self.source.why(&add.pod))
    }
}

fn busy() -> Error {
    Error::new(Code::TryAgain, "another container is being given the Pod's ports", "")
}

fn busy_device() -> Error {
    Error::new(Code::TryAgain, "it takes too long to tell which devices the Pod has", "or another has them")
}

/// All of them, in an order that everybody has.
pub(super) async fn hold_all<'a>(locks: &'a Locks, keys: impl Iterator<Item = &str>) -> Vec<Held<'a>> {
    let keys: std::collections::BTreeSet<&str> = keys.collect();
    let mut held = Vec::new();
    for key in keys {
        held.push(locks.hold(key, false).await);
    }
    held
}
