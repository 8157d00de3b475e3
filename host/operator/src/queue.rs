//! The work queue: one reconcile in flight a subject, deduplicated, the earliest request wins; of what is due, each namespace has its
//! turn.
//!
//! `kube::runtime::Controller` does not serve: it drops keys that its store lacks, and our key is the subject, whether or
//! not it has a CloudMapping. So this is `kube::runtime::scheduler` with a small runner. The scheduler gives out what is due in no
//! order: that is in [`FairQueue`].

use std::collections::HashSet;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{FutureExt, StreamExt};
use isthmus_model::fair::FairQueue;
use kube::runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Puts keys into the queue. Cheap to clone; never blocks.
#[derive(Debug)]
pub struct Queue<K>(UnboundedSender<ScheduleRequest<K>>);

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// The namespace of a key.
pub type NamespaceOf<K> = fn(&K) -> Option<Arc<str>>;

/// The receiving end, for [`run`].
#[derive(Debug)]
pub struct Requests<K>(UnboundedReceiver<ScheduleRequest<K>>, NamespaceOf<K>);

/// A new queue, in which keys of many in one namespace do not hold up those of another.
pub fn queue<K>(namespace: NamespaceOf<K>) -> (Queue<K>, Requests<K>) {
    let (sender, receiver) = unbounded();
    (Queue(sender), Requests(receiver, namespace))
}

impl<K> Queue<K> {
    /// As soon as possible.
    pub fn now(&self, key: K) {
        self.after(key, Duration::ZERO);
    }

    /// Not before `delay` has passed, unless another request is earlier.
    pub fn after(&self, key: K, delay: Duration) {
        // The receiver is gone only when the session ends; what it would have done is done by the next leader.
        let _ = self.0.unbounded_send(ScheduleRequest { message: key, run_at: Instant::now() + delay });
    }
}

/// Work that waits for its turn elsewhere takes no place in the queue: what one load balancer is slow at must not stop
/// anything else.
#[derive(Clone, Debug)]
pub struct Parking(watch::Sender<usize>);

impl Default for Parking {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Parking {
    /// Waits for `turn` without taking a place.
    pub async fn park<F: Future>(&self, turn: F) -> F::Output {
        self.0.send_modify(|parked| *parked += 1);
        let _leaves = Leaves(self);
        turn.await
    }
}

/// Takes its place again, also where the wait is given up.
struct Leaves<'a>(&'a Parking);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|parked| *parked -= 1);
    }
}

