//! Which operator writes: leadership by a Lease (`coordination.k8s.io/v1`).
//!
//! # Guarantee
//! A leader's `until` passes before any other candidate can take the lease, as long as their monotonic clocks run at the
//! same rate within a third ([`Timing`]'s margin). Nobody's wall clock matters: a lease has expired when *we* have seen it
//! unchanged for its duration, as in client-go's leader election.
//!
//! # Caveat
//! `until` bounds when a write may *begin*; requests end within [`crate::client::REQUEST_TIMEOUT`], which is less than what
//! is left of the lease then.

mod elector;
mod store;

use std::future::pending;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use crate::client::{Client, REQUEST_TIMEOUT};
use crate::error::Error;
use elector::{Elector, Step, StoredLease};
use store::{LeaseStore, ServerLease};

/// Periods of the election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    duration: Duration,
    renew_deadline: Duration,
    retry: Duration,
}

/// Periods that cannot keep the guarantee.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("lease timing: {0}")]
pub struct TimingError(String);

impl Default for Timing {
    /// A lease of 15 s, given up 10 s after its last renewal, renewed or tried for every 2 s: client-go's.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

impl Timing {
    /// Checks periods: `duration` of the lease; `renew_deadline`, after which a leader that could not renew stops;
    /// `retry`, the time between attempts.
    ///
    /// # Errors
    /// A duration that is no whole number of seconds, or too little room between the three and the request timeout.
    pub fn new(duration: Duration, renew_deadline: Duration, retry: Duration) -> Result<Self, TimingError> {
        if duration.subsec_nanos() != 0 || i32::try_from(duration.as_secs()).is_err() {
            return Err(TimingError(format!("the duration {duration:?} is not a whole number of seconds")));
        }
        if renew_deadline + REQUEST_TIMEOUT >= duration {
            let why = format!(
                "{renew_deadline:?} to renew and {REQUEST_TIMEOUT:?} for a request do not fit in {duration:?}"
            );
            return Err(TimingError(why));
        }
        if retry.is_zero() || retry * 2 > renew_deadline {
            return Err(TimingError(format!(
                "{renew_deadline:?} to renew leave no second try after {retry:?}"
            )));
        }
        Ok(Self { duration, renew_deadline, retry })
    }
}

/// Who writes, as far as this candidate knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This candidate, and no write may begin after `until`. It is moved on by each renewal.
    Leader {
        /// Until when.
        until: Instant,
    },
    /// Another one, or nobody.
    Follower {
        /// Identity in the lease, where it is held by somebody else.
        holder: Option<String>,
    },
}

impl Leadership {
    /// Whether a write may begin now.
    pub fn leads(&self) -> bool {
        matches!(self, Self::Leader { until } if Instant::now() < *until)
    }
}

/// A candidate for a lease. [`Candidate::run`] it, and watch what [`Candidate::leadership`] says.
#[derive(Debug)]
pub struct Candidate(Runner<ServerLease>);

impl Candidate {
    /// A candidate for the lease of this namespace and name. `identity` must be of this process alone (Pod name and a
    /// random part, say): two of one identity would both lead.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, timing: Timing) -> Self {
        Self(Runner::new(ServerLease::new(client, namespace, name), identity, timing))
    }

    /// What is known about who leads. It changes when that changes, and with each renewal.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.subscribe()
    }

    /// Takes part until `stop` is done, then gives the lease back, so that the next one need not wait it out.
    /// Stop all writes before.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        self.0.run(stop).await;
    }
}

/// When to look again: then, or as soon as the lease is no longer the version that was seen.
struct Next {
    at: Instant,
    seen: Option<String>,
}

#[derive(Debug)]
struct Runner<S> {
    store: S,
    elector: Elector,
    timing: Timing,
    leadership: watch::Sender<Leadership>,
}

impl<S: LeaseStore> Runner<S> {
    fn new(store: S, identity: &str, timing: Timing) -> Self {
        let leadership = watch::Sender::new(Leadership::Follower { holder: None });
        Self { store, elector: Elector::new(identity, timing.duration), timing, leadership }
    }

