//! Deletes links in batches: a deletion waits for RCU once, however many links go.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use isthmus_cni::Error;
use prometheus_client::metrics::counter::Counter;
use rtnetlink::Handle;
use tokio::sync::Notify;

use super::links;

/// How long links are collected for before they go: each deletion holds up every other change of a link for 12 ms and more.
const GATHER: Duration = Duration::from_millis(50);

/// When a batch that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked whether anybody is there still.
const IDLE: Duration = Duration::from_secs(60);

/// A thread of its own: the kernel works while the caller sends, and would hold up everything else.
#[derive(Clone)]
pub struct Reaper {
    wake: Arc<Notify>,
    /// The thread's: it sends what is asked here, and so waits for it.
    netlink: Handle,
    batches: Counter,
}

impl Reaper {
    /// Starts the thread, in the network namespace of the caller. It ends with the process.
    ///
    /// # Errors
    /// No thread, runtime or netlink connection to be had.
    pub fn start() -> io::Result<Self> {
        let wake = Arc::new(Notify::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let host = {
            let _inside = runtime.enter();
            let (connection, host, _) = rtnetlink::new_connection()?;
            runtime.spawn(connection);
            host
        };
        let (woken, netlink, batches) = (Arc::downgrade(&wake), host.clone(), Counter::default());
        let counted = batches.clone();
        std::thread::Builder::new().name("reaper".into()).spawn(move || {
            runtime.block_on(async move {
                let mut left = false;
                while let Some(woken) = woken.upgrade() {
                    let again = if left { RETRY } else { IDLE };
                    let ended = tokio::time::timeout(again, woken.notified()).await;
                    drop(woken);
                    if ended.is_err() && !left {
                        continue;
                    }
                    tokio::time::sleep(GATHER).await;
                    counted.inc();
                    let deleted = links::delete_dead(&host).await;
                    left = deleted.is_err();
                    if let Err(error) = deleted {
                        tracing::warn!(%error, "links are left; it is tried again");
                    }
                }
            });
        })?;
        Ok(Self { wake, netlink, batches })
    }

    /// Deletes what there is to delete, at once.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn delete_now(&self) -> Result<(), Error> {
        self.batches.inc();
        links::delete_dead(&self.netlink).await
    }

    /// How many batches there were.
    pub fn batches(&self) -> &Counter {
        &self.batches
    }

    /// There is something to delete.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}