/// Runs `work` for every key that is due, at most `parallel` at once and those that are parked, until `stop` says so; then
/// waits for what is in flight. A key whose work answers a delay is queued again after it.
pub async fn run<K, W, F>(
    requests: Requests<K>,
    parallel: usize,
    parking: Parking,
    mut stop: watch::Receiver<bool>,
    work: W,
) where
    K: Clone + Eq + Hash + Send + Unpin + 'static,
    W: Fn(K) -> F,
    F: Future<Output = Option<Duration>> + Send + 'static,
{
    let Requests(requests, namespace) = requests;
    let (again, repeated) = unbounded();
    let mut scheduler = pin!(scheduler(futures::stream::select(requests, repeated)));
    let mut due: FairQueue<K, Option<Arc<str>>> = FairQueue::default();
    let mut running: HashSet<K> = HashSet::new();
    let mut tasks: JoinSet<(K, Option<Duration>)> = JoinSet::new();
    let mut parked = parking.0.subscribe();
    loop {
        while running.len().saturating_sub(*parked.borrow_and_update()) < parallel
            && let Some(key) = due.pop()
        {
            running.insert(key.clone());
            tasks.spawn(guarded(key.clone(), work(key)));
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(done) = tasks.join_next() => {
                // A task that panicked is a bug of ours; its key must not stay locked for ever.
                match done {
                    Ok((key, delay)) => {
                        running.remove(&key);
                        if let Some(delay) = delay {
                            let _ = again.unbounded_send(ScheduleRequest { message: key, run_at: Instant::now() + delay });
                        }
                    }
                    Err(error) => tracing::error!(%error, "a reconcile ended abnormally"),
                }
            }
            // The sender is ours: this ends with a change only.
            _ = parked.changed() => {}
            Some(key) = async { scheduler.as_mut().hold_unless(|key| !running.contains(key)).next().await } => {
                let namespace = namespace(&key);
                due.push(key, namespace);
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// The work of a key. One that panics is tried again.
async fn guarded<K>(key: K, work: impl Future<Output = Option<Duration>>) -> (K, Option<Duration>) {
    let outcome = std::panic::AssertUnwindSafe(work).catch_unwind().await;
    let delay = outcome.unwrap_or_else(|_| {
        tracing::error!("a reconcile panicked: it is tried again in a minute");
        Some(Duration::from_secs(60))
    });
    (key, delay)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_in_flight_a_key_and_a_panic_does_not_lock_it() {
        let (queue, requests) = queue(|_| None);
        let (stop, stopped) = watch::channel(false);
        let (runs, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let flying = Arc::new(AtomicUsize::new(0));
        for _ in 0..5 {
            queue.now("a");
        }
        let (r, m, f) = (runs.clone(), most.clone(), flying.clone());
        let runner = tokio::spawn(run(requests, 4, Parking::default(), stopped, move |_| {
            let (r, m, f, q) = (r.clone(), m.clone(), f.clone(), queue.clone());
            async move {
                let now = f.fetch_add(1, Ordering::SeqCst) + 1;
                m.fetch_max(now, Ordering::SeqCst);
                let run = r.fetch_add(1, Ordering::SeqCst);
                q.now("a");
                tokio::time::sleep(Duration::from_millis(10)).await;
                f.fetch_sub(1, Ordering::SeqCst);
                assert!(run != 1, "the second run panics");
                None
            }
        }));
        while runs.load(Ordering::SeqCst) < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send(true).unwrap();
        runner.await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn of_twenty_keys_four_are_in_flight() {
        let (queue, requests) = queue(|_| None);
        let (stop, stopped) = watch::channel(false);
        let (flying, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let done = Arc::new(AtomicUsize::new(0));
        (0..20).for_each(|key| queue.now(key));
        let (f, m, d) = (flying.clone(), most.clone(), done.clone());
        let runner = tokio::spawn(run(requests, 4, Parking::default(), stopped, move |_| {
            let (f, m, d) = (f.clone(), m.clone(), d.clone());
            async move {
                m.fetch_max(f.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                f.fetch_sub(1, Ordering::SeqCst);
                d.fetch_add(1, Ordering::SeqCst);
                None
            }
        }));
        while done.load(Ordering::SeqCst) < 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send(true).unwrap();
        runner.await.unwrap();
        assert_eq!((most.load(Ordering::SeqCst), done.load(Ordering::SeqCst)), (4, 20));
    }

    /// Who makes a thousand at once waits for them. Others do not.
    #[tokio::test(start_paused = true)]
    async fn each_namespace_has_its_turn() {
        let (queue, requests) = queue(|(namespace, _): &(&str, usize)| Some((*namespace).into()));
        let (stop, stopped) = watch::channel(false);
        let begun = Arc::new(parking_lot::Mutex::new(Vec::new()));
        (0..1000).for_each(|n| queue.now(("many", n)));
        let b = begun.clone();
        let runner = tokio::spawn(run(requests, 4, Parking::default(), stopped, move |key| {
            b.lock().push(key);
            async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                None
            }
        }));
        let some = async |wanted| {
            while begun.lock().len() < wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        some(40).await;
        queue.now(("one", 0));
        some(1001).await;
        stop.send(true).unwrap();
        runner.await.unwrap();
        let at = begun.lock().iter().position(|(namespace, _)| *namespace == "one");
        assert!(at.is_some_and(|at| at < 60), "{at:?}");
    }

    /// What is worked on is the state that is there when the work begins: all changes that come meanwhile are one more look.
    #[tokio::test(start_paused = true)]
    async fn what_changes_many_times_while_it_is_worked_on_is_worked_on_once_more() {
        let (queue, requests) = queue(|_| None);
        let (stop, stopped) = watch::channel(false);
        let (state, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(parking_lot::Mutex::new(Vec::new())));
        let turns = Arc::new(tokio::sync::Semaphore::new(0));
        queue.now("a");
        let (s, v, t) = (state.clone(), seen.clone(), turns.clone());
        let runner = tokio::spawn(run(requests, 4, Parking::default(), stopped, move |_| {
            let (s, v, t) = (s.clone(), v.clone(), t.clone());
            async move {
                v.lock().push(s.load(Ordering::SeqCst));
                t.acquire().await.unwrap().forget();
                None
            }
        }));
        let looks = async |wanted| {
            while seen.lock().len() < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        looks(1).await;
        for change in 1..=100 {
            state.store(change, Ordering::SeqCst);
            queue.now("a");
            // The queue takes it in before the next.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        turns.add_permits(1_000);
        looks(2).await;
        // Anything that is still to come comes before what is asked for after it.
        tokio::time::sleep(Duration::from_secs(60)).await;
        stop.send(true).unwrap();
        runner.await.unwrap();
        assert_eq!(*seen.lock(), [0, 100], "the first, and then the newest alone");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_elsewhere_takes_no_place() {
        let (queue, requests) = queue(|_| None);
        let (stop, stopped) = watch::channel(false);
        let (parking, turn) = (Parking::default(), Arc::new(tokio::sync::Semaphore::new(0)));
        let done = Arc::new(AtomicUsize::new(0));
        for key in ["slow 1", "slow 2", "slow 3", "quick"] {
            queue.now(key);
        }
        let (p, t, d) = (parking.clone(), turn.clone(), done.clone());
        let runner = tokio::spawn(async move {
            run(requests, 1, parking, stopped, move |key: &str| {
                let (p, t, d) = (p.clone(), t.clone(), d.clone());
                async move {
                    if key != "quick" {
                        p.park(t.acquire()).await.unwrap().forget();
                    }
                    d.fetch_add(1, Ordering::SeqCst);
                    None
                }
            })
            .await;
        });
        let wait_for = async |wanted| {
            while done.load(Ordering::SeqCst) < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        wait_for(1).await;
        turn.add_permits(3);
        wait_for(4).await;
        stop.send(true).unwrap();
        runner.await.unwrap();
    }
}
