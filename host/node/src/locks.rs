//! One at a time for each key (a container, a port, a link), and an ADD that waits gives way to a DEL.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};

#[derive(Default)]
pub(crate) struct Locks(Mutex<HashMap<String, Entry>>);

#[derive(Clone)]
struct Entry {
    lock: Arc<AsyncMutex<()>>,
    /// Counts the DELs.
    dels: Arc<watch::Sender<u64>>,
}

/// Held while something is done for a key.
pub(crate) struct Held<'a> {
    locks: &'a Locks,
    key: String,
    dels: watch::Receiver<u64>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Locks {
    /// Waits until nobody else does anything for this key. With `del`, who waits for something while holding it is
    /// asked to stop.
    pub(crate) async fn hold(&self, key: &str, del: bool) -> Held<'_> {
        let (entry, mut held) = self.prepare(key, del);
        held.guard = Some(entry.lock.lock_owned().await);
        held
    }

    /// The key, where nobody does anything for it.
    pub(crate) fn try_hold(&self, key: &str) -> Option<Held<'_>> {
        let (entry, mut held) = self.prepare(key, false);
        held.guard = Some(entry.lock.try_lock_owned().ok()?);
        Some(held)
    }

    /// What is to be held, not yet locked: it goes by itself where the caller gives up.
    fn prepare(&self, key: &str, del: bool) -> (Entry, Held<'_>) {
        let mut all = self.0.lock();
        let entry = all
            .entry(key.to_owned())
            .or_insert_with(|| Entry { lock: Arc::default(), dels: Arc::new(watch::channel(0).0) });
        if del {
            entry.dels.send_modify(|n| *n += 1);
        }
        let held = Held { locks: self, key: key.to_owned(), dels: entry.dels.subscribe(), guard: None };
        (entry.clone(), held)
    }
}

impl Held<'_> {
    /// Comes true when a DEL was asked for since this was asked for.
    pub(crate) async fn overtaken(&self) {
        let mut dels = self.dels.clone();
        if dels.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut all = self.locks.0.lock();
        drop(self.guard.take());
        // Ours in the map is the only one: nobody waits.
        if all.get(&self.key).is_some_and(|entry| Arc::strong_count(&entry.lock) == 1) {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_one_callers_at_a_time_and_nothing_is_left_of_it() {
        let locks = Locks::default();
        let held = locks.hold("a", false).await;
        assert!(locks.try_hold("a").is_none() && locks.try_hold("b").is_some());
        let gives_up = tokio::time::timeout(std::time::Duration::from_millis(5), locks.hold("a", true)).await;
        assert!(gives_up.is_err());
        held.overtaken().await;
        drop(held);
        assert!(locks.try_hold("a").is_some());
        assert!(locks.0.lock().is_empty());
    }
}
