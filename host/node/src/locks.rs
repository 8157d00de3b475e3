//! One at a time for each container, and an ADD that waits gives way to a DEL.

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

/// Held while something is done for a container.
pub(crate) struct Held<'a> {
    locks: &'a Locks,
    container: String,
    dels: watch::Receiver<u64>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Locks {
    /// Waits until nobody else does anything for this container. With `del`, who waits for something while holding it is
    /// asked to stop.
    pub(crate) async fn hold(&self, container: &str, del: bool) -> Held<'_> {
        let (entry, dels) = {
            let mut all = self.0.lock();
            let entry = all
                .entry(container.to_owned())
                .or_insert_with(|| Entry { lock: Arc::default(), dels: Arc::new(watch::channel(0).0) });
            if del {
                entry.dels.send_modify(|n| *n += 1);
            }
            (entry.clone(), entry.dels.subscribe())
        };
        let guard = entry.lock.lock_owned().await;
        Held { locks: self, container: container.to_owned(), dels, guard: Some(guard) }
    }

    /// The containers that something is being done for.
    pub(crate) fn busy(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
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
        if all.get(&self.container).is_some_and(|entry| Arc::strong_count(&entry.lock) == 1) {
            all.remove(&self.container);
        }
    }
}