    async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut told = None;
        loop {
            let Next { at, seen } = tokio::select! {
                () = &mut stop => break,
                next = self.round(told.take()) => next,
            };
            told = tokio::select! {
                () = &mut stop => break,
                () = sleep_until(at) => {
                    self.step_down_if_late();
                    None
                }
                told = self.changed(seen.as_deref()) => told,
            };
        }
        self.release().await;
    }

    /// One attempt, by what a watch told, if it did; when to make the next.
    async fn round(&mut self, told: Option<Option<StoredLease>>) -> Next {
        let begun = Instant::now();
        // An attempt of a leader ends with its time, however long the API server takes.
        let limit = self.until().unwrap_or(begun + self.timing.renew_deadline);
        let waits = match timeout_at(limit, self.attempt(begun, told)).await {
            Ok(Ok((leadership, waits))) => {
                self.publish(leadership);
                waits
            }
            Ok(Err(error)) => {
                warn!(%error, "lease: attempt failed");
                None
            }
            Err(_) => {
                warn!("lease: attempt did not end in time");
                None
            }
        };
        self.step_down_if_late();
        let retry = Instant::now() + self.timing.retry;
        match waits {
            // It is told of changes. A connection that is dead says nothing: so often it looks itself.
            Some(Next { at, seen }) => Next { at: at.min(begun + self.timing.renew_deadline), seen },
            // No longer than to the end of our time: it is said at that moment, not at the next try.
            None => Next { at: self.until().map_or(retry, |until| retry.min(until)), seen: None },
        }
    }

    /// Who leads after it; where that is somebody else, until when that is certain.
    async fn attempt(
        &mut self,
        begun: Instant,
        told: Option<Option<StoredLease>>,
    ) -> Result<(Leadership, Option<Next>), Error> {
        let stored = match told {
            Some(stored) => stored,
            None => self.store.read().await?,
        };
        match self.elector.decide(stored, Instant::now()) {
            Step::Wait { holder, version, expires } => {
                let waits = Next { at: expires, seen: Some(version) };
                Ok((Leadership::Follower { holder: Some(holder) }, Some(waits)))
            }
            Step::Write { lease, version } => {
                self.store.write(&lease, version.as_deref()).await?;
                // Others count from when they see this write, which is after we began.
                Ok((Leadership::Leader { until: begun + self.timing.renew_deadline }, None))
            }
        }
    }

    /// The lease once it is another version than the one seen; never where none was. Where it can't be watched, it is to be read
    /// after a while.
    async fn changed(&self, seen: Option<&str>) -> Option<Option<StoredLease>> {
        let Some(version) = seen else { return pending().await };
        match self.store.changed(version).await {
            Ok(stored) => Some(stored),
            // An operator whose role was made for a version before may read leases and not watch them.
            Err(error) => {
                debug!(%error, "lease: not watched");
                sleep(self.timing.retry).await;
                None
            }
        }
    }

    fn until(&self) -> Option<Instant> {
        match *self.leadership.borrow() {
            Leadership::Leader { until } => Some(until),
            Leadership::Follower { .. } => None,
        }
    }

    fn step_down_if_late(&self) {
        if self.until().is_some_and(|until| Instant::now() >= until) {
            warn!("lease: not renewed in time, no longer leading");
            self.publish(Leadership::Follower { holder: None });
        }
    }

    fn publish(&self, leadership: Leadership) {
        let led = self.until().is_some();
        match &leadership {
            Leadership::Leader { .. } if !led => info!("lease: leading"),
            Leadership::Follower { holder } if led => info!(?holder, "lease: no longer leading"),
            _ => debug!(?leadership, "lease"),
        }
        // A follower that stays one is no news; a leader's `until` moves on.
        self.leadership.send_if_modified(|old| {
            let differs = *old != leadership;
            *old = leadership;
            differs
        });
    }

    async fn release(&mut self) {
        let Some(limit) = self.until() else { return };
        self.publish(Leadership::Follower { holder: None });
        match timeout_at(limit, self.give_back()).await {
            Ok(Ok(())) => info!("lease: given back"),
            Ok(Err(error)) => warn!(%error, "lease: could not be given back, it runs out by itself"),
            Err(_) => warn!("lease: could not be given back in time, it runs out by itself"),
        }
    }

    async fn give_back(&mut self) -> Result<(), Error> {
        // Read anew: a renewal may have been under way when we were told to stop.
        let Some(stored) = self.store.read().await? else { return Ok(()) };
        match self.elector.released(&stored) {
            Some(lease) => self.store.write(&lease, Some(&stored.version)).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
