//! The work queue: one reconcile in flight a subject, deduplicated, the earliest request wins.
//!
//! `kube::runtime::Controller` does not serve: it drops keys that its store lacks, and our key is the subject, whether or
//! not it has a CloudMapping. So this is `kube::runtime::scheduler` with a small runner.

use std::collections::HashSet;
use std::hash::Hash;
use std::pin::pin;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{FutureExt, StreamExt};
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

/// The receiving end, for [`run`].
#[derive(Debug)]
pub struct Requests<K>(UnboundedReceiver<ScheduleRequest<K>>);

/// A new queue.
pub fn queue<K>() -> (Queue<K>, Requests<K>) {
    let (sender, receiver) = unbounded();
    (Queue(sender), Requests(receiver))
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

/// Runs `work` for every key that is due, at most `parallel` at once, until `stop` says so; then waits for what is in
/// flight. A key whose work answers a delay is queued again after it.
pub async fn run<K, W, F>(requests: Requests<K>, parallel: usize, mut stop: watch::Receiver<bool>, work: W)
where
    K: Clone + Eq + Hash + Send + Unpin + 'static,
    W: Fn(K) -> F,
    F: Future<Output = Option<Duration>> + Send + 'static,
{
    let (again, repeated) = unbounded();
    let mut scheduler = pin!(scheduler(futures::stream::select(requests.0, repeated)));
    let mut running: HashSet<K> = HashSet::new();
    let mut tasks: JoinSet<(K, Option<Duration>)> = JoinSet::new();
    loop {
        let full = running.len() >= parallel;
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
            Some(key) = async {
                if full {
                    // Takes in what comes, and never gives anything out.
                    scheduler.as_mut().hold().next().await.and_then(|_| None)
                } else {
                    scheduler.as_mut().hold_unless(|key| !running.contains(key)).next().await
                }
            } => {
                running.insert(key.clone());
                let (future, own) = (work(key.clone()), key.clone());
                tasks.spawn(async move {
                    let outcome = std::panic::AssertUnwindSafe(future).catch_unwind().await;
                    let delay = outcome.unwrap_or_else(|_| {
                        tracing::error!("a reconcile panicked: it is tried again in a minute");
                        Some(Duration::from_secs(60))
                    });
                    (own, delay)
                });
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_in_flight_a_key_and_a_panic_does_not_lock_it() {
        let (queue, requests) = queue();
        let (stop, stopped) = watch::channel(false);
        let (runs, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let flying = Arc::new(AtomicUsize::new(0));
        for _ in 0..5 {
            queue.now("a");
        }
        let (r, m, f) = (runs.clone(), most.clone(), flying.clone());
        let runner = tokio::spawn(run(requests, 4, stopped, move |_| {
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
}
