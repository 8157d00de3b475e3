//! Which ADD of a Pod came last: a runtime makes a Pod's sandbox anew after a crash, and the one before may still wait.

use std::collections::HashMap;
use std::sync::Arc;

use isthmus_cni::protocol::PodReference;
use parking_lot::Mutex;
use tokio::sync::watch;

/// The ADDs that are under way, by Pod.
#[derive(Default)]
pub(crate) struct Arrivals(Mutex<HashMap<PodReference, Entry>>);

struct Entry {
    /// The container of the last one.
    newest: Arc<watch::Sender<String>>,
    /// How many there are.
    running: usize,
}

/// One ADD, as long as it is under way.
pub(crate) struct Arrival<'a> {
    arrivals: &'a Arrivals,
    pod: PodReference,
    container: String,
    newest: watch::Receiver<String>,
}

impl Arrivals {
    /// Notes an ADD for a container of a Pod, and has those of its other containers give way.
    pub(crate) fn arrive(&self, pod: &PodReference, container: &str) -> Arrival<'_> {
        let mut all = self.0.lock();
        let entry = all
            .entry(pod.clone())
            .or_insert_with(|| Entry { newest: Arc::new(watch::channel(String::new()).0), running: 0 });
        entry.running += 1;
        entry.newest.send_replace(container.to_owned());
        let newest = entry.newest.subscribe();
        Arrival { arrivals: self, pod: pod.clone(), container: container.to_owned(), newest }
    }
}

impl Arrival<'_> {
    /// Comes true when another container of the Pod has an ADD that came later.
    pub(crate) async fn overtaken(&self) {
        let mut newest = self.newest.clone();
        if newest.wait_for(|container| *container != self.container).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it has.
    pub(crate) fn is_overtaken(&self) -> bool {
        *self.newest.borrow() != self.container
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        let mut all = self.arrivals.0.lock();
        if let Some(entry) = all.get_mut(&self.pod) {
            entry.running -= 1;
            if entry.running == 0 {
                all.remove(&self.pod);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_one_wins_also_when_it_is_done() {
        let arrivals = Arrivals::default();
        let pod = PodReference { namespace: "shop".into(), name: "web".into(), uid: None };
        let first = arrivals.arrive(&pod, "c1");
        let same = arrivals.arrive(&pod, "c1");
        assert!(!first.is_overtaken(), "asked again for the same container");
        let last = arrivals.arrive(&pod, "c2");
        first.overtaken().await;
        assert!(same.is_overtaken() && !last.is_overtaken());
        drop(last);
        assert!(first.is_overtaken(), "it had come later");
        drop((first, same));
        assert!(arrivals.0.lock().is_empty());
    }
}
