//! Candidates against one lease in memory, on paused time.

use std::sync::Arc;

use isthmus_model::retry::RetryClass;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{advance, pause, timeout};

use super::elector::{Lease, StoredLease};
use super::*;
use crate::error::ErrorKind;

#[derive(Default)]
struct Shared {
    lease: Option<(Lease, u64)>,
    /// Who is cut off from the lease.
    cut: Vec<&'static str>,
    /// Told of each write.
    written: Arc<Notify>,
}

#[derive(Clone)]
struct MemoryLease {
    shared: Arc<Mutex<Shared>>,
    who: &'static str,
}

impl MemoryLease {
    fn reach(&self) -> Result<(), Error> {
        match self.shared.lock().cut.contains(&self.who) {
            true => Err(Error::new(RetryClass::Transient, ErrorKind::Other, "lease", "cut off")),
            false => Ok(()),
        }
    }
}

fn stored(&(ref lease, version): &(Lease, u64)) -> StoredLease {
    StoredLease { lease: lease.clone(), version: version.to_string() }
}

impl LeaseStore for MemoryLease {
    async fn read(&mut self) -> Result<Option<StoredLease>, Error> {
        self.reach()?;
        Ok(self.shared.lock().lease.as_ref().map(stored))
    }

    async fn write(&mut self, lease: &Lease, version: Option<&str>) -> Result<(), Error> {
        self.reach()?;
        let mut shared = self.shared.lock();
        let current = shared.lease.as_ref().map(|(_, version)| *version);
        if current.map(|v| v.to_string()).as_deref() != version {
            return Err(Error::new(RetryClass::Conflict, ErrorKind::Conflict, "lease", "changed"));
        }
        shared.lease = Some((lease.clone(), current.unwrap_or_default() + 1));
        shared.written.notify_waiters();
        Ok(())
    }

    async fn changed(&self, version: &str) -> Result<Option<StoredLease>, Error> {
        let written = self.shared.lock().written.clone();
        loop {
            let next = written.notified();
            let now = self.shared.lock().lease.as_ref().map(stored);
            if self.reach().is_ok() && now.as_ref().map(|now| &*now.version) != Some(version) {
                return Ok(now);
            }
            next.await;
        }
    }
}

struct Running {
    leadership: watch::Receiver<Leadership>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

fn start(shared: &Arc<Mutex<Shared>>, who: &'static str) -> Running {
    let candidate = Runner::new(MemoryLease { shared: shared.clone(), who }, who, Timing::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let leadership = candidate.leadership.subscribe();
    let task = tokio::spawn(candidate.run(async {
        // Dropped or sent: both mean stop.
        let _ = stopped.await;
    }));
    Running { leadership, stop: Some(stop), task }
}

async fn until_leads(running: &mut Running) {
    let leads = running.leadership.wait_for(Leadership::leads);
    timeout(Duration::from_secs(60), leads).await.expect("leads in time").unwrap();
}

#[tokio::test]
async fn one_leads_and_the_other_takes_over_when_it_is_cut_off() {
    pause();
    let shared = Arc::new(Mutex::new(Shared::default()));
    let mut a = start(&shared, "a");
    until_leads(&mut a).await;
    let mut b = start(&shared, "b");
    b.leadership.wait_for(|l| *l == Leadership::Follower { holder: Some("a".into()) }).await.unwrap();

    shared.lock().cut.push("a");
    let cut = Instant::now();
    // Never both, looked at every tenth of a second until the other leads.
    while !b.leadership.borrow().leads() {
        advance(Duration::from_millis(100)).await;
        assert!(!(a.leadership.borrow().leads() && b.leadership.borrow().leads()), "two lead");
        assert!(cut.elapsed() < Duration::from_secs(20), "nobody took over");
    }
    assert!(cut.elapsed() > Duration::from_secs(12), "taken over before it expired");
    assert_eq!(*a.leadership.borrow(), Leadership::Follower { holder: None });

    shared.lock().cut.clear();
    a.leadership.wait_for(|l| *l == Leadership::Follower { holder: Some("b".into()) }).await.unwrap();
    assert_eq!(shared.lock().lease.as_ref().unwrap().0.transitions, 1);
}

#[tokio::test]
async fn a_graceful_stop_hands_over_at_once() {
    pause();
    let shared = Arc::new(Mutex::new(Shared::default()));
    let mut a = start(&shared, "a");
    until_leads(&mut a).await;
    let mut b = start(&shared, "b");
    b.leadership.wait_for(|l| *l == Leadership::Follower { holder: Some("a".into()) }).await.unwrap();
    a.stop.take().unwrap().send(()).unwrap();
    a.task.await.unwrap();
    let given_back = Instant::now();
    until_leads(&mut b).await;
    assert!(given_back.elapsed() < Timing::default().retry, "{:?}", given_back.elapsed());
}

/// Its time is counted from the last renewal: that is seen when it is made, not at the next look.
#[tokio::test]
async fn it_is_taken_over_within_its_time_and_no_earlier() {
    pause();
    for cut_after in [1, 700, 1999] {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut a = start(&shared, "a");
        until_leads(&mut a).await;
        // It looks every two seconds from then on, and the other renews at other moments.
        sleep_until(Instant::now() + Duration::from_millis(900)).await;
        let mut b = start(&shared, "b");
        b.leadership.wait_for(|l| *l == Leadership::Follower { holder: Some("a".into()) }).await.unwrap();
        a.leadership.changed().await.unwrap();
        let renewed = Instant::now();
        sleep_until(renewed + Duration::from_millis(cut_after)).await;
        shared.lock().cut.push("a");
        until_leads(&mut b).await;
        let took = renewed.elapsed();
        let lease = Timing::default().duration;
        assert!(
            (lease..lease + Duration::from_millis(10)).contains(&took),
            "{took:?} after the last renewal"
        );
    }
}

#[tokio::test]
async fn a_short_interruption_costs_nothing() {
    pause();
    let shared = Arc::new(Mutex::new(Shared::default()));
    let mut a = start(&shared, "a");
    until_leads(&mut a).await;
    shared.lock().cut.push("a");
    advance(Duration::from_secs(5)).await;
    shared.lock().cut.clear();
    for _ in 0..200 {
        advance(Duration::from_millis(100)).await;
        assert!(a.leadership.borrow().leads());
    }
}

#[test]
fn timings_without_room_are_refused() {
    let s = Duration::from_secs;
    assert!(Timing::new(s(15), s(10), s(2)).is_ok_and(|timing| timing == Timing::default()));
    for (duration, renew, retry) in [(s(15), s(12), s(2)), (s(15), s(10), s(6)), (s(15), s(10), s(0))] {
        assert!(Timing::new(duration, renew, retry).is_err(), "{duration:?} {renew:?} {retry:?}");
    }
    assert!(Timing::new(Duration::from_millis(15_500), s(10), s(2)).is_err());
}
