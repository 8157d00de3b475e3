//! Lanes: a load balancer takes one change at a time. While it is `PENDING_*`, Octavia answers every write on it or on
//! anything below it with 409; so writes form a queue, and each waits until the one before it is through.
//!
//! Who waits takes no place among the reconciles ([`Parking`]), and no lane waits for another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cloud::{CloudError, Result};
use crate::queue::Parking;

/// How long a load balancer may be busy before those who wait for it say so and come again later. A whole tree takes 20 s.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks: the shortest, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));
/// What a change takes, as long as none was seen.
const EXPECTED: Duration = Duration::from_millis(200);
/// The most that is expected of one.
const MOST_EXPECTED: Duration = Duration::from_secs(5);

/// How often in a row the tree of a load balancer has to be settled as soon as that itself is, before the tree is asked for no more:
/// with most providers it is so always, and the tree of thirty pools costs Octavia a second.
const TRUSTED: u32 = 5;

/// What a load balancer and everything below it are at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It takes changes.
    Settled,
    /// It is settled itself, and a part of its tree (its name for people) is not.
    Behind(String),
    /// A part of it (its name for people) is being made, changed or deleted.
    Pending(String),
    /// It failed: Octavia takes no change of it any more.
    Failed,
}

/// Looks at a load balancer.
pub(super) trait Look: Send + Sync {
    /// The state of it, and unless `alone` of its whole tree: it may be ACTIVE while its pools are not.
    fn look<'a>(&'a self, id: &'a str, alone: bool) -> BoxFuture<'a, Result<Status>>;
}

/// The lanes of all load balancers.
pub(super) struct Lanes {
    look: Box<dyn Look>,
    parking: Parking,
    /// Seconds that changes waited for their turn.
    turns: Histogram,
    lanes: parking_lot::Mutex<HashMap<String, Arc<Mutex<Lane>>>>,
}

/// What is known of a load balancer by who has the turn.
struct Lane {
    /// When a write was answered that nobody has seen come through yet.
    busy: Option<Instant>,
    /// It is busy with being made or failed over, which takes longer than the changes that come after it.
    made: bool,
    /// Somebody waited for it for [`LIMIT`]: the next one looks once, and waits no longer.
    stuck: bool,
    /// What a change takes to come through, by the last ones: it grows with the tree, from half a second to several. Looks before
    /// that are in vain, and one at a big tree costs Octavia a second itself.
    takes: Duration,
    /// How often in a row the tree was settled when it itself was.
    agreed: u32,
}

/// When it was seen that a change had come through.
#[derive(Clone, Copy)]
enum Seen {
    /// At the first look, long after the change: that tells nothing of how long it took.
    LongAfter,
    /// At the first look, as early as that was expected to make sense: it may take less.
    WhenExpected,
    /// After a look that came too early.
    Later,
}

impl Default for Lane {
    fn default() -> Self {
        Self { busy: None, made: false, stuck: false, takes: EXPECTED, agreed: 0 }
    }
}

impl Lane {
    /// How long to wait before the first look.
    fn until_first_look(&self, since: Instant) -> Duration {
        (self.takes * 3 / 4).saturating_sub(since.elapsed())
    }

    /// The tree was seen settled.
    fn settled(&mut self, since: Instant, seen: Seen) {
        let takes = match seen {
            _ if self.made => self.takes,
            Seen::Later => since.elapsed(),
            Seen::WhenExpected => self.takes / 2,
            Seen::LongAfter => self.takes,
        };
        self.takes = takes.clamp(PAUSE.0, MOST_EXPECTED);
        (self.busy, self.made, self.stuck) = (None, false, false);
    }
}

impl Lanes {
    pub(super) fn new(look: Box<dyn Look>, parking: Parking, turns: Histogram) -> Self {
        Self { look, parking, turns, lanes: parking_lot::Mutex::default() }
    }

