//! Taking away what no attachment owns, and catching up with what could not be taken away at once. Nested links are found by their
//! attachments alone, which are stored before they are made; where files are lost, they go with their namespaces.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use isthmus_cni::Error;
use isthmus_cni::protocol::Attached;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Agent, shortly};
use crate::binding::Driver;
use crate::netlink::{GROUP, links};
use crate::source::VifSource;

/// What the names of all our links begin with.
const ALL: &str = "im";
/// Shortest and longest time between tries.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What is still to be taken away, beside the attachments that are not live.
#[derive(Default)]
pub(super) struct Due {
    /// What the names of links begin with that nobody owns.
    prefixes: Mutex<BTreeSet<String>>,
    wake: Notify,
}

impl Due {
    /// Links whose names begin so, as far as nobody owns them.
    pub(super) fn sweep(&self, prefix: &str) {
        self.prefixes.lock().insert(prefix.to_owned());
        self.wake.notify_one();
    }

    /// There is something to do.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl<S: VifSource> Agent<S> {
    /// What a start finds. Where there are links of ours and not one file, or files that could not be read, nothing may be taken
    /// from Pods that run.
    pub(super) async fn begin(&self) -> Result<(), Error> {
        if self.attachments.list().is_empty() && !self.our_links("").await?.is_empty() {
            self.attachments.set_lost(true).await?;
        }
        self.found_again().await?;
        if self.attachments.lost() {
            tracing::error!(
                "there are links of Pods without a file of their attachment: they stay until a DEL says so"
            );
        } else {
            self.due.sweep(ALL);
        }
        Ok(())
    }

    /// After a loss of files: whether all links that are left are known again. Of a nested one nothing tells but its file.
    pub(super) async fn found_again(&self) -> Result<(), Error> {
        if !self.attachments.lost() || (self.drivers.has_nested() && self.attachments.has_unreadable()?) {
            return Ok(());
        }
        if self.our_links("").await?.iter().all(|name| self.attachments.owns(name)) {
            self.attachments.set_lost(false).await?;
        }
        Ok(())
    }

    /// GC: attachments of this network that the runtime no longer knows, and then what nobody owns. All is tried; the
    /// first error is told.
    pub(super) async fn gc(&self, network: &str, valid: &[Attached]) -> Result<(), Error> {
        let mut first = Ok(());
        for known in self.attachments.forgotten(network, valid) {
            first = first.and(self.del(&known.attached, None).await);
        }
        // What the runtime knows may be what the files were lost of.
        if !self.attachments.lost() {
            first = first.and(self.sweep(ALL).await.map(drop));
        }
        first
    }

    /// Tries until nothing is due, then waits for more; until the agent is gone.
    pub(super) async fn catch_up_for_ever(agent: Weak<Self>, due: Arc<Due>) {
        let mut wait = RETRY.0;
        loop {
            let done = match agent.upgrade() {
                Some(agent) => agent.catch_up().await,
                None => return,
            };
            if done {
                due.wake.notified().await;
                wait = RETRY.0;
            } else {
                // Woken or not, in a while.
                let _ = tokio::time::timeout(wait, due.wake.notified()).await;
                wait = (wait * 2).min(RETRY.1);
            }
        }
    }

    /// Whether nothing is left to do: attachments of an earlier boot (links do not survive one, but Open vSwitch's
    /// database does) and of DELs that had no database, and names to sweep.
    async fn catch_up(&self) -> bool {
        let mut done = true;
        for known in self.attachments.list().into_iter().filter(|a| !self.attachments.is_live(a)) {
            let container = &known.attached.container;
            let Some(_held) = self.locks.try_hold(container) else {
                done = false;
                continue;
            };
            let Some(known) = self.attachments.get(&known.attached).filter(|a| !self.attachments.is_live(a))
            else {
                continue;
            };
            if let Err(error) = self.release(&known).await {
                tracing::warn!(container, %error, "it is tried again");
                done = false;
            }
        }
        let prefixes = self.due.prefixes.lock().clone();
        for prefix in prefixes {
            match self.sweep(&prefix).await {
                Ok(true) => {
                    self.due.prefixes.lock().remove(&prefix);
                }
                // Somebody holds a name: what it is about to undo is taken away then.
                Ok(false) => done = false,
                Err(error) => {
                    tracing::warn!(prefix, %error, "what no attachment owns is not all removed; it is tried again");
                    done = false;
                }
            }
        }
        done
    }

    /// Takes away what no attachment owns, nor an ADD that is under way, of names that begin so. `false`: some are held.
    pub(super) async fn sweep(&self, prefix: &str) -> Result<bool, Error> {
        let mut first = Ok(true);
        for (_, driver) in self.drivers.iter() {
            match shortly(driver.hooked()).await {
                Ok(names) => {
                    for name in names.iter().filter(|n| n.starts_with(prefix)) {
                        first = both(first, self.take_away(name, Some(driver)).await);
                    }
                }
                Err(error) => first = both(first, Err(error)),
            }
        }
        for name in self.our_links(prefix).await? {
            first = both(first, self.take_away(&name, None).await);
        }
        first
    }

    /// An ADD holds its links' names from before it makes them until they are owned. `false`: it is held.
    async fn take_away(&self, name: &str, driver: Option<&dyn Driver>) -> Result<bool, Error> {
        let Some(_held) = self.names.try_hold(name) else { return Ok(false) };
        if self.attachments.owns(name) {
            return Ok(true);
        }
        tracing::info!(name, "no attachment owns it: removed");
        let (unhooked, buried) = self.take_name(driver, name).await;
        unhooked.and(buried).map(|()| true)
    }

    /// Names of our links that begin so.
    async fn our_links(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let all = links::list(&self.host.netlink).await?;
        Ok(all
            .into_iter()
            .filter(|l| l.group == GROUP && l.name.starts_with(prefix))
            .map(|l| l.name)
            .collect())
    }
}

/// Whether both came to their end; the first error.
fn both(one: Result<bool, Error>, other: Result<bool, Error>) -> Result<bool, Error> {
    one.and_then(|one| other.map(|other| one && other))
}
