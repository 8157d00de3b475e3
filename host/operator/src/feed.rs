//! From what the watches say to what is queued.

use std::sync::Arc;

use isthmus_kubernetes::crd::CloudMapping;
use isthmus_kubernetes::names::FINALIZER;
use isthmus_kubernetes::store::{Change, Stored};
use isthmus_kubernetes::watch::{Event, WatchEvent};
use isthmus_model::object::{ObjectKey, Subject};
use kube::ResourceExt;
use tokio::sync::mpsc;

use crate::session::{Session, namespace_kind, node_kind, subject_of};

/// Objects of Kubernetes.
pub(crate) async fn objects(session: Arc<Session>, mut events: mpsc::Receiver<WatchEvent>) {
    while let Some(event) = events.recv().await {
        match event {
            WatchEvent::Changed(changes) => changes.iter().for_each(|change| session.changed(change)),
            WatchEvent::Synced(kind) => {
                session.memos.clear();
                session.enqueue_kind(&kind);
                session.known_now(&kind);
            }
            WatchEvent::Touched(key) => session.touched(&key),
            WatchEvent::Unavailable { gvk, reason } => {
                tracing::warn!(kind = %gvk, %reason, "can't be watched yet");
                session.memos.clear();
                // That there is no such kind is knowledge too.
                if session.all_known(&[gvk.clone()].into()).is_ok() {
                    session.known_now(&gvk);
                }
            }
        }
    }
}

/// Single objects, by name.
pub(crate) async fn named(session: Arc<Session>, mut touched: mpsc::UnboundedReceiver<ObjectKey>) {
    while let Some(key) = touched.recv().await {
        session.touched(&key);
    }
}

/// CloudMappings. `synced` is told once when all are known.
pub(crate) async fn mappings(
    session: Arc<Session>,
    mut events: mpsc::Receiver<Event<CloudMapping>>,
    synced: tokio::sync::oneshot::Sender<()>,
) {
    let mut synced = Some(synced);
    while let Some(event) = events.recv().await {
        match event {
            Event::Applied(mapping) if !session.mappings.is_in_place(&mapping) => {
                let subject = &mapping.spec.subject;
                tracing::warn!(
                    namespace = ?mapping.metadata.namespace, name = ?mapping.metadata.name, kind = subject.kind, of = subject.name,
                    "a CloudMapping that is not where its subject's would be: it is left alone"
                );
            }
            Event::Applied(mapping) => {
                let own = mapping.spec.subject.subject();
                let mut records = session.records.lock();
                let before = records.get(&own).map(|k| (k.deleting, k.released, k.status.clone()));
                let subject = records.put(&mapping);
                drop(records);
                subject.iter().for_each(|subject| session.may_join(subject));
                let released = !mapping.finalizers().iter().any(|f| f == FINALIZER);
                // The echo of our own write is no news; a deletion, a finalizer taken off and the agent's condition are.
                let news = subject.filter(|_| {
                    before.is_none_or(|(deleting, was_released, status)| {
                        deleting != mapping.metadata.deletion_timestamp.is_some()
                            || released && !was_released
                            || mapping.status.as_ref() != Some(&*status)
                    })
                });
                news.into_iter().for_each(|subject| session.queue.now(Arc::new(subject)));
            }
            Event::Deleted(named) => {
                let subject = session.records.lock().remove(&named.uid);
                subject.iter().for_each(|subject| session.may_join(subject));
                subject.into_iter().for_each(|subject| session.queue.now(Arc::new(subject)));
            }
            Event::Malformed { object, reason } => {
                tracing::warn!(namespace = ?object.namespace, name = %object.name, %reason, "a CloudMapping can't be understood: it is left alone");
            }
            Event::Synced => {
                if let Some(synced) = synced.take() {
                    let _ = synced.send(());
                }
            }
            Event::Unavailable(reason) => {
                tracing::warn!(%reason, "CloudMappings can't be listed; are the CRDs installed?")
            }
            Event::Interrupted(_) => {}
        }
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        session.metrics.mappings.set(count(session.records.lock().len()));
        session.metrics.resources.set(count(session.inventory.lock().len()));
    }
}

/// What happened to an object, for people.
fn happened(change: &Change) -> &'static str {
    match (&change.old, &change.new) {
        (None, _) => "appeared",
        (Some(_), None) => "went",
        (Some(old), Some(new)) if old.uid != new.uid => "was made again",
        (Some(_), Some(_)) => "changed",
    }
}

impl Session {
    fn changed(&self, change: &Change) {
        let kind = &change.key.kind;
        let (recorded, mapped) = (self.has_record(change), self.pipelines.load().lane(&change.key).is_some());
        if mapped || recorded {
            for stored in [&change.old, &change.new].into_iter().flatten() {
                let subject = subject_of(stored);
                // The time that it takes is counted from here, unless it was mapped before we looked.
                if change.new.is_some() && !recorded {
                    self.seen(&subject.uid);
                }
                self.causes.lock().insert(subject.uid.clone(), format!("the object {}", happened(change)));
                self.queue.now(Arc::new(subject));
            }
        }
        let labels = |stored: &Option<Arc<Stored>>| stored.as_ref().map(|s| s.labels.clone());
        let (old, new) = (labels(&change.old), labels(&change.new));
        let touched = self.deps.lock().touched(&change.key, old.as_ref(), new.as_ref());
        for subject in touched {
            self.memos.drop(&subject.uid);
            let cause = || format!("{} {}", change.key, happened(change));
            // What it reads of its own is told as itself.
            if subject.key != change.key {
                self.causes.lock().insert(subject.uid.clone(), cause());
            }
            self.queue.now(subject);
        }
        self.touched(&change.key);
        for stored in [&change.old, &change.new].into_iter().flatten() {
            self.may_join(&subject_of(stored));
        }
        if **kind == namespace_kind() && old != new {
            self.may_join_in(&change.key.name);
        }
        if **kind == node_kind() && change.new.is_none() {
            self.wake_those_on(&change.key.name);
        }
        let going = |stored: &Option<Arc<Stored>>| stored.as_ref().is_some_and(|s| s.deleting);
        if **kind == namespace_kind() && going(&change.new) && !going(&change.old) {
            self.wake_those_in(&change.key.name);
        }
    }

    fn has_record(&self, change: &Change) -> bool {
        let records = self.records.lock();
        records.lives(&change.key).next().is_some()
    }

    /// Those that wait for the agent of a node that is gone.
    fn wake_those_on(&self, node: &str) {
        let found = self.records.lock().on_node(node);
        found.into_iter().for_each(|subject| self.queue.now(Arc::new(subject)));
    }

    /// Those whose namespace began to be deleted.
    fn wake_those_in(&self, namespace: &str) {
        let found: Vec<Subject> = {
            let records = self.records.lock();
            let inside = |subject: &&Subject| subject.key.namespace.as_deref() == Some(namespace);
            records.subjects().filter(inside).cloned().collect()
        };
        found.into_iter().for_each(|subject| self.queue.now(Arc::new(subject)));
    }
}