    /// Waits for the turn on a load balancer, and until that takes changes; then makes the change. In order of asking.
    ///
    /// # Errors
    /// The change's own; [`CloudError::Busy`] and [`CloudError::Failed`], where it was not tried.
    pub(super) async fn change<T, F>(&self, id: &str, change: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let lane = self.lanes.lock().entry(id.to_owned()).or_default().clone();
        let mut asked = Some(Instant::now());
        let mut lane = self.parking.park(lane.lock()).await;
        let begun = Instant::now();
        let (mut pause, most) = (EXPECTED / 2, PAUSE.1);
        loop {
            if let Some(since) = lane.busy {
                self.settle(id, &mut lane, since, begun).await?;
            }
            if let Some(asked) = asked.take() {
                self.turns.observe(asked.elapsed().as_secs_f64());
            }
            let done = change().await;
            // Whatever the answer is, the write may have come through.
            (lane.busy, lane.made) = (Some(Instant::now()), false);
            match done {
                // Somebody else changes it too, on a load balancer that is not ours alone; or what is PENDING is not in its tree.
                Err(CloudError::Service(error)) if error.immutable() && begun.elapsed() < LIMIT => {
                    lane.agreed = 0;
                    self.parking.park(tokio::time::sleep(pause)).await;
                    pause = (pause * 3 / 2).min(most);
                }
                done => return done,
            }
        }
    }

    async fn settle(&self, id: &str, lane: &mut Lane, since: Instant, begun: Instant) -> Result<()> {
        let (mut pause, mut seen, mut behind) = ((lane.takes / 8).max(PAUSE.0), Seen::LongAfter, false);
        let early = lane.until_first_look(since);
        if !lane.stuck && !early.is_zero() {
            seen = Seen::WhenExpected;
            self.parking.park(tokio::time::sleep(early)).await;
        }
        loop {
            let status = self.parking.park(self.look.look(id, lane.agreed >= TRUSTED)).await?;
            match status {
                Status::Settled => {
                    lane.agreed = match seen {
                        _ if behind => 0,
                        // By then any tree is settled.
                        Seen::LongAfter => lane.agreed,
                        Seen::WhenExpected | Seen::Later => lane.agreed.saturating_add(1),
                    };
                    lane.settled(since, seen);
                    return Ok(());
                }
                Status::Failed => return Err(CloudError::Failed { load_balancer: id.into() }),
                Status::Pending(part) | Status::Behind(part) if lane.stuck || begun.elapsed() >= LIMIT => {
                    lane.stuck = true;
                    return Err(CloudError::Busy { load_balancer: id.into(), part });
                }
                Status::Behind(_) => {
                    behind = true;
                    self.parking.park(tokio::time::sleep(pause)).await;
                }
                Status::Pending(_) => self.parking.park(tokio::time::sleep(pause)).await,
            }
            seen = Seen::Later;
            pause = (pause * 3 / 2).min(PAUSE.1);
        }
    }

    /// Notes that a load balancer is being made, or failed over.
    pub(super) async fn busy(&self, id: &str) {
        let lane = self.lanes.lock().entry(id.to_owned()).or_default().clone();
        let mut lane = lane.lock().await;
        (lane.busy, lane.made) = (Some(Instant::now()), true);
    }

    /// Forgets a load balancer that is gone.
    pub(super) fn forget(&self, id: &str) {
        self.lanes.lock().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;

    use super::*;

    /// Answers these in turn, the last one for ever. Counts looks, and those at the whole tree.
    struct Script(parking_lot::Mutex<VecDeque<Status>>, AtomicUsize, AtomicUsize);

    impl Look for Arc<Script> {
        fn look<'a>(&'a self, _id: &'a str, alone: bool) -> BoxFuture<'a, Result<Status>> {
            self.2.fetch_add(usize::from(!alone), Ordering::SeqCst);
            self.1.fetch_add(1, Ordering::SeqCst);
            let mut script = self.0.lock();
            let next = if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
            async move { Ok(next.unwrap_or(Status::Settled)) }.boxed()
        }
    }

    impl<F: Fn(&str) -> Status + Send + Sync> Look for F {
        fn look<'a>(&'a self, id: &'a str, _alone: bool) -> BoxFuture<'a, Result<Status>> {
            let status = self(id);
            async move { Ok(status) }.boxed()
        }
    }

    fn lanes(script: &[Status]) -> (Lanes, Arc<Script>) {
        let script = Arc::new(Script(
            parking_lot::Mutex::new(script.iter().cloned().collect()),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        ));
        (
            Lanes::new(
                Box::new(script.clone()),
                Parking::default(),
                crate::metrics::Metrics::default().turns,
            ),
            script,
        )
    }

    fn pending() -> Status {
        Status::Pending("pool p".into())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_change_waits_until_the_tree_is_settled() {
        let (lanes, script) = lanes(&[pending(), pending(), Status::Settled]);
        lanes.change("lb", async || Ok(())).await.unwrap();
        assert_eq!(script.1.load(Ordering::SeqCst), 0, "nobody looks before the first change");
        lanes.change("other", async || Ok(())).await.unwrap();
        lanes.change("lb", async || Ok(())).await.unwrap();
        assert_eq!(script.1.load(Ordering::SeqCst), 3);
    }

    /// The tree of a big load balancer costs Octavia a second.
    #[tokio::test(start_paused = true)]
    async fn a_tree_that_is_never_behind_is_asked_for_no_more() {
        let write = async |lanes: &Lanes| lanes.change("lb", async || Ok(())).await.unwrap();
        let behind = Status::Behind("pool p".into());
        let (lanes, script) = lanes(&[Status::Settled]);
        for _ in 0..20 {
            write(&lanes).await;
        }
        let trees = script.2.load(Ordering::SeqCst);
        assert_eq!(trees, usize::try_from(TRUSTED).unwrap());
        assert_eq!(script.1.load(Ordering::SeqCst), 19, "a look before each change but the first");

        // One that is: always.
        let turns: Vec<Status> = (0..20).flat_map(|_| [behind.clone(), Status::Settled]).collect();
        let (lanes, script) = self::lanes(&turns);
        for _ in 0..20 {
            write(&lanes).await;
        }
        assert_eq!(script.2.load(Ordering::SeqCst), script.1.load(Ordering::SeqCst));
    }

    /// Looks that are in vain load the very service that is waited for.
    #[tokio::test(start_paused = true)]
    async fn the_first_look_comes_when_a_change_is_about_to_be_through() {
        let slow = Duration::from_secs(4);
        let until = Arc::new(parking_lot::Mutex::new(Instant::now()));
        let looks = Arc::new(AtomicUsize::new(0));
        let (ready, count) = (until.clone(), looks.clone());
        let lanes = Lanes::new(
            Box::new(move |_: &str| {
                count.fetch_add(1, Ordering::SeqCst);
                if Instant::now() < *ready.lock() { pending() } else { Status::Settled }
            }),
            Parking::default(),
            crate::metrics::Metrics::default().turns,
        );
        let change = async || {
            *until.lock() = Instant::now() + slow;
            Ok(())
        };
        for _ in 0..4 {
            lanes.change("lb", change).await.unwrap();
        }
        // A change that nobody waits for for long says nothing of how long one takes.
        for _ in 0..8 {
            tokio::time::sleep(slow * 10).await;
            lanes.change("lb", change).await.unwrap();
        }
        let (begun, before) = (Instant::now(), looks.load(Ordering::SeqCst));
        for _ in 0..8 {
            lanes.change("lb", change).await.unwrap();
        }
        assert!(looks.load(Ordering::SeqCst) - before <= 8 * 4, "{looks:?}");
        assert!(begun.elapsed() <= slow * 8 * 5 / 4, "{:?}", begun.elapsed());
    }

    /// A tree takes seconds to be made, and a change of its members one.
    #[tokio::test(start_paused = true)]
    async fn what_it_took_to_be_made_no_change_is_expected_to_take() {
        let until = Arc::new(parking_lot::Mutex::new(Instant::now() + Duration::from_secs(7)));
        let ready = until.clone();
        let look = move |_: &str| if Instant::now() < *ready.lock() { pending() } else { Status::Settled };
        let lanes = Lanes::new(Box::new(look), Parking::default(), crate::metrics::Metrics::default().turns);
        lanes.busy("lb").await;
        let change = async || {
            *until.lock() = Instant::now() + Duration::from_secs(1);
            Ok(())
        };
        lanes.change("lb", change).await.unwrap();
        let begun = Instant::now();
        for _ in 0..3 {
            lanes.change("lb", change).await.unwrap();
        }
        assert!(begun.elapsed() <= Duration::from_secs(3) * 5 / 4, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_stays_pending_or_failed_holds_nobody_for_ever() {
        let (stuck, _) = lanes(&[pending()]);
        stuck.change("lb", async || Ok(())).await.unwrap();
        let begun = Instant::now();
        let error = stuck.change("lb", async || Ok(())).await.unwrap_err();
        assert!(matches!(error, CloudError::Busy { part, .. } if part == "pool p"));
        assert!(begun.elapsed() < LIMIT * 2);
        let begun = Instant::now();
        stuck.change("lb", async || Ok(())).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(1), "the next one need not wait as long");

        let (failed, _) = lanes(&[Status::Failed]);
        failed.change("lb", async || Ok(())).await.unwrap();
        let error = failed.change("lb", async || Ok(())).await.unwrap_err();
        assert!(matches!(error, CloudError::Failed { .. }));
    }
}
